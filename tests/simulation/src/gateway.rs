//! A gateway: the real ledger and its keeper, between simulated clients, store and upstream.

use crate::exchange::{Report, Wire, answer, replayed};
use crate::keys::{
    Arrived, POLICY, guards, identity, memory, operation_id, operation_of, request, spaces, ways_of,
};
use crate::place::{Place, is_full};
use crate::process::Process;
use crate::store::{Disk, SimStore};
use crate::upstream::{Call, Upstream};
use crate::world::{Event, Reply, RequestId, World};
use oncegate_core::{LostRecords, Outcome, Probe, SpaceNumber, Times, UnknownReason};
use oncegate_keyspaces::{ActiveSpaces, SpacePin};
use oncegate_ledger::{IdentityError, Ledger, Pursued};
use oncegate_store::{Clock, Orphans, StoreError};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// The real ledger on a simulated store.
pub type SimLedger = Ledger<SimStore>;

/// How long a patient client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// How soon a failed step of a start is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// A gateway, which may be up or down.
#[derive(Debug)]
pub struct Gateway {
    index: usize,
    world: Arc<World>,
    disk: Arc<Disk>,
    upstream: Arc<Upstream>,
    /// The way in which the gateway's policy makes keys, by its configuration.
    way: Cell<u32>,
    /// Where principals are taken from, by the configuration.
    source: Cell<u32>,
    /// How long records are kept, by the configuration.
    times: Cell<Times>,
    running: RefCell<Option<Running>>,
}

#[derive(Clone, Debug)]
struct Running {
    process: Arc<Process>,
    ledger: Arc<SimLedger>,
    place: Rc<Place>,
}

/// A client's request.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub request: RequestId,
    pub operation: usize,
    pub content: u32,
}

impl Gateway {
    /// A gateway on this disk, in front of this upstream. The caller must [`run`](Self::run) it.
    pub fn new(index: usize, world: &Arc<World>, disk: &Arc<Disk>, upstream: &Arc<Upstream>) -> Rc<Self> {
        Rc::new(Self {
            index,
            world: world.clone(),
            disk: disk.clone(),
            upstream: upstream.clone(),
            way: Cell::new(1),
            source: Cell::new(0),
            times: Cell::new(world.setting.times),
            running: RefCell::default(),
        })
    }

    /// Starts the gateway, and starts it again whenever it has crashed.
    pub async fn run(self: Rc<Self>) {
        loop {
            let process = self.start();
            process.ended().await;
            self.running.take();
            sleep(self.world.up_to(self.world.faults.away_max)).await;
            if self.world.setting.embedded() && self.world.happens(self.world.faults.stepped) {
                self.world.step_wall();
            }
        }
    }

    /// The gateway's ledger, while the gateway is up.
    pub fn ledger(&self) -> Option<Arc<SimLedger>> {
        self.running.borrow().as_ref().map(|running| running.ledger.clone())
    }

    /// Makes the gateway's policy make keys in this way. A change that the list has no room for is taken
    /// back.
    pub fn configure(self: &Rc<Self>, way: u32) {
        self.world.note(Event::Changes { way });
        let before = self.way.replace(way);
        let Some(running) = self.running.borrow().clone() else { return };
        let gateway = self.clone();
        running.process.spawn(async move {
            // Where the list can't be had now, only a restart comes to the change.
            if running.place.change(way).await.is_err_and(|error| is_full(&error)) {
                gateway.way.set(before);
            }
        });
    }

    /// Makes the gateway take principals from this source, unless live records would lose their keys.
    pub fn reroute(self: &Rc<Self>, source: u32) {
        let Some(running) = self.running.borrow().clone() else { return };
        let gateway = self.clone();
        running.process.spawn(async move {
            if running.place.reroute(source).await {
                gateway.source.set(source);
            }
        });
    }

    /// Makes the gateway keep records for these times. While either may be in force, the shorter memory
    /// counts.
    pub fn retime(self: &Rc<Self>, times: Times) {
        let Some(running) = self.running.borrow().clone() else { return };
        let gateway = self.clone();
        running.process.spawn(async move {
            let shorter = times.memory.min(gateway.times.get().memory);
            if running.ledger.remember(&memory(shorter)).await.is_ok() {
                gateway.world.say(|| format!("gateway {} goes by {times:?}", gateway.index));
                gateway.world.goes_by(&times);
                gateway.times.set(times);
                let _ = running.ledger.remember(&memory(times.memory)).await;
            }
        });
    }

