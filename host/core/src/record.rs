//! The record of an operation, and its meaning at a given time.

use crate::answer::{Answer, AnswerSummary, allocated};
use crate::ids::{ExecutionId, Fingerprint, OperationId, PrincipalId, SpaceNumber};
use crate::outcome::UnknownReason;
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How far a client's clock may be from ours. A client's time beyond that is not believed.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// The record of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The operation's fingerprint. A duplicate has the same one.
    pub fingerprint: Fingerprint,
    /// The execution that holds or held the claim. A settlement must name it.
    pub execution: ExecutionId,
    /// How many executions of the operation were begun.
    pub attempts: u32,
    /// When the first execution was claimed.
    pub first_attempt: Timestamp,
    /// The operation was sent again after an execution ended unknown. From then on a *not applied* speaks of
    /// the later execution only, and frees nothing.
    pub resent: bool,
    /// The times in force when the operation was claimed. A changed configuration changes none of them.
    pub times: Times,
    /// Where the operation came from.
    pub origin: Origin,
    /// The policy's own note, for its later hooks.
    pub memo: Option<Arc<str>>,
    /// Where the operation stands.
    pub state: State,
    /// The state of probing, where the rules say that the upstream is asked about an unknown outcome.
    pub probing: Option<Probing>,
    /// The reason of the operator who told how the operation ended. Only a finished record has one; none: nobody told.
    pub resolved_because: Option<Arc<str>>,
}

/// The state of probing an unknown outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Probing {
    /// How many tries found nothing out.
    pub tries: u32,
    /// When the next try is due, once the outcome is unknown. `None`: no further try is made.
    pub next: Option<Timestamp>,
}

impl Probing {
    /// Probing before the first try, which is due as soon as the outcome is unknown.
    pub const fn begun() -> Self {
        Self { tries: 0, next: Some(Timestamp::from_millis(0)) }
    }
}

/// The times of a record (`design/life.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Times {
    /// How long a claim stands without renewal.
    pub lease: Duration,
    /// How long a completed answer is replayed, from its completion.
    pub retention: Duration,
    /// How long an expired record is remembered.
    pub tombstone: Duration,
    /// How long an unknown outcome is held.
    pub unknown_retention: Duration,
    /// The route's own retention and tombstone together. A policy's shorter times do not cut this sum: with
    /// [`Origin::first_sent`] the record is remembered at least this long.
    pub memory: Duration,
}

/// Where an operation came from, for hooks and look-ups after the request is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The route's name.
    pub route: Arc<str>,
    /// The policy's name.
    pub policy: Arc<str>,
    /// The key schema under which the key was made.
    pub key_schema: Arc<str>,
    /// The operator's key epoch.
    pub key_epoch: u64,
    /// The version of the rules by which the host normalises what goes into keys.
    pub normalisation: u16,
    /// The request's method.
    pub method: Arc<str>,
    /// The request's authority: host name in lower case, no default port.
    pub authority: Arc<str>,
    /// The request's path, percent-encoded, without the query.
    pub path: Arc<str>,
    /// The principal that asked.
    pub principal: PrincipalId,
    /// When the client says it first sent the operation, in Unix seconds.
    pub first_sent: Option<u32>,
}

/// The state of an operation, as stored. Absent, lapsed and expired are never stored: [`Record::view`]
/// computes them from the time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// An execution holds the claim.
    Executing {
        /// When the lease ends, unless it is renewed.
        lease_until: Timestamp,
    },
    /// The operation took effect, and its answer is recorded.
    Completed {
        /// When the operation completed.
        at: Timestamp,
        /// The answer that every duplicate gets.
        answer: Arc<Answer>,
    },
    /// The operation took effect, and no body is recorded.
    Consumed {
        /// When the operation completed.
        at: Timestamp,
        /// The known parts of the answer.
        summary: AnswerSummary,
    },
    /// Nobody knows whether the operation took effect.
    Unknown {
        /// Since when nobody knows.
        since: Timestamp,
        /// Why nobody knows.
        reason: UnknownReason,
    },
    /// The operation is recorded under its key in another key space.
    Pointer(Pointer),
}

/// The target of a record without a state (`design/key-changes.md`).
///
/// A pointer ends with its target. It is absent only if its lease had ended before its target was found
/// missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    /// The key under which its claimant records the operation.
    pub target: OperationId,
    /// The number of the target's space.
    pub target_space: SpaceNumber,
    /// The operation's fingerprint at the target. A state there with another fingerprint is another
    /// operation.
    pub target_fingerprint: Fingerprint,
    /// Until when the claimant may still be on its way to the target.
    pub lease_until: Timestamp,
    /// When a sweep next looks whether the target still has a record.
    pub look_at: Timestamp,
}

/// The meaning of a record at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The record means the same as no record.
    Absent,
    /// An execution holds the claim.
    Executing,
    /// The operation took effect, and there is an answer to replay.
    Completed,
    /// The operation took effect, and there is no answer to replay.
    Consumed,
    /// Nobody knows: the record says so, or the lease lapsed.
    Unknown,
    /// The answer is no longer replayed; its former existence is still known.
    Expired,
    /// The record only names the key under which the operation is recorded.
    Pointer,
}

