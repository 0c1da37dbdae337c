//! How long the oldest call waits. A disk that hangs gives no error: only the time tells.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The threads that read.
pub(super) const READERS: usize = 2;
/// A call that waits this long means that the disk hangs. A merge that the writer waits for seldom takes so
/// long, and then nothing new should come either.
const HANGS_AFTER: Duration = Duration::from_secs(5);

/// A call in a queue.
pub(super) struct Queued<T> {
    /// When it was put there.
    pub(super) at: Instant,
    pub(super) message: T,
}

/// A thread that works on calls.
#[derive(Clone, Copy)]
pub(super) enum Works {
    Writer,
    Reader(usize),
}

/// For each thread the oldest call that it works on. Queues keep their order, so none that waits behind it is
/// older.
pub(super) struct Calls {
    begun: Instant,
    /// Milliseconds after `begun`, and one; 0: the thread has nothing to do.
    oldest: [AtomicU64; 1 + READERS],
}

/// A call that is worked on while this lives.
pub(super) struct Working<'a>(&'a AtomicU64);

impl Default for Calls {
    fn default() -> Self {
        Self { begun: Instant::now(), oldest: Default::default() }
    }
}

impl Calls {
    /// Notes that this thread works on calls of which the oldest came `at` that time.
    pub(super) fn work(&self, works: Works, at: Instant) -> Working<'_> {
        let oldest = match works {
            Works::Writer => &self.oldest[0],
            Works::Reader(number) => &self.oldest[1 + number],
        };
        oldest.store(self.millis(at) + 1, Ordering::Relaxed);
        Working(oldest)
    }

    /// Whether a call waits longer than a disk that works would let it.
    pub(super) fn hang(&self) -> bool {
        self.hang_at(Instant::now())
    }

    fn hang_at(&self, now: Instant) -> bool {
        let now = self.millis(now);
        let waits = |oldest: u64| now.saturating_sub(oldest - 1) >= HANGS_AFTER.as_millis() as u64;
        self.oldest
            .iter()
            .map(|oldest| oldest.load(Ordering::Relaxed))
            .any(|oldest| oldest > 0 && waits(oldest))
    }

    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.begun).as_millis() as u64
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_thread_that_is_held_up_hangs() {
        let calls = Calls::default();
        let after = |seconds| calls.begun + Duration::from_secs(seconds);
        for works in [Works::Writer, Works::Reader(0), Works::Reader(1)] {
            let working = calls.work(works, after(10));
            let seen = [9, 10, 14, 15, 60].map(|at| calls.hang_at(after(at)));
            assert_eq!(seen, [false, false, false, true, true]);
            drop(working);
            assert!(!calls.hang_at(after(60)));
        }
        let _long = calls.work(Works::Writer, after(0));
        let _short = calls.work(Works::Reader(1), after(7));
        assert!(calls.hang_at(after(8)));
    }
}
