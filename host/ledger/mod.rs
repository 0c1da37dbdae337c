//! The ledger: begins and settles operations against a store.
//!
//! [`decide()`] says what to do; this room does it. It knows which executions run in
//! this process (`flight`) and who waits for them, keeps final records at hand (`cache`),
//! renews leases and sweeps (`keeper`). It knows no HTTP.
//!
//! Locks: the maps' shard locks are held for single steps, never across an await.

mod advance;
mod cache;
mod change;
mod claim;
mod clock;
mod evidence;
mod execute;
mod flight;
mod identity;
mod keeper;
mod leaving;
mod memories;
mod operator;
mod pins;
mod pointers;
mod probing;
mod pursue;
mod request;
mod routes;
mod settle;
mod spaces;

pub use change::{Change, Taken};
pub use claim::{Claimant, Claimed, Permit, Unsettled};
pub use clock::Clock;
pub use evidence::Evidence;
pub use execute::{Exchange, Exchanged, execute};
pub use flight::{Ending, Flight, Interest, Progress};
pub use identity::{Identity, IdentityError, NORMALISATION, Space, by_id};
pub use keeper::Keeper;
pub use memories::RouteMemory;
pub use operator::Intervention;
pub use pins::SpacePin;
pub use probing::Turn;
pub use pursue::Pursued;
pub use request::{Derived, Request};
pub use routes::{RouteEntry, RouteKeys, RouteTable};
pub use spaces::{Entered, LIST_LEASE, Numbers, SpacesError};

use crate::store::{AnyStore, IdHasher, Store, StoreError, Versioned};
use advance::Advanced;
use cache::Cache;
use change::Turnstile;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use evidence::Late;
use memories::Memories;
use oncegate_core::{
    Answer, Claim, Decision, Event, ExecutionId, Key, OperationId, Record, Refusal, Rules, Settlement, State,
    Timestamp, Unchanged, View, WhenUnknown, WhileRunning, decide,
};
use spaces::Spaces;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

type IdMap<T> = DashMap<OperationId, T, BuildHasherDefault<IdHasher>>;

fn id_map<T>() -> IdMap<T> {
    DashMap::with_hasher(BuildHasherDefault::default())
}

/// What events that ask for nothing are decided under: only claims have rules.
const NO_RULES: Rules = Rules { while_running: WhileRunning::Reject, when_unknown: WhenUnknown::Hold };

/// The ledger.
#[derive(Debug)]
pub struct Ledger<S = AnyStore> {
    store: S,
    clock: Clock,
    flights: IdMap<Arc<Flight>>,
    /// None where the store itself is memory.
    cache: Option<Cache>,
    executions: Executions,
    late: Late,
    memories: Memories,
    overdue: mpsc::UnboundedSender<Overdue>,
    overdue_count: AtomicU64,
    /// To whoever asks upstreams about unknown outcomes.
    turns: OnceLock<mpsc::Sender<Turn>>,
    /// When the keeper next looks at the leases by itself, in milliseconds of ledger time.
    keeper_wakes: AtomicU64,
    /// Wakes it before that.
    keeper: Notify,
    spaces: Spaces,
    turnstile: Turnstile,
}

/// What came of asking.
#[derive(Debug)]
pub enum Begun<S: Store = AnyStore> {
    /// Nobody here executes it: claim it. Dropped unused, the next one may.
    Claim(Claimant<S>),
    /// Answer from this record.
    Replay {
        /// It.
        record: Arc<Record>,
        /// The request waited for it.
        waited: bool,
    },
    /// Turn it away. The record is the one that stands in the way, where there is one.
    Refuse(Refusal, Option<Arc<Record>>),
    /// The execution that it waited for proved not to be applied; this was its answer.
    Shared(Arc<Answer>),
    /// The store failed.
    Unavailable(StoreError),
}

impl<S: Store> Begun<S> {
    /// The same, of a request that waited for it.
    fn waited(self) -> Self {
        match self {
            Self::Replay { record, .. } => Self::Replay { record, waited: true },
            begun => begun,
        }
    }
}

/// What stands after an event, or why it changed nothing.
pub type Advance = Result<Option<Versioned>, Unchanged>;

