//! The right to claim an operation. Dropped unused, the next one may claim.

use super::advance::{SWAPS_MAX, changes_too_fast};
use super::flight::{Ending, Flight, Interest, Progress};
use super::permit::Permit;
use super::request::Request;
use super::state::{Ledger, Overdue, WaitsForOverdue};
use oncegate_core::{
    Answer, Ask, ClaimKeys, ClaimResult, MultiKeyClaim, NotWon, OperationId, Outcome, Record, Refusal,
    StoreReply, Timestamp, UnknownReason,
};
use oncegate_store::{ConfiguredStore, Store, StoreError, Swap, Version, Versioned};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The result of asking to begin.
#[derive(Debug)]
pub enum Begun<S: Store = ConfiguredStore> {
    /// Nobody here executes the operation: claim it. If this right is dropped unused, the next request may
    /// claim.
    Claim(Claimant<S>),
    /// Answer from this record.
    Replay {
        /// The record.
        record: Arc<Record>,
        /// The request waited for it.
        waited: bool,
    },
    /// Turn the request away. The record is the one that stands in the way, where there is one.
    Refuse(Refusal, Option<Arc<Record>>),
    /// The execution that the request waited for proved not to be applied; this was its answer.
    Shared(Arc<Answer>),
    /// The store failed.
    Unavailable(StoreError),
}

impl<S: Store> Begun<S> {
    /// The same result, for a request that waited for it.
    pub(super) fn waited(self) -> Self {
        match self {
            Self::Replay { record, .. } => Self::Replay { record, waited: true },
            begun => begun,
        }
    }
}

/// The result of claiming.
#[derive(Debug)]
pub enum Claimed<S: Store = ConfiguredStore> {
    /// The claim is durable: execute.
    Won(Permit<S>),
    /// Another record stands in the way: the result of asking, with the claim given up.
    Stands(Begun<S>),
    /// Another gateway on the same store executes the operation: begin again when the record of this
    /// operation has another version than this one, or a little later.
    Elsewhere(OperationId, Option<Version>),
}

/// The right to claim an operation in this process.
#[derive(Debug)]
pub struct Claimant<S: Store = ConfiguredStore> {
    pub(super) ledger: Arc<Ledger<S>>,
    pub(super) request: Arc<Request>,
    pub(super) flight: Arc<Flight>,
}

impl<S: Store> Claimant<S> {
    /// The interest of the claiming client in the result of the execution.
    pub fn interest(&self) -> Interest {
        Interest::new(&self.flight)
    }

    /// Claims the operation under all its keys: each one atomic step, durable before the next. With one key
    /// that is one swap.
    pub async fn claim(self) -> Claimed<S> {
        let (ledger, request) = (&self.ledger, &self.request);
        let only;
        let keys = match &request.derived.keys[..] {
            [] => {
                only = request.only_key();
                std::slice::from_ref(&only)
            }
            keys => keys,
        };
        let common = &request.derived.common[..];
        let by = ClaimKeys { own: keys, common, claim: &request.claim, rules: &request.rules };
        if !ledger.spaces.holds_since(request.derived.term) {
            return self.failed(oncegate_keyspaces::lapsed(), &[]).await;
        }
        let mut multi_claim: MultiKeyClaim<Version> = MultiKeyClaim::of(by);
        // When the store was first asked about the request's own key. Other keys may be asked about after it, so
        // the time of the last question says nothing of the record under this one.
        let mut own_asked = None;
        for _ in 0..SWAPS_MAX * (keys.len() + common.len()) {
            let now = ledger.clock().now();
            let question = multi_claim.ask(by, now);
            if let Ask::Load(id) | Ask::Swap { id, .. } = &question
                && *id == request.id
            {
                own_asked.get_or_insert(now);
            }
            let reply = match question {
                Ask::Done(ClaimResult::Won { id, version, record }) => {
                    let several = keys.len() + common.len() > 1;
                    let pointers_until = several.then(|| multi_claim.holds_until());
                    return self.won(id, version, record, pointers_until, multi_claim.common());
                }
                Ask::Done(ClaimResult::NotWon { instead, id, record }) => {
                    let standing = record.map(|(version, record)| Versioned { version, record });
                    // No record of this request will stand under its own keys.
                    if matches!(instead, NotWon::Refuse(Refusal::PrincipalChanged | Refusal::KeyReused)) {
                        ledger.release(multi_claim.common(), request.claim.execution).await;
                    }
                    return self.not_won(instead, id, standing, own_asked.unwrap_or(now));
                }
                Ask::Load(id) => match ledger.store.load(id).await {
                    Ok(found) => StoreReply::Loaded(found.map(|found| (found.version, found.record))),
                    Err(error) => return self.failed(error, multi_claim.common()).await,
                },
                Ask::Swap { id, expected, next } => {
                    match ledger.store.swap(id, expected, Some(next.clone()), now).await {
                        Ok(Swap::Done(version)) => StoreReply::Swapped(version, next),
                        Ok(Swap::Conflict(standing)) => {
                            StoreReply::Conflict(standing.map(|standing| (standing.version, standing.record)))
                        }
                        Err(error) => return self.failed(error, multi_claim.common()).await,
                    }
                }
            };
            multi_claim.on_reply(by, reply, now);
        }
        self.failed(changes_too_fast(), multi_claim.common()).await
    }