    /// Has the ledger go by this gateway's configuration, before requests are answered.
    async fn agree(&self, ledger: &SimLedger) {
        let sources = self.world.setting.sources;
        let agrees = async || ledger.agree(&identity(self.source.get()), LostRecords::Refuse).await;
        while sources > 1
            && let Err(error) = agrees().await
        {
            match error {
                // The gateway ended between the change and its configuration.
                IdentityError::Changed(_) => self.source.set((self.source.get() + 1) % sources),
                _ => sleep(AGAIN).await,
            }
        }
        while ledger.remember(&memory(self.times.get().memory)).await.is_err() {
            sleep(AGAIN).await;
        }
    }

    fn start(self: &Rc<Self>) -> Arc<Process> {
        let world = &self.world;
        let process = Process::start(world, self.index);
        let (orphans, floor) = self.disk.recovered();
        // A gateway on a store of its own begins at the wall clock; gateways that share a store have the
        // store's time.
        let embedded = world.setting.embedded();
        let start = if embedded { world.wall().max(floor) } else { world.ledger_now() };
        world.ledger_starts(start);
        let store = SimStore::new(world, &self.disk, &process);
        let clock = Clock::following(start, crate::world::elapsed);
        let cache = world.setting.cache.then_some(1 << 16);
        let orphans = if embedded { orphans } else { Orphans::default() };
        let (ledger, keeper) = Ledger::of_process(world.token().into(), store, clock, cache, orphans);
        let (gateway, running) = (self.clone(), process.clone());
        process.spawn(async move {
            gateway.agree(&ledger).await;
            let place = loop {
                let (way, source) = (gateway.way.get(), gateway.source.get());
                match Place::take(&gateway.world, &running, &ledger, (way, source)).await {
                    Ok(place) => break place,
                    Err(_) => gateway.way.set(Place::way_back(&gateway.world, &ledger).unwrap_or(1)),
                }
            };
            if gateway.world.setting.changes.is_some() {
                running.spawn(place.clone().tend());
            }
            running.spawn(probe(gateway.world.clone(), ledger.clone(), gateway.upstream.clone()));
            *gateway.running.borrow_mut() = Some(Running { process: running, ledger, place });
            keeper.run().await;
        });
        process
    }

    /// A client's request and its answer, as the client sees it.
    pub async fn ask(&self, asked: Asked) -> Reply {
        let (world, faults) = (&self.world, &self.world.faults);
        if world.happens(faults.lost) {
            return Reply::Cut;
        }
        self.message_travels().await;
        let Some(running) = self.running.borrow().clone() else { return Reply::Cut };
        let Asked { request, operation, content } = asked;
        world.note(Event::Arrived { request, operation, content, gateway: self.index });
        let (client, told) = oneshot::channel();
        let process = running.process.clone();
        let handler = process.spawn(handle(
            running,
            self.upstream.clone(),
            world.clone(),
            (asked, self.times.get()),
            client,
        ));
        let leaves = world.happens(faults.leaves);
        let patience = if leaves { world.up_to(world.setting.times.lease) } else { PATIENCE };
        let reply = match timeout(patience, told).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => return Reply::Cut,
            Err(_) => {
                world.note(Event::Left { request });
                handler.abort();
                return Reply::Cut;
            }
        };
        self.message_travels().await;
        if world.happens(faults.lost) {
            return Reply::Cut;
        }
        world.note(Event::Told { request, reply: reply.clone() });
        reply
    }

    async fn message_travels(&self) {
        if self.world.happens(self.world.faults.late) {
            sleep(self.world.up_to(self.world.faults.late_max)).await;
        }
    }
}

