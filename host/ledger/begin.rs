//! The begin of an operation: the record in its way, an execution to wait for, or the right to claim.

use super::claim::{Begun, Claimant};
use super::flight::Flight;
use super::request::Request;
use super::state::Ledger;
use dashmap::mapref::entry::Entry;
use oncegate_core::{Claim, Decision, Event, Key, OperationId, Record, Refusal, Rules, Timestamp, decide};
use oncegate_store::{Store, Versioned};
use std::sync::Arc;
use tokio::time::Instant;

impl<S: Store> Ledger<S> {
    /// Begins an operation: finds the record in its way, waits for an execution in this process, or hands out
    /// the right to claim. Dropping the future loses nothing. What few requests need is boxed, so that the future
    /// of the many is small.
    pub async fn begin(self: &Arc<Self>, request: impl Into<Arc<Request>>) -> Begun<S> {
        let request = request.into();
        let deadline = Instant::now() + request.wait;
        loop {
            for key in request.lower() {
                match Box::pin(self.begin_lower(&request, key, deadline)).await {
                    // The claim tells it, because the claim looks at all keys.
                    Some(Begun::Refuse(Refusal::Unknown, _)) | None => {}
                    Some(begun) => return begun,
                }
            }
            let asked = self.clock().now();
            if let Some(versioned) = self.at_hand(request.id).await
                && let Some(begun) = self.answer(&request, &versioned.record, asked)
                && (self.is_whole(&request) || matches!(begun, Begun::Replay { .. }))
            {
                return begun;
            }
            let flight = match self.flights.entry(request.id) {
                Entry::Vacant(vacant) => {
                    let flight = Arc::new(Flight::new(request.claim.execution, request.claim.fingerprint));
                    vacant.insert(flight.clone());
                    self.gate.pass(request.id);
                    return Begun::Claim(Claimant { ledger: self.clone(), request, flight });
                }
                Entry::Occupied(occupied) => occupied.get().clone(),
            };
            match Box::pin(self.follow(&request, &flight, asked, deadline)).await {
                Some(Begun::Refuse(Refusal::KeyReused, standing)) => {
                    return Box::pin(self.refuse_reused(&request, standing)).await;
                }
                Some(begun) => return begun,
                None => {}
            }
            // The flight was given up before anything was sent: the next one may claim.
            tokio::task::yield_now().await;
        }
    }

    /// True if no other key can change the answer: the request has one key and our lease on the list of
    /// key spaces is unbroken. Otherwise only a replay may be answered from that key's record.
    pub(super) fn is_whole(&self, request: &Request) -> bool {
        request.derived.keys.is_empty() && self.spaces.holds_since(request.derived.term)
    }

    /// The answer at hand under one of the request's keys in lower spaces. `None`: that key answers nothing.
    async fn begin_lower(&self, request: &Request, key: &Key, deadline: Instant) -> Option<Begun<S>> {
        let asked = self.clock().now();
        if let Some(versioned) = self.at_hand(key.id).await {
            let request = request.by(key);
            // Only an answer may be told here: any other result is told after a look at all keys.
            if let Some(begun @ Begun::Replay { .. }) = self.answer(&request, &versioned.record, asked) {
                return Some(begun);
            }
        }
        let flight = self.flights.get(&key.id).map(|flight| flight.clone())?;
        match self.follow(&request.by(key), &flight, asked, deadline).await? {
            Begun::Refuse(Refusal::KeyReused, _) => None,
            begun => Some(begun),
        }
    }

    /// A final record that needs no waiting: from the cache, or from a store that is memory.
    async fn at_hand(&self, id: OperationId) -> Option<Versioned> {
        match &self.cache {
            Some(cache) => cache.find(id),
            None => self.store.load(id).await.ok().flatten(),
        }
    }

    /// Decides a claim on a record that was read when the store was asked at `read_at`. The answer may have
    /// been long on its way: a record that was executing then may be settled since, or have renewed its
    /// lease.
    pub(super) fn decide_claim(
        &self,
        rules: &Rules,
        record: Option<&Record>,
        claim: &Claim,
        read_at: Timestamp,
    ) -> Decision {
        match decide(rules, record, Event::Claim(claim), read_at) {
            running @ (Decision::Wait | Decision::Refuse(Refusal::InFlight)) => running,
            _ => decide(rules, record, Event::Claim(claim), self.clock().now()),
        }
    }

    /// The answer of a record that was read at that time. `None`: the request is to claim or to wait.
    pub(super) fn answer(
        &self,
        request: &Request,
        record: &Arc<Record>,
        read_at: Timestamp,
    ) -> Option<Begun<S>> {
        match self.decide_claim(&request.rules, Some(record), &request.claim, read_at) {
            Decision::Replay => Some(Begun::Replay { record: record.clone(), waited: false }),
            Decision::Refuse(refusal) => Some(Begun::Refuse(refusal, Some(record.clone()))),
            Decision::Execute(_)
            | Decision::Wait
            | Decision::Follow
            | Decision::Put(_)
            | Decision::Remove
            | Decision::Keep(_) => None,
        }
    }
}
