//! The share of the ledger for unproven principals, of whom no operation was executed with success lately. Anybody can
//! make up credentials and keys, so nobody fills the ledger with them for all (`design/store.md`).

use oncegate_core::{Outcome, Record, Settlement, State, Times, Timestamp, UnknownReason};
use oncegate_store::Size;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Records that end within the same so many milliseconds are counted together.
const SLICE: u64 = 8 << 10;
/// What a store needs for a record beside it, roughly.
const ENTRY: usize = 256;
/// What a record of an execution under way takes at least, roughly.
const UNDER_WAY: u64 = 512;
/// How long to wait where all that is counted is under way.
const SOON: Duration = Duration::from_secs(1);
/// So many bytes are no reason to look how large the ledger is.
const LITTLE: u64 = 64 << 10;

/// What the ledger keeps of unproven principals, since the gateway's start.
#[derive(Debug, Default)]
pub struct UnprovenShare {
    /// Executions of unproven principals that are under way.
    pub under_way: AtomicUsize,
    bytes: AtomicU64,
    /// The bytes by the slice of time in which they go.
    ends: Mutex<BTreeMap<u64, u64>>,
}

impl UnprovenShare {
    /// Notes what an operation that was claimed with this record leaves in the ledger.
    pub fn note_left(&self, claimed: &Record, settlement: &Settlement, now: Timestamp) {
        let unknown = |reason| (0, State::Unknown { since: now, reason });
        let (answer, state) = match &settlement.outcome {
            Outcome::NotApplied if claimed.resent => unknown(UnknownReason::Ambiguous),
            Outcome::NotApplied => return,
            Outcome::Unknown(reason) => unknown(*reason),
            Outcome::Completed(answer) => {
                (answer.weight(), State::Completed { at: now, answer: answer.clone() })
            }
            Outcome::Consumed(summary) => {
                (summary.weight(), State::Consumed { at: now, summary: summary.clone() })
            }
        };
        let Times { retention, memory, .. } = claimed.times;
        let retention = settlement.retention.map_or(retention, |shorter| shorter.min(memory));
        let left = Record { state, times: Times { retention, ..claimed.times }, ..claimed.clone() };
        self.note(answer, left.expires_at());
        // A record that is sent again was counted when it became unknown.
        if !claimed.resent {
            self.note(ENTRY + claimed.weight(), left.forgotten_at());
        }
    }

    /// Notes so many bytes in the ledger until then.
    fn note(&self, bytes: usize, until: Timestamp) {
        let bytes = bytes as u64;
        if bytes == 0 {
            return;
        }
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        *ends.entry(until.as_millis() / SLICE).or_default() += bytes;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How long it takes until some of it goes, if it is a quarter of the ledger's room, and the ledger is half full.
    pub fn wait(&self, ledger: impl FnOnce() -> Size, now: Timestamp) -> Option<Duration> {
        if self.counted() < LITTLE {
            return None;
        }
        let first = self.drop_ended(now);
        let Size { bytes, room, .. } = ledger();
        let all = bytes.saturating_add(room?);
        let is_full = bytes >= all / 2 && self.counted() >= all / 4;
        is_full.then(|| first.map_or(SOON, |first| first.since(now)))
    }

    /// Whether so many bytes more are within a quarter of the ledger's room.
    pub fn has_room(&self, more: usize, ledger: impl FnOnce() -> Size, now: Timestamp) -> bool {
        let more = more as u64;
        if self.counted() + more < LITTLE {
            return true;
        }
        self.drop_ended(now);
        let Size { bytes, room, .. } = ledger();
        room.is_none_or(|room| self.counted() + more <= bytes.saturating_add(room) / 4)
    }

    fn counted(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed) + self.under_way.load(Ordering::Relaxed) as u64 * UNDER_WAY
    }

    /// Counts no longer what has ended. Returns when the first of the rest does.
    fn drop_ended(&self, now: Timestamp) -> Option<Timestamp> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(end) = ends.first_entry().filter(|end| *end.key() < now.as_millis() / SLICE) {
            self.bytes.fetch_sub(end.remove(), Ordering::Relaxed);
        }
        let (first, _) = ends.first_key_value()?;
        Some(Timestamp::from_millis((first + 1) * SLICE))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use oncegate_core::{AnswerSummary, ExecutionId, Fingerprint, Origin, PrincipalId, Recipe};

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

    /// They have no end yet, and were admitted all at once.
    #[test]
    fn what_is_under_way_counts() {
        let share = UnprovenShare::default();
        share.under_way.store(MIB as usize / UNDER_WAY as usize - 1, Ordering::Relaxed);
        assert_eq!(share.wait(ledger(3 * MIB), at(1)), None);
        assert!(share.has_room(100, ledger(3 * MIB), at(1)));
        share.under_way.fetch_add(1, Ordering::Relaxed);
        assert_eq!(share.wait(ledger(3 * MIB), at(1)), Some(SOON));
        assert!(!share.has_room(100, ledger(3 * MIB), at(1)));
        share.under_way.store(0, Ordering::Relaxed);
        assert_eq!(share.wait(ledger(3 * MIB), at(1)), None);
    }