/// A settlement that the store would not take yet.
#[derive(Debug)]
struct Overdue {
    id: OperationId,
    execution: ExecutionId,
    /// What was last known of the record.
    known: Option<Versioned>,
    settlement: Settlement,
    /// Who waits for it. Nobody does for a claim of unclear result, under which nothing was sent.
    waiting: Option<(Arc<Flight>, Option<Arc<Answer>>)>,
}

/// Hands out execution ids: a random start, counted up.
#[derive(Debug)]
struct Executions {
    process: u64,
    next: AtomicU64,
}

impl<S: Store> Ledger<S> {
    /// A ledger on `store`. `cache_bytes` is for final records at hand; `None` where the store is
    /// memory itself. Its keeper must be run for leases to be renewed: see [`Keeper`].
    pub fn new(store: S, clock: Clock, cache_bytes: Option<usize>) -> (Arc<Self>, Keeper<S>) {
        let mut process = [0; 8];
        getrandom::fill(&mut process).expect("the kernel's random source doesn't fail once it is seeded");
        Self::of_process(u64::from_le_bytes(process), store, clock, cache_bytes)
    }

    /// The same with a given first half of its execution ids, which no other ledger on the store may
    /// ever have had: a simulation's are not random.
    pub fn of_process(
        process: u64,
        store: S,
        clock: Clock,
        cache_bytes: Option<usize>,
    ) -> (Arc<Self>, Keeper<S>) {
        let (overdue, settlements) = mpsc::unbounded_channel();
        let ledger = Arc::new(Self {
            store,
            clock,
            flights: id_map(),
            cache: cache_bytes.map(Cache::new),
            executions: Executions { process, next: AtomicU64::new(0) },
            late: Late::default(),
            memories: Memories::default(),
            overdue,
            overdue_count: AtomicU64::new(0),
            turns: OnceLock::new(),
            keeper_wakes: AtomicU64::new(0),
            keeper: Notify::new(),
            spaces: Spaces::new(),
            turnstile: Turnstile::default(),
        });
        (ledger.clone(), Keeper::new(ledger, settlements))
    }

    /// The ledger's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The store under it.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// How many executions run in this process.
    pub fn executing(&self) -> usize {
        self.flights.len()
    }

