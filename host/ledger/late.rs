//! Settlements that came too late and changed nothing. This process remembers them in memory for the
//! operator, who can learn from them how an execution really ended.

use oncegate_core::{Disposition, ExecutionId, OperationId, Outcome, Settlement, Timestamp, Unchanged};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// How many late settlements of one operation are remembered: the latest.
const EACH_MAX: usize = 8;
/// How many operations have remembered late settlements: those with the latest arrivals.
const OPERATIONS_MAX: usize = 1024;

/// A settlement that changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateSettlement {
    /// When the settlement came.
    pub at: Timestamp,
    /// The execution that the settlement was of.
    pub execution: ExecutionId,
    /// How that execution ended.
    pub outcome: Disposition,
    /// The status of the execution's answer, where there was one to keep or to remember.
    pub status: Option<u16>,
    /// Why the settlement changed nothing.
    pub reason: Unchanged,
}

/// The latest late settlements, by operation.
#[derive(Debug, Default)]
pub(super) struct LateSettlements(Mutex<ByOperation>);

#[derive(Debug, Default)]
struct ByOperation {
    by_operation: HashMap<OperationId, VecDeque<LateSettlement>>,
    /// Each operation once, in the order of its first late settlement.
    order: VecDeque<OperationId>,
}

impl LateSettlement {
    pub(super) fn of(
        settlement: &Settlement,
        execution: ExecutionId,
        reason: Unchanged,
        at: Timestamp,
    ) -> Self {
        let status = match &settlement.outcome {
            Outcome::Completed(answer) => Some(answer.status),
            Outcome::Consumed(first) => first.status,
            Outcome::NotApplied | Outcome::Unknown(_) => None,
        };
        Self { at, execution, outcome: settlement.outcome.disposition(), status, reason }
    }
}

impl LateSettlements {
    pub(super) fn add(&self, id: OperationId, late: LateSettlement) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ByOperation { by_operation, order } = &mut *remembered;
        let of_this = by_operation.entry(id).or_insert_with(|| {
            order.push_back(id);
            VecDeque::new()
        });
        if of_this.len() == EACH_MAX {
            of_this.pop_front();
        }
        of_this.push_back(late);
        if order.len() > OPERATIONS_MAX
            && let Some(oldest) = order.pop_front()
        {
            by_operation.remove(&oldest);
        }
    }

    pub(super) fn of(&self, id: OperationId) -> Vec<LateSettlement> {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.by_operation.get(&id).into_iter().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oncegate_store::conformance::id;

    #[test]
    fn a_bounded_number_is_kept_the_latest_of_each() {
        let late = LateSettlements::default();
        let settlement = Settlement::from(Outcome::NotApplied);
        let at = |n: u64| {
            LateSettlement::of(&settlement, ExecutionId([1; 16]), Unchanged::Final, Timestamp::from_secs(n))
        };
        (0..20).for_each(|n| late.add(id(0), at(n)));
        let remembered: Vec<u64> = late.of(id(0)).iter().map(|late| late.at.as_secs()).collect();
        assert_eq!(remembered, (12..20).collect::<Vec<_>>());
        (1..=OPERATIONS_MAX as u64).for_each(|n| late.add(id(n), at(n)));
        assert_eq!((late.of(id(0)), late.of(id(1)).len()), (vec![], 1), "the oldest went");
        let mut remembered = late.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!((remembered.order.len(), remembered.by_operation.len()), (OPERATIONS_MAX, OPERATIONS_MAX));
        remembered.order.clear();
    }
}
