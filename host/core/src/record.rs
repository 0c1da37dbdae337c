//! What the ledger keeps of an operation, and how it looks at a given time.

use crate::answer::{Answer, AnswerSummary};
use crate::ids::{ExecutionId, Fingerprint, OperationId, PrincipalId, SpaceNumber};
use crate::outcome::UnknownReason;
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How far a client's clock may be from ours before what it says of time is not believed.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// What the ledger keeps of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// What must be equal for a duplicate to be one.
    pub fingerprint: Fingerprint,
    /// The execution that holds or held the claim. A settlement must name it.
    pub execution: ExecutionId,
    /// How many executions were begun.
    pub attempts: u32,
    /// When the first of them was claimed.
    pub first_attempt: Timestamp,
    /// An earlier execution ended unknown and was sent again: from then on a *not applied* speaks
    /// of the later one only and frees nothing.
    pub resent: bool,
    /// The times in force when it was claimed. A changed configuration changes none of them.
    pub times: Times,
    /// Where the operation came from.
    pub origin: Origin,
    /// The policy's own note, for its later hooks.
    pub memo: Option<Arc<str>>,
    /// Where the operation stands.
    pub state: State,
    /// How far the asking is, where the rules say that somebody asks the upstream what became of
    /// an unknown outcome.
    pub probing: Option<Probing>,
}

/// How far the asking for an unknown outcome is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Probing {
    /// Tries that found nothing out.
    pub tries: u32,
    /// When the next one is due, from when the outcome is unknown; none: nobody asks any more.
    pub next: Option<Timestamp>,
}

impl Probing {
    /// To be asked as soon as the outcome is unknown.
    pub const fn begun() -> Self {
        Self { tries: 0, next: Some(Timestamp::from_millis(0)) }
    }
}

/// How long things stand, in the words of DESIGN §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Times {
    /// How long a claim stands without renewal.
    pub lease: Duration,
    /// How long a completed answer is replayed.
    pub retention: Duration,
    /// How long an expired record is remembered.
    pub tombstone: Duration,
    /// How long an unknown outcome is held.
    pub unknown_retention: Duration,
    /// The route's own retention and tombstone together, which a policy's shorter times don't
    /// cut: with [`Origin::first_sent`] the record is remembered at least this long.
    pub memory: Duration,
}

/// Where an operation came from: what later hooks and look-ups need when the request is gone.
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
    /// Who asked.
    pub principal: PrincipalId,
    /// When the client says it first sent the operation, in Unix seconds.
    pub first_sent: Option<u32>,
}

/// Where an operation stands, as stored. Absent, lapsed and expired are computed from the clock
/// by [`Record::view`], never stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// An execution holds the claim.
    Executing {
        /// The claim stands until then, unless it is renewed.
        lease_until: Timestamp,
    },
    /// It happened, and this is the answer.
    Completed {
        /// When it completed.
        at: Timestamp,
        /// What every duplicate gets.
        answer: Arc<Answer>,
    },
    /// It happened; no body is kept.
    Consumed {
        /// When it completed.
        at: Timestamp,
        /// What is known of the answer.
        summary: AnswerSummary,
    },
    /// Nobody knows whether it happened.
    Unknown {
        /// Since when that is so.
        since: Timestamp,
        /// Why.
        reason: UnknownReason,
    },
    /// The operation is kept under a key of a higher key space; this is its key in a lower one.
    Pointer(Pointer),
}

/// Where a record under a lower key space points to (DESIGN §6, "Changing the keys").
///
/// It ends with what it points to: it is absent only when its lease had ended before nothing was
/// found at its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    /// The operation's key in the highest space that its claimant derived.
    pub target: OperationId,
    /// The number of that space.
    pub target_space: SpaceNumber,
    /// The operation's fingerprint there: what stands at the target under another one is another
    /// operation.
    pub target_fingerprint: Fingerprint,
    /// Until then the claimant may still be on its way to the target.
    pub lease_until: Timestamp,
    /// When a sweep next looks whether there is still something at the target.
    pub look_at: Timestamp,
}

/// How a record looks at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// As if there were no record.
    Absent,
    /// An execution holds the claim.
    Executing,
    /// It happened, and there is an answer to replay.
    Completed,
    /// It happened; there is none.
    Consumed,
    /// Nobody knows: said so, or the lease lapsed.
    Unknown,
    /// Its answer is no longer replayed; that it existed is still known.
    Expired,
    /// It only tells where the operation is kept.
    Pointer,
}

impl View {
    /// The word for it in look-ups, lists and metrics.
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
    /// How the record looks at `now`.
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

    /// When the record stops telling its outcome. An executing one is taken to lapse. A pointer's end
    /// is that of its target.
    pub fn expires_at(&self) -> Timestamp {
        match &self.state {
            State::Executing { lease_until: since } | State::Unknown { since, .. } => {
                since.plus(self.times.unknown_retention)
            }
            State::Completed { at, .. } | State::Consumed { at, .. } => at.plus(self.times.retention),
            State::Pointer(_) => Timestamp::MAX,
        }
    }

    /// When the record is as good as absent.
    ///
    /// An unknown one never goes from unknown to absent: its tombstone stands at least as long as
    /// it was held. With `first_sent` the route's memory counts, whatever the policy shortened.
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

    /// When a sweep next has something to do: a lease to call lapsed, the upstream to be asked, a
    /// body to drop, a record to remove.
    pub fn due_at(&self) -> Timestamp {
        match &self.state {
            State::Executing { lease_until } => *lease_until,
            State::Completed { .. } => self.expires_at(),
            State::Consumed { .. } => self.forgotten_at(),
            State::Unknown { .. } => self.probe_at().unwrap_or_else(|| self.forgotten_at()),
            State::Pointer(pointer) => pointer.look_at,
        }
    }

    /// Since when nobody knows the outcome. Of an executing record: since its lease ends. The
    /// execution that it names began nothing after that.
    pub fn unknown_since(&self) -> Option<Timestamp> {
        match &self.state {
            State::Executing { lease_until: since } | State::Unknown { since, .. } => Some(*since),
            State::Completed { .. } | State::Consumed { .. } | State::Pointer(_) => None,
        }
    }

    /// When the upstream is to be asked next what became of it, while it is held as unknown.
    pub fn probe_at(&self) -> Option<Timestamp> {
        let State::Unknown { since, .. } = &self.state else { return None };
        let at = self.probing?.next?.max(*since);
        (at < self.expires_at()).then_some(at)
    }

    /// How much memory it holds, roughly.
    pub fn weight(&self) -> usize {
        let answer = match &self.state {
            State::Completed { answer, .. } => answer.weight(),
            State::Executing { .. } | State::Consumed { .. } | State::Unknown { .. } | State::Pointer(_) => 0,
        };
        let memo = self.memo.as_ref().map_or(0, |memo| memo.len());
        size_of::<Self>() + self.origin.path.len() + self.origin.authority.len() + memo + answer
    }
}
