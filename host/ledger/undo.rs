//! Undoes a change of how keys are made that broke off while its document was being written (`in_doubt`).

use super::agreed::TRIES;
use super::identity::IdentityError;
use super::in_doubt::OpenChange;
use super::state::Ledger;
use oncegate_store::Store;
use std::time::Duration;
use tokio::time::sleep;

/// The first wait before the old way is written back again; each further wait is twice as long.
const RETRY: Duration = Duration::from_millis(25);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(1);

impl<S: Store> Ledger<S> {
    /// Writes the old way back after each change that breaks off in doubt, for as long as the future is
    /// polled.
    pub(super) async fn undo_changes(&self) {
        loop {
            self.in_doubt.told.notified().await;
            let mut retry = RETRY;
            while let Err(error) = self.undo_change().await {
                tracing::debug!(%error, "how the ledger's keys are made is still in doubt");
                sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }

    /// Writes the old way back if a change broke off in doubt, and opens the gate.
    pub(super) async fn undo_change(&self) -> Result<(), IdentityError> {
        let _one = self.in_doubt.undoing.lock().await;
        let Some(OpenChange { before, next, .. }) = self.in_doubt.broken_off() else { return Ok(()) };
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
                    tracing::info!(
                        "a change of how keys are made broke off, and is undone: requests are taken again"
                    );
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
#[path = "undo_tests.rs"]
mod tests;
