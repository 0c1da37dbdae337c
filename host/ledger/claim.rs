//! The right to claim, the right to execute, and the duty to settle. Each is held by one owner; what
//! is dropped unused is given back or recorded as unknown, never lost.

use super::advance::{Advanced, SWAPS_MAX, changes_too_fast};
use super::flight::{Ending, Flight, Interest, Progress};
use super::{Begun, Ledger, Overdue, Request};
use crate::store::{AnyStore, Store, StoreError, Swap, Version, Versioned};
use oncegate_core::{Answer, Decision, Doubt, OperationId, Outcome, Record, Settlement, Timestamp};
use std::sync::Arc;

/// What came of claiming.
#[derive(Debug)]
pub enum Claimed<S: Store = AnyStore> {
    /// The claim is durable: execute.
    Won(Permit<S>),
    /// Something else stands there: what came of asking, with the claim given up.
    Stands(Begun<S>),
    /// Another gateway on the same store executes it: begin again a little later.
    Elsewhere,
}

/// Why an outcome isn't on the record.
#[derive(Debug, thiserror::Error)]
pub enum Unsettled {
    /// Not yet: the store failed. The settlement is kept and tried again.
    #[error(transparent)]
    Store(StoreError),
    /// Never: the record has gone on without this execution, whose outcome is kept as evidence.
    #[error("the record has gone on without this execution")]
    Overtaken,
}

/// The right to claim an operation in this process.
#[derive(Debug)]
pub struct Claimant<S: Store = AnyStore> {
    pub(super) ledger: Arc<Ledger<S>>,
    pub(super) request: Request,
    pub(super) flight: Arc<Flight>,
}

impl<S: Store> Claimant<S> {
    /// The interest of the client that brings it, in what may become of the execution.
    pub fn interest(&self) -> Interest {
        Interest::new(&self.flight)
    }

    /// Claims it: one atomic step, durable before it is won.
    pub async fn claim(self) -> Claimed<S> {
        let (ledger, request) = (&self.ledger, &self.request);
        let mut current: Option<Versioned> = None;
        let mut asked = ledger.clock.now();
        for _ in 0..SWAPS_MAX {
            let now = ledger.clock.now();
            let record = current.as_ref().map(|versioned| &*versioned.record);
            let read_at = std::mem::replace(&mut asked, now);
            let decision = ledger.decide_claim(&request.rules, record, &request.claim, read_at);
            let next = match (decision, &current) {
                (Decision::Execute(record), _) => Arc::new(record),
                (Decision::Replay | Decision::Refuse(_), Some(standing)) => {
                    return self.stands(standing, read_at);
                }
                // Without a record: too late, or ahead of its time. Nobody has looked yet whether there
                // is none.
                (Decision::Refuse(refusal), None) => match ledger.store.load(request.id).await {
                    Ok(None) => return self.give_up(Claimed::Stands(Begun::Refuse(refusal, None))),
                    Ok(standing) => {
                        current = standing;
                        continue;
                    }
                    Err(error) => return self.failed(error).await,
                },
                // Another gateway on the same store executes it.
                (Decision::Wait | Decision::Follow, _) => return self.give_up(Claimed::Elsewhere),
                (Decision::Replay, None) | (Decision::Put(_) | Decision::Remove | Decision::Keep(_), _) => {
                    unreachable!("these don't answer claims; the table in oncegate-core shows it")
                }
            };
            let expected = current.as_ref().map(|versioned| versioned.version);
            match ledger.swap(request.id, expected, Some(next.clone()), now).await {
                Ok(Swap::Done(version)) => return self.won(version, next),
                // An earlier write of this very claim, of unclear result, took effect.
                Ok(Swap::Conflict(Some(ours))) if ours.record.execution == request.claim.execution => {
                    return self.won(ours.version, ours.record);
                }
                Ok(Swap::Conflict(standing)) => current = standing,
                Err(error) => return self.failed(error).await,
            }
        }
        self.failed(changes_too_fast()).await
    }

