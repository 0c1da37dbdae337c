//! How a claim ends.

use crate::decide::{Decision, Refusal};
use crate::ids::OperationId;
use crate::record::{Record, State};
use std::sync::Arc;

/// How a claim ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClaimResult<V> {
    /// All keys are claimed. The operation may execute as long as
    /// [`MultiKeyClaim::holds_until`](super::MultiKeyClaim::holds_until) is ahead.
    Won {
        /// The key that has the state.
        id: OperationId,
        /// The write that put it there.
        version: V,
        /// The record under which the operation executes.
        record: Arc<Record>,
    },
    /// Another record stands in the way, or the request is too old.
    NotWon {
        /// What the request does instead of executing.
        instead: NotWon,
        /// The key that has the record, or would have it.
        id: OperationId,
        /// The record that stands in the way, where one was found.
        record: Option<(V, Arc<Record>)>,
    },
}

/// What a request does that has not won its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotWon {
    /// It answers from the record.
    Replay,
    /// It waits for the running execution.
    Wait,
    /// It is turned away.
    Refuse(Refusal),
}

impl<V> ClaimResult<V> {
    /// Whether a request gets what an execution gave, and not an operator's word alone. Any other end comes
    /// only after a look at all keys.
    pub(super) fn is_answer(&self) -> bool {
        let Self::NotWon { instead, record: Some((_, record)), .. } = self else { return false };
        instead.is_final() && has_answer(record)
    }

    /// Whether the claim ends so only where no key has a record.
    pub(super) const fn is_without_record(&self) -> bool {
        matches!(self, Self::NotWon { instead: NotWon::Refuse(Refusal::TooLate | Refusal::Ahead), .. })
    }
}

impl NotWon {
    /// What a state means for a claim that meets it.
    pub(super) fn by(decision: Decision) -> Self {
        match decision {
            Decision::Replay => Self::Replay,
            Decision::Wait => Self::Wait,
            Decision::Refuse(refusal) => Self::Refuse(refusal),
            // What would be sent again is unknown to a claim that only looks.
            Decision::Execute(_) => Self::Refuse(Refusal::Unknown),
            Decision::Follow | Decision::Put(_) | Decision::Remove | Decision::Keep(_) => {
                unreachable!("these don't answer a claim on a state; the table of decide() shows it")
            }
        }
    }

    /// Whether the operation is over.
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Replay | Self::Refuse(Refusal::Consumed | Refusal::Expired))
    }
}

fn has_answer(record: &Record) -> bool {
    match &record.state {
        State::Completed { .. } => true,
        State::Consumed { summary, .. } => summary.status.is_some(),
        State::Executing { .. } | State::Unknown { .. } | State::Pointer(_) => false,
    }
}
