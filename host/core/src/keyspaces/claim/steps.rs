//! Claiming one key after the other: the records that a claim writes, and those that it meets.

use super::machine::{Again, MultiKeyClaim, Over, Phase, Standing, StoreReply, judge};
use super::result::{ClaimResult, NotWon};
use crate::decide::{Claim, Decision, Event, Refusal, decide};
use crate::ids::{Fingerprint, OperationId};
use crate::keyspaces::chain::PointerChain;
use crate::keyspaces::keys::ClaimKeys;
use crate::record::{Origin, Pointer, Record, State, View};
use crate::time::Timestamp;
use std::sync::Arc;

impl<V: Clone + Eq> MultiKeyClaim<V> {
    /// Takes in the record under an own key, before anything is claimed.
    pub(super) fn own(
        &mut self,
        keys: ClaimKeys<'_>,
        key: usize,
        found: Option<Standing<V>>,
        now: Timestamp,
    ) {
        let here = &keys.own[key];
        let is_state = |record: &Record| !matches!(record.view(now), View::Absent | View::Pointer);
        if let Some(standing) = found.filter(|(_, record)| is_state(record)) {
            return self.duplicate(keys, here.id, standing, here.fingerprint, now);
        }
        self.phase = if key + 1 < keys.own.len() { Phase::Own(key + 1) } else { Phase::Write(None) };
    }

    /// The record for the present key. Refused where there is no record and the operation is too old or ahead
    /// of its time.
    pub(super) fn next_record(
        &self,
        keys: ClaimKeys<'_>,
        over: Option<&Over<V>>,
        now: Timestamp,
    ) -> Result<Record, Refusal> {
        // An operation that is sent again has a record, and so is never too late.
        let ageless;
        let claim = match &self.again {
            None => keys.claim,
            Some(_) => {
                ageless = Claim {
                    clock: Timestamp::MAX,
                    remembered_since: Timestamp::default(),
                    ..keys.claim.clone()
                };
                &ageless
            }
        };
        let record = match decide(keys.rules, None, Event::Claim(claim), now) {
            Decision::Execute(record) => record,
            Decision::Refuse(refusal) => return Err(refusal),
            _ => unreachable!(
                "without a record a claim executes or is refused; the table of decide() shows it"
            ),
        };
        match self.present(keys).id == self.end(keys).id {
            true => Ok(record),
            false => Ok(self.pointer(keys, record, over, now)),
        }
    }

    /// The pointer from the present key to the end.
    fn pointer(&self, keys: ClaimKeys<'_>, record: Record, over: Option<&Over<V>>, now: Timestamp) -> Record {
        let (key, end) = (self.present(keys), self.end(keys));
        let own = now.plus(keys.claim.times.lease);
        let lease_until = over.map_or(own, |over| over.lease_until.max(own));
        Record {
            fingerprint: key.fingerprint,
            origin: Origin { key_schema: key.key_schema.clone(), key_epoch: key.key_epoch, ..record.origin },
            memo: None,
            probing: None,
            resolved_because: None,
            state: State::Pointer(Pointer {
                target: end.id,
                target_space: end.space,
                target_fingerprint: end.fingerprint,
                lease_until,
                look_at: lease_until,
            }),
            ..record
        }
    }

    /// The present key is claimed.
    pub(super) fn wrote(&mut self, keys: ClaimKeys<'_>, version: V, record: Arc<Record>, asked: Timestamp) {
        let own = asked.plus(keys.claim.times.lease);
        self.holds_until = self.holds_until.min(lease_of(&record, asked).min(own));
        self.step += 1;
        let again = usize::from(self.again.is_some());
        self.phase = match self.step < keys.common.len() + keys.own.len() - again {
            true => Phase::Write(None),
            false if again > 0 => Phase::Resend,
            false => Phase::Ended(Box::new(ClaimResult::Won { id: self.end(keys).id, version, record })),
        };
    }

    /// Takes in the record at the present key. The claim itself may have written it, in a swap whose answer
    /// was lost.
    pub(super) fn found(&mut self, keys: ClaimKeys<'_>, (version, record): Standing<V>, asked: Timestamp) {
        // A pointer that the claim wrote before it knew its end may have been written over the pointer of
        // another claim, which relies on it. So that pointer is met like another claim's.
        let elsewhere =
            matches!(&record.state, State::Pointer(pointer) if pointer.target != self.end(keys).id);
        match record.execution == keys.claim.execution && !elsewhere {
            true => self.wrote(keys, version, record, asked),
            false => self.meet(keys, version, record, asked),
        }
    }

