//! The effect of events other than claims: deciding again when a swap is lost.

use super::state::Ledger;
use oncegate_core::{
    Decision, Event, ExecutionId, NO_RULES, OperationId, Outcome, Record, State, Timestamp, Unchanged, decide,
};
use oncegate_store::{Store, StoreError, Swap, Versioned};
use std::sync::Arc;

/// How often a swap is tried. Each time a swap is lost, another caller's change stands. If the same record
/// changes so often within one call, something is wrong.
pub(super) const SWAPS_MAX: usize = 16;

/// The record after an event, or why the event changed nothing.
pub type Advance = Result<Option<Versioned>, Unchanged>;

/// The result of an event that is no claim.
#[derive(Debug)]
pub(super) enum Advanced {
    /// The event's effect is in force: this record stands, or none.
    Done(Option<Versioned>),
    /// The event changed nothing, and this record stands.
    Kept(Unchanged, Option<Versioned>),
}

impl From<Advanced> for Advance {
    fn from(advanced: Advanced) -> Self {
        match advanced {
            Advanced::Done(standing) => Ok(standing),
            Advanced::Kept(why, _) => Err(why),
        }
    }
}

impl<S: Store> Ledger<S> {
    /// Carries out an event that is no claim, and decides again on the present record when a swap is lost.
    pub(super) async fn advance(
        &self,
        id: OperationId,
        mut standing: Option<Versioned>,
        event: &Event<'_>,
    ) -> Result<Advanced, StoreError> {
        // The record's begin tells our own removal, should a lost swap show another record.
        let begun = standing.as_ref().map(|versioned| versioned.record.first_attempt);
        for _ in 0..SWAPS_MAX {
            let now = self.clock().now();
            let record = standing.as_ref().map(|versioned| &*versioned.record);
            let next = match decide(&NO_RULES, record, event.clone(), now) {
                Decision::Put(record) => Some(Arc::new(record)),
                Decision::Remove => None,
                Decision::Keep(why) => {
                    return Ok(match is_done(record, begun, event) {
                        true => Advanced::Done(standing.filter(|_| why != Unchanged::OtherExecution)),
                        false => Advanced::Kept(why, standing),
                    });
                }
                Decision::Execute(_)
                | Decision::Replay
                | Decision::Wait
                | Decision::Refuse(_)
                | Decision::Follow => {
                    unreachable!("these answer claims only; the table in oncegate-core shows it")
                }
            };
            let expected = standing.take().map(|versioned| versioned.version);
            match self.store.swap(id, expected, next.clone(), now).await? {
                Swap::Done(version) => {
                    return Ok(Advanced::Done(next.map(|record| Versioned { version, record })));
                }
                Swap::Conflict(newer) => standing = newer,
            }
        }
        Err(changes_too_fast())
    }
}

/// The error for a record that changes faster than it can be swapped.
pub(super) fn changes_too_fast() -> StoreError {
    StoreError::Unavailable(
        "the record changed again and again, or the store does not say what it wrote".into(),
    )
}

/// Whether the present record is the one that the event would have put: an earlier write of it, whose result
/// was unclear, took effect.
fn is_done(standing: Option<&Record>, begun: Option<Timestamp>, event: &Event<'_>) -> bool {
    match event {
        Event::Settle(execution, settlement) => is_settled(standing, begun, *execution, &settlement.outcome),
        Event::Probed(execution, probe) if !matches!(probe.outcome, Outcome::Unknown(_)) => {
            is_settled(standing, begun, *execution, &probe.outcome)
        }
        _ => false,
    }
}

fn is_settled(
    standing: Option<&Record>,
    begun: Option<Timestamp>,
    execution: ExecutionId,
    outcome: &Outcome,
) -> bool {
    match (outcome, standing) {
        // Only proof that nothing happened removes a record that waits for its outcome.
        (Outcome::NotApplied, None) => true,
        // A resend keeps the time at which the operation began. This record began anew.
        (Outcome::NotApplied, Some(standing)) => {
            standing.execution != execution && begun.is_some_and(|begun| begun != standing.first_attempt)
        }
        (_, None) => false,
        (outcome, Some(standing)) if standing.execution == execution => match (outcome, &standing.state) {
            (Outcome::Completed(answer), State::Completed { answer: kept, .. }) => answer == kept,
            // The record's retention may be over by now.
            (Outcome::Completed(answer), State::Consumed { summary, .. }) => answer.summary() == *summary,
            (Outcome::Consumed(summary), State::Consumed { summary: kept, .. }) => summary == kept,
            (Outcome::Unknown(_), State::Unknown { .. }) => true,
            _ => false,
        },
        _ => false,
    }
}
