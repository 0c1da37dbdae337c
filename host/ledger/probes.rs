//! The turns to ask the upstream about an unknown outcome, and the effect of a probe's result on the record.
//! The sweep finds the records that are due; the gateway whose swap wins has the turn. Other code does the
//! asking.

use super::advance::Advance;
use super::state::Ledger;
use super::turn::Turn;
use oncegate_core::{Event, Outcome, Probe, UnknownReason};
use oncegate_store::{Store, StoreError, Versioned};
use tokio::sync::mpsc;

impl<S: Store> Ledger<S> {
    /// Takes the turns of this process from now on, at most `waiting` of them queued. A turn that finds no
    /// room is due again when it has passed. Called once only.
    pub fn turns(&self, waiting: usize) -> mpsc::Receiver<Turn> {
        let (sender, receiver) = mpsc::channel(waiting);
        // A second caller gets a channel that nobody sends to.
        let _ = self.turns.set(sender);
        receiver
    }

    pub(super) fn hand_out(&self, turn: Turn) {
        if let Some(turns) = self.turns.get() {
            let _ = turns.try_send(turn);
        }
    }

    /// Puts the probe's result on the record. *Not applied* means nothing while an execution of the operation
    /// runs in this process.
    pub async fn probed(&self, turn: &Turn, mut probe: Probe) -> Result<Advance, StoreError> {
        let execution = turn.record.execution;
        if matches!(probe.outcome, Outcome::NotApplied) && self.lives_here(turn.id, execution) {
            probe.outcome = Outcome::Unknown(UnknownReason::Lapsed);
        }
        let event = Event::Probed(execution, &probe);
        let shown = Versioned { version: turn.version, record: turn.record.clone() };
        let advance = Advance::from(self.advance(turn.id, Some(shown), &event).await?);
        if let Ok(Some(standing)) = &advance {
            self.keep_at_hand(turn.id, standing);
        }
        Ok(advance)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::Clock;
    use oncegate_core::{Probing, Record, State, Timestamp};
    use oncegate_store::conformance::{id, on_a_runtime, put, record};
    use oncegate_store::{AnyStore, Memory};
    use std::sync::Arc;
    use std::time::Duration;

    fn ledger() -> Arc<Ledger> {
        Ledger::new(
            AnyStore::Memory(Arc::new(Memory::new(1 << 20))).untimed(),
            Clock::start(Timestamp::default()),
            None,
        )
        .0
    }

    async fn put_unknown(ledger: &Ledger) {
        let state = State::Unknown { since: ledger.clock().now(), reason: UnknownReason::Broken };
        let record = Record { probing: Some(Probing::begun()), ..(*record(state)).clone() };
        put(ledger.store(), id(1), None, Some(Arc::new(record))).await;
    }

    fn found(ledger: &Ledger, outcome: Outcome, settle_after: Duration) -> Probe {
        let now = ledger.clock().now();
        Probe { outcome, asked: now, settle_after: Some(settle_after), again: Some(now) }
    }

    #[test]
    fn one_turn_at_a_time_and_the_next_when_it_is_due() {
        on_a_runtime(async {
            let ledger = ledger();
            let mut turns = ledger.turns(4);
            put_unknown(&ledger).await;
            ledger.sweep(10).await.unwrap();
            let turn = turns.try_recv().unwrap();
            ledger.sweep(10).await.unwrap();
            assert!(turns.try_recv().is_err(), "somebody asks already");
            let nothing = found(&ledger, Outcome::Unknown(UnknownReason::Broken), Duration::ZERO);
            let Ok(Some(standing)) = ledger.probed(&turn, nothing).await.unwrap() else { panic!() };
            assert_eq!(standing.record.probing.unwrap().tries, 1);
            ledger.sweep(10).await.unwrap();
            assert!(turns.try_recv().is_ok());
        });
    }

    #[test]
    fn that_it_did_not_happen_frees_the_key_only_when_nothing_can_be_on_its_way() {
        on_a_runtime(async {
            let ledger = ledger();
            let mut turns = ledger.turns(4);
            put_unknown(&ledger).await;
            ledger.sweep(10).await.unwrap();
            let turn = turns.try_recv().unwrap();
            let early = found(&ledger, Outcome::NotApplied, Duration::from_secs(300));
            let Ok(Some(standing)) = ledger.probed(&turn, early).await.unwrap() else { panic!("freed") };
            assert_eq!(standing.record.probing.unwrap().tries, 0, "too early is nobody's failure");
            let late = found(&ledger, Outcome::NotApplied, Duration::ZERO);
            assert!(matches!(ledger.probed(&turn, late).await.unwrap(), Ok(None)));
            assert!(ledger.load(id(1)).await.unwrap().is_none());
        });
    }
}