    /// How many final records are kept at hand.
    pub fn cached(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::len)
    }

    /// How many settlements wait for the store to take them. While there are any, it isn't well.
    pub fn settlements_overdue(&self) -> u64 {
        self.overdue_count.load(Ordering::Relaxed)
    }

    /// Settlements of this operation that came too late and changed nothing, as far as this process
    /// remembers them, earliest first.
    pub fn evidence(&self, id: OperationId) -> Vec<Evidence> {
        self.late.of(id)
    }

    /// An id for an execution.
    pub fn execution_id(&self) -> ExecutionId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.executions.process.to_le_bytes());
        id[8..].copy_from_slice(&self.executions.next.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        ExecutionId(id)
    }

    /// Begins an operation: finds what stands in its way, waits for an execution in this process,
    /// or hands out the right to claim. Dropping the future loses nothing.
    pub async fn begin(self: &Arc<Self>, mut request: Request) -> Begun<S> {
        let deadline = Instant::now() + request.wait;
        loop {
            let mut ended_unknown = false;
            for key in request.lower() {
                match self.begin_lower(&request, key, deadline).await {
                    Some(Begun::Refuse(Refusal::Unknown, _)) => ended_unknown = true,
                    Some(begun) => return begun,
                    None => {}
                }
            }
            if ended_unknown && request.rules.when_unknown == WhenUnknown::Resend {
                // It waited for that, and its caller has not been told yet.
                request.rules.when_unknown = WhenUnknown::Hold;
            }
            let asked = self.clock.now();
            if let Some(versioned) = self.at_hand(request.id).await
                && let Some(begun) = self.answer(&request, &request.rules, &versioned.record, asked)
                && (self.is_whole(&request) || matches!(begun, Begun::Replay { .. }))
            {
                return begun;
            }
            let flight = match self.flights.entry(request.id) {
                Entry::Vacant(vacant) => {
                    let flight = Arc::new(Flight::new(request.claim.execution, request.claim.fingerprint));
                    vacant.insert(flight.clone());
                    self.turnstile.pass(&request);
                    return Begun::Claim(Claimant { ledger: self.clone(), request, flight });
                }
                Entry::Occupied(occupied) => occupied.get().clone(),
            };
            match self.follow(&request, &flight, asked, deadline).await {
                Some(Begun::Refuse(Refusal::KeyReused, standing)) => {
                    return self.refuse_reused(&request, standing).await;
                }
                Some(begun) => return begun,
                None => {}
            }
            // The flight was given up before anything was sent: the next one may claim.
            tokio::task::yield_now().await;
        }
    }

    /// Whether what stands under the request's key says all: it has no other, nor one in a space that came
    /// while the lease on the list was over. Else that alone is told which no other key could change.
    fn is_whole(&self, request: &Request) -> bool {
        request.derived.keys.is_empty() && self.list_holds(request.derived.term)
    }

    /// What is at hand of an operation under a key in a lower space. None: nothing that answers it. That
    /// what it waited for ended unknown is told by the claim, when all keys were looked at.
    async fn begin_lower(&self, request: &Request, key: &Key, deadline: Instant) -> Option<Begun<S>> {
        let asked = self.clock.now();
        if let Some(versioned) = self.at_hand(key.id).await {
            let request = request.by(key);
            // Only an answer: anything else is told when all keys were looked at.
            if let Some(begun @ Begun::Replay { .. }) =
                self.answer(&request, &request.rules, &versioned.record, asked)
            {
                return Some(begun);
            }
        }
        let flight = self.flights.get(&key.id).map(|flight| flight.clone())?;
        match self.follow(&request.by(key), &flight, asked, deadline).await? {
            Begun::Refuse(Refusal::KeyReused, _) => None,
            begun => Some(begun),
        }
    }

    /// The record of an operation.
    pub async fn load(&self, id: OperationId) -> Result<Option<Versioned>, StoreError> {
        self.store.load(id).await
    }

    /// Operations that were executing when the last process on an embedded store ended: nobody
    /// knows what came of them. Returns how many were so.
    pub async fn recover(&self, orphans: &[OperationId]) -> Result<usize, StoreError> {
        let mut recovered = 0;
        for id in orphans {
            let Some(orphan) = self.store.load(*id).await? else { continue };
            let advance = self.advance(*id, Some(orphan), &Event::Restart).await?;
            recovered += usize::from(matches!(advance, Advanced::Done(_)));
        }
        Ok(recovered)
    }

    /// A final record that needs no waiting: from the cache, or from a store that is memory.
    async fn at_hand(&self, id: OperationId) -> Option<Versioned> {
        match &self.cache {
            Some(cache) => cache.find(id),
            None => self.store.load(id).await.ok().flatten(),
        }
    }

    /// Decides a claim on what was read when the store was asked at `read_at`. The answer may have been
    /// long on its way: what was executing then may have renewed its lease since, or be settled.
    fn decide_claim(
        &self,
        rules: &Rules,
        record: Option<&Record>,
        claim: &Claim,
        read_at: Timestamp,
    ) -> Decision {
        match decide(rules, record, Event::Claim(claim), read_at) {
            running @ (Decision::Wait | Decision::Refuse(Refusal::InFlight)) => running,
            _ => decide(rules, record, Event::Claim(claim), self.clock.now()),
        }
    }

    /// What a record that was read at that time answers to a request under `rules`, unless that is to
    /// claim or to wait.
    fn answer(
        &self,
        request: &Request,
        rules: &Rules,
        record: &Arc<Record>,
        read_at: Timestamp,
    ) -> Option<Begun<S>> {
        match self.decide_claim(rules, Some(record), &request.claim, read_at) {
            Decision::Replay => Some(Begun::Replay { record: record.clone(), waited: false }),
            Decision::Refuse(refusal) => Some(Begun::Refuse(refusal, Some(record.clone()))),
            Decision::Execute(_)
            | Decision::Wait
            | Decision::Follow
            | Decision::Put(_)
            | Decision::Remove
            | Decision::Keep(_) => None,
        }
    }

    /// Waits for an execution of this process, as far as the rules say. None: begin again.
    /// `begun`: when the request began to.
    async fn follow(
        &self,
        request: &Request,
        flight: &Arc<Flight>,
        begun: Timestamp,
        deadline: Instant,
    ) -> Option<Begun<S>> {
        // A waiter never sends again what ended unknown while it waited, even where the route
        // resends: its caller has not been told yet.
        let ended = Rules { when_unknown: WhenUnknown::Hold, ..request.rules };
        let _interest = Interest::new(flight);
        let late = flight.settles();
        loop {
            let changed = flight.changed();
            // Before one looks where its record is: that is said first.
            let progress = flight.progress();
            let Some(request) = request.at(flight) else {
                // It is sent once more under a key to which pointers led, and this request has none that
                // its record could be judged by. Its caller asks again.
                let _ = tokio::time::timeout_at(deadline, flight.over()).await;
                return Some(Begun::Refuse(Refusal::InFlight, None));
            };
            let request = &*request;
            match progress {
                Progress::Ended(Ending::Recorded(record)) => {
                    // One that still executes is somebody else's.
                    let is_over = !matches!(record.state, State::Executing { .. });
                    let answer = || self.answer(request, &ended, &record, self.clock.now());
                    let begun = is_over.then(answer).flatten()?;
                    return Some(self.while_listed(request, begun.waited()));
                }
                // What was read before the request came may be stale by now.
                Progress::Ended(Ending::Found(_, asked)) if asked <= begun => return None,
                Progress::Ended(Ending::Found(record, asked)) => {
                    let begun = self.answer(request, &ended, &record, asked)?;
                    return Some(self.while_listed(request, begun.waited()));
                }
                // The key is free again, and nothing of the other request is this one's business. Who came
                // when the key could be free already asks what another gateway has made of it since.
                Progress::Ended(Ending::NotApplied(_))
                    if late || !flight.is_of(&request.claim.fingerprint) =>
                {
                    return None;
                }
                Progress::Ended(Ending::NotApplied(Some(answer))) => return Some(Begun::Shared(answer)),
                Progress::Ended(Ending::NotApplied(None)) => {
                    return Some(Begun::Refuse(Refusal::InFlight, None));
                }
                Progress::Ended(Ending::Failed(error)) => return Some(Begun::Unavailable(error)),
                Progress::Ended(Ending::Lost) => return None,
                Progress::Running(record) => match self.meanwhile(request, &record).await {
                    Some(begun) => return Some(begun),
                    None if Instant::now() >= deadline => {
                        return Some(Begun::Refuse(Refusal::InFlight, Some(record)));
                    }
                    None => {}
                },
                Progress::Claiming => {}
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err()
                && matches!(flight.progress(), Progress::Claiming)
            {
                return Some(Begun::Refuse(Refusal::InFlight, None));
            }
        }
    }

    /// What may be said of an execution that runs in this process, as far as that ends the waiting.
    async fn meanwhile(&self, request: &Request, record: &Arc<Record>) -> Option<Begun<S>> {
        let now = self.clock.now();
        if record.view(now) == View::Executing {
            let begun = self.answer(request, &request.rules, record, now)?;
            return Some(self.while_listed(request, begun));
        }
        // The lease lapsed, so another gateway may have gone on without us: the store says what is so.
        let standing = self.store.load(request.id).await.ok()??;
        let begun = self.answer(request, &request.rules, &standing.record, now)?;
        (self.is_whole(request) || matches!(begun, Begun::Replay { .. })).then_some(begun)
    }

    /// What a waiter is told of a record, where the lease on the list has held since its keys were derived.
    /// If not, what was claimed here may have been left behind under a key that nobody claims by any more:
    /// then nothing but an answer says what became of the operation, and its caller asks again.
    fn while_listed(&self, request: &Request, begun: Begun<S>) -> Begun<S> {
        match matches!(begun, Begun::Replay { .. }) || self.list_holds(request.derived.term) {
            true => begun,
            false => Begun::Refuse(Refusal::InFlight, None),
        }
    }
}

#[cfg(test)]
mod common_tests;
#[cfg(test)]
mod spaces_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unclear_tests;
