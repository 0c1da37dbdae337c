//! The share of the ledger for unproven principals, of whom no operation was executed with success lately. Anybody can
//! make up credentials and keys, so nobody fills the ledger with them for all (`design/store.md`).

use oncegate_core::Timestamp;
use oncegate_store::Size;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Records that end within the same so many milliseconds are counted together.
const SLICE: u64 = 8 << 10;
/// So many bytes are no reason to look how large the ledger is.
const LITTLE: u64 = 64 << 10;

/// What the ledger keeps of unproven principals, since the gateway's start.
#[derive(Debug, Default)]
pub struct UnprovenShare {
    bytes: AtomicU64,
    /// The bytes by the slice of time in which they go.
    ends: Mutex<BTreeMap<u64, u64>>,
}

impl UnprovenShare {
    /// Notes that an operation left so many bytes in the ledger until then.
    pub fn note(&self, bytes: usize, until: Timestamp) {
        let bytes = bytes as u64;
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        *ends.entry(until.as_millis() / SLICE).or_default() += bytes;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How long it takes until some of it goes, if it is a quarter of the ledger's room, and the ledger is half full.
    pub fn wait(&self, ledger: impl FnOnce() -> Size, now: Timestamp) -> Option<Duration> {
        if self.bytes.load(Ordering::Relaxed) < LITTLE {
            return None;
        }
        let Size { bytes, room, .. } = ledger();
        let all = bytes.saturating_add(room?);
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(end) = ends.first_entry().filter(|end| *end.key() < now.as_millis() / SLICE) {
            self.bytes.fetch_sub(end.remove(), Ordering::Relaxed);
        }
        let is_full = bytes >= all / 2 && self.bytes.load(Ordering::Relaxed) >= all / 4;
        let (first, _) = ends.first_key_value().filter(|_| is_full)?;
        Some(Timestamp::from_millis((first + 1) * SLICE).since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    /// A ledger of 4 MiB.
    fn ledger(bytes: u64) -> impl FnOnce() -> Size {
        move || Size { bytes, room: Some(4 * MIB - bytes), ..Size::default() }
    }

    #[test]
    fn a_quarter_of_a_half_full_ledger_is_theirs() {
        let share = UnprovenShare::default();
        share.note(MIB as usize - 1, at(100));
        assert_eq!(share.wait(ledger(3 * MIB), at(1)), None, "less than a quarter");
        share.note(1, at(200));
        assert_eq!(share.wait(ledger(2 * MIB - 1), at(1)), None, "less than half full");
        assert_eq!(
            share.wait(|| Size { bytes: 3 * MIB, ..Size::default() }, at(1)),
            None,
            "nobody knows the room"
        );
        let wait = share.wait(ledger(2 * MIB), at(1)).expect("the share is taken");
        assert!((99..=99 + 9).contains(&wait.as_secs()), "{wait:?}");
    }

    #[test]
    fn what_has_ended_counts_no_more() {
        let share = UnprovenShare::default();
        for seconds in 100..200 {
            share.note(MIB as usize / 50, at(seconds));
        }
        assert!(share.wait(ledger(3 * MIB), at(110)).is_some());
        assert_eq!(share.wait(ledger(3 * MIB), at(170)), None);
        assert_eq!(share.wait(ledger(3 * MIB), at(300)), None);
        assert_eq!(share.bytes.load(Ordering::Relaxed), 0);
    }
}
