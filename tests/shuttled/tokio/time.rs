//! As `tokio::time`, on a clock that only [`advance`] moves. All of shuttle's threads are one of the system's, so the
//! clock is that thread's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Add;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[derive(Default)]
struct Clock {
    now: Duration,
    timers: BTreeMap<(Duration, u64), Waker>,
    next_timer: u64,
}

thread_local! {
    static CLOCK: RefCell<Clock> = RefCell::default();
}

/// Sets the clock back to its start. What waits is forgotten.
pub fn reset() {
    drop(CLOCK.take());
}

/// The time since the start.
pub fn elapsed() -> Duration {
    CLOCK.with_borrow(|clock| clock.now)
}

/// Goes on to when the next wait is over. False: nobody waits for a time.
pub fn advance() -> bool {
    let due = CLOCK.with_borrow_mut(|clock| {
        let next = clock.timers.first_key_value().map(|((at, _), _)| *at)?;
        clock.now = clock.now.max(next);
        let later = clock.timers.split_off(&(clock.now, u64::MAX));
        Some(std::mem::replace(&mut clock.timers, later))
    });
    due.map(|due| due.into_values().for_each(Waker::wake)).is_some()
}

/// As tokio's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// As tokio's.
    pub fn now() -> Self {
        Self(elapsed())
    }

    /// As tokio's.
    pub fn elapsed(&self) -> Duration {
        elapsed().saturating_sub(self.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

/// As tokio's.
#[derive(Debug)]
pub struct Elapsed;

struct Sleep {
    until: Duration,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.until;
        CLOCK.with_borrow_mut(|clock| {
            if clock.now >= until {
                return Poll::Ready(());
            }
            let timer = *self.timer.get_or_insert_with(|| {
                clock.next_timer += 1;
                clock.next_timer
            });
            clock.timers.insert((until, timer), cx.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            CLOCK.with_borrow_mut(|clock| clock.timers.remove(&(self.until, timer)));
        }
    }
}

/// As tokio's.
pub async fn sleep_until(until: Instant) {
    Sleep { until: until.0, timer: None }.await;
}

/// As tokio's.
pub async fn sleep(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

/// As tokio's.
pub async fn timeout_at<F: Future>(until: Instant, future: F) -> Result<F::Output, Elapsed> {
    let (mut future, mut over) = (pin!(future), pin!(sleep_until(until)));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => over.as_mut().poll(cx).map(|()| Err(Elapsed)),
    })
    .await
}

/// As tokio's.
pub async fn timeout<F: Future>(time: Duration, future: F) -> Result<F::Output, Elapsed> {
    timeout_at(Instant::now() + time, future).await
}
