//! Renews the leases of the executions in this process.

use crate::flight::Flight;
use crate::state::Ledger;
use oncegate_core::{Decision, Event, NO_RULES, OperationId, State, Timestamp, decide};
use oncegate_store::{Store, StoreError, Swap, Versioned};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// The least time between two looks at the leases. The shortest lease is 100 ms; a third of it is over by
/// then.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(25);
/// How soon a failed renewal is tried again.
const RENEW_AGAIN: Duration = Duration::from_millis(100);
/// How soon the keeper looks again where no lease is to be renewed.
const IDLE: Duration = Duration::from_secs(60);

/// The leases of the executions in this process.
#[derive(Debug)]
pub(super) struct Leases<'a, S: Store> {
    ledger: &'a Arc<Ledger<S>>,
    /// Each renewal runs on its own, because one that hangs must not hold up the others, and all run at once,
    /// so that one sync of the store makes them durable.
    renewals: JoinSet<Renewal>,
    /// A renewal failed since the last look.
    failed: bool,
    /// The log already says that leases can't be renewed.
    told: bool,
}

/// A renewal that is over: when the next one is due, or why this one failed.
type Renewal = (OperationId, Arc<Flight>, Result<Timestamp, StoreError>);

impl<'a, S: Store> Leases<'a, S> {
    pub(super) fn of(ledger: &'a Arc<Ledger<S>>) -> Self {
        Self { ledger, renewals: JoinSet::new(), failed: false, told: false }
    }

    /// Renews the leases for as long as the future is polled. `claimed` is notified when a request has
    /// claimed.
    pub(super) async fn keep(mut self, claimed: &Notify) {
        loop {
            let looked = Instant::now();
            // A claim during the look wakes the keeper again: the look may have passed that flight.
            self.ledger.keeper_wakes.store(u64::MAX, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let mut next = self.look();
            loop {
                self.ledger.keeper_wakes.store(next.as_millis(), Ordering::Relaxed);
                let pause = next.since(self.ledger.clock().now()).min(IDLE);
                tokio::select! {
                    // The branches are polled in one order, so that a simulated run repeats itself.
                    biased;
                    Some(renewal) = self.renewals.join_next() => next = next.min(self.renewed(renewal)),
                    // A lease is to be renewed before that.
                    () = self.ledger.keeper.notified() => break claimed.notify_one(),
                    () = sleep(pause) => break,
                }
            }
            sleep_until(looked + LOOK_AGAIN_MIN).await;
        }
    }

    /// Begins the renewals that are due. Returns when the next will be.
    fn look(&mut self) -> Timestamp {
        if self.renewals.is_empty() && !self.failed {
            self.told = false;
        }
        self.failed = false;
        let now = self.ledger.clock().now();
        let mut next = Timestamp::MAX;
        for entry in &self.ledger.flights {
            let (id, flight) = (*entry.key(), entry.value());
            let Some(record) = flight.running() else { continue };
            match flight.renewal_due(record.times.lease) {
                at if at > now => next = next.min(at),
                _ if flight.begin_renewal() => {
                    let (ledger, flight) = (self.ledger.clone(), flight.clone());
                    self.renewals.spawn(async move {
                        let renewed = ledger.renew(id, &flight).await;
                        (id, flight, renewed)
                    });
                }
                // The lease's renewal is under way.
                _ => {}
            }
        }
        next
    }

    /// When the renewed lease is to be renewed again.
    fn renewed(&mut self, renewal: Result<Renewal, JoinError>) -> Timestamp {
        let (operation, flight, renewed) = renewal.expect("a renewal neither panics nor is cancelled");
        flight.end_renewal();
        renewed.unwrap_or_else(|error| {
            self.failed = true;
            if !std::mem::replace(&mut self.told, true) {
                tracing::warn!(%operation, %error, "leases can't be renewed; what lapses is unknown until it settles");
            }
            self.ledger.clock().now().plus(RENEW_AGAIN)
        })
    }
}

impl<S: Store> Ledger<S> {
    /// Makes the keeper look at the leases by then.
    pub(crate) fn expect_keeper(&self, by: Timestamp) {
        // Store-load fence (Dekker): pairs with the fence in `keep`. Either the keeper sees the lease, or
        // this sees that the keeper looks.
        fence(Ordering::SeqCst);
        if by.as_millis() < self.keeper_wakes.load(Ordering::Relaxed) {
            self.keeper.notify_one();
        }
    }

    /// Renews the lease of an execution in this process. Returns when the next renewal is due.
    pub(crate) async fn renew(&self, id: OperationId, flight: &Flight) -> Result<Timestamp, StoreError> {
        // The execution has ended meanwhile, lapsed or was taken over: there is no lease to renew.
        const NEVER: Timestamp = Timestamp::MAX;
        let Some(known) = flight.known() else { return Ok(NEVER) };
        let now = self.clock().now();
        // An outcome that waits for the store is shown as if its lease never lapsed.
        if flight.lease_left(now).is_zero() {
            return Ok(NEVER);
        }
        let Decision::Put(next) =
            decide(&NO_RULES, Some(&known.record), Event::Renew(flight.execution()), now)
        else {
            return Ok(NEVER);
        };
        let (lease, next) = (next.times.lease, Arc::new(next));
        match self.store.swap(id, Some(known.version), Some(next.clone()), now).await? {
            Swap::Done(version) => flight.renewed(version, next),
            // An earlier renewal of unclear result took effect.
            Swap::Conflict(Some(Versioned { version, record }))
                if record.execution == flight.execution()
                    && matches!(record.state, State::Executing { .. }) =>
            {
                flight.renewed(version, record);
            }
            // The execution settles just now, or another gateway has gone on.
            Swap::Conflict(_) => return Ok(NEVER),
        }
        Ok(flight.renewal_due(lease))
    }
}
