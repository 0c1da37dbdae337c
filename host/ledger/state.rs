//! The data of a ledger. The files beside this one have its functions.

use super::cache::Cache;
use super::flight::Flight;
use super::gate::ClaimGate;
use super::id_map::{IdMap, id_map};
use super::in_doubt::ChangeInDoubt;
use super::late::{LateSettlement, LateSettlements};
use super::retention::{RetentionHistory, RouteRetention};
use super::turn::Turn;
use oncegate_core::{Answer, ExecutionId, GatewayId, OperationId, Settlement, Timestamp};
use oncegate_keyspaces::{SpaceRegistry, pointers};
use oncegate_store::{
    Clock, ConfiguredStore, Confirmed, DocumentError, Store, StoreError, Version, Versioned,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// The ledger.
#[derive(Debug)]
pub struct Ledger<S = ConfiguredStore> {
    pub(super) store: Arc<Confirmed<S>>,
    pub(super) flights: IdMap<Arc<Flight>>,
    /// `None` where the store itself is memory.
    pub(super) cache: Option<Cache>,
    pub(super) executions: Executions,
    pub(super) late: LateSettlements,
    pub(super) retention: RetentionHistory,
    pub(super) overdue: mpsc::UnboundedSender<Overdue>,
    pub(super) overdue_count: AtomicU64,
    /// Due records that the sweep passes over until then; for ever: they can't be read.
    pub(super) passed_over: IdMap<Timestamp>,
    /// The channel to the code that asks upstreams about unknown outcomes.
    pub(super) turns: OnceLock<mpsc::Sender<Turn>>,
    /// When the keeper next looks at the leases by itself, in milliseconds of ledger time.
    pub(super) keeper_wakes: AtomicU64,
    /// Wakes the keeper before that.
    pub(super) keeper: Notify,
    pub(super) spaces: SpaceRegistry<S>,
    pub(super) gate: ClaimGate,
    pub(super) in_doubt: ChangeInDoubt,
}

/// A settlement that the store would not take yet.
#[derive(Debug)]
pub(super) struct Overdue {
    pub(super) id: OperationId,
    pub(super) execution: ExecutionId,
    /// The record as it was last known.
    pub(super) known: Option<Versioned>,
    pub(super) settlement: Settlement,
    /// The claims without a principal, which go with the operation.
    pub(super) common: Box<[(OperationId, Version)]>,
    /// What waits for the settlement.
    pub(super) waiting: WaitsForOverdue,
}

/// What waits for an overdue settlement.
#[derive(Debug)]
pub(super) enum WaitsForOverdue {
    /// The flight of the execution that ended so, and the answer for those who waited for it.
    Ended(Arc<Flight>, Option<Arc<Answer>>),
    /// The stand-in for a claim of unclear result, under which nothing was sent. It is in the way of other requests,
    /// which would find a record that looks as if something had been.
    Unclear(Arc<Flight>),
}

/// Hands out execution ids: a random start, counted up.
#[derive(Debug)]
pub(super) struct Executions {
    pub(super) process: u64,
    next: AtomicU64,
}

impl<S: Store> Ledger<S> {
    /// A ledger whose execution ids begin with `process`, and the receiver of the settlements that its store
    /// did not take. `first`: this process's first version.
    pub(super) fn of(
        process: u64,
        store: S,
        clock: Clock,
        cache_bytes: Option<usize>,
        first: Version,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Overdue>) {
        let (overdue, settlements) = mpsc::unbounded_channel();
        let store = Arc::new(Confirmed::new(store, clock, first));
        let spaces = SpaceRegistry::new(store.clone(), gateway_id(process));
        let ledger = Arc::new(Self {
            store,
            flights: id_map(),
            cache: cache_bytes.map(Cache::new),
            executions: Executions { process, next: AtomicU64::new(0) },
            late: LateSettlements::default(),
            retention: RetentionHistory::default(),
            overdue,
            overdue_count: AtomicU64::new(0),
            passed_over: id_map(),
            turns: OnceLock::new(),
            keeper_wakes: AtomicU64::new(0),
            keeper: Notify::new(),
            spaces,
            gate: ClaimGate::default(),
            in_doubt: ChangeInDoubt::default(),
        });
        (ledger, settlements)
    }

    /// The ledger's clock.
    pub fn clock(&self) -> &Clock {
        self.store.clock()
    }

    /// The ledger's store.
    pub fn store(&self) -> &S {
        self.store.store()
    }

    /// The ledger's store with the clock beside it.
    pub fn confirmed(&self) -> &Arc<Confirmed<S>> {
        &self.store
    }

    /// The lists of key spaces in the ledger's store.
    pub fn key_spaces(&self) -> &SpaceRegistry<S> {
        &self.spaces
    }

    /// How many executions run in this process.
    pub fn executing(&self) -> usize {
        self.flights.len()
    }

    /// How many final records are kept at hand.
    pub fn cached(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::len)
    }

    /// How many settlements wait for the store to take them. While there are any, the ledger isn't well.
    pub fn settlements_overdue(&self) -> u64 {
        self.overdue_count.load(Ordering::Relaxed)
    }

    /// How many due records couldn't be swept, and are passed over.
    pub fn unreadable(&self) -> u64 {
        self.passed_over.len() as u64
    }

    /// Late settlements of this operation that changed nothing, as far as this process remembers them,
    /// earliest first.
    pub fn late_settlements(&self, id: OperationId) -> Vec<LateSettlement> {
        self.late.of(id)
    }

    /// An id for an execution.
    pub fn execution_id(&self) -> ExecutionId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.executions.process.to_le_bytes());
        id[8..].copy_from_slice(&self.executions.next.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        ExecutionId(id)
    }

    /// The record of an operation.
    pub async fn load(&self, id: OperationId) -> Result<Option<Versioned>, StoreError> {
        self.store.load(id).await
    }

    /// The record of an operation, by the id of its record or of a pointer to it.
    pub async fn find(&self, id: OperationId) -> Result<Option<Versioned>, StoreError> {
        pointers::find(&self.store, id).await
    }

    /// Notes the routes' memories, before requests are answered by them.
    pub async fn remember(&self, routes: &BTreeMap<String, RouteRetention>) -> Result<(), DocumentError> {
        self.retention.note(&self.store, routes, self.clock().latest()).await
    }

    /// The earliest first-sent time of an operation of this route and policy that has no record, by `clock`,
    /// the later of ledger time and wall clock. `own` is the route's memory now.
    pub fn remembered_since(
        &self,
        (route, policy): (&str, &str),
        own: Duration,
        first_sent: Timestamp,
        clock: Timestamp,
    ) -> Timestamp {
        clock.minus(self.retention.least((route, policy), first_sent).map_or(own, |least| least.min(own)))
    }
}

/// The id of this process's gateway on the lists of key spaces.
fn gateway_id(process: u64) -> GatewayId {
    let half = process.to_le_bytes();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&half);
    id[8..].copy_from_slice(&half);
    GatewayId(id)
}