    /// Another claim's record stands at the present key.
    fn meet(&mut self, keys: ClaimKeys<'_>, version: V, record: Arc<Record>, now: Timestamp) {
        let key = self.present(keys);
        if record.view(now) == View::Absent {
            self.phase =
                Phase::Write(Some(Over { version, lease_until: Timestamp::default(), is_free: true }));
            return;
        }
        let State::Pointer(pointer) = &record.state else {
            return self.duplicate(keys, key.id, (version, record), key.fingerprint, now);
        };
        let end = self.end(keys);
        let same_operation = record.origin.principal == keys.claim.origin.principal
            && record.fingerprint == key.fingerprint
            && pointer.target_fingerprint == end.fingerprint;
        // A pointer to the same end is written anew, also over a live one. A claim that relied on another's
        // pointer would lose it when that claimant dies and its lease ends.
        let same_end = pointer.target == end.id && pointer.target_space == end.space;
        self.phase = match same_operation && same_end && key.id != end.id {
            true => Phase::Write(Some(Over { version, lease_until: pointer.lease_until, is_free: false })),
            false => Phase::Follow(PointerChain::from(keys, key, version, &record, pointer)),
        };
    }

    /// The operation has a state under this key: the claim is a duplicate, or the state is sent again.
    pub(super) fn duplicate(
        &mut self,
        keys: ClaimKeys<'_>,
        id: OperationId,
        standing: Standing<V>,
        fingerprint: Fingerprint,
        now: Timestamp,
    ) {
        let decision = judge(keys, &standing.1, fingerprint, now);
        if matches!(decision, Decision::Execute(_)) && self.again.is_none() {
            // The record stays unknown where this gateway does not derive its key, and where two records are
            // unknown.
            if let Some(key) = keys.own.iter().position(|key| key.id == id) {
                return self.send_again(keys, key, standing);
            }
        }
        self.end_with(
            keys,
            ClaimResult::NotWon { instead: NotWon::by(decision), id, record: Some(standing) },
        );
    }

    /// Claims the other keys for the record that ended unknown under the own key `key`, and then sends it
    /// again. The common keys are claimed, too: they need not lead to that record. Its own write may have
    /// reached the store after its leases were over, or its claim had no key in a space that is derived now.
    fn send_again(&mut self, keys: ClaimKeys<'_>, key: usize, (version, record): Standing<V>) {
        self.again = Some(Again { key, version, record });
        self.step = 0;
        self.holds_until = Timestamp::MAX;
        let alone = keys.own.len() == 1 && keys.common.is_empty();
        self.phase = if alone { Phase::Resend } else { Phase::Write(None) };
    }

    /// The reply to the swap that sends the unknown record again, or to the load after a lost answer.
    pub(super) fn resend(&mut self, keys: ClaimKeys<'_>, phase: Phase<V>, reply: StoreReply<V>) {
        match (phase, reply) {
            (Phase::Resend, StoreReply::Swapped(version, record)) => self.resent(keys, version, record),
            (Phase::Resend, StoreReply::Unclear) => self.phase = Phase::RereadResent,
            (Phase::Resend, StoreReply::Conflict(Some((version, record))))
            | (Phase::RereadResent, StoreReply::Loaded(Some((version, record))))
                if record.execution == keys.claim.execution =>
            {
                self.resent(keys, version, record);
            }
            // Another claim won: begin anew.
            _ => *self = Self { common: std::mem::take(&mut self.common), ..Self::of(keys) },
        }
    }

    /// The unknown record is claimed once more, where it is.
    fn resent(&mut self, keys: ClaimKeys<'_>, version: V, record: Arc<Record>) {
        self.holds_until = self.holds_until.min(lease_of(&record, Timestamp::default()));
        self.phase = Phase::Ended(Box::new(ClaimResult::Won { id: self.end(keys).id, version, record }));
    }

    /// Ends the claim. A result that is no answer is final only after a look at all keys.
    pub(super) fn end_with(&mut self, keys: ClaimKeys<'_>, result: ClaimResult<V>) {
        // With one key there is nothing to look at but the record just read.
        self.phase = match result.is_answer() || keys.own.len() == 1 {
            true => Phase::Ended(Box::new(result)),
            false => Phase::look(result),
        };
    }
}

/// When the lease of a claim's record ends; `otherwise` where the record has none.
fn lease_of(record: &Record, otherwise: Timestamp) -> Timestamp {
    match &record.state {
        State::Pointer(pointer) => pointer.lease_until,
        State::Executing { lease_until } => *lease_until,
        State::Completed { .. } | State::Consumed { .. } | State::Unknown { .. } => otherwise,
    }
}
