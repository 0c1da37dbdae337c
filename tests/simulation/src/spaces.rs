//! A gateway's place on the list of key spaces, on the real ledger: what `host/keyspaces.rs` and
//! `host/reload/spaces.rs` do in the real one, where policies have to be loaded, too.

use crate::gateway::SimLedger;
use crate::keys::{POLICY, key_schema, ways};
use crate::process::Process;
use crate::world::World;
use oncegate::ledger::{Numbers, SpacesError};
use oncegate_core::SpaceNumber;
use oncegate_core::keyspaces::list::{Closed, Deriver, Space};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::sleep;

/// What failed is tried again after so long.
const AGAIN: Duration = Duration::from_millis(20);
/// Where nobody else is on the list it is looked after so often.
pub const TEND_EVERY: Duration = Duration::from_millis(200);
/// The lists changed this often between reading them and entering.
const TRIES: usize = 16;

/// Who decides by a key space, for as long as somebody does: the active lineup, and requests under way.
#[derive(Debug)]
pub struct SpaceGuard(SpaceNumber);

/// By what keys are derived.
#[derive(Debug)]
pub struct ActiveSpaces {
    /// The space by which it decides.
    pub guard: Rc<SpaceGuard>,
    /// All spaces, and the way in which keys are made in each; lowest number first.
    pub spaces: Vec<(SpaceNumber, u32)>,
    /// In which term of the lease on the list it was entered.
    pub term: u64,
    /// The version of the list.
    pub version: u64,
}

impl ActiveSpaces {
    /// The way by which it decides.
    pub fn way(&self) -> u32 {
        let own = self.spaces.iter().find(|(number, _)| *number == self.guard.0);
        own.expect("its own space is in every lineup").1
    }
}

/// A gateway's place.
#[derive(Debug)]
pub struct Place {
    world: Arc<World>,
    ledger: Arc<SimLedger>,
    /// None while what makes keys in one of the spaces can't be loaded: the routes refuse.
    active: RefCell<Option<Rc<ActiveSpaces>>>,
    /// By its configuration.
    way: Cell<u32>,
    guards: RefCell<Vec<Weak<SpaceGuard>>>,
    /// Changes and looks come one after the other.
    one_at_a_time: Mutex<()>,
}

impl Place {
    /// Takes one; `way`: how the policy makes keys. Where keys never change there is no list.
    pub async fn take(
        world: &Arc<World>,
        ledger: &Arc<SimLedger>,
        way: u32,
    ) -> Result<Rc<Self>, SpacesError> {
        let guard = Rc::new(SpaceGuard(SpaceNumber(0)));
        let place = Rc::new(Self {
            world: world.clone(),
            ledger: ledger.clone(),
            active: RefCell::new(Some(Rc::new(ActiveSpaces {
                guard,
                spaces: vec![(SpaceNumber(0), way)],
                term: 0,
                version: 0,
            }))),
            way: Cell::new(way),
            guards: RefCell::default(),
            one_at_a_time: Mutex::default(),
        });
        if let Some(changes) = &world.setting.changes {
            let lease = (!world.setting.embedded()).then_some(changes.list_lease);
            while ledger.join_spaces(lease).await.is_err() {
                sleep(AGAIN).await;
            }
            loop {
                match place.resolve(way, &Numbers::new()).await {
                    Err(SpacesError::Ledger(_) | SpacesError::Moved) => sleep(AGAIN).await,
                    Err(closed @ SpacesError::Closed(..)) => return Err(closed),
                    Ok(()) => break,
                }
            }
        }
        Ok(place)
    }

    /// By what keys are derived now; none: they can't be.
    pub fn lineup(&self) -> Option<Rc<ActiveSpaces>> {
        self.active.borrow().clone()
    }

    /// The policy makes keys in this way from now on.
    pub async fn change(&self, way: u32) -> Result<(), SpacesError> {
        let _one = self.one_at_a_time.lock().await;
        self.resolve(way, &self.deciding()).await
    }

    /// Keeps the place for as long as it is polled.
    pub async fn tend(self: Rc<Self>, process: Arc<Process>) {
        let pause = match self.ledger.list_lease().await {
            Some(lease) => {
                self.world.setting.changes.as_ref().map_or(lease / 3, |changes| changes.tend_every)
            }
            None => TEND_EVERY,
        };
        loop {
            sleep(pause).await;
            process.step("about to look after the list").await;
            let _one = self.one_at_a_time.lock().await;
            // What fails is tried again the next time. Whose space went while its lease was over may find the
            // list full of others: its operator goes back to one of them.
            if self.tend_once().await.is_err_and(|error| is_full(&error))
                && let Some(way) = Self::way_back(&self.world, &self.ledger)
            {
                let _ = self.resolve(way, &self.deciding()).await;
            }
        }
    }

