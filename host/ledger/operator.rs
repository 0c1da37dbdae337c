//! An operator's changes to operations by hand, one by one and each at a version that was shown.

use super::state::Ledger;
use oncegate_core::{
    Decision, Event, ExecutionId, NO_RULES, OperationId, Outcome, Record, Unchanged, View, decide,
};
use oncegate_store::{Store, StoreError, Swap, Version, Versioned};
use std::sync::Arc;

/// The result of a change by hand.
#[derive(Debug)]
pub enum Intervention {
    /// The change is made, and durable where the store is. This is the record now, if there is one.
    Done(Option<Versioned>),
    /// There is no record.
    Missing,
    /// The record is not the one that the operator was shown: this is the present one.
    Changed(Versioned),
    /// The record's state doesn't allow the change.
    Refused(Unchanged),
    /// An execution of the operation still runs in this process, so that nobody can tell yet that it did not
    /// happen.
    Living,
}

impl<S: Store> Ledger<S> {
    /// Records how an unknown outcome ended. `expected`: the version that the operator was shown. `why`: the operator's
    /// reason, which a record that stays keeps.
    pub async fn resolve(
        &self,
        id: OperationId,
        expected: Version,
        outcome: &Outcome,
        why: &str,
    ) -> Result<Intervention, StoreError> {
        let Some(current) = self.store.load(id).await? else { return Ok(Intervention::Missing) };
        if current.version != expected {
            return Ok(self.changed(current));
        }
        if matches!(outcome, Outcome::NotApplied) && self.lives_here(id, current.record.execution) {
            return Ok(Intervention::Living);
        }
        let event = Event::Resolve(current.record.execution, outcome);
        self.intervene(id, &current, event, Some(why)).await
    }

    /// Removes a finished record, so that its key is free. `expected`: the version that the operator was
    /// shown.
    pub async fn forget(&self, id: OperationId, expected: Version) -> Result<Intervention, StoreError> {
        let Some(current) = self.store.load(id).await? else { return Ok(Intervention::Missing) };
        if current.version != expected {
            return Ok(self.changed(current));
        }
        // Its settlement is on its way, and those who wait for it get its answer.
        if self.lives_here(id, current.record.execution) {
            return Ok(Intervention::Living);
        }
        self.intervene(id, &current, Event::Forget, None).await
    }

    /// Whether this execution runs in this process.
    pub(super) fn lives_here(&self, id: OperationId, execution: ExecutionId) -> bool {
        self.flights
            .get(&id)
            .is_some_and(|flight| flight.execution() == execution && flight.running().is_some())
    }

    async fn intervene(
        &self,
        id: OperationId,
        current: &Versioned,
        event: Event<'_>,
        why: Option<&str>,
    ) -> Result<Intervention, StoreError> {
        let now = self.clock().now();
        let next = match decide(&NO_RULES, Some(&current.record), event, now) {
            Decision::Put(record) => {
                Some(Arc::new(Record { resolved_because: why.map(Arc::from), ..record }))
            }
            Decision::Remove => None,
            Decision::Keep(Unchanged::Absent) => return Ok(Intervention::Missing),
            Decision::Keep(why) => return Ok(Intervention::Refused(why)),
            Decision::Execute(_)
            | Decision::Replay
            | Decision::Wait
            | Decision::Refuse(_)
            | Decision::Follow => {
                unreachable!("these answer claims only; the table in oncegate-core shows it")
            }
        };
        // The cache forgets first: the swap may be done though nobody is told.
        if let Some(cache) = &self.cache {
            cache.forget(id, current.version);
        }
        match self.store.swap(id, Some(current.version), next.clone(), now).await? {
            Swap::Done(version) => {
                let standing = next.map(|record| Versioned { version, record });
                if let Some(standing) = &standing {
                    self.keep_at_hand(id, standing);
                }
                Ok(Intervention::Done(standing))
            }
            Swap::Conflict(Some(standing)) => Ok(self.changed(standing)),
            Swap::Conflict(None) => Ok(Intervention::Missing),
        }
    }

    fn changed(&self, standing: Versioned) -> Intervention {
        if is_gone(&standing.record, self) { Intervention::Missing } else { Intervention::Changed(standing) }
    }
}