/// What a change of how keys are made does with records that would lose their keys. The operations of these
/// records may run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostRecords {
    /// The change is refused.
    Refuse,
    /// The records are given up, and the change says so.
    GiveUp,
}

impl LostRecords {
    /// The variant for an operator's permission to give up records.
    pub const fn giving_up(allowed: bool) -> Self {
        if allowed { Self::GiveUp } else { Self::Refuse }
    }
}

impl View {
    /// The view's name in look-ups, lists and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Executing => "executing",
            Self::Completed => "completed",
            Self::Consumed => "consumed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Pointer => "pointer",
        }
    }
}

impl Record {
    /// The meaning of the record at `now`.
    pub fn view(&self, now: Timestamp) -> View {
        if now >= self.forgotten_at() {
            return View::Absent;
        }
        if now >= self.expires_at() {
            return View::Expired;
        }
        match &self.state {
            State::Executing { lease_until } if now < *lease_until => View::Executing,
            State::Executing { .. } | State::Unknown { .. } => View::Unknown,
            State::Completed { .. } => View::Completed,
            State::Consumed { .. } => View::Consumed,
            State::Pointer(_) => View::Pointer,
        }
    }

    /// When the record stops telling its outcome, assuming that an executing record lapses. A pointer ends
    /// with its target.
    pub fn expires_at(&self) -> Timestamp {
        match &self.state {
            State::Executing { lease_until: since } | State::Unknown { since, .. } => {
                since.plus(self.times.unknown_retention)
            }
            State::Completed { at, .. } | State::Consumed { at, .. } => at.plus(self.times.retention),
            State::Pointer(_) => Timestamp::MAX,
        }
    }

    /// When the record means the same as no record.
    ///
    /// A record never goes from unknown to absent: the tombstone of an unknown record stands at least as long
    /// as `unknown_retention`. With `first_sent` the route's memory counts, whatever times the policy
    /// shortened.
    pub fn forgotten_at(&self) -> Timestamp {
        let expires = self.expires_at();
        let (since, tombstone) = match &self.state {
            State::Executing { lease_until: since } | State::Unknown { since, .. } => {
                (*since, self.times.tombstone.max(self.times.unknown_retention))
            }
            State::Completed { at, .. } | State::Consumed { at, .. } => (*at, self.times.tombstone),
            State::Pointer(_) => return Timestamp::MAX,
        };
        let end = expires.plus(tombstone);
        let Some(first_sent) = self.origin.first_sent else { return end };
        let from = since.max(Timestamp::from_secs(first_sent.into()));
        end.max(from.plus(self.times.memory).plus(CLOCK_TOLERANCE))
    }

    /// When the sweep next has something to do: to call a lease lapsed, to have the upstream asked, to drop a
    /// body or to remove the record.
    pub fn due_at(&self) -> Timestamp {
        match &self.state {
            State::Executing { lease_until } => *lease_until,
            State::Completed { .. } => self.expires_at(),
            State::Consumed { .. } => self.forgotten_at(),
            State::Unknown { .. } => self.probe_at().unwrap_or_else(|| self.forgotten_at()),
            State::Pointer(pointer) => pointer.look_at,
        }
    }

    /// When it ended; none: it has not, or nobody knows.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Completed { at, .. } | State::Consumed { at, .. } => Some(*at),
            State::Executing { .. } | State::Unknown { .. } | State::Pointer(_) => None,
        }
    }

    /// Since when the outcome is unknown. For an executing record that is the end of its lease: the execution
    /// that the record names begins nothing after that.
    pub fn unknown_since(&self) -> Option<Timestamp> {
        match &self.state {
            State::Executing { lease_until: since } | State::Unknown { since, .. } => Some(*since),
            State::Completed { .. } | State::Consumed { .. } | State::Pointer(_) => None,
        }
    }

    /// When the upstream is next asked about the operation, while the record is unknown.
    pub fn probe_at(&self) -> Option<Timestamp> {
        let State::Unknown { since, .. } = &self.state else { return None };
        let at = self.probing?.next?.max(*since);
        (at < self.expires_at()).then_some(at)
    }

    /// How much memory the record takes, with what the allocator adds. A record's route, policy and key schema
    /// are its makers' and count for nothing.
    pub fn weight(&self) -> usize {
        let state = match &self.state {
            State::Completed { answer, .. } => allocated(size_of::<Answer>()) + answer.weight(),
            State::Consumed { summary, .. } => summary.weight(),
            State::Executing { .. } | State::Unknown { .. } | State::Pointer(_) => 0,
        };
        let Origin { path, authority, method, .. } = &self.origin;
        let texts = [path, authority, method].into_iter().chain(&self.memo).chain(&self.resolved_because);
        size_of::<Self>() + texts.map(|text| allocated(text.len())).sum::<usize>() + state
    }
}