    async fn tend_once(&self) -> Result<(), SpacesError> {
        let stands = self.ledger.tend_spaces(&self.deciding()).await?;
        let active = self.lineup();
        if !stands || !active.is_some_and(|active| self.is_up_to_date(&active)) {
            self.resolve(self.way.get(), &self.deciding()).await?;
        }
        Ok(())
    }

    fn is_up_to_date(&self, lineup: &ActiveSpaces) -> bool {
        let spaces = self.ledger.spaces();
        lineup.term == self.ledger.list_term()
            && spaces.list(POLICY).is_some_and(|list| list.version == lineup.version)
    }

    /// Enters by the list as it is, and derives by it from then on.
    async fn resolve(&self, way: u32, in_flight: &Numbers) -> Result<(), SpacesError> {
        let own = deriver(way);
        for _ in 0..TRIES {
            let read = self.ledger.read_spaces().await?;
            let listed = read.list(POLICY).map_or(&[][..], |list| &list.spaces);
            let missing = self.world.setting.changes.as_ref().map_or(0, |changes| changes.missing);
            let is_loaded = |space: &&Space| space.deriver == own || !self.world.happens(missing);
            let loaded: BTreeSet<_> = listed.iter().filter(is_loaded).map(|space| space.number).collect();
            // Nothing is claimed where keys can't be derived in all spaces.
            let shut = loaded.len() < listed.len();
            let derivers = (!shut).then(|| (Arc::from(POLICY), own.clone())).into_iter().collect();
            let entered = self.ledger.enter_spaces(&derivers, in_flight, |_, space| {
                loaded.contains(&space.number) || space.deriver == own
            });
            let entered = match entered.await {
                Err(SpacesError::Moved) => continue,
                entered => entered?,
            };
            self.way.set(way);
            if shut {
                self.world.say(|| format!("{} can't load all spaces", self.ledger.gateway()));
                self.active.take();
                return Ok(());
            }
            let spaces = self.ledger.spaces();
            let listed = spaces.list(POLICY).expect("it was just put there");
            let guard = Rc::new(SpaceGuard(entered.numbers[POLICY]));
            let is_read = |space: &&Space| space.number == guard.0 || loaded.contains(&space.number);
            let spaces = listed.spaces.iter().filter(is_read);
            let spaces: Vec<_> = spaces.map(|space| (space.number, self.way_of(&space.deriver))).collect();
            self.world
                .say(|| format!("{} decides by {}, derives {spaces:?}", self.ledger.gateway(), guard.0));
            let mut guards = self.guards.borrow_mut();
            guards.retain(|guard| guard.strong_count() > 0);
            guards.push(Rc::downgrade(&guard));
            *self.active.borrow_mut() = Some(Rc::new(ActiveSpaces {
                guard,
                spaces,
                term: entered.term,
                version: entered.versions[POLICY],
            }));
            return Ok(());
        }
        Err(SpacesError::Moved)
    }

    /// By which spaces the active lineup and requests under way decide.
    fn deciding(&self) -> Numbers {
        let guards = self.guards.borrow();
        let numbers: BTreeSet<_> = guards.iter().filter_map(Weak::upgrade).map(|guard| guard.0).collect();
        Numbers::from([(POLICY.into(), numbers)])
    }

    /// The way of a space that is on the list: what an operator can go back to at any time.
    pub fn way_back(world: &World, ledger: &SimLedger) -> Option<u32> {
        let spaces = ledger.spaces();
        let last = spaces.list(POLICY)?.spaces.last()?;
        Some(way_of(world, &last.deriver))
    }

    fn way_of(&self, deriver: &Deriver) -> u32 {
        way_of(&self.world, deriver)
    }
}

/// Whether a change was refused for good, as it is.
pub fn is_full(error: &SpacesError) -> bool {
    matches!(error, SpacesError::Closed(_, Closed::Full))
}

fn deriver(way: u32) -> Deriver {
    let text = Arc::<str>::from;
    Deriver {
        key_schema: key_schema(way).into(),
        key_epoch: 0,
        component: text("component"),
        settings: text("settings"),
    }
}

fn way_of(world: &World, deriver: &Deriver) -> u32 {
    ways(world).find(|way| *deriver.key_schema == key_schema(*way)).expect("there are no others")
}
