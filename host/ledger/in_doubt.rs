//! A change of how keys are made whose document may or may not be written.
//!
//! The next change is judged by the document. So the document names the way by which operations are claimed,
//! at any moment at which one is claimed. From before a change writes it until the new routes are in force,
//! the gate is closed. A change that ends in between leaves the gate closed: its write failed, or nobody polls
//! it any more. The old way is still in force then. The keeper writes it back, and opens the gate.

use super::identity::{Identity, IdentityError, TRIES};
use super::state::Ledger;
use oncegate_store::Store;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// The first wait before the old way is written back again; each further wait is twice as long.
const RETRY: Duration = Duration::from_millis(25);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The change whose document is being written, if there is one.
#[derive(Debug, Default)]
pub(super) struct ChangeInDoubt {
    change: Mutex<Option<Doubt>>,
    /// Notified when a change has broken off in doubt.
    broken_off: Notify,
    /// Held while the old way is written back.
    settling: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Doubt {
    /// The way in force.
    before: Identity,
    /// The way that may be written.
    next: Identity,
    broken_off: bool,
}

impl ChangeInDoubt {
    /// The document may name `next` from now on, and `before` is in force.
    pub(super) fn begin(&self, before: Identity, next: Identity) {
        *self.change() = Some(Doubt { before, next, broken_off: false });
    }

    /// The document names what is in force.
    pub(super) fn end(&self) {
        *self.change() = None;
    }

    /// Nobody goes on with the change. True: its document may be written.
    pub(super) fn break_off(&self) -> bool {
        let mut change = self.change();
        let Some(doubt) = &mut *change else { return false };
        doubt.broken_off = true;
        self.broken_off.notify_one();
        true
    }

    fn broken_off(&self) -> Option<Doubt> {
        self.change().clone().filter(|doubt| doubt.broken_off)
    }

    fn change(&self) -> MutexGuard<'_, Option<Doubt>> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Store> Ledger<S> {
    /// Writes the old way back after each change that breaks off in doubt, for as long as the future is
    /// polled.
    pub(super) async fn settle_changes(&self) {
        loop {
            self.in_doubt.broken_off.notified().await;
            let mut retry = RETRY;
            while let Err(error) = self.settle_change().await {
                tracing::debug!(%error, "how the ledger's keys are made is still in doubt");
                sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }

    /// Writes the old way back if a change broke off in doubt, and opens the gate.
    pub(super) async fn settle_change(&self) -> Result<(), IdentityError> {
        let _one = self.in_doubt.settling.lock().await;
        let Some(Doubt { before, next, .. }) = self.in_doubt.broken_off() else { return Ok(()) };
        for _ in 0..TRIES {
            let (version, standing) = match self.identity().await? {
                Some((version, standing)) => (Some(version), standing),
                None => (None, before.clone()),
            };
            // Another gateway goes by a third way. This one may claim nothing by its own.
            if standing != next && before.is_at_odds_with(&standing) {
                return Err(IdentityError::Overtaken);
            }
            // The old way is written though it stands: a write that is late then meets another version.
            let back = if standing == next { before.clone() } else { before.merged(&standing) };
            match self.write_identity(version, &back).await {
                Ok(()) => {
                    self.in_doubt.end();
                    self.spaces.resume();
                    tracing::info!("a change of how keys are made broke off, and is undone: requests are taken again");
                    return Ok(());
                }
                Err(IdentityError::Overtaken) => {}
                Err(error) => return Err(error),
            }
        }
        Err(IdentityError::Overtaken)
    }
}

#[cfg(test)]
#[path = "in_doubt_tests.rs"]
mod tests;