/// The way of a request through the gateway, like `guard_operation` in the real one.
async fn handle(
    running: Running,
    upstream: Arc<Upstream>,
    world: Arc<World>,
    (asked, times): (Asked, Times),
    client: oneshot::Sender<Reply>,
) {
    let Running { process, ledger, place } = running;
    let came = ledger.clock().now();
    process.step("a request arrives").await;
    let Some((way, source, active)) = place.derives() else {
        return tell(&process, &world, asked, client, Reply::Unavailable).await;
    };
    if world.setting.changes.is_some() {
        process.step("its keys are to be derived").await;
    }
    let spaces = spaces(&world, asked.operation, (way, &active));
    if world.setting.changes.is_some() {
        world.note(Event::Keyed { request: asked.request, ways: ways_of(&spaces) });
    }
    let pin = match guard(&world, &ledger, (asked.operation, source), (way, &active), &spaces).await {
        Ok(Guarding::Active) => None,
        Ok(Guarding::Older(pin)) => Some(pin),
        Ok(Guarding::None) => {
            let reply = pass(&process, &world, &upstream, asked).await;
            return tell(&process, &world, asked, client, reply).await;
        }
        Err(_) => return tell(&process, &world, asked, client, Reply::Unavailable).await,
    };
    let execute = async |claimant| {
        let (report, reported) = oneshot::channel();
        let wire = Wire {
            process: process.clone(),
            world: world.clone(),
            upstream: upstream.clone(),
            asked,
            spaces: active.clone(),
            client: report,
        };
        // The execution is detached: it belongs to the gateway, not to the client.
        process.spawn(oncegate_ledger::execute(claimant, wire));
        match reported.await {
            Ok(Report::Answered(reply)) => Ok(reply),
            Ok(Report::Lost(claimed)) => Err(claimed),
            Err(_) => Ok(Reply::Cut),
        }
    };
    let arrived = Arrived { asked, came, source, times };
    let request = request(&world, &ledger, &arrived, (&spaces, active.term), pin);
    let reply = match ledger.pursue(request, execute).await {
        Pursued::Executed(reply) => reply,
        Pursued::Replay { record, .. } => replayed(&record),
        Pursued::Shared(_) => Reply::Shared,
        Pursued::Refuse(refusal, _) => Reply::Refused(refusal),
        Pursued::Unavailable(_) => Reply::Unavailable,
    };
    tell(&process, &world, asked, client, reply).await;
}

async fn tell(process: &Process, world: &World, asked: Asked, client: oneshot::Sender<Reply>, reply: Reply) {
    process.step("about to answer").await;
    if reply != Reply::Cut {
        world.note(Event::Answers { request: asked.request, reply: reply.clone() });
        let _ = client.send(reply);
    }
}

/// The guard of an operation.
enum Guarding {
    /// The way by which its gateway decides.
    Active,
    /// Only an older way.
    Older(SpacePin),
    None,
}

/// Finds the guard of an operation. An older way may guard an operation that the active way doesn't.
async fn guard(
    world: &World,
    ledger: &Arc<SimLedger>,
    operation: (usize, u32),
    (way, active): (u32, &ActiveSpaces<u32>),
    spaces: &[(SpaceNumber, u32)],
) -> Result<Guarding, StoreError> {
    if guards(world, operation.0, way) {
        return Ok(Guarding::Active);
    }
    let key = |(number, way): &(SpaceNumber, u32)| (*number, operation_id(world, operation, *way));
    let found = ledger.key_spaces().older_guard((&POLICY.into(), active.version), spaces, key).await?;
    Ok(found.map_or(Guarding::None, |(_, pin)| Guarding::Older(pin)))
}

/// Sends an unguarded request.
async fn pass(process: &Process, world: &World, upstream: &Arc<Upstream>, asked: Asked) -> Reply {
    let Asked { request, operation, content } = asked;
    world.note(Event::Passes { request });
    process.step("it passes").await;
    let _ = upstream.call(Call { id: None, operation, content, request, attempt: 0 }).await;
    Reply::Passed
}

/// Asks the upstream about unknown outcomes when it gets the turn. The probe reads finished effects, not
/// coming ones.
async fn probe(world: Arc<World>, ledger: Arc<SimLedger>, upstream: Arc<Upstream>) {
    let mut turns = ledger.turns(16);
    while let Some(turn) = turns.recv().await {
        let asked = ledger.clock().now();
        sleep(world.up_to(Duration::from_millis(3))).await;
        let operation = operation_of(&world, turn.id, &turn.record);
        let outcome = match upstream.looked_up(operation, turn.record.first_attempt) {
            _ if world.happens(world.faults.ambiguous) => Outcome::Unknown(UnknownReason::Ambiguous),
            Some((content, token)) => {
                world.note(Event::Found { operation });
                Outcome::Completed(answer(content, token, false))
            }
            None => Outcome::NotApplied,
        };
        let settle_after = Some(world.faults.settle_after());
        let again = Some(ledger.clock().now().plus(Duration::from_millis(100)));
        let probe = Probe { outcome, asked, settle_after, again };
        // An answer that doesn't get through is asked for again when the turn is over.
        let outcome = probe.outcome.clone();
        let said = ledger.probed(&turn, probe);
        let _ = ledger.store().freeing(turn.id, &outcome, said).await;
    }
}
