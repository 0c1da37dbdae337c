//! Policies that are too slow for a worker: how the gateway notices them, and how their calls wait.

use crate::engine::limits::QUICK_TIME_MAX;
use crate::interface::failure::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Notices a policy that doesn't answer in the time that a worker can spare, and queues its calls.
pub(crate) struct SlowPolicyDetector {
    slow: AtomicBool,
    quick_in_a_row: AtomicU32,
    queue: ThreadQueue,
}

/// The queue of one policy's work for the policy threads. One policy never takes all of them.
pub(crate) struct ThreadQueue {
    waiting: AtomicUsize,
    permits: Arc<Semaphore>,
}

impl SlowPolicyDetector {
    /// Quick calls in a row after which a policy returns to the workers. The number is so large that a policy
    /// which loops on a hundredth of its inputs hardly ever returns.
    const QUICK_ENOUGH: u32 = 512;

    pub(crate) fn new(permits: usize) -> Self {
        let (slow, quick_in_a_row) = (AtomicBool::new(false), AtomicU32::new(0));
        Self { slow, quick_in_a_row, queue: ThreadQueue::new(permits) }
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    /// Notes that a call took longer than a worker can spare.
    pub(crate) fn slowed(&self) {
        self.quick_in_a_row.store(0, Ordering::Relaxed);
        self.slow.store(true, Ordering::Relaxed);
    }

    /// Notes the time on a processor of a call on a policy thread.
    pub(crate) fn took(&self, time: Duration) {
        if time >= QUICK_TIME_MAX {
            self.quick_in_a_row.store(0, Ordering::Relaxed);
        } else if self.quick_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= Self::QUICK_ENOUGH {
            self.slow.store(false, Ordering::Relaxed);
        }
    }

    /// Waits for a share of the policy threads.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.queue.turn().await
    }
}

impl ThreadQueue {
    /// The most that may wait for a policy thread: more than come at once if clients retry together.
    const WAITING_MAX: usize = 256;

    pub(crate) fn new(permits: usize) -> Self {
        Self { waiting: AtomicUsize::new(0), permits: Arc::new(Semaphore::new(permits)) }
    }

    /// Waits for a share of the policy threads.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let waiting = Waiting::try_new(&self.waiting)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        drop(waiting);
        permit.map_err(|_| Failure::Lost)
    }
}

/// A call that waits, for as long as this value lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn try_new(waiting: &'a AtomicUsize) -> Result<Self, Failure> {
        let this = Self(waiting);
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        if before >= ThreadQueue::WAITING_MAX { Err(Failure::Busy(before)) } else { Ok(this) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    #[tokio::test]
    async fn no_more_wait_for_a_policy_thread_than_may() {
        let queue = ThreadQueue::new(1);
        let held = queue.turn().await.expect("the first takes its turn");
        let mut waiting: Vec<_> = (0..ThreadQueue::WAITING_MAX).map(|_| Box::pin(queue.turn())).collect();
        for turn in &mut waiting {
            assert!(poll_fn(|context| Poll::Ready(turn.as_mut().poll(context).is_pending())).await);
        }
        assert_eq!(queue.turn().await.err(), Some(Failure::Busy(ThreadQueue::WAITING_MAX)));
        // A call that leaves makes room for another.
        drop(waiting.pop());
        let mut late = pin!(queue.turn());
        assert!(poll_fn(|context| Poll::Ready(late.as_mut().poll(context).is_pending())).await);
        drop(held);
        assert!(waiting.remove(0).await.is_ok());
    }
}
