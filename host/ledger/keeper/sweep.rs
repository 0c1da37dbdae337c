//! Sweeps: carries out the due changes of records, in small portions.

use super::wall::Difference;
use crate::advance::Advanced;
use crate::state::Ledger;
use crate::turn::Turn;
use oncegate_core::{Event, OperationId, Record, State};
use oncegate_keyspaces::pointers;
use oncegate_store::{Store, StoreError, Versioned};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How often records are swept while there are any.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often the clocks are compared where there are no records.
const IDLE: Duration = Duration::from_secs(60);
/// How many records one sweep touches, so that no request waits long behind it.
const SWEEP_PORTION: usize = 256;
/// The pause between two portions where there is more to sweep.
const SWEEP_PAUSE: Duration = Duration::from_millis(25);

impl<S: Store> Ledger<S> {
    /// Sweeps, for as long as the future is polled. `claimed`: notified when a request has claimed.
    pub(super) async fn keep_swept(self: &Arc<Self>, claimed: &Notify) {
        let mut difference = Difference::default();
        let mut pause = SWEEP_EVERY;
        loop {
            sleep(pause).await;
            self.wait_for_records(claimed).await;
            difference.look(self.clock());
            // A full portion means that there is more.
            let full = matches!(self.sweep(SWEEP_PORTION).await, Ok(SWEEP_PORTION));
            pause = if full { SWEEP_PAUSE } else { SWEEP_EVERY };
        }
    }

    /// Ends when there are records, or after [`IDLE`].
    async fn wait_for_records(&self, claimed: &Notify) {
        let is_empty = || self.store.size().records == 0;
        if is_empty() {
            // A claim from now on wakes the keeper; an earlier claim has its record in the store.
            self.keeper_wakes.store(u64::MAX, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if is_empty() {
                let _ = timeout(IDLE, claimed.notified()).await;
            }
        }
    }

    /// Carries out what is due for at most `portion` records. Returns how many there were.
    pub async fn sweep(self: &Arc<Self>, portion: usize) -> Result<usize, StoreError> {
        let due = self.store.due(self.clock().now(), portion).await?;
        let count = due.len();
        // All sweeps run at once, so that one sync of the store makes them durable.
        let mut sweeps = JoinSet::new();
        for id in due {
            let ledger = self.clone();
            sweeps.spawn(async move { ledger.sweep_one(id).await });
        }
        sweeps.join_all().await.into_iter().collect::<Result<(), _>>()?;
        Ok(count)
    }

    async fn sweep_one(&self, id: OperationId) -> Result<(), StoreError> {
        let Some(current) = self.store.load(id).await? else { return Ok(()) };
        if let State::Pointer(_) = current.record.state {
            return pointers::sweep(&self.store, id, &current).await.map(|_| ());
        }
        let before = current.record.clone();
        let now = self.clock().now();
        let Advanced::Done(swept) = self.advance(id, Some(current), &Event::Sweep).await? else {
            return Ok(());
        };
        if let Some(cache) = &self.cache {
            cache.remove(id);
        }
        let next_try = |record: &Record| record.probing.and_then(|probing| probing.next);
        let held = matches!(before.state, State::Unknown { .. });
        if let Some(Versioned { version, record }) = swept
            && held
            && next_try(&record) > next_try(&before)
        {
            self.hand_out(Turn::new(id, version, record, now));
        }
        Ok(())
    }
}
