//! The clock of deadlines: it moves the engine's epoch on every millisecond while guests run, and
//! rests while none does.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle, Thread};
use std::time::Duration;

/// An epoch's length.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a call before it rests: traffic with pauses shouldn't wake it at every request.
const TICKS_BEFORE_REST: u32 = 100;
/// Threads beyond these share counters.
const COUNTERS: usize = 16;

/// Which guests run. Every call is counted, each thread on a counter of its own, so that workers
/// don't pass a cache line to and fro.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    counters: [Counter; COUNTERS],
    resting: AtomicBool,
    stopped: AtomicBool,
    ticker: OnceLock<Thread>,
}

/// Calls that began, in the upper half, and that are under way, in the lower one. On a pair of cache
/// lines of its own, for lines are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

const BEGUN: u64 = 1 << 32;
const UNDER_WAY: u64 = BEGUN - 1;

/// A guest runs for as long as this lives, and deadlines pass.
#[derive(Debug)]
pub(super) struct Beat<'a>(&'a Counter);

impl Pulse {
    /// To be called before a guest's deadline is set. From then on the epoch moves.
    pub(super) fn begin(&self) -> Beat<'_> {
        let counter = &self.counters[own_counter()];
        // Both sides write one thing and then read the other, in one order that all agree on:
        // either the ticker sees this call, or this call sees that the ticker rests.
        counter.0.fetch_add(BEGUN | 1, Ordering::SeqCst);
        if self.resting.load(Ordering::SeqCst) {
            self.wake();
        }
        Beat(counter)
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
    pub(super) fn is_resting(&self) -> bool {
        self.resting.load(Ordering::SeqCst)
    }

    /// All counters together: halves don't run into one another, for few calls are under way.
    fn count(&self) -> u64 {
        self.counters.iter().fold(0, |sum, counter| u64::wrapping_add(sum, counter.0.load(Ordering::SeqCst)))
    }

    /// Rests until a call begins, unless one did since `seen` was counted.
    fn rest(&self, seen: u64) {
        self.resting.store(true, Ordering::SeqCst);
        if self.count() == seen {
            while self.resting.load(Ordering::SeqCst) && !self.stopped.load(Ordering::SeqCst) {
                std::thread::park();
            }
        }
        self.resting.store(false, Ordering::SeqCst);
    }
}

impl Drop for Beat<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

fn own_counter() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % COUNTERS;
    }
    // A thread that is ending has no place of its own any more, and may use any.
    OWN.try_with(|own| *own).unwrap_or(0)
}

/// Moves the epoch on, until it is dropped.
#[derive(Debug)]
pub(super) struct Ticker {
    pulse: Arc<Pulse>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(super) fn start(engine: &wasmtime::Engine) -> io::Result<Self> {
        let pulse = Arc::new(Pulse::default());
        let (engine, beating) = (engine.weak(), Arc::clone(&pulse));
        let thread = Builder::new().name("policy-epoch".into()).spawn(move || {
            // Before it can rest: whoever finds it resting finds it here.
            let _ = beating.ticker.set(std::thread::current());
            tick(&engine, &beating);
        })?;
        Ok(Self { pulse, thread: Some(thread) })
    }

    /// What calls are counted on.
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.pulse.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            super::threads::join(thread);
        }
    }
}

fn tick(engine: &wasmtime::EngineWeak, pulse: &Pulse) {
    let (mut seen, mut quiet) = (pulse.count(), 0);
    while !pulse.stopped.load(Ordering::SeqCst) {
        // A call that wakes it has this long to run before the first tick: a deadline is never
        // shorter than it says.
        std::thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        drop(engine);
        let now = pulse.count();
        if now != seen || now & UNDER_WAY != 0 {
            (seen, quiet) = (now, 0);
            continue;
        }
        quiet += 1;
        if quiet >= TICKS_BEFORE_REST {
            pulse.rest(seen);
            quiet = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A ticker that rests whenever it may, and counts how often it came around.
    fn sleepy(pulse: &Pulse, rounds: &AtomicU64) {
        pulse.ticker.set(std::thread::current()).unwrap();
        while !pulse.stopped.load(Ordering::SeqCst) {
            let seen = pulse.count();
            if seen & UNDER_WAY == 0 {
                pulse.rest(seen);
            }
            rounds.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
        }
    }

    #[test]
    fn no_call_runs_while_the_ticker_rests_whenever_it_begins() {
        let (pulse, rounds) = (Pulse::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| sleepy(&pulse, &rounds));
            let calls = [0, 1].map(|_| {
                scope.spawn(|| {
                    (0..3_000).all(|_| {
                        let _beat = pulse.begin();
                        let (before, begun) = (rounds.load(Ordering::SeqCst), Instant::now());
                        while rounds.load(Ordering::SeqCst) == before && begun.elapsed() < PATIENCE {
                            std::thread::yield_now();
                        }
                        rounds.load(Ordering::SeqCst) != before
                    })
                })
            });
            let ticked = calls.map(|call| call.join().unwrap());
            pulse.stopped.store(true, Ordering::SeqCst);
            pulse.ticker.get().unwrap().unpark();
            assert_eq!(ticked, [true, true], "a call ran and the ticker slept on");
        });
        assert_eq!(pulse.count() & UNDER_WAY, 0);
    }
}
