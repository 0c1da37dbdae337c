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
        /// The version of the write that put the state there.
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
    /// The request is answered from the record.
    Replay,
    /// The request waits for the running execution.
    Wait,
    /// The request is turned away.
    Refuse(Refusal),
}

impl<V> ClaimResult<V> {
    /// Whether a request gets the answer of an execution, and not an operator's word alone. Any other result
    /// comes only after a look at all keys.
    pub(super) fn is_answer(&self) -> bool {
        let Self::NotWon { instead, record: Some((_, record)), .. } = self else { return false };
        instead.is_final() && has_answer(record)
    }

    /// Whether this result is right only where no key has a record.
    pub(super) const fn is_without_record(&self) -> bool {
        matches!(self, Self::NotWon { instead: NotWon::Refuse(Refusal::TooLate | Refusal::Ahead), .. })
    }
}

impl NotWon {
    /// The end of a claim that meets a state with this decision.
    pub(super) fn by(decision: Decision) -> Self {
        match decision {
            Decision::Replay => Self::Replay,
            Decision::Wait => Self::Wait,
            Decision::Refuse(refusal) => Self::Refuse(refusal),
            // A claim that only looks takes a record that would be sent again as unknown.
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
