//! The ledger: begins and settles operations against a store.
//!
//! [`decide()`] says what to do; this room does it. It knows which executions run in
//! this process (`flight`) and who waits for them, keeps final records at hand (`cache`),
//! renews leases and sweeps (`keeper`). It knows no HTTP.
//!
//! Locks: the maps' shard locks are held for single steps, never across an await.

mod cache;
mod clock;
mod flight;
mod identity;
mod keeper;

pub use clock::Clock;
pub use flight::{Ending, Flight, Progress};
pub use identity::{Identity, IdentityError, NORMALISATION, Space};
pub use keeper::Keeper;

use crate::store::{AnyStore, IdHasher, Store, StoreError, Swap, Version, Versioned};
use cache::Cache;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use oncegate_core::{
    Answer, Claim, Decision, Event, ExecutionId, OperationId, Outcome, Record, Refusal, Rules, State,
    Timestamp, Unchanged, WhenUnknown, WhileRunning, decide,
};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
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
    overdue: mpsc::UnboundedSender<Overdue>,
    overdue_count: AtomicU64,
}

/// A request that asks to begin an operation.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which operation.
    pub id: OperationId,
    /// What its record would be.
    pub claim: Claim,
    /// The rules of its route.
    pub rules: Rules,
    /// How long it waits for a running execution.
    pub wait: Duration,
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

/// What came of claiming.
#[derive(Debug)]
pub enum Claimed<S: Store = AnyStore> {
    /// The claim is durable: execute.
    Won(Permit<S>),
    /// Something else stands there: what came of asking, with the claim given up.
    Stands(Begun<S>),
    /// Another gateway on the same store executes it: begin again a little later.
    Elsewhere,
}

/// How a settlement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is in the record, durably.
    Recorded,
    /// The record is another execution's or final already: nothing changed.
    Ignored(Unchanged),
}

