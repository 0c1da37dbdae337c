//! Renews the leases of what runs here.

use crate::ledger::flight::Flight;
use crate::ledger::state::{Ledger, NO_RULES};
use crate::store::{Store, StoreError, Swap, Versioned};
use oncegate_core::{Decision, Event, OperationId, State, Timestamp, decide};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// Two looks at the leases lie at least so far apart. The shortest lease is 100 ms; a third of it is
/// over by then.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(25);
/// A renewal that failed is tried again after so long.
const RENEW_AGAIN: Duration = Duration::from_millis(100);
/// Where no lease wants renewal, the keeper looks again after so long.
const IDLE: Duration = Duration::from_secs(60);

/// The leases of what runs here.
#[derive(Debug)]
pub(super) struct Leases<'a, S: Store> {
    ledger: &'a Arc<Ledger<S>>,
    /// Each on its own, because one that hangs says nothing of the others, and all at once, so that one
    /// sync of the store makes them durable.
    renewals: JoinSet<Renewal>,
    /// One failed since the last look.
    failed: bool,
    /// The log says already that leases can't be renewed.
    told: bool,
}

/// A renewal that is over: when the next one is wanted, or why this one failed.
type Renewal = (OperationId, Arc<Flight>, Result<Timestamp, StoreError>);

impl<'a, S: Store> Leases<'a, S> {
    pub(super) fn of(ledger: &'a Arc<Ledger<S>>) -> Self {
        Self { ledger, renewals: JoinSet::new(), failed: false, told: false }
    }

    /// Renews them, for as long as it is polled. `claimed` is told when somebody has claimed.
    pub(super) async fn keep(mut self, claimed: &Notify) {
        loop {
            let looked = Instant::now();
            // Whoever claims during the look wakes the keeper again: the look may have passed that flight.
            self.ledger.keeper_wakes.store(u64::MAX, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let mut next = self.look();
            loop {
                self.ledger.keeper_wakes.store(next.as_millis(), Ordering::Relaxed);
                let pause = next.since(self.ledger.clock().now()).min(IDLE);
                tokio::select! {
                    // In one order, so that a simulated run repeats itself.
                    biased;
                    Some(renewal) = self.renewals.join_next() => next = next.min(self.renewed(renewal)),
                    // A lease that wants renewal before that.
                    () = self.ledger.keeper.notified() => break claimed.notify_one(),
                    () = sleep(pause) => break,
                }
            }
            sleep_until(looked + LOOK_AGAIN_MIN).await;
        }
    }

    /// Begins to renew what wants it; says when the next will.
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
                // Its renewal is under way.
                _ => {}
            }
        }
        next
    }

    /// When what is renewed now wants that again.
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
    /// Sees to it that the keeper looks at the leases by then.
    pub(in crate::ledger) fn expect_keeper(&self, by: Timestamp) {
        // Store-load fence (Dekker): pairs with the fence in `keep`. Either the keeper sees the lease, or
        // this sees that the keeper looks.
        fence(Ordering::SeqCst);
        if by.as_millis() < self.keeper_wakes.load(Ordering::Relaxed) {
            self.keeper.notify_one();
        }
    }

    /// Renews the lease of an execution that lives here; says when it wants that next.
    pub(in crate::ledger) async fn renew(
        &self,
        id: OperationId,
        flight: &Flight,
    ) -> Result<Timestamp, StoreError> {
        // The execution has ended meanwhile, lapsed or was taken over: nothing is left to renew.
        const NEVER: Timestamp = Timestamp::MAX;
        let Some(known) = flight.known() else { return Ok(NEVER) };
        let now = self.clock().now();
        // What waits for the store is shown as if it never lapsed.
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
            // It settles just now, or somebody else has gone on.
            Swap::Conflict(_) => return Ok(NEVER),
        }
        Ok(flight.renewal_due(lease))
    }
}
