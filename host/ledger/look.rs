//! A look at the records under a request's keys, which claims nothing.

use super::claim::{Begun, Claimant};
use super::request::Request;
use super::state::Ledger;
use oncegate_core::{
    Ask, Claim, ClaimKeys, ClaimResult, Decision, Event, MultiKeyClaim, NotWon, OperationId, Record, Refusal,
    StoreReply, View, decide,
};
use oncegate_store::{Store, StoreError, Version, Versioned};
use std::sync::Arc;

/// A record that was found, the key that has it, and what its request does.
type FoundRecord = (NotWon, OperationId, Versioned);

impl<S: Store> Claimant<S> {
    /// The result for a request that may not claim, by the records that stand. `None`: nothing stands in the
    /// request's way, so that only a claim could tell it more.
    pub async fn standing(&self) -> Option<Begun<S>> {
        self.ledger.standing(&self.request).await
    }
}

impl<S: Store> Ledger<S> {
    /// The result for a request that may neither claim nor wait, by the records under all its keys.
    pub(super) async fn standing(&self, request: &Request) -> Option<Begun<S>> {
        let (instead, id, found) = match self.look(request, Refusal::TooLate).await {
            Ok(seen) => seen?,
            Err(error) => return Some(Begun::Unavailable(error)),
        };
        self.keep_at_hand(id, &found);
        if instead == NotWon::Refuse(Refusal::Unknown) && self.would_resend(request, &found.record) {
            return None;
        }
        let in_flight = || Begun::Refuse(Refusal::InFlight, Some(found.record.clone()));
        let begun = self.told(instead, Some(found.record.clone())).unwrap_or_else(in_flight);
        // Without an unbroken lease on the list there may be other keys, which were not looked at.
        match matches!(begun, Begun::Replay { .. }) || self.spaces.holds_since(request.derived.term) {
            true => Some(begun),
            false => Some(Begun::Unavailable(oncegate_keyspaces::lapsed())),
        }
    }

    /// Whether the request, could it claim, would send this record's operation again.
    fn would_resend(&self, request: &Request, record: &Record) -> bool {
        let claim = Claim { fingerprint: record.fingerprint, ..request.claim.clone() };
        let decision = decide(&request.rules, Some(record), Event::Claim(&claim), self.clock().now());
        matches!(decision, Decision::Execute(_))
    }

    /// Another operation runs here under the request's own key: refuses the request for that, unless one of
    /// its other keys leads to its answer (a newer way of making keys may have made two keys into one).
    pub(super) async fn refuse_reused(&self, request: &Request, standing: Option<Arc<Record>>) -> Begun<S> {
        let reused = Refusal::KeyReused;
        if request.derived.keys.is_empty() {
            return Begun::Refuse(reused, standing);
        }
        match self.look(request, reused).await {
            Ok(Some((NotWon::Replay, _, found))) => Begun::Replay { record: found.record, waited: false },
            Ok(Some((NotWon::Refuse(refusal), _, found))) => Begun::Refuse(refusal, Some(found.record)),
            Ok(Some((NotWon::Wait, ..)) | None) => Begun::Refuse(reused, standing),
            Err(error) => Begun::Unavailable(error),
        }
    }

    /// Looks under all of the request's own keys, and where they point. An answer ends the look. `otherwise`:
    /// the refusal where there is none; only one that holds without a record makes way for what was found.
    async fn look(&self, request: &Request, otherwise: Refusal) -> Result<Option<FoundRecord>, StoreError> {
        let only;
        let own = match &request.derived.keys[..] {
            [] => {
                only = request.only_key();
                std::slice::from_ref(&only)
            }
            keys => keys,
        };
        let common = &request.derived.common[..];
        let by = ClaimKeys { own, common, claim: &request.claim, rules: &request.rules };
        let end = ClaimResult::NotWon { instead: NotWon::Refuse(otherwise), id: request.id, record: None };
        let mut look: MultiKeyClaim<Version> = MultiKeyClaim::looking(by, end);
        loop {
            let asked = self.clock().now();
            match look.ask(by, asked) {
                Ask::Load(id) => {
                    let found = self.store.load(id).await?.map(|found| (found.version, found.record));
                    look.on_reply(by, StoreReply::Loaded(found), asked);
                }
                Ask::Done(ClaimResult::NotWon { instead, id, record: Some((version, record)) }) => {
                    return Ok(Some((instead, id, Versioned { version, record })));
                }
                Ask::Done(_) | Ask::Swap { .. } => return Ok(None),
            }
        }
    }

    /// The result for a request that met this record. `None`: the request waits, or looks again.
    pub(super) fn told(&self, instead: NotWon, record: Option<Arc<Record>>) -> Option<Begun<S>> {
        match (instead, record) {
            // The store was asked before the record expired, and answered after it had been swept. The rest
            // of an expired answer looks like an answer that was never kept.
            (NotWon::Refuse(Refusal::Consumed), Some(swept))
                if swept.view(self.clock().now()) == View::Expired =>
            {
                Some(Begun::Refuse(Refusal::Expired, Some(swept)))
            }
            (NotWon::Replay, Some(record)) => Some(Begun::Replay { record, waited: false }),
            (NotWon::Refuse(refusal), record) => Some(Begun::Refuse(refusal, record)),
            (NotWon::Wait | NotWon::Replay, _) => None,
        }
    }
}
