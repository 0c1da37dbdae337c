//! The right to execute, and the duty to settle. If a permit is dropped unsettled, the outcome is recorded as
//! unknown.

use super::advance::Advanced;
use super::flight::Flight;
use super::state::{Ledger, Overdue, WaitsForOverdue};
use oncegate_core::{Answer, OperationId, Outcome, Record, Settlement, Timestamp};
use oncegate_keyspaces::SpacePin;
use oncegate_store::{ConfiguredStore, Store, StoreError, Version};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why an outcome isn't on the record.
#[derive(Debug, thiserror::Error)]
pub enum Unsettled {
    /// The outcome is not recorded yet: the store failed. The settlement is kept and tried again.
    #[error(transparent)]
    Store(StoreError),
    /// The outcome is never recorded: the record has gone on without this execution, whose outcome is
    /// remembered as a late settlement.
    #[error("the record has gone on without this execution")]
    Overtaken,
}

/// The right to execute an operation, and the duty to settle it. If a permit is dropped unsettled, the
/// outcome is unknown.
#[derive(Debug)]
pub struct Permit<S: Store = ConfiguredStore> {
    pub(super) ledger: Arc<Ledger<S>>,
    pub(super) id: OperationId,
    pub(super) flight: Arc<Flight>,
    pub(super) record: Arc<Record>,
    /// The term of the lease on the list in which the keys were derived.
    pub(super) term: u64,
    /// Until when all of the operation's pointers surely stand; `None`: it has none.
    pub(super) pointers_until: Option<Timestamp>,
    /// Keeps the space of the operation's key on the list.
    pub(super) _pin: Option<Arc<SpacePin>>,
    /// The claims without a principal, which go with the operation.
    pub(super) common: Box<[(OperationId, Version)]>,
    /// [`holds`](Permit::holds) was asked, and all leases held. From then on every gateway with a common key
    /// finds the record.
    pub(super) was_held: AtomicBool,
    /// How the execution ended, with what those who waited get, until it is on the record or in the keeper's
    /// queue; unknown as long as nobody has said.
    pub(super) unsettled: Option<(Settlement, Option<Arc<Answer>>)>,
}

impl<S: Store> Permit<S> {
    /// The key that has the operation's record. The upstream knows the operation by this key, in whatever key
    /// space it is resent.
    pub const fn id(&self) -> OperationId {
        self.id
    }

    /// The record under which the operation executes.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether the lease still holds: to be asked right before the first byte goes upstream. The first call
    /// also checks the leases of the pointers, and the lease on the list of key spaces, without a break since
    /// the keys were derived.
    pub fn holds(&self) -> bool {
        let now = self.ledger.clock().now();
        if self.flight.lease_left(now).is_zero() {
            return false;
        }
        let held = self.was_held.load(Ordering::Relaxed)
            || (self.pointers_until.is_none_or(|until| now < until)
                && self.ledger.spaces.holds_since(self.term));
        self.was_held.store(held, Ordering::Relaxed);
        held
    }

    /// Ends when none of the operation's clients is left, waiting ones included.
    pub async fn clients_gone(&self) {
        self.flight.clients_gone().await;
    }

    /// Whether the operation has clients, waiting ones included.
    pub fn has_clients(&self) -> bool {
        self.flight.has_clients()
    }

    /// Settles the operation; ends when the outcome is durable. If the outcome isn't durable, nobody may be
    /// told it: the error says why. `shared` is for those who waited, should the outcome be *not applied*.
    pub async fn settle(
        mut self,
        settlement: impl Into<Settlement>,
        shared: Option<Arc<Answer>>,
    ) -> Result<(), Unsettled> {
        let settlement = settlement.into();
        // An execution that could not send may have been overtaken: its waiters ask again.
        let shared = shared.filter(|_| self.was_held.load(Ordering::Relaxed) || self.holds());
        // Should nobody poll this call any more, the keeper goes on with the settlement.
        self.unsettled = Some((settlement.clone(), shared.clone()));
        self.flight.settle();
        let (execution, known) = (self.flight.execution(), self.flight.known());
        match self.ledger.settle(self.id, execution, known, &settlement).await {
            Ok(advance) => {
                self.unsettled = None;
                let kept = matches!(advance, Advanced::Kept(..));
                if matches!(advance, Advanced::Done(None)) {
                    self.ledger.release(&self.common, execution).await;
                }
                self.ledger.conclude(self.id, &self.flight, &settlement, advance, shared);
                // "Unknown" is never wrong, whatever the record says.
                match kept && !matches!(settlement.outcome, Outcome::Unknown(_)) {
                    true => Err(Unsettled::Overtaken),
                    false => Ok(()),
                }
            }
            // Dropped, the permit leaves the settlement to the keeper.
            Err(error) => Err(Unsettled::Store(error)),
        }
    }

    /// Leaves the settlement to the keeper, which tries it until the store takes it.
    fn postpone(&self, settlement: Settlement, shared: Option<Arc<Answer>>) {
        self.flight.settle();
        self.flight.overdue();
        self.ledger.postpone(Overdue {
            id: self.id,
            execution: self.flight.execution(),
            known: self.flight.known(),
            settlement,
            common: self.common.clone(),
            waiting: WaitsForOverdue::Ended(self.flight.clone(), shared),
        });
    }
}

impl<S: Store> Drop for Permit<S> {
    fn drop(&mut self) {
        if let Some((settlement, shared)) = self.unsettled.take() {
            self.postpone(settlement, shared);
        }
    }
}
