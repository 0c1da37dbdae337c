//! The meaning of an attempt's end, and the join over the attempts of one execution.

use crate::answer::{Answer, AnswerSummary};
use std::sync::Arc;
use std::time::Duration;

/// The evidence that an answer, or the lack of one, gives about an operation.
///
/// The order is that of evidence. The outcome of an execution is the greatest of its attempts' outcomes. Once
/// one attempt may have been sent, the *not applied* of a later one says nothing about the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disposition {
    /// The operation took no effect: the claim is released, and the next request may execute.
    NotApplied,
    /// Nobody can tell whether the operation took effect.
    Unknown,
    /// The answer is final and not recorded.
    Consumed,
    /// The answer is final, recorded and replayed.
    Completed,
}

impl Disposition {
    /// The join of two attempts of one execution.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        self.max(other)
    }

    /// The disposition's name in configuration, problems and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotApplied => "not-applied",
            Self::Unknown => "unknown",
            Self::Consumed => "consumed",
            Self::Completed => "completed",
        }
    }

    /// The meaning of a whole answer with this status, unless operator or policy say otherwise
    /// (`design/life.md`).
    pub fn of_status(answer: AnswerStatus) -> Self {
        match answer.status {
            307 | 308 => Self::NotApplied,
            200..=399 => Self::Completed,
            401 | 403 | 407 | 408 | 412 | 417 | 421 | 423 | 425 | 426 | 428 | 429 | 511 => Self::NotApplied,
            409 if answer.dedupes => Self::Unknown,
            400..=500 => Self::Completed,
            501 => Self::NotApplied,
            503 if answer.retry_after => Self::NotApplied,
            _ => Self::Unknown,
        }
    }

    /// The meaning of a whole gRPC, gRPC-Web or Connect answer by its own status, as a number (gRPC's
    /// `statuscodes.md`). `None`: the answer has no status, which proves nothing.
    pub fn of_rpc(code: Option<u8>) -> Self {
        match code {
            // ABORTED, UNIMPLEMENTED, PERMISSION_DENIED, UNAUTHENTICATED
            Some(10 | 12 | 7 | 16) => Self::NotApplied,
            // OK, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, OUT_OF_RANGE
            Some(0 | 3 | 5 | 6 | 9 | 11) => Self::Completed,
            // CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE, DATA_LOSS,
            // and numbers without a name
            _ => Self::Unknown,
        }
    }
}

/// The parts of a whole answer by which its status is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerStatus {
    /// The status.
    pub status: u16,
    /// The answer says when to come back.
    pub retry_after: bool,
    /// The upstream honours the forwarded key, so a 409 can be its own "still in flight".
    pub dedupes: bool,
}

impl From<u16> for AnswerStatus {
    fn from(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

/// Why an outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UnknownReason {
    /// The upstream did not answer in time.
    TimedOut = 1,
    /// The connection ended after the request may have been sent.
    Broken = 2,
    /// The answer proves nothing.
    Ambiguous = 3,
    /// The gateway that executed the operation ended.
    Crashed = 4,
    /// The lease ended, and the execution that held it had neither renewed nor settled.
    Lapsed = 5,
    /// The execution ended without settling: its gateway shut down, or failed.
    Abandoned = 6,
    /// The answer could not be made durable.
    Unrecorded = 7,
    /// No client was left, and the route gives up executions without a client.
    ClientsGone = 8,
}

impl UnknownReason {
    const ALL: [Self; 8] = [
        Self::TimedOut,
        Self::Broken,
        Self::Ambiguous,
        Self::Crashed,
        Self::Lapsed,
        Self::Abandoned,
        Self::Unrecorded,
        Self::ClientsGone,
    ];

    /// The reason with this number in stored records.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    /// The reason's name in look-ups and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TimedOut => "timed-out",
            Self::Broken => "broken",
            Self::Ambiguous => "ambiguous-answer",
            Self::Crashed => "crashed",
            Self::Lapsed => "lease-lapsed",
            Self::Abandoned => "abandoned",
            Self::Unrecorded => "unrecorded",
            Self::ClientsGone => "clients-gone",
        }
    }
}

/// The end of an execution, with the recorded part of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The end is final, with the answer to replay.
    Completed(Arc<Answer>),
    /// The end is final, without a body to replay.
    Consumed(AnswerSummary),
    /// The operation provably had no effect.
    NotApplied,
    /// Nobody can tell whether the operation took effect.
    Unknown(UnknownReason),
}

impl Outcome {
    /// The disposition of this outcome.
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::Completed(_) => Disposition::Completed,
            Self::Consumed(_) => Disposition::Consumed,
            Self::NotApplied => Disposition::NotApplied,
            Self::Unknown(_) => Disposition::Unknown,
        }
    }
}

/// The part of an execution's end that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// How the execution ended.
    pub outcome: Outcome,
    /// The policy's note, in place of the one that its verdict left.
    pub memo: Option<Arc<str>>,
    /// How long the answer is replayed, in place of the verdict's retention. It may shorten the route's
    /// retention and never lengthen it. The caller sees to that: the record has the route's times as a sum
    /// only ([`Times::memory`](crate::Times)), which is the bound here.
    pub retention: Option<Duration>,
}

impl From<Outcome> for Settlement {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, memo: None, retention: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_means_what_life_md_says() {
        use Disposition::{Completed, NotApplied, Unknown};
        let not_applied = [307, 308, 401, 403, 407, 408, 412, 417, 421, 423, 425, 426, 428, 429, 501, 511];
        for status in 100..=999 {
            let expected = match status {
                s if not_applied.contains(&s) && s != 511 => NotApplied,
                511 => NotApplied,
                200..=500 => Completed,
                _ => Unknown,
            };
            assert_eq!(Disposition::of_status(status.into()), expected, "{status}");
        }
        let later = |status| AnswerStatus { status, retry_after: true, dedupes: false };
        assert_eq!(Disposition::of_status(later(503)), NotApplied);
        assert_eq!(Disposition::of_status(later(502)), Unknown);
        let deduped = AnswerStatus { status: 409, retry_after: false, dedupes: true };
        assert_eq!(Disposition::of_status(deduped), Unknown);
        assert_eq!(Disposition::of_status(409.into()), Completed);
    }

    #[test]
    fn every_rpc_code_means_what_life_md_says() {
        use Disposition::{Completed, NotApplied, Unknown};
        for code in 0..=u8::MAX {
            let expected = match code {
                7 | 10 | 12 | 16 => NotApplied,
                1 | 2 | 4 | 8 | 13 | 14 | 15 => Unknown,
                0..=16 => Completed,
                _ => Unknown,
            };
            assert_eq!(Disposition::of_rpc(Some(code)), expected, "{code}");
        }
        assert_eq!(Disposition::of_rpc(None), Unknown);
    }

    #[test]
    fn not_applied_never_overrules_an_earlier_attempt() {
        use Disposition::{Completed, Consumed, NotApplied, Unknown};
        for (first, second, both) in [
            (NotApplied, NotApplied, NotApplied),
            (Unknown, NotApplied, Unknown),
            (NotApplied, Unknown, Unknown),
            (Unknown, Completed, Completed),
            (Unknown, Consumed, Consumed),
            (NotApplied, Completed, Completed),
        ] {
            assert_eq!(first.join(second), both);
            assert_eq!(second.join(first), both);
        }
    }
}