fn is_gone<S: Store>(record: &Record, ledger: &Ledger<S>) -> bool {
    record.view(ledger.clock().now()) == View::Absent
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::Clock;
    use oncegate_core::{State, Timestamp, UnknownReason};
    use oncegate_store::conformance::{completed, executing, id, on_a_runtime, put, record};
    use oncegate_store::{AnyStore, Memory};

    /// A ledger with a cache, though the store is memory: cached records must go, too.
    fn ledger() -> Arc<Ledger> {
        Ledger::new(
            AnyStore::Memory(Arc::new(Memory::new(1 << 20))).untimed(),
            Clock::start(Timestamp::default()),
            Some(1 << 20),
        )
        .0
    }

    fn unknown(ledger: &Ledger) -> Arc<Record> {
        record(State::Unknown { since: ledger.clock().now(), reason: UnknownReason::Broken })
    }

    #[test]
    fn an_unknown_outcome_is_resolved_at_the_version_that_was_shown_and_no_other() {
        on_a_runtime(async {
            let ledger = ledger();
            let shown = put(ledger.store(), id(1), None, Some(unknown(&ledger))).await;
            let newer = put(ledger.store(), id(1), Some(shown), Some(unknown(&ledger))).await;
            let outcome = Outcome::Completed(Arc::default());
            let stale = ledger.resolve(id(1), shown, &outcome, "told").await.unwrap();
            assert!(matches!(&stale, Intervention::Changed(now) if now.version == newer), "{stale:?}");
            let done = ledger.resolve(id(1), newer, &outcome, "told").await.unwrap();
            let Intervention::Done(Some(standing)) = done else { panic!("{done:?}") };
            assert!(matches!(standing.record.state, State::Completed { .. }));
            assert_eq!(standing.record.resolved_because.as_deref(), Some("told"));
            // A known outcome is not resolved again.
            let again = ledger.resolve(id(1), standing.version, &Outcome::NotApplied, "told").await.unwrap();
            assert!(matches!(again, Intervention::Refused(Unchanged::Final)), "{again:?}");
        });
    }

    #[test]
    fn only_what_is_finished_is_forgotten() {
        on_a_runtime(async {
            let ledger = ledger();
            let now = ledger.clock().now();
            let lease = put(ledger.store(), id(1), None, Some(executing(now.as_secs() + 60))).await;
            let running = ledger.forget(id(1), lease).await.unwrap();
            assert!(matches!(running, Intervention::Refused(Unchanged::Executing)), "{running:?}");
            let shown = put(ledger.store(), id(1), Some(lease), Some(unknown(&ledger))).await;
            let stale = ledger.forget(id(1), lease).await.unwrap();
            assert!(matches!(&stale, Intervention::Changed(now) if now.version == shown), "{stale:?}");
            let held = ledger.forget(id(1), shown).await.unwrap();
            assert!(matches!(held, Intervention::Refused(Unchanged::Unresolved)), "{held:?}");
            assert!(matches!(ledger.forget(id(2), shown).await.unwrap(), Intervention::Missing));
        });
    }

    /// A reader may still hold the forgotten record when it puts it into the cache.
    #[test]
    fn a_forgotten_record_does_not_come_back_by_the_cache() {
        on_a_runtime(async {
            let ledger = ledger();
            let done = completed(ledger.clock().now().as_secs(), 10);
            let version = put(ledger.store(), id(1), None, Some(done.clone())).await;
            let held = Versioned { version, record: done.clone() };
            ledger.keep_at_hand(id(1), &held);
            assert_eq!(ledger.cached(), 1);
            let gone = ledger.forget(id(1), version).await.unwrap();
            assert!(matches!(gone, Intervention::Done(None)), "{gone:?}");
            assert_eq!(ledger.cached(), 0);
            ledger.keep_at_hand(id(1), &held);
            assert_eq!(ledger.cached(), 0, "an old version");
            let version = put(ledger.store(), id(1), None, Some(done.clone())).await;
            ledger.keep_at_hand(id(1), &Versioned { version, record: done });
            assert_eq!(ledger.cached(), 1, "a new life of the key");
        });
    }
}