    /// Handles a failed store. A record that can be read still answers. `common`: the claims without
    /// principal.
    async fn failed(&self, error: StoreError, common: &[(OperationId, Version)]) -> Claimed<S> {
        let (ledger, id) = (&self.ledger, self.request.id);
        if matches!(error, StoreError::Indeterminate(_)) {
            // Nothing is sent under a claim that nobody confirmed. If the claim stands, it is removed once
            // the store can be asked. Nobody may judge it before.
            let stand_in =
                Arc::new(Flight::new(self.request.claim.execution, self.request.claim.fingerprint));
            ledger.flights.insert(id, stand_in.clone());
            ledger.postpone(Overdue {
                id,
                execution: self.request.claim.execution,
                known: None,
                settlement: Outcome::NotApplied.into(),
                common: common.into(),
                waiting: WaitsForOverdue::Unclear(stand_in),
            });
        } else {
            ledger.release(common, self.request.claim.execution).await;
            let asked = ledger.clock().now();
            if let Ok(Some(standing)) = ledger.store.load(id).await
                && let Some(begun) = ledger.answer(&self.request, &standing.record, asked)
                && (ledger.is_whole(&self.request) || matches!(begun, Begun::Replay { .. }))
            {
                ledger.clear(id, &self.flight, Ending::Found(standing.record, asked));
                return Claimed::Stands(begun);
            }
        }
        ledger.clear(id, &self.flight, Ending::Failed(error.clone()));
        Claimed::Stands(Begun::Unavailable(error))
    }

    /// `pointers_until`: the earliest of the claim's leases, where there was more than one key.
    fn won(
        &self,
        id: OperationId,
        version: Version,
        record: Arc<Record>,
        pointers_until: Option<Timestamp>,
        common: &[(OperationId, Version)],
    ) -> Claimed<S> {
        let ledger = &self.ledger;
        let moves = id != self.request.id;
        if moves {
            // A resend executes under the key that has its record. From now on it is renewed and found there.
            self.flight.keep_at(id);
            ledger.flights.insert(id, self.flight.clone());
        }
        self.flight.hold(version, record.clone());
        if moves {
            ledger.flights.remove_if(&self.request.id, |_, standing| Arc::ptr_eq(standing, &self.flight));
        }
        ledger.expect_keeper(self.flight.renewal_due(record.times.lease));
        Claimed::Won(Permit {
            ledger: ledger.clone(),
            id,
            flight: self.flight.clone(),
            record,
            term: self.request.derived.term,
            _pin: self.request.derived.pin.clone(),
            pointers_until,
            common: common.into(),
            was_held: AtomicBool::new(false),
            unsettled: Some((Outcome::Unknown(UnknownReason::Abandoned).into(), None)),
        })
    }

    /// Another record stood in the way when the store was asked. Other waiters judge that record themselves.
    fn not_won(
        &self,
        instead: NotWon,
        id: OperationId,
        standing: Option<Versioned>,
        asked: Timestamp,
    ) -> Claimed<S> {
        if let Some(standing) = &standing {
            self.ledger.keep_at_hand(id, standing);
        }
        let version = standing.as_ref().map(|standing| standing.version);
        let record = standing.map(|standing| standing.record);
        let Some(begun) = self.ledger.told(instead, record.clone()) else {
            // Another gateway on the same store executes the operation, or is about to.
            return self.give_up(Claimed::Elsewhere(id, version));
        };
        let ending = match record {
            Some(record) if id == self.request.id => Ending::Found(record, asked),
            // The record's fingerprint is of another key space than the waiters'.
            _ => Ending::Lost,
        };
        self.ledger.clear(self.request.id, &self.flight, ending);
        Claimed::Stands(begun)
    }

    fn give_up(&self, claimed: Claimed<S>) -> Claimed<S> {
        self.ledger.clear(self.request.id, &self.flight, Ending::Lost);
        claimed
    }
}

impl<S: Store> Drop for Claimant<S> {
    fn drop(&mut self) {
        if matches!(self.flight.progress(), Progress::Claiming) {
            self.ledger.clear(self.request.id, &self.flight, Ending::Lost);
        }
    }
}