/// A settlement that the store would not take yet.
#[derive(Debug)]
struct Overdue {
    id: OperationId,
    flight: Arc<Flight>,
    outcome: Outcome,
    shared: Option<Arc<Answer>>,
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
        let (overdue, settlements) = mpsc::unbounded_channel();
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the kernel's random source doesn't fail once it is seeded");
        let ledger = Arc::new(Self {
            store,
            clock,
            flights: id_map(),
            cache: cache_bytes.map(Cache::new),
            executions: Executions { process: u64::from_le_bytes(seed), next: AtomicU64::new(0) },
            overdue,
            overdue_count: AtomicU64::new(0),
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

    /// An id for an execution.
    pub fn execution_id(&self) -> ExecutionId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.executions.process.to_le_bytes());
        id[8..].copy_from_slice(&self.executions.next.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        ExecutionId(id)
    }

    /// Begins an operation: finds what stands in its way, waits for an execution in this process,
    /// or hands out the right to claim. Dropping the future loses nothing.
    pub async fn begin(self: &Arc<Self>, request: Request) -> Begun<S> {
        let deadline = Instant::now() + request.wait;
        loop {
            if let Some(versioned) = self.at_hand(request.id).await
                && let Some(begun) = self.answer(&request, &versioned.record)
            {
                return begun;
            }
            let flight = match self.flights.entry(request.id) {
                Entry::Vacant(vacant) => {
                    let flight = Arc::new(Flight::new(request.claim.execution, request.claim.fingerprint));
                    vacant.insert(flight.clone());
                    return Begun::Claim(Claimant { ledger: self.clone(), request, flight });
                }
                Entry::Occupied(occupied) => occupied.get().clone(),
            };
            if let Some(begun) = self.follow(&request, &flight, deadline).await {
                return begun;
            }
            // The flight was given up before anything was sent: the next one may claim.
            tokio::task::yield_now().await;
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
            let Some(mut current) = self.store.load(*id).await? else { continue };
            loop {
                let now = self.clock.now();
                let Decision::Put(next) = decide(&NO_RULES, Some(&current.record), Event::Restart, now)
                else {
                    break;
                };
                match self.store.swap(*id, Some(current.version), Some(Arc::new(next)), now).await? {
                    Swap::Done(_) => {
                        recovered += 1;
                        break;
                    }
                    Swap::Conflict(Some(newer)) => current = newer,
                    Swap::Conflict(None) => break,
                }
            }
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

    /// What a standing record answers to a request, unless that is to claim or to wait.
    fn answer(&self, request: &Request, record: &Arc<Record>) -> Option<Begun<S>> {
        match decide(&request.rules, Some(record), Event::Claim(&request.claim), self.clock.now()) {
            Decision::Replay => Some(Begun::Replay { record: record.clone(), waited: false }),
            Decision::Refuse(refusal) => Some(Begun::Refuse(refusal, Some(record.clone()))),
            Decision::Execute(_)
            | Decision::Wait
            | Decision::Put(_)
            | Decision::Remove
            | Decision::Keep(_) => None,
        }
    }

    /// What a record answers to one who waited for it. A waiter never sends again what ended
    /// unknown while it waited, even where the route resends: its caller has not been told yet.
    fn answer_waiter(&self, request: &Request, record: &Arc<Record>) -> Option<Begun<S>> {
        let hold = Rules { when_unknown: WhenUnknown::Hold, ..request.rules };
        match decide(&hold, Some(record), Event::Claim(&request.claim), self.clock.now()) {
            Decision::Replay => Some(Begun::Replay { record: record.clone(), waited: true }),
            Decision::Refuse(refusal) => Some(Begun::Refuse(refusal, Some(record.clone()))),
            Decision::Execute(_)
            | Decision::Wait
            | Decision::Put(_)
            | Decision::Remove
            | Decision::Keep(_) => None,
        }
    }

    /// Waits for an execution of this process, as far as the rules say. None: begin again.
    async fn follow(&self, request: &Request, flight: &Flight, deadline: Instant) -> Option<Begun<S>> {
        let mut progress = flight.follow();
        loop {
            let seen = progress.borrow_and_update().clone();
            match seen {
                Progress::Ended(Ending::Recorded(record)) => return self.answer_waiter(request, &record),
                // The key is free again, and nothing of the other request is this one's business.
                Progress::Ended(Ending::NotApplied(_)) if !flight.is_of(&request.claim.fingerprint) => {
                    return None;
                }
                Progress::Ended(Ending::NotApplied(Some(answer))) => return Some(Begun::Shared(answer)),
                Progress::Ended(Ending::NotApplied(None)) => {
                    return Some(Begun::Refuse(Refusal::InFlight, None));
                }
                Progress::Ended(Ending::Failed(error)) => return Some(Begun::Unavailable(error)),
                Progress::Ended(Ending::Lost) => return None,
                Progress::Running(record) => match self.answer(request, &record) {
                    Some(begun) => return Some(begun),
                    None if Instant::now() >= deadline => {
                        return Some(Begun::Refuse(Refusal::InFlight, Some(record)));
                    }
                    None => {}
                },
                Progress::Claiming => {}
            }
            match tokio::time::timeout_at(deadline, progress.changed()).await {
                Ok(Ok(())) => {}
                // The flight is over and gone: what it left is in the store.
                Ok(Err(_)) => return None,
                Err(_) if matches!(*progress.borrow(), Progress::Claiming) => {
                    return Some(Begun::Refuse(Refusal::InFlight, None));
                }
                Err(_) => {}
            }
        }
    }

    /// Puts an outcome on the record, if the record still waits for it from this execution.
    async fn settle(
        &self,
        id: OperationId,
        flight: &Flight,
        outcome: &Outcome,
    ) -> Result<(Settled, Option<Versioned>), StoreError> {
        let mut expected = flight.version();
        let mut current = flight.running();
        loop {
            let now = self.clock.now();
            let event = Event::Settle(flight.execution(), outcome);
            let next = match decide(&NO_RULES, current.as_deref(), event, now) {
                Decision::Put(record) => Some(Arc::new(record)),
                Decision::Remove => None,
                Decision::Keep(why) => return Ok((Settled::Ignored(why), None)),
                Decision::Execute(_) | Decision::Replay | Decision::Wait | Decision::Refuse(_) => {
                    unreachable!("these answer claims only; the table in oncegate-core shows it")
                }
            };
            match self.store.swap(id, Some(expected), next.clone(), now).await? {
                Swap::Done(version) => {
                    let standing = next.map(|record| Versioned { version, record });
                    return Ok((Settled::Recorded, standing));
                }
                Swap::Conflict(Some(newer)) => {
                    expected = newer.version;
                    current = Some(newer.record);
                }
                Swap::Conflict(None) => return Ok((Settled::Ignored(Unchanged::Absent), None)),
            }
        }
    }

    fn conclude(
        &self,
        id: OperationId,
        flight: &Arc<Flight>,
        settled: Settled,
        standing: Option<Versioned>,
        shared: Option<Arc<Answer>>,
    ) {
        match settled {
            Settled::Recorded => self.land(id, flight, standing, shared),
            Settled::Ignored(why) => {
                tracing::warn!(operation = %id, ?why, "a settlement came too late and changed nothing");
                self.clear(id, flight, Ending::Lost);
            }
        }
    }

    /// Ends a flight: what is final is kept at hand first, so that nobody who finds the flight
    /// gone finds nothing.
    fn land(
        &self,
        id: OperationId,
        flight: &Arc<Flight>,
        standing: Option<Versioned>,
        shared: Option<Arc<Answer>>,
    ) {
        let ending = match standing {
            Some(versioned) => {
                if let Some(cache) = &self.cache
                    && matches!(versioned.record.state, State::Completed { .. } | State::Consumed { .. })
                {
                    cache.put(id, versioned.clone());
                }
                Ending::Recorded(versioned.record)
            }
            None => Ending::NotApplied(shared),
        };
        self.clear(id, flight, ending);
    }

    fn clear(&self, id: OperationId, flight: &Arc<Flight>, ending: Ending) {
        self.flights.remove_if(&id, |_, standing| Arc::ptr_eq(standing, flight));
        flight.end(ending);
    }

    fn postpone(&self, overdue: Overdue) {
        self.overdue_count.fetch_add(1, Ordering::Relaxed);
        // The keeper is gone only when the process ends; then the store makes the record unknown.
        let _ = self.overdue.send(overdue);
    }
}

/// The right to claim an operation in this process.
#[derive(Debug)]
pub struct Claimant<S: Store = AnyStore> {
    ledger: Arc<Ledger<S>>,
    request: Request,
    flight: Arc<Flight>,
}

impl<S: Store> Claimant<S> {
    /// Claims it: one atomic step, durable before it is won.
    pub async fn claim(self) -> Claimed<S> {
        let (ledger, request) = (&self.ledger, &self.request);
        let mut current: Option<Versioned> = None;
        loop {
            let now = ledger.clock.now();
            let record = current.as_ref().map(|versioned| &*versioned.record);
            let next = match decide(&request.rules, record, Event::Claim(&request.claim), now) {
                Decision::Execute(record) => Arc::new(record),
                Decision::Wait => return self.elsewhere(),
                Decision::Replay | Decision::Refuse(_) => return self.stands(current),
                Decision::Put(_) | Decision::Remove | Decision::Keep(_) => {
                    unreachable!("these don't answer claims; the table in oncegate-core shows it")
                }
            };
            let expected = current.as_ref().map(|versioned| versioned.version);
            match ledger.store.swap(request.id, expected, Some(next.clone()), now).await {
                Ok(Swap::Done(version)) => return self.won(version, next, now),
                Ok(Swap::Conflict(standing)) => current = standing,
                Err(error) => {
                    if let Some(ours) = self.read_back(&error).await {
                        return self.won(ours.version, ours.record, now);
                    }
                    ledger.clear(request.id, &self.flight, Ending::Failed(error.clone()));
                    return Claimed::Stands(Begun::Unavailable(error));
                }
            }
        }
    }

    /// After a write of unclear result: if our execution stands there, it took effect.
    async fn read_back(&self, error: &StoreError) -> Option<Versioned> {
        if !matches!(error, StoreError::Indeterminate(_)) {
            return None;
        }
        let standing = self.ledger.store.load(self.request.id).await.ok()??;
        (standing.record.execution == self.request.claim.execution).then_some(standing)
    }

    fn won(&self, version: Version, record: Arc<Record>, claimed_at: Timestamp) -> Claimed<S> {
        self.flight.hold(version, record.clone(), claimed_at.plus(record.times.lease));
        Claimed::Won(Permit {
            ledger: self.ledger.clone(),
            id: self.request.id,
            flight: self.flight.clone(),
            record,
            settled: false,
        })
    }

    /// A record stands there that answers the request; others who waited judge it themselves.
    fn stands(&self, current: Option<Versioned>) -> Claimed<S> {
        let Some(versioned) = current else {
            // Refused without a record: too late, or ahead of its time.
            self.ledger.clear(self.request.id, &self.flight, Ending::Lost);
            let rules = &self.request.rules;
            let event = Event::Claim(&self.request.claim);
            return match decide(rules, None, event, self.ledger.clock.now()) {
                Decision::Refuse(refusal) => Claimed::Stands(Begun::Refuse(refusal, None)),
                _ => Claimed::Elsewhere,
            };
        };
        let begun = self.ledger.answer(&self.request, &versioned.record);
        let is_final = matches!(versioned.record.state, State::Completed { .. } | State::Consumed { .. });
        if let Some(cache) = &self.ledger.cache
            && is_final
        {
            cache.put(self.request.id, versioned.clone());
        }
        self.ledger.clear(self.request.id, &self.flight, Ending::Recorded(versioned.record));
        begun.map_or(Claimed::Elsewhere, Claimed::Stands)
    }

    /// Another gateway on the same store executes it.
    fn elsewhere(&self) -> Claimed<S> {
        self.ledger.clear(self.request.id, &self.flight, Ending::Lost);
        Claimed::Elsewhere
    }
}

impl<S: Store> Drop for Claimant<S> {
    fn drop(&mut self) {
        if matches!(*self.flight.follow().borrow(), Progress::Claiming) {
            self.ledger.clear(self.request.id, &self.flight, Ending::Lost);
        }
    }
}

/// The right to execute an operation, and the duty to settle it. Dropped unsettled, the outcome is
/// unknown.
#[derive(Debug)]
pub struct Permit<S: Store = AnyStore> {
    ledger: Arc<Ledger<S>>,
    id: OperationId,
    flight: Arc<Flight>,
    record: Arc<Record>,
    settled: bool,
}

impl<S: Store> Permit<S> {
    /// Which operation.
    pub fn id(&self) -> OperationId {
        self.id
    }

    /// The record under which it executes.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether the lease still holds: to be asked right before the first byte goes upstream.
    pub fn holds(&self) -> bool {
        !self.flight.lease_left(self.ledger.clock.now()).is_zero()
    }

    /// Settles it; comes back when the outcome is durable. Where the store fails, the settlement
    /// is kept and tried again, and the error says that it isn't durable yet. `shared` is for
    /// those who waited, should it be *not applied*.
    pub async fn settle(
        mut self,
        outcome: Outcome,
        shared: Option<Arc<Answer>>,
    ) -> Result<Settled, StoreError> {
        // From here on the settlement is somebody's: ours, or in the keeper's queue.
        self.settled = true;
        match self.ledger.settle(self.id, &self.flight, &outcome).await {
            Ok((settled, standing)) => {
                self.ledger.conclude(self.id, &self.flight, settled, standing, shared);
                Ok(settled)
            }
            Err(error) => {
                let (id, flight) = (self.id, self.flight.clone());
                self.ledger.postpone(Overdue { id, flight, outcome, shared });
                Err(error)
            }
        }
    }
}

impl<S: Store> Drop for Permit<S> {
    fn drop(&mut self) {
        if !self.settled {
            self.ledger.postpone(Overdue {
                id: self.id,
                flight: self.flight.clone(),
                outcome: Outcome::Unknown(oncegate_core::Doubt::Abandoned),
                shared: None,
            });
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
