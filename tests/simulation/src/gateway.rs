//! A gateway: the real ledger, its keeper, and the order of an execution that it shares with the real
//! gateway, between simulated clients, store and upstream.

use crate::keys::{POLICY, guards, operation_id, operation_of, request, spaces, ways_of};
use crate::place::{Place, is_full};
use crate::process::Process;
use crate::store::{Disk, SimStore};
use crate::upstream::{Answered, Call, Upstream, meaning};
use crate::world::{Event, Reply, RequestId, World};
use bytes::Bytes;
use oncegate_core::{
    Answer, AnswerSummary, Disposition, Outcome, Probe, Record, SpaceNumber, State, UnknownReason,
};
use oncegate_keyspaces::{ActiveSpaces, SpacePin};
use oncegate_ledger::{Claimed, Exchange, Exchanged, Ledger, Permit, Pursued, Unsettled};
use oncegate_store::{Clock, StoreError};
use oncegate_upstream::{Attempted, Retry, attempts};
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

/// A gateway, which may be up or down.
#[derive(Debug)]
pub struct Gateway {
    index: usize,
    world: Arc<World>,
    disk: Arc<Disk>,
    upstream: Arc<Upstream>,
    /// The way in which the gateway's policy makes keys, by its configuration.
    way: Cell<u32>,
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

/// The report to the client of an execution.
enum Report {
    Answered(Reply),
    Lost(Claimed<SimStore>),
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
        let (ledger, keeper) = Ledger::of_process(world.token().into(), store, clock, cache);
        let (gateway, running) = (self.clone(), process.clone());
        process.spawn(async move {
            while embedded && ledger.recover(&orphans).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
            let place = loop {
                match Place::take(&gateway.world, &running, &ledger, gateway.way.get()).await {
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
        let handler = process.spawn(handle(running, self.upstream.clone(), world.clone(), asked, client));
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
    asked: Asked,
    client: oneshot::Sender<Reply>,
) {
    let Running { process, ledger, place } = running;
    let came = ledger.clock().now();
    process.step("a request arrives").await;
    let Some((way, active)) = place.derives() else {
        return tell(&process, &world, asked, client, Reply::Unavailable).await;
    };
    if world.setting.changes.is_some() {
        process.step("its keys are to be derived").await;
    }
    let spaces = spaces(&world, asked.operation, (way, &active));
    if world.setting.changes.is_some() {
        world.note(Event::Keyed { request: asked.request, ways: ways_of(&spaces) });
    }
    let pin = match guard(&world, &ledger, asked.operation, (way, &active), &spaces).await {
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
            _spaces: active.clone(),
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
    let request = request(&world, &ledger, (asked, came), (&spaces, active.term), pin);
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
    operation: usize,
    (way, active): (u32, &ActiveSpaces<u32>),
    spaces: &[(SpaceNumber, u32)],
) -> Result<Guarding, StoreError> {
    if guards(world, operation, way) {
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
                Outcome::Completed(answer(content, token))
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

fn replayed(record: &Record) -> Reply {
    let State::Completed { answer, .. } = &record.state else { panic!("only answers are replayed") };
    let (content, token) = read_body(&answer.body);
    Reply::Replayed { content, token }
}

/// An execution's dealings with the upstream and the client.
struct Wire {
    process: Arc<Process>,
    world: Arc<World>,
    upstream: Arc<Upstream>,
    asked: Asked,
    /// The spaces by which the execution decides stay on the list as long as it executes.
    _spaces: ActiveSpaces<u32>,
    client: oneshot::Sender<Report>,
}

struct End {
    process: Arc<Process>,
    reply: Reply,
    client: oneshot::Sender<Report>,
}

/// How an attempt ended.
type Attempt = (Disposition, Result<Answered, UnknownReason>);

impl Exchange<SimStore> for Wire {
    type End = End;

    fn lost(self, claimed: Claimed<SimStore>) {
        let _ = self.client.send(Report::Lost(claimed));
    }

    async fn run(self, permit: &Permit<SimStore>) -> Exchanged<End> {
        let request = self.asked.request;
        self.world.note(Event::Executes { request });
        self.process.step("it has the claim").await;
        let retry = Retry { attempts: self.world.setting.attempts, repeats: self.world.setting.repeats() };
        let attempt = async |attempt| self.attempt(permit, attempt).await;
        let Attempted { joined: means, last: result } = attempts(retry, || permit.holds(), attempt).await;
        let reply = match result {
            Ok(Answered { content, token, .. }) => Reply::First { content, token, means },
            Err(_) => Reply::NoAnswer(means),
        };
        self.world.note(Event::Judged { request, means });
        let outcome = match (means, result) {
            (Disposition::NotApplied, _) => Outcome::NotApplied,
            (Disposition::Completed | Disposition::Consumed, Ok(answered)) => self.completed(&answered),
            (_, Err(reason)) => Outcome::Unknown(reason),
            (_, Ok(_)) => Outcome::Unknown(UnknownReason::Ambiguous),
        };
        self.process.step("about to settle").await;
        let shared = (means == Disposition::NotApplied).then(Arc::default);
        let end = End { process: self.process, reply, client: self.client };
        Exchanged { settlement: outcome.into(), shared, end }
    }

    fn release(end: End) {
        if !end.process.ends_at("it is settled") {
            let _ = end.client.send(Report::Answered(end.reply));
        }
    }

    fn withhold(end: End, _: Unsettled) {
        let _ = end.client.send(Report::Answered(Reply::Unrecorded));
    }
}

impl Wire {
    async fn attempt(&self, permit: &Permit<SimStore>, attempt: u32) -> Attempt {
        let Asked { request, operation, content } = self.asked;
        sleep(Duration::from_millis(1)).await;
        if self.world.happens(self.world.faults.unreachable) || !permit.holds() {
            self.world.say(|| format!("request {request} sends nothing"));
            return (Disposition::NotApplied, Err(UnknownReason::Broken));
        }
        // Between the last check and the first byte a process can still be held up.
        self.process.step("about to send").await;
        self.world.note(Event::Sent { request, attempt });
        let result =
            self.upstream.call(Call { id: Some(permit.id()), operation, content, request, attempt }).await;
        self.process.step("an answer, or none").await;
        let means = match &result {
            Ok(answered) => meaning(answered, self.world.setting.dedupes),
            Err(_) => Disposition::Unknown,
        };
        (means, result)
    }

    fn completed(&self, answered: &Answered) -> Outcome {
        let large = self.world.happens(self.world.setting.large);
        let (request, token) = (self.asked.request, answered.token);
        self.world.note(Event::Got { request, token, large });
        match large {
            true => Outcome::Consumed(AnswerSummary { status: Some(201), ..AnswerSummary::default() }),
            false => Outcome::Completed(answer(answered.content, token)),
        }
    }
}

/// The recorded form of an answer.
pub fn answer(content: u32, token: u32) -> Arc<Answer> {
    let body = [content.to_le_bytes(), token.to_le_bytes()].concat();
    Arc::new(Answer { status: 201, body: Bytes::from(body), ..Answer::default() })
}

fn read_body(body: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("four bytes"));
    (number(0), number(4))
}
