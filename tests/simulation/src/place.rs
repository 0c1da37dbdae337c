//! A gateway's place on the lists of key spaces: the whole of `host/keyspaces`, with generations that are
//! ways of making keys, and a loader that can't always load them.

use crate::gateway::SimLedger;
use crate::keys::{POLICY, deriver, identity, way_of};
use crate::process::Process;
use crate::store::SimStore;
use crate::world::World;
use oncegate_core::keyspaces::list::{Closed, Deriver};
use oncegate_core::{LostRecords, SpaceNumber};
use oncegate_keyspaces::{
    ActiveSpaces, Deriving, GenerationTable, InForce, Loaded, Loader, ResolveError, SpaceGuard, SpaceGuards,
    SpaceRegistry, SpaceResolver, SpaceTable, SpacesError, TendTimes, Tended, tend,
};
use std::cell::RefCell;
use std::convert::Infallible;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::sleep;

/// How soon a failed step is tried again.
const AGAIN: Duration = Duration::from_millis(20);
/// How often the lists are tended where no other gateway is on them.
pub const TEND_EVERY: Duration = Duration::from_millis(200);

/// The ways by which a gateway derives keys: one by its configuration, and older ways in other spaces.
#[derive(Debug)]
pub struct Active {
    generations: GenerationTable<u32>,
    spaces: SpaceTable<u32>,
    /// Where principals are taken from.
    source: u32,
}

/// A gateway's place.
#[derive(Debug)]
pub struct Place {
    world: Arc<World>,
    process: Arc<Process>,
    ledger: Arc<SimLedger>,
    active: RefCell<Rc<Active>>,
    guards: SpaceGuards,
    changed: Notify,
    one_at_a_time: Mutex<()>,
    itself: std::rc::Weak<Self>,
}

/// Why a gateway can't take or change its place.
pub type PlaceError = ResolveError<Infallible>;

impl Place {
    /// Takes a place on the lists; `way`: how the policy makes keys. Where keys never change there is no
    /// list.
    pub async fn take(
        world: &Arc<World>,
        process: &Arc<Process>,
        ledger: &Arc<SimLedger>,
        (way, source): (u32, u32),
    ) -> Result<Rc<Self>, PlaceError> {
        let place = Rc::new_cyclic(|itself| Self {
            world: world.clone(),
            process: process.clone(),
            ledger: ledger.clone(),
            active: RefCell::new(Rc::new(Active::alone((way, source), ledger.key_spaces().term()))),
            guards: SpaceGuards::default(),
            changed: Notify::new(),
            one_at_a_time: Mutex::default(),
            itself: itself.clone(),
        });
        if let Some(changes) = &world.setting.changes {
            let lease = (!world.setting.embedded()).then_some(changes.list_lease);
            while ledger.key_spaces().join(lease).await.is_err() {
                sleep(AGAIN).await;
            }
            while let Err(error) = place.goes_by(way, None).await {
                match error {
                    ResolveError::Spaces(SpacesError::Read(_) | SpacesError::Moved) => sleep(AGAIN).await,
                    closed @ ResolveError::Spaces(SpacesError::Closed(..)) => return Err(closed),
                }
            }
        }
        Ok(place)
    }

    /// The way by which the gateway decides now, its source of principals, and its key spaces; `None`: keys
    /// can't be derived.
    pub fn derives(&self) -> Option<(u32, u32, ActiveSpaces<u32>)> {
        let active = self.active.borrow();
        Some((active.generations[POLICY], active.source, active.spaces.open.get(POLICY)?.clone()))
    }

    /// Takes principals from this source from now on, unless live records would lose their keys. True: so it
    /// is.
    pub async fn reroute(&self, source: u32) -> bool {
        let _one = self.one_at_a_time.lock().await;
        let change = self.ledger.examine(&identity(source), LostRecords::Refuse).await;
        let Ok(change) = change else { return false };
        let Ok(mut made) = change.take_effect().await else { return false };
        let active = self.active();
        let mut spaces = active.spaces.clone();
        if let Some(term) = made.term {
            spaces.begin(term);
        }
        self.world.say(|| format!("principals are taken from source {source}"));
        self.activate(Active { generations: active.generations.clone(), spaces, source });
        made.complete();
        true
    }

    /// Makes the policy make keys in this way from now on.
    pub async fn change(&self, way: u32) -> Result<(), PlaceError> {
        let _one = self.one_at_a_time.lock().await;
        let active = self.active();
        self.goes_by(way, Some(&active)).await
    }

    /// Keeps the place for as long as the future is polled.
    pub async fn tend(self: Rc<Self>) {
        tend(&*self).await;
    }

    async fn goes_by(&self, way: u32, active: Option<&Active>) -> Result<(), PlaceError> {
        let generations = GenerationTable::from([(POLICY.into(), way)]);
        let staying = |active: &Active| (active.generations == generations).then(|| POLICY.into());
        let in_force = active.map(|active| InForce {
            generations: &active.generations,
            spaces: &active.spaces,
            staying: staying(active).into_iter().collect(),
        });
        let loader = Ways { world: &self.world, process: &self.process };
        let registry = self.ledger.key_spaces();
        let resolver = SpaceResolver { registry, loader, lost: LostRecords::Refuse };
        let resolved = resolver.resolve(&generations, in_force.as_ref(), &self.guards.deciding()).await?;
        let source = self.active.borrow().source;
        self.activate(Active { generations, spaces: resolved.spaces, source });
        Ok(())
    }

