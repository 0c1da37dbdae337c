//! Whether the workers go on. The main thread counts beats, and each worker notes the latest that it has seen.
//! So a worker's stillness is measured in beats: while the whole process stands still, there are none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The time between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// So many beats without a sign, and a worker stands still. Who restarts the gateway for it leaves outcomes unknown,
/// so this is long.
const BEATS_MISSED_MAX: u64 = 10;
/// What is noted of a worker that has ended as it should.
const ENDED: u64 = u64::MAX;

/// The beats, and the workers that follow them.
#[derive(Debug, Default)]
pub struct Heart {
    beats: Arc<AtomicU64>,
    workers: Mutex<Vec<Arc<AtomicU64>>>,
}

/// A worker's sign that it goes on.
#[derive(Clone, Debug)]
pub(super) struct WorkerSign {
    beats: Arc<AtomicU64>,
    seen: Arc<AtomicU64>,
}

impl Heart {
    /// Beats for as long as it is polled.
    pub async fn beat(&self) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            self.beats.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One more worker follows.
    pub(super) fn follow(&self) -> WorkerSign {
        let seen = Arc::new(AtomicU64::new(self.beats.load(Ordering::Relaxed)));
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        WorkerSign { beats: self.beats.clone(), seen }
    }

    /// The number of a worker that stands still, and the seconds since its last sign.
    pub fn stands_still(&self) -> Option<(usize, u64)> {
        let beats = self.beats.load(Ordering::Relaxed);
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = workers.iter().map(|seen| beats.saturating_sub(seen.load(Ordering::Relaxed)));
        missed.enumerate().find(|(_, missed)| *missed > BEATS_MISSED_MAX)
    }
}

impl WorkerSign {
    /// Notes the beats for as long as it is polled.
    pub(super) async fn beat(&self) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            self.note();
        }
    }

    fn note(&self) {
        self.seen.store(self.beats.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The worker has ended as it should.
    pub(super) fn end(&self) {
        self.seen.store(ENDED, Ordering::Relaxed);
    }
}

/// What was missed while the process stood still is not made up for.
fn ticks() -> Interval {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_misses_beats_is_named() {
        let heart = Heart::default();
        let (goes_on, stops, never_began, ends) =
            (heart.follow(), heart.follow(), heart.follow(), heart.follow());
        never_began.end();
        ends.end();
        for beat in 1..=30 {
            heart.beats.fetch_add(1, Ordering::Relaxed);
            goes_on.note();
            if beat <= 5 {
                stops.note();
            }
            let missed = (beat > 15).then(|| (1, beat - 5));
            assert_eq!(heart.stands_still(), missed, "beat {beat}");
        }
        stops.note();
        assert_eq!(heart.stands_still(), None, "it goes on again");
        let _never_began = heart.follow();
        for _ in 0..=BEATS_MISSED_MAX {
            heart.beats.fetch_add(1, Ordering::Relaxed);
            goes_on.note();
            stops.note();
        }
        assert_eq!(heart.stands_still(), Some((4, 11)), "it never began");
    }
}
