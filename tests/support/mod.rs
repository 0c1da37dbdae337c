//! The base of the scenarios: the gateway as a process, an upstream that follows scripts, a client that
//! repairs nothing. Nothing here knows a line of the gateway's code.

pub(crate) mod breaker;
pub(crate) mod client;
pub(crate) mod external;
pub(crate) mod faults;
pub(crate) mod gateway;
pub(crate) mod power;
pub(crate) mod starting;
pub(crate) mod upstream;
pub(crate) mod wire;

pub(crate) use client::{HOST, Reply, Request};
pub(crate) use faults::{Faults, Point};
pub(crate) use gateway::{Gateway, Setup};
pub(crate) use power::Keep;
pub(crate) use upstream::{Gate, Script, Step, Upstream};

use std::time::{Duration, Instant};

/// Asks again until there is an answer. For conditions that nobody announces.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    patiently(ask).unwrap_or_else(|| panic!("in {:?} it never came true that {what}", wire::PATIENCE))
}

/// Asks again until there is an answer or patience ends. The pause between two questions only
/// spares the processor.
pub(crate) fn patiently<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || begun.elapsed() > wire::PATIENCE {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Random-looking numbers that a seed reproduces: SplitMix64.
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice with a seed from `ONCEGATE_SEED`, or from the clock. The seed is printed either way.
    pub(crate) fn thrown(test: &str) -> Self {
        let now = || std::time::UNIX_EPOCH.elapsed().map_or(0, |t| u64::from(t.subsec_nanos()));
        let seed = std::env::var("ONCEGATE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(now);
        println!("{test}: ONCEGATE_SEED={seed}");
        Self(seed)
    }

    /// Dice with this seed.
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}