    #[test]
    fn answers_have_a_quarter_of_the_room() {
        let share = UnprovenShare::default();
        assert!(share.has_room(MIB as usize, ledger(0), at(1)));
        assert!(!share.has_room(MIB as usize + 1, ledger(0), at(1)), "however empty the ledger is");
        share.note(MIB as usize - 100, at(100));
        assert!(share.has_room(100, ledger(3 * MIB), at(1)) && !share.has_room(101, ledger(3 * MIB), at(1)));
        assert!(share.has_room(2 * MIB as usize, Size::default, at(1)), "nobody knows the room");
        assert!(share.has_room(101, ledger(3 * MIB), at(200)), "what it had has ended");
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

    /// Where nobody knows the room, nothing is refused, and what has ended counts no more all the same.
    #[test]
    fn it_ends_where_nobody_knows_the_room() {
        for (size, now) in [
            (Size { bytes: 3 * MIB, ..Size::default() }, 300),
            (Size::default(), 300),
            (Size { bytes: 3 * MIB, room: Some(MIB), ..Size::default() }, 300),
        ] {
            let share = UnprovenShare::default();
            for seconds in 100..200 {
                share.note(MIB as usize / 50, at(seconds));
            }
            assert_eq!(share.wait(|| size, at(now)), None, "{size:?}");
            let left = (share.bytes.load(Ordering::Relaxed), share.ends.lock().unwrap().len());
            assert_eq!(left, (0, 0), "{size:?}");
        }
    }

    type Change = fn(&mut Record);

    fn claimed(change: impl FnOnce(&mut Record)) -> Record {
        let secs = Duration::from_secs;
        let mut record = Record {
            fingerprint: Fingerprint { recipe: Recipe::Request, hash: [3; 32] },
            execution: ExecutionId([5; 16]),
            attempts: 1,
            first_attempt: at(1_000),
            resent: false,
            times: Times {
                lease: secs(60),
                retention: secs(600),
                tombstone: secs(60),
                unknown_retention: secs(3_600),
                memory: secs(660),
            },
            origin: Origin {
                route: "charges".into(),
                policy: "payments".into(),
                key_schema: "idempotency-key/1".into(),
                key_epoch: 0,
                normalisation: 1,
                method: "POST".into(),
                authority: "api.example.com".into(),
                path: "/v1/charges".into(),
                principal: PrincipalId([9; 32]),
                first_sent: None,
            },
            memo: None,
            state: State::Executing { lease_until: at(1_060) },
            probing: None,
            resolved_because: None,
        };
        change(&mut record);
        record
    }

    /// The record says how long: an unknown outcome is held as long again, and whoever names the time of its
    /// first sending is remembered for the route's own times. What is sent again counts already.
    #[test]
    fn what_is_left_counts_until_it_is_forgotten() {
        let summary = || AnswerSummary { status: Some(404), ..AnswerSummary::default() };
        let unknown = || Outcome::Unknown(UnknownReason::Broken);
        let plain = |_: &mut Record| ();
        let resent = |record: &mut Record| record.resent = true;
        let long_tombstone = |record: &mut Record| record.times.tombstone = Duration::from_secs(9_000);
        let sent = |record: &mut Record| {
            record.origin.first_sent = Some(1_000);
            record.times.memory = Duration::from_secs(50_000);
        };
        let cases: [(_, Change, _, _); 10] = [
            (unknown(), plain, None, Some(3_600 + 3_600)),
            (unknown(), long_tombstone, None, Some(3_600 + 9_000)),
            (unknown(), sent, None, Some(50_300)),
            (Outcome::NotApplied, resent, None, None),
            (unknown(), resent, None, None),
            (Outcome::NotApplied, plain, None, None),
            (Outcome::Consumed(summary()), plain, None, Some(660)),
            (Outcome::Consumed(summary()), plain, Some(Duration::from_secs(10)), Some(70)),
            (Outcome::Consumed(summary()), plain, Some(Duration::from_secs(9_999)), Some(720)),
            (Outcome::Consumed(summary()), long_tombstone, None, Some(9_600)),
        ];
        for (number, (outcome, change, retention, expected)) in cases.into_iter().enumerate() {
            let share = UnprovenShare::default();
            let settlement = Settlement { outcome, memo: None, retention };
            share.note_left(&claimed(change), &settlement, at(1_000));
            let last = share.ends.lock().unwrap().last_key_value().map(|(end, _)| *end);
            let expected = expected.map(|seconds: u64| at(1_000 + seconds).as_millis() / SLICE);
            assert_eq!(last, expected, "case {number}");
        }
    }
}
