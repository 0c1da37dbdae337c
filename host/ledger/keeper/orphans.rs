//! Records as unknown what the last process left executing. The store's readers are told so already
//! ([`Confirmed`](oncegate_store::Confirmed)), so no request waits for this.

use super::{RETRY, RETRY_MAX};
use crate::state::Ledger;
use oncegate_core::{OperationId, UnknownReason};
use oncegate_store::{Store, StoreError};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How many records are written at once.
const PORTION: usize = 1024;

impl<S: Store> Ledger<S> {
    /// Records these orphans as unknown. Ends when the store has taken all of them but those that can't be
    /// read: they keep their keys, because nobody claims over them.
    pub(crate) async fn recover(self: &Arc<Self>, mut orphans: Vec<OperationId>) {
        let (count, mut retry) = (orphans.len(), RETRY);
        for operation in &orphans {
            tracing::warn!(%operation, reason = UnknownReason::Crashed.word(), outcome = "unknown", "what was left executing is unknown");
        }
        while !orphans.is_empty() {
            let mut left = Vec::new();
            for portion in orphans.chunks(PORTION) {
                left.extend(self.recover_each(portion).await);
            }
            if !left.is_empty() {
                tracing::debug!(
                    orphans = left.len(),
                    "what was left executing can't be recorded as unknown yet"
                );
                sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
            orphans = left;
        }
        if count > 0 {
            tracing::warn!(
                orphans = count,
                "what was left executing is recorded as unknown: `oncegate ops list --state unknown` lists it"
            );
        }
    }

    /// Returns those that the store doesn't take now.
    async fn recover_each(self: &Arc<Self>, portion: &[OperationId]) -> Vec<OperationId> {
        // All of a portion are written at once, so that one sync of the store makes them durable.
        let mut all = JoinSet::new();
        for id in portion.iter().copied() {
            let ledger = self.clone();
            all.spawn(async move { (id, ledger.store.recover(id).await) });
        }
        let mut left = Vec::new();
        for (operation, recovered) in all.join_all().await {
            match recovered {
                Ok(()) => {}
                Err(error @ StoreError::Corrupt(_)) => {
                    tracing::error!(%operation, %error, "what was left executing can't be read, and keeps its key");
                }
                Err(_) => left.push(operation),
            }
        }
        left
    }
}
