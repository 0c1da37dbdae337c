//! Sweeps: carries out the due changes of records, in small portions.

use super::wall::Difference;
use crate::advance::Advanced;
use crate::state::Ledger;
use crate::turn::Turn;
use oncegate_core::{Event, OperationId, Record, State, Timestamp};
use oncegate_keyspaces::pointers;
use oncegate_store::{Store, StoreError, Versioned};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How often records are swept while there are any.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often the clocks are compared where there are no records.
const IDLE: Duration = Duration::from_secs(60);
/// How many records one sweep touches, so that no request waits long behind it.
const SWEEP_PORTION: usize = 1024;
/// The pauses between two portions where there is more to sweep: as long as the last portion took, within
/// these bounds. So sweeps take half of the store's time at most.
const SWEEP_PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(25));

/// How long a record is passed over that can't be swept now, so that it holds up no others.
const PASSED_OVER: Duration = Duration::from_secs(1);

/// After so many full portions in a row, more becomes due than is swept in half of the store's time. Then the
/// sweep waits no longer than it must: it takes fewer steps than the requests that made the records, so it
/// comes to an end.
const SWEEP_HALF: u32 = 8;

/// The pause after a portion: the last so many in a row were full, and it took this long.
fn pause_after(full: u32, took: Duration) -> Duration {
    match full {
        0 => SWEEP_EVERY,
        1..SWEEP_HALF => took.clamp(SWEEP_PAUSES.0, SWEEP_PAUSES.1),
        SWEEP_HALF.. => SWEEP_PAUSES.0,
    }
}