    fn activate(&self, active: Active) {
        self.world.say(|| {
            let (gateway, spaces) = (self.ledger.key_spaces().gateway(), &active.spaces);
            match spaces.open.get(POLICY) {
                Some(open) => {
                    let older: Vec<_> =
                        spaces.older(POLICY).map(|one| (one.number.0, one.generation)).collect();
                    let way = active.generations[POLICY];
                    format!("{gateway} decides by {} in way {way}, derives {older:?}, too", open.guard.number)
                }
                None => format!("{gateway} can't derive keys in all spaces"),
            }
        });
        self.guards.note(&active.spaces);
        self.active.replace(Rc::new(active));
        self.changed.notify_one();
    }

    /// The way of a space that is on the list: an operator can go back to it at any time.
    pub fn way_back(world: &World, ledger: &SimLedger) -> Option<u32> {
        let lists = ledger.key_spaces().lists();
        let last = lists.list(POLICY)?.spaces.last()?;
        Some(way_of(world, &last.deriver))
    }
}

impl Active {
    /// The spaces where there is no list.
    fn alone((way, source): (u32, u32), term: u64) -> Self {
        let guard = Arc::new(SpaceGuard { policy: POLICY.into(), number: SpaceNumber(0) });
        let open = ActiveSpaces { guard, older: Vec::new(), term, version: 0 };
        let open = [(POLICY.into(), open)].into();
        let generations = GenerationTable::from([(POLICY.into(), way)]);
        Self { generations, spaces: SpaceTable { open, ..SpaceTable::default() }, source }
    }
}

impl Deriving for Active {
    type Generation = u32;

    fn generations(&self) -> &GenerationTable<u32> {
        &self.generations
    }

    fn spaces(&self) -> &SpaceTable<u32> {
        &self.spaces
    }
}

impl Tended for Place {
    type Store = SimStore;
    type Active = Active;
    type Loader<'a> = Ways<'a>;
    type LoadError = Infallible;

    fn registry(&self) -> &SpaceRegistry<SimStore> {
        self.ledger.key_spaces()
    }

    fn guards(&self) -> &SpaceGuards {
        &self.guards
    }

    fn active(&self) -> impl Deref<Target = Active> {
        self.active.borrow().clone()
    }

    fn loader<'a>(&'a self, _: &'a Active) -> Ways<'a> {
        Ways { world: &self.world, process: &self.process }
    }

    fn put(&self, active: &Active, spaces: SpaceTable<u32>) {
        self.activate(Active { generations: active.generations.clone(), spaces, source: active.source });
    }

    /// Goes back to a space on the list, as an operator would. The gateway whose space left while its lease
    /// was over may find the list full of others.
    async fn tidy(&self) {
        let active = self.active();
        let is_closed = active.spaces.unavailable.get(POLICY).is_some_and(|why| why.number.is_none());
        if is_closed
            && let Some(way) = Self::way_back(&self.world, &self.ledger)
            && let Some(place) = self.itself.upgrade()
        {
            self.process.spawn(async move { _ = place.change(way).await });
        }
    }

    async fn lock(&self) -> MutexGuard<'_, ()> {
        self.process.step("about to look after the list").await;
        self.one_at_a_time.lock().await
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    fn times(&self, lease: Option<Duration>) -> TendTimes {
        let every = match (lease, &self.world.setting.changes) {
            (Some(_), Some(changes)) => changes.tend_every,
            _ => TEND_EVERY,
        };
        TendTimes { open: every, idle: every, again: every, again_max: every }
    }
}

/// Loads ways of making keys.
#[derive(Debug)]
pub struct Ways<'a> {
    world: &'a World,
    process: &'a Process,
}

impl Loader for Ways<'_> {
    type Generation = u32;
    type Error = Infallible;

    fn deriver(&self, way: &u32) -> Deriver {
        deriver(*way)
    }

    async fn store(&self, _: &Arc<str>, _: &u32) -> Result<(), Infallible> {
        Ok(())
    }

    async fn load(&self, _: &Arc<str>, deriver: &Deriver) -> Result<Loaded<u32>, Infallible> {
        self.process.step("what makes keys is loaded").await;
        let missing = self.world.setting.changes.as_ref().map_or(0, |changes| changes.missing);
        Ok(match self.world.happens(missing) {
            true => Loaded::Missing("it is away for a while".into()),
            false => Loaded::Ready(way_of(self.world, deriver)),
        })
    }
}

/// Whether a change was refused for good, because the list is full.
pub fn is_full(error: &PlaceError) -> bool {
    matches!(error, ResolveError::Spaces(SpacesError::Closed(_, Closed::Full)))
}