    /// The store failed. What can be read still answers.
    async fn failed(&self, error: StoreError) -> Claimed<S> {
        let (ledger, id) = (&self.ledger, self.request.id);
        if matches!(error, StoreError::Indeterminate(_)) {
            // Nothing is sent under a claim that nobody confirmed; should it stand, it goes once the
            // store can be asked.
            ledger.postpone(Overdue {
                id,
                execution: self.request.claim.execution,
                known: None,
                settlement: Outcome::NotApplied.into(),
                waiting: None,
            });
        } else {
            let asked = ledger.clock.now();
            if let Ok(Some(standing)) = ledger.store.load(id).await
                && let Some(begun) =
                    ledger.answer(&self.request, &self.request.rules, &standing.record, asked)
            {
                ledger.clear(id, &self.flight, Ending::Found(standing.record, asked));
                return Claimed::Stands(begun);
            }
        }
        ledger.clear(id, &self.flight, Ending::Failed(error.clone()));
        Claimed::Stands(Begun::Unavailable(error))
    }

    fn won(&self, version: Version, record: Arc<Record>) -> Claimed<S> {
        self.flight.hold(version, record.clone());
        self.ledger.expect_keeper(self.flight.renewal_due(record.times.lease));
        Claimed::Won(Permit {
            ledger: self.ledger.clone(),
            id: self.request.id,
            flight: self.flight.clone(),
            record,
            settled: false,
        })
    }

    /// A record stood there, when the store was asked, that answers the request; others who waited
    /// judge it themselves.
    fn stands(&self, standing: &Versioned, asked: Timestamp) -> Claimed<S> {
        let begun = self.ledger.answer(&self.request, &self.request.rules, &standing.record, asked);
        self.ledger.keep_at_hand(self.request.id, standing);
        self.ledger.clear(self.request.id, &self.flight, Ending::Found(standing.record.clone(), asked));
        begun.map_or(Claimed::Elsewhere, Claimed::Stands)
    }

    fn give_up(&self, claimed: Claimed<S>) -> Claimed<S> {
        self.ledger.clear(self.request.id, &self.flight, Ending::Lost);
        claimed
    }
}

impl<S: Store> Drop for Claimant<S> {
    fn drop(&mut self) {
        if matches!(*self.flight.follow().borrow(), Progress::Claiming) {
            self.ledger.clear(self.request.id, &self.flight, Ending::Lost);
        }
    }
}

/// The right to execute an operation, and the duty to settle it. Dropped unsettled, the outcome is
/// unknown.
#[derive(Debug)]
pub struct Permit<S: Store = AnyStore> {
    ledger: Arc<Ledger<S>>,
    id: OperationId,
    flight: Arc<Flight>,
    record: Arc<Record>,
    settled: bool,
}

impl<S: Store> Permit<S> {
    /// The record under which it executes.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether the lease still holds: to be asked right before the first byte goes upstream.
    pub fn holds(&self) -> bool {
        !self.flight.lease_left(self.ledger.clock.now()).is_zero()
    }

    /// Comes back when none of the operation's clients is left, waiting ones included.
    pub async fn deserted(&self) {
        self.flight.deserted().await;
    }

    /// Settles it; comes back when the outcome is durable. Where it isn't, nobody may be told it:
    /// the error says why. `shared` is for those who waited, should it be *not applied*.
    pub async fn settle(
        mut self,
        settlement: impl Into<Settlement>,
        shared: Option<Arc<Answer>>,
    ) -> Result<(), Unsettled> {
        let settlement = settlement.into();
        // From here on the settlement is somebody's: ours, or in the keeper's queue.
        self.settled = true;
        let (execution, known) = (self.flight.execution(), self.flight.known());
        match self.ledger.settle(self.id, execution, known.clone(), &settlement).await {
            Ok(advance) => {
                let kept = matches!(advance, Advanced::Kept(..));
                self.ledger.conclude(self.id, &self.flight, &settlement, advance, shared);
                // That nobody knows is never wrong.
                match kept && !matches!(settlement.outcome, Outcome::Unknown(_)) {
                    true => Err(Unsettled::Overtaken),
                    false => Ok(()),
                }
            }
            Err(error) => {
                self.postpone(settlement, known, shared);
                Err(Unsettled::Store(error))
            }
        }
    }

    /// Leaves the settlement to the keeper, which tries it until the store takes it.
    fn postpone(&self, settlement: Settlement, known: Option<Versioned>, shared: Option<Arc<Answer>>) {
        self.flight.overdue();
        self.ledger.postpone(Overdue {
            id: self.id,
            execution: self.flight.execution(),
            known,
            settlement,
            waiting: Some((self.flight.clone(), shared)),
        });
    }
}

impl<S: Store> Drop for Permit<S> {
    fn drop(&mut self) {
        if !self.settled {
            self.postpone(Outcome::Unknown(Doubt::Abandoned).into(), self.flight.known(), None);
        }
    }
}