impl<S: Store> Ledger<S> {
    /// Sweeps, for as long as the future is polled. `claimed`: notified when a request has claimed.
    pub(super) async fn keep_swept(self: &Arc<Self>, claimed: &Notify) {
        let mut difference = Difference::default();
        let mut pause = SWEEP_EVERY;
        let mut told = false;
        let mut full = 0;
        loop {
            sleep(pause).await;
            self.wait_for_records(claimed).await;
            difference.look(self.clock());
            let begun = Instant::now();
            let swept = self.sweep(SWEEP_PORTION).await;
            let fails = swept.is_err();
            match &swept {
                Err(error) if !told => tracing::warn!(%error, "due records can't be swept"),
                Ok(_) if told => tracing::info!("due records are swept again"),
                _ => {}
            }
            told = fails;
            // A full portion means that there is more.
            full = if matches!(swept, Ok(SWEEP_PORTION)) { full + 1 } else { 0 };
            pause = pause_after(full, begun.elapsed());
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

    /// Carries out what is due for at most `portion` records. Returns how many there were; an error if none of
    /// them can be swept. A record that can't be swept would stay the first that is due, and hold up all
    /// others. So it is passed over: a moment, and one that can't be read from then on.
    pub async fn sweep(self: &Arc<Self>, portion: usize) -> Result<usize, StoreError> {
        let now = self.clock().now();
        self.passed_over.retain(|_, until| *until > now);
        let mut due = self.store.due(now, portion + self.passed_over.len()).await?;
        due.retain(|id| !self.passed_over.contains_key(id));
        due.truncate(portion);
        let count = due.len();
        // All sweeps run at once, so that one sync of the store makes them durable.
        let mut sweeps = JoinSet::new();
        for id in due {
            let ledger = self.clone();
            sweeps.spawn(async move { (id, ledger.sweep_one(id).await) });
        }
        let swept = sweeps.join_all().await;
        let failed = swept.into_iter().filter_map(|(id, swept)| Some((id, swept.err()?)));
        let failed: Vec<_> = failed.collect();
        let (mut store_fails, all_failed) = (None, failed.len() == count);
        for (operation, error) in failed {
            if let StoreError::Corrupt(_) = error {
                tracing::error!(%operation, %error, "a due record can't be read, and is passed over until a restart");
                self.passed_over.insert(operation, Timestamp::MAX);
                continue;
            }
            self.passed_over.insert(operation, self.clock().now().plus(PASSED_OVER));
            if all_failed {
                store_fails = Some(error);
            } else {
                tracing::warn!(%operation, %error, "a due record can't be swept now");
            }
        }
        store_fails.map_or(Ok(count), Err)
    }

    async fn sweep_one(&self, id: OperationId) -> Result<(), StoreError> {
        let Some(current) = self.store.load(id).await? else { return Ok(()) };
        if let State::Pointer(_) = current.record.state {
            return pointers::sweep(&self.store, id, &current).await.map(|_| ());
        }
        let next_try = |record: &Record| record.probing.and_then(|probing| probing.next);
        let held = matches!(current.record.state, State::Unknown { .. });
        let before = next_try(&current.record);
        let now = self.clock().now();
        let Advanced::Done(swept) = self.advance(id, Some(current), &Event::Sweep).await? else {
            // What was left executing is due by what is stored, until that is recorded as unknown.
            return self.store.recover(id).await;
        };
        if let Some(cache) = &self.cache {
            cache.remove(id);
        }
        if !held && let Some(State::Unknown { reason, .. }) = swept.as_ref().map(|swept| &swept.record.state)
        {
            tracing::warn!(operation = %id, reason = reason.word(), outcome = "unknown", "a claim has lapsed: nobody knows what came of it");
        }
        if let Some(Versioned { version, record }) = swept
            && held
            && next_try(&record) > before
        {
            self.hand_out(Turn::new(id, version, record, now));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use oncegate_store::conformance::{completed, id, on_a_runtime, put};
    use oncegate_store::faulty::{Faulty, StoreFault};
    use oncegate_store::{CallTimes, Clock, Memory, StoreCall, Timed};
    use std::sync::atomic::AtomicU64;

    #[test]
    fn sweeps_that_fall_behind_stop_pausing() {
        let millis = Duration::from_millis;
        for (took, half) in [(0, 1), (7, 7), (24, 24), (900, 25)] {
            let pauses = [0, 1, 7, 8, 9, u32::MAX].map(|full| pause_after(full, millis(took)));
            let expected = [1_000, half, half, 1, 1, 1].map(millis);
            assert_eq!(pauses, expected, "{took} ms");
        }
    }

    #[test]
    fn unreadable_records_hold_up_no_others() {
        for damaged in [&[1_u64][..], &[1, 2, 3], &[1, 2, 3, 4, 5], &[2, 4, 6], &[7], &[]] {
            on_a_runtime(async {
                let store = Faulty::new(Memory::new(1 << 20));
                for n in 1..=7 {
                    // All are long forgotten; the first is due first.
                    put(&*store.inner, id(n), None, Some(completed(n, 10))).await;
                }
                store.damage(&damaged.iter().map(|n| id(*n)).collect::<Vec<_>>());
                let (ledger, _) = Ledger::new(store, Clock::start(Timestamp::default()), None);
                for _ in 0..8 {
                    ledger.sweep(2).await.unwrap();
                }
                assert_eq!(ledger.sweep(2).await.unwrap(), 0, "{damaged:?}");
                assert_eq!(ledger.unreadable(), damaged.len() as u64);
                for n in 1..=7 {
                    let stands = ledger.store().inner.load(id(n)).await.unwrap().value.is_some();
                    assert_eq!(stands, damaged.contains(&n), "{n} of {damaged:?}");
                }
            });
        }
    }

    /// One bad sector of the disk, say. It used to slow the sweep down to a portion a second.
    #[test]
    fn records_that_fail_for_now_hold_up_no_others() {
        for failing in [&[1_u64][..], &[1, 2], &[1, 2, 3, 4, 5], &[2, 5], &[7]] {
            on_a_runtime(async {
                let store = Faulty::new(Memory::new(1 << 20));
                for n in 1..=7 {
                    put(&*store.inner, id(n), None, Some(completed(n, 10))).await;
                }
                let failing: Vec<_> = failing.iter().map(|n| id(*n)).collect();
                store.damage_by(&failing, &StoreError::Unavailable("a bad sector".into()));
                let (ledger, _) = Ledger::new(store, Clock::start(Timestamp::default()), None);
                for _ in 0..8 {
                    // An error where none of a portion can be swept.
                    let _ = ledger.sweep(2).await;
                }
                assert_eq!(ledger.store().inner.size().records, failing.len() as u64, "{failing:?}");
                assert_eq!(ledger.unreadable(), failing.len() as u64);
                ledger.store().damage(&[]);
                // They are swept when their moment is over.
                ledger.passed_over.alter_all(|_, _| Timestamp::default());
                assert_eq!(ledger.sweep(7).await.unwrap(), failing.len());
                assert_eq!(ledger.store().inner.size().records, 0, "{failing:?}");
            });
        }
    }

    #[derive(Debug, Default)]
    struct Calls([AtomicU64; 4]);

    impl CallTimes for Calls {
        fn took(&self, call: StoreCall, _: Duration) {
            self.0[call as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One step drops the answer, and a later one the record. Where nothing is remembered of it by then, one
    /// step does both.
    #[test]
    fn a_record_is_swept_in_as_few_steps_as_can_be() {
        let secs = Duration::from_secs;
        for (age, tombstone, is_gone) in
            [(601, 0, true), (661, 60, true), (100_000, 60, true), (601, 60, false), (650, 86_400, false)]
        {
            on_a_runtime(async {
                let calls = Arc::new(Calls::default());
                let store = Timed::new(Memory::new(1 << 20), calls.clone());
                let (ledger, _) = Ledger::new(store, Clock::start(Timestamp::default()), None);
                let mut record =
                    Record::clone(&completed(ledger.clock().now().minus(secs(age)).as_secs(), 10));
                record.times.tombstone = secs(tombstone);
                put(ledger.store(), id(1), None, Some(Arc::new(record))).await;
                assert_eq!((ledger.sweep(9).await.unwrap(), ledger.sweep(9).await.unwrap()), (1, 0));
                let [loads, swaps] = [StoreCall::Load, StoreCall::Swap]
                    .map(|call| calls.0[call as usize].load(Ordering::Relaxed));
                assert_eq!((loads, swaps), (1, 2), "the first put among them: {age} {tombstone}");
                let left = ledger.load(id(1)).await.unwrap().map(|left| left.record);
                assert_eq!(left.is_none(), is_gone, "{age} {tombstone}");
                assert!(left.is_none_or(|left| matches!(left.state, State::Consumed { .. })));
            });
        }
    }

    /// A thousand are written at once, and each answer may have ten megabytes.
    #[test]
    fn answers_are_let_go_before_the_write() {
        for age in [601, 659, 661, 100_000] {
            on_a_runtime(async {
                let store = Faulty::new(Memory::new(1 << 20));
                let (ledger, _) = Ledger::new(store, Clock::start(Timestamp::default()), None);
                let at = ledger.clock().now().as_secs() - age;
                let records: Vec<_> = (0..3).map(|n| completed(at, n)).collect();
                for (n, record) in records.iter().enumerate() {
                    put(&*ledger.store().inner, id(n as u64), None, Some(record.clone())).await;
                }
                ledger.store().next(&[StoreFault::UnwrittenForEver; 3]);
                let sweeping = ledger.clone();
                let sweeping = tokio::spawn(async move { sweeping.sweep(3).await });
                while ledger.store().to_come() > 0 {
                    tokio::task::yield_now().await;
                }
                // The store has one, and this test.
                assert_eq!([0, 1, 2].map(|n| Arc::strong_count(&records[n])), [2; 3], "{age}");
                sweeping.abort();
            });
        }
    }

    #[test]
    fn records_of_an_unreadable_store_are_swept_later() {
        on_a_runtime(async {
            let store = Faulty::new(Memory::new(1 << 20));
            put(&*store.inner, id(1), None, Some(completed(1, 10))).await;
            let (ledger, _) = Ledger::new(store, Clock::start(Timestamp::default()), None);
            ledger.store().unreadable(true);
            assert!(ledger.sweep(2).await.is_err());
            assert_eq!(ledger.unreadable(), 0);
            ledger.store().unreadable(false);
            assert_eq!(ledger.sweep(2).await.unwrap(), 1);
            assert!(ledger.store().inner.load(id(1)).await.unwrap().value.is_none());
        });
    }
}
