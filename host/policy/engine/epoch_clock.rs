//! The clock of deadlines. It moves the engine's epoch on every millisecond while guests run, and
//! rests while no guest runs.

use crate::engine::join::join;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, compiler_fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{Builder, JoinHandle, Thread};
use std::time::Duration;

/// An epoch's length.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a call before the clock rests: traffic with pauses shouldn't wake it at every request.
const TICKS_BEFORE_REST: u32 = 100;
/// The longest rest without a look for a guest that began unnoticed.
const REST_MAX: Duration = Duration::from_secs(1);

/// No call since the epoch thread looked.
const QUIET: u8 = 0;
/// A call began and ended since the epoch thread looked.
const CALLED: u8 = 1;
/// A call is under way.
const RUNNING: u8 = 2;

/// Knows which guests run, and whether the epoch thread rests.
#[derive(Debug, Default)]
pub(crate) struct EpochClock {
    runners: Mutex<Vec<Weak<RunnerSlot>>>,
    resting: AtomicBool,
    stopped: AtomicBool,
    thread: OnceLock<Thread>,
}

/// The state of one runner. It has a cache line of its own, which passes to the epoch thread only while that
/// thread ticks.
#[derive(Debug, Default)]
#[repr(align(64))]
struct RunnerSlot(AtomicU8);

/// A runner runs one guest at a time.
#[derive(Debug)]
pub(crate) struct Runner {
    clock: Arc<EpochClock>,
    slot: Arc<RunnerSlot>,
}

/// Means that a guest runs and deadlines pass, for as long as it lives.
#[derive(Debug)]
pub(crate) struct RunningGuard<'a>(&'a RunnerSlot);

impl Runner {
    /// Must be called before a guest's deadline is set: from this call on the epoch moves.
    ///
    /// It has no locked instruction and no fence, because every request comes this way. So the epoch thread
    /// looks again a tick after it has said that it rests. By then it sees any call that had not seen that it
    /// rests.
    pub(crate) fn begin(&mut self) -> RunningGuard<'_> {
        self.slot.0.store(RUNNING, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
        if self.clock.resting.load(Ordering::Acquire) {
            self.clock.wake();
        }
        RunningGuard(&self.slot)
    }
}

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        self.0.0.store(CALLED, Ordering::Release);
    }
}

impl EpochClock {
    /// Adds a runner of guests.
    pub(crate) fn runner(self: &Arc<Self>) -> Runner {
        let slot = Arc::<RunnerSlot>::default();
        let mut runners = self.runners.lock().unwrap_or_else(PoisonError::into_inner);
        if runners.len() == runners.capacity() {
            runners.retain(|runner| runner.strong_count() > 0);
        }
        runners.push(Arc::downgrade(&slot));
        Runner { clock: Arc::clone(self), slot }
    }

    #[cold]
    fn wake(&self) {
        if self.resting.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// True if the epoch stands still.
    #[cfg(test)]
    pub(crate) fn is_resting(&self) -> bool {
        self.resting.load(Ordering::SeqCst)
    }

    /// True if a guest runs or ran since the last look.
    fn look(&self) -> bool {
        let runners = self.runners.lock().unwrap_or_else(PoisonError::into_inner);
        let ran = |slot: &RunnerSlot| match slot.0.load(Ordering::Acquire) {
            QUIET => false,
            // If the exchange fails, another call began.
            CALLED => {
                let _ = slot.0.compare_exchange(CALLED, QUIET, Ordering::AcqRel, Ordering::Acquire);
                true
            }
            _ => true,
        };
        // The look counts all runners: each must be quiet before the next look.
        runners.iter().filter_map(Weak::upgrade).filter(|slot| ran(slot)).count() > 0
    }

    /// Rests until a call begins. Looks at least every `rest_max`.
    fn rest(&self, rest_max: Duration) {
        self.resting.store(true, Ordering::SeqCst);
        std::thread::sleep(TICK);
        while !self.look() && self.resting.load(Ordering::SeqCst) && !self.stopped.load(Ordering::SeqCst) {
            std::thread::park_timeout(rest_max);
        }
        self.resting.store(false, Ordering::SeqCst);
    }
}

/// Moves the epoch on, until it is dropped.
#[derive(Debug)]
pub(crate) struct EpochThread {
    clock: Arc<EpochClock>,
    thread: Option<JoinHandle<()>>,
}

impl EpochThread {
    pub(crate) fn start(engine: &wasmtime::Engine) -> io::Result<Self> {
        let clock = Arc::<EpochClock>::default();
        let (engine, shared) = (engine.weak(), Arc::clone(&clock));
        let thread = Builder::new().name("policy-epoch".into()).spawn(move || {
            // The thread is set before it can rest, so a call that finds it resting can wake it.
            let _ = shared.thread.set(std::thread::current());
            tick(&engine, &shared);
        })?;
        Ok(Self { clock, thread: Some(thread) })
    }

    /// The clock that the epoch thread moves.
    pub(crate) fn clock(&self) -> &Arc<EpochClock> {
        &self.clock
    }
}

impl Drop for EpochThread {
    fn drop(&mut self) {
        self.clock.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            join(thread);
        }
    }
}

fn tick(engine: &wasmtime::EngineWeak, clock: &EpochClock) {
    let mut quiet = 0;
    while !clock.stopped.load(Ordering::SeqCst) {
        // A call that wakes this thread has this long to run before the first tick, so that a deadline is
        // never shorter than it says.
        std::thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        drop(engine);
        quiet = if clock.look() { 0 } else { quiet + 1 };
        if quiet >= TICKS_BEFORE_REST {
            clock.rest(REST_MAX);
            quiet = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(20);
    const NEVER: Duration = Duration::from_secs(86_400);

    /// An epoch thread that rests whenever it may, and counts its rounds.
    fn sleepy(clock: &EpochClock, rounds: &AtomicU64) {
        clock.thread.set(std::thread::current()).unwrap();
        while !clock.stopped.load(Ordering::SeqCst) {
            if !clock.look() {
                clock.rest(NEVER);
            }
            rounds.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
        }
    }

    #[test]
    fn no_call_runs_while_the_epoch_thread_rests_whenever_it_begins() {
        let (clock, rounds) = (Arc::<EpochClock>::default(), AtomicU64::new(0));
        let ticked_on = |runner: &mut Runner| {
            let _running = runner.begin();
            let (before, begun) = (rounds.load(Ordering::SeqCst), Instant::now());
            // The test waits for two rounds: the first may have been on its way before the call began.
            while rounds.load(Ordering::SeqCst) < before + 2 && begun.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
            rounds.load(Ordering::SeqCst) >= before + 2
        };
        std::thread::scope(|scope| {
            scope.spawn(|| sleepy(&clock, &rounds));
            let calls = [0, 1].map(|_| {
                scope.spawn(|| {
                    let mut runner = clock.runner();
                    (0..1_000).all(|_| ticked_on(&mut runner))
                })
            });
            let ticked = calls.map(|call| call.join().unwrap());
            clock.stopped.store(true, Ordering::SeqCst);
            clock.thread.get().unwrap().unpark();
            assert_eq!(ticked, [true, true], "a call ran and the epoch thread slept on");
        });
    }

    #[test]
    fn a_runner_that_is_gone_is_forgotten() {
        let clock = Arc::<EpochClock>::default();
        for _ in 0..1_000 {
            drop(clock.runner());
        }
        assert!(clock.runners.lock().unwrap().len() < 16);
        assert!(!clock.look());
    }
}
