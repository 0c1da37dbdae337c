//! Settlements that the store did not take yet: they are tried again until it takes them.

use super::{RETRY, RETRY_MAX};
use crate::advance::Advanced;
use crate::flight::Ending;
use crate::state::{Ledger, Overdue, WaitsForOverdue};
use oncegate_store::{Store, StoreError};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use tokio::time::sleep;

impl<S: Store> Ledger<S> {
    /// Tries overdue settlements again, for as long as the future is polled. Each is tried once; from the
    /// first that fails, the rest wait.
    pub(super) async fn settle_overdue(&self, mut settlements: mpsc::UnboundedReceiver<Overdue>) {
        let mut overdue = VecDeque::new();
        let mut retry = RETRY;
        loop {
            if overdue.is_empty() {
                // The ledger itself has a sender.
                overdue.extend(settlements.recv().await);
            }
            while let Ok(more) = settlements.try_recv() {
                overdue.push_back(more);
            }
            match self.settle_each(&mut overdue).await {
                Ok(()) => retry = RETRY,
                Err(error) => {
                    tracing::debug!(overdue = self.settlements_overdue(), %error, "settlements are still overdue");
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    async fn settle_each(&self, overdue: &mut VecDeque<Overdue>) -> Result<(), StoreError> {
        for _ in 0..overdue.len() {
            let Some(one) = overdue.pop_front() else { break };
            match self.settle(one.id, one.execution, one.known.clone(), &one.settlement).await {
                Ok(advance) => {
                    // A claim that the store never took has no record that could be removed.
                    let is_undone = matches!(one.waiting, WaitsForOverdue::Unclear(_));
                    let is_free = matches!(advance, Advanced::Done(None))
                        || is_undone && matches!(advance, Advanced::Kept(_, None));
                    if is_free {
                        self.release(&one.common, one.execution).await;
                    }
                    self.recorded(one, advance);
                }
                Err(error) => {
                    overdue.push_back(one);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn recorded(&self, overdue: Overdue, advance: Advanced) {
        self.overdue_count.fetch_sub(1, Ordering::Relaxed);
        let Overdue { id, settlement, waiting, .. } = overdue;
        let outcome = settlement.outcome.disposition().word();
        match waiting {
            WaitsForOverdue::Ended(flight, shared) => {
                tracing::info!(operation = %id, outcome, "an overdue settlement is recorded");
                self.conclude(id, &flight, &settlement, advance, shared);
            }
            WaitsForOverdue::Unclear(stand_in) => {
                // Without such a record there is nothing to report.
                if matches!(advance, Advanced::Done(_)) {
                    tracing::info!(operation = %id, "a claim that the store did not confirm, and under which nothing was sent, is undone");
                }
                self.clear(id, &stand_in, Ending::Lost);
            }
        }
    }
}
