//! The end of an execution: its settlement on the record, the end of its flight, the release of its common
//! keys.

use super::advance::Advanced;
use super::flight::{Ending, Flight};
use super::late::LateSettlement;
use super::state::{Ledger, Overdue};
use oncegate_core::{Answer, Event, ExecutionId, OperationId, Outcome, Settlement, State};
use oncegate_store::{Store, StoreError, Swap, Version, Versioned};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl<S: Store> Ledger<S> {
    /// Puts a settlement on the record, if the record still waits for it from this execution. `known` is the
    /// record as the execution last knew it; without that, this function reads it.
    pub(super) async fn settle(
        &self,
        id: OperationId,
        execution: ExecutionId,
        known: Option<Versioned>,
        settlement: &Settlement,
    ) -> Result<Advanced, StoreError> {
        let known = match known {
            None => self.store.load(id).await?,
            known => known,
        };
        match self.advance(id, known.clone(), &Event::Settle(execution, settlement)).await {
            // The fact that the operation happened is worth more than its answer, and takes no room.
            Err(StoreError::Full(why)) if let Outcome::Completed(answer) = &settlement.outcome => {
                tracing::warn!(operation = %id, %why, "there is no room for an answer: the operation is consumed");
                let outcome = Outcome::Consumed(answer.summary());
                let consumed = Settlement { outcome, ..settlement.clone() };
                self.advance(id, known, &Event::Settle(execution, &consumed)).await
            }
            result => result,
        }
    }

    pub(super) fn conclude(
        &self,
        id: OperationId,
        flight: &Arc<Flight>,
        settlement: &Settlement,
        advance: Advanced,
        shared: Option<Arc<Answer>>,
    ) {
        let (why, standing) = match advance {
            Advanced::Done(standing) => return self.land(id, flight, standing, shared),
            Advanced::Kept(why, standing) => (why, standing),
        };
        let late = LateSettlement::of(settlement, flight.execution(), why, self.clock().now());
        tracing::warn!(
            operation = %id,
            execution = %late.execution,
            outcome = late.outcome.word(),
            status = late.status,
            reason = why.word(),
            "a settlement came too late and changed nothing; it is kept as evidence"
        );
        self.late.add(id, late);
        let ending = match standing {
            Some(standing) => {
                self.keep_at_hand(id, &standing);
                Ending::Recorded(standing.record)
            }
            None => Ending::Lost,
        };
        self.clear(id, flight, ending);
    }

    /// Ends a flight. A final record is kept at hand first, so that nobody who finds the flight gone finds
    /// nothing.
    pub(super) fn land(
        &self,
        id: OperationId,
        flight: &Arc<Flight>,
        standing: Option<Versioned>,
        shared: Option<Arc<Answer>>,
    ) {
        let ending = match standing {
            Some(versioned) => {
                self.keep_at_hand(id, &versioned);
                Ending::Recorded(versioned.record)
            }
            None => Ending::NotApplied(shared),
        };
        self.clear(id, flight, ending);
    }

    /// Caches a record, if it is final and there is a cache.
    pub(super) fn keep_at_hand(&self, id: OperationId, versioned: &Versioned) {
        if let Some(cache) = &self.cache
            && matches!(versioned.record.state, State::Completed { .. } | State::Consumed { .. })
        {
            cache.put(id, versioned.clone());
        }
    }

    pub(super) fn clear(&self, id: OperationId, flight: &Arc<Flight>, ending: Ending) {
        self.flights.remove_if(&id, |_, standing| Arc::ptr_eq(standing, flight));
        flight.end(ending);
    }

    /// Removes an execution's claims without its principal, for its operation is free again. A claim that
    /// can't be removed now ends with its lease.
    pub(super) async fn release(&self, common: &[(OperationId, Version)], execution: ExecutionId) {
        for (id, version) in common {
            let removed = self.store.swap(*id, Some(*version), None, self.clock().now()).await;
            // A sweep notes when it looks again; the record is still the one that this execution wrote.
            if let Ok(Swap::Conflict(Some(swept))) = removed
                && swept.record.execution == execution
            {
                let _ = self.store.swap(*id, Some(swept.version), None, self.clock().now()).await;
            }
        }
    }

    pub(super) fn postpone(&self, overdue: Overdue) {
        self.overdue_count.fetch_add(1, Ordering::Relaxed);
        // The keeper is gone only when the process ends; then the store makes the record unknown.
        let _ = self.overdue.send(overdue);
    }
}
