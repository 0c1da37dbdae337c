//! The clock of deadlines: it moves the engine's epoch on every millisecond while guests run, and
//! rests while none does.

use crate::policy::engine::join::join;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, compiler_fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{Builder, JoinHandle, Thread};
use std::time::Duration;

/// An epoch's length.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a call before it rests: traffic with pauses shouldn't wake it at every request.
const TICKS_BEFORE_REST: u32 = 100;
/// A rest is interrupted so often, to look for a guest that nobody told of.
const REST_MAX: Duration = Duration::from_secs(1);

/// No call since the ticker looked.
const QUIET: u8 = 0;
/// A call began and ended since.
const CALLED: u8 = 1;
/// A call is under way.
const RUNNING: u8 = 2;

/// Which guests run, and whether the ticker rests.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    runners: Mutex<Vec<Weak<Place>>>,
    resting: AtomicBool,
    stopped: AtomicBool,
    ticker: OnceLock<Thread>,
}

/// What one runner does. On a cache line of its own, which passes to the ticker only while that
/// ticks.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Place(AtomicU8);

/// Something that runs one guest at a time.
#[derive(Debug)]
pub(crate) struct Runner {
    pulse: Arc<Pulse>,
    place: Arc<Place>,
}

/// A guest runs for as long as this lives, and deadlines pass.
#[derive(Debug)]
pub(crate) struct Beat<'a>(&'a Place);

impl Runner {
    /// To be called before a guest's deadline is set: from then on the epoch moves.
    ///
    /// No locked instruction and no fence, for this is on the way of every request. So the ticker,
    /// once it has said that it rests, looks again a tick later: by then a call that had not seen
    /// that has been seen itself.
    pub(crate) fn begin(&mut self) -> Beat<'_> {
        self.place.0.store(RUNNING, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
        if self.pulse.resting.load(Ordering::Acquire) {
            self.pulse.wake();
        }
        Beat(&self.place)
    }
}

impl Drop for Beat<'_> {
    fn drop(&mut self) {
        self.0.0.store(CALLED, Ordering::Release);
    }
}

impl Pulse {
    /// One more that runs guests.
    pub(crate) fn runner(self: &Arc<Self>) -> Runner {
        let place = Arc::<Place>::default();
        let mut runners = self.runners.lock().unwrap_or_else(PoisonError::into_inner);
        if runners.len() == runners.capacity() {
            runners.retain(|runner| runner.strong_count() > 0);
        }
        runners.push(Arc::downgrade(&place));
        Runner { pulse: Arc::clone(self), place }
    }

    #[cold]
    fn wake(&self) {
        if self.resting.swap(false, Ordering::SeqCst)
            && let Some(ticker) = self.ticker.get()
        {
            ticker.unpark();
        }
    }

    /// Whether the epoch stands still.
    #[cfg(test)]
    pub(crate) fn is_resting(&self) -> bool {
        self.resting.load(Ordering::SeqCst)
    }

    /// Whether a guest runs or ran since the last look.
    fn look(&self) -> bool {
        let runners = self.runners.lock().unwrap_or_else(PoisonError::into_inner);
        let ran = |place: &Place| match place.0.load(Ordering::Acquire) {
            QUIET => false,
            // Where it fails, another call began.
            CALLED => {
                let _ = place.0.compare_exchange(CALLED, QUIET, Ordering::AcqRel, Ordering::Acquire);
                true
            }
            _ => true,
        };
        // All of them: each is to be quiet before the next look.
        runners.iter().filter_map(Weak::upgrade).filter(|place| ran(place)).count() > 0
    }

    /// Rests until a call begins. A look at least every `rest_max`.
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
pub(crate) struct Ticker {
    pulse: Arc<Pulse>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: &wasmtime::Engine) -> io::Result<Self> {
        let pulse = Arc::<Pulse>::default();
        let (engine, beating) = (engine.weak(), Arc::clone(&pulse));
        let thread = Builder::new().name("policy-epoch".into()).spawn(move || {
            // Before it can rest: whoever finds it resting finds it here.
            let _ = beating.ticker.set(std::thread::current());
            tick(&engine, &beating);
        })?;
        Ok(Self { pulse, thread: Some(thread) })
    }

    /// What it goes by.
    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.pulse.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            join(thread);
        }
    }
}

fn tick(engine: &wasmtime::EngineWeak, pulse: &Pulse) {
    let mut quiet = 0;
    while !pulse.stopped.load(Ordering::SeqCst) {
        // A call that wakes it has this long to run before the first tick: a deadline is never
        // shorter than it says.
        std::thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        drop(engine);
        quiet = if pulse.look() { 0 } else { quiet + 1 };
        if quiet >= TICKS_BEFORE_REST {
            pulse.rest(REST_MAX);
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

    /// A ticker that rests whenever it may, and counts how often it came around.
    fn sleepy(pulse: &Pulse, rounds: &AtomicU64) {
        pulse.ticker.set(std::thread::current()).unwrap();
        while !pulse.stopped.load(Ordering::SeqCst) {
            if !pulse.look() {
                pulse.rest(NEVER);
            }
            rounds.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
        }
    }

    #[test]
    fn no_call_runs_while_the_ticker_rests_whenever_it_begins() {
        let (pulse, rounds) = (Arc::<Pulse>::default(), AtomicU64::new(0));
        let ticked_on = |runner: &mut Runner| {
            let _beat = runner.begin();
            let (before, begun) = (rounds.load(Ordering::SeqCst), Instant::now());
            // Twice: the first may have been on its way before the call began.
            while rounds.load(Ordering::SeqCst) < before + 2 && begun.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
            rounds.load(Ordering::SeqCst) >= before + 2
        };
        std::thread::scope(|scope| {
            scope.spawn(|| sleepy(&pulse, &rounds));
            let calls = [0, 1].map(|_| {
                scope.spawn(|| {
                    let mut runner = pulse.runner();
                    (0..1_000).all(|_| ticked_on(&mut runner))
                })
            });
            let ticked = calls.map(|call| call.join().unwrap());
            pulse.stopped.store(true, Ordering::SeqCst);
            pulse.ticker.get().unwrap().unpark();
            assert_eq!(ticked, [true, true], "a call ran and the ticker slept on");
        });
    }

    #[test]
    fn a_runner_that_is_gone_is_forgotten() {
        let pulse = Arc::<Pulse>::default();
        for _ in 0..1_000 {
            drop(pulse.runner());
        }
        assert!(pulse.runners.lock().unwrap().len() < 16);
        assert!(!pulse.look());
    }
}
