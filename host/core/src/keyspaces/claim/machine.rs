//! The state of a claim, and which of its steps is next.

use super::result::{ClaimResult, NotWon};
use crate::decide::{Claim, Decision, Event, WhenUnknown, decide};
use crate::ids::{Fingerprint, OperationId};
use crate::keyspaces::chain::PointerChain;
use crate::keyspaces::keys::{ClaimKeys, Key};
use crate::record::Record;
use crate::time::Timestamp;
use std::sync::Arc;

/// The next request of a [`MultiKeyClaim`] to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask<V> {
    /// Load this record.
    Load(OperationId),
    /// Put `next`, expecting this version; `None`: expecting no record.
    Swap {
        /// The key of the record.
        id: OperationId,
        /// The version that must stand there.
        expected: Option<V>,
        /// The record to put.
        next: Arc<Record>,
    },
    /// Nothing: the claim has ended.
    Done(ClaimResult<V>),
}

/// The store's reply to an [`Ask`] of a [`MultiKeyClaim`].
#[derive(Clone, Debug)]
pub enum StoreReply<V> {
    /// Reply to a load.
    Loaded(Option<Standing<V>>),
    /// Reply to a swap: it took effect, and the record stands there under this version.
    Swapped(V, Arc<Record>),
    /// Reply to a swap: another record stands there, or none.
    Conflict(Option<Standing<V>>),
    /// Reply to a swap: nobody knows whether it took effect.
    Unclear,
}

/// A record as it stands in the store, with the version of its last write.
pub(super) type Standing<V> = (V, Arc<Record>);

/// A claim on its way. `V` is the store's version of a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MultiKeyClaim<V> {
    /// The number of the key that is being claimed: the common keys first, then the own ones.
    pub(crate) step: usize,
    pub(crate) phase: Phase<V>,
    pub(crate) holds_until: Timestamp,
    /// The writes of this claim under common keys while no other claim relied on them.
    pub(super) common: Vec<(OperationId, V)>,
    /// The record that is sent again once all other keys are claimed.
    pub(crate) again: Option<Again<V>>,
}

/// A record that ended unknown and is sent again, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Again<V> {
    /// The number of the own key that has it.
    pub(crate) key: usize,
    pub(super) version: V,
    pub(super) record: Arc<Record>,
}

/// The phase of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase<V> {
    /// Read this own key before anything is claimed. Common keys need this: an operation that the caller
    /// itself has begun stays the caller's, whoever came since. A resend needs this, too: the other keys will
    /// point to that record.
    Own(usize),
    /// Write at the present key, over the record that was seen there.
    Write(Option<Over<V>>),
    /// Read the present key again: a swap's answer was lost, or a chain of pointers changed.
    Reread,
    /// Follow the pointers that were found at the present key.
    Follow(PointerChain<V>),
    /// Nothing is at the chain's end. Check that no pointer but the first was written over meanwhile. The
    /// swap will compare the first.
    Check { chain: PointerChain<V>, next: usize, live: bool },
    /// Before the claim ends without an answer: look whether any key leads to an answer.
    Look(AnswerSearch<V>),
    /// All other keys are claimed: execute the unknown record once more, under its own key.
    Resend,
    /// The store's answer to that swap was lost: read the record again.
    RereadResent,
    /// The claim has ended.
    Ended(Box<ClaimResult<V>>),
}

/// The state of the search for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AnswerSearch<V> {
    /// How the claim ends if no key leads to an answer.
    pub(super) otherwise: Box<ClaimResult<V>>,
    /// The number of the own key that is looked at.
    pub(super) key: usize,
    /// The pointers that were followed from that key.
    pub(super) via: Option<PointerChain<V>>,
}

/// The record that a write replaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Over<V> {
    pub(super) version: V,
    /// The end of the replaced pointer's lease. The new pointer ends no earlier, for the claimant of the old
    /// one relies on it.
    pub(super) lease_until: Timestamp,
    /// Whether that record was over and led to nothing. Otherwise another claim may rely on the key, or a
    /// record of this operation that ended unknown.
    pub(super) is_free: bool,
}

impl<V: Clone + Eq> MultiKeyClaim<V> {
    /// A claim with these keys that has asked for nothing yet.
    pub const fn of(keys: ClaimKeys<'_>) -> Self {
        let resends = matches!(keys.rules.when_unknown, WhenUnknown::Resend) && keys.own.len() > 1;
        let looks_first = resends || !keys.common.is_empty();
        Self {
            step: 0,
            phase: if looks_first { Phase::Own(0) } else { Phase::Write(None) },
            holds_until: Timestamp::MAX,
            common: Vec::new(),
            again: None,
        }
    }

    /// A claim that writes nothing: it ends with `otherwise`, unless one of the keys leads to an answer.
    pub fn looking(keys: ClaimKeys<'_>, otherwise: ClaimResult<V>) -> Self {
        Self { phase: Phase::look(otherwise), ..Self::of(keys) }
    }

    /// The writes of this claim under common keys on which no other claim relies. When the operation turns
    /// out not to be applied, these records are removed where they still have these versions.
    pub fn common(&self) -> &[(OperationId, V)] {
        &self.common
    }

    /// Until when the claim holds all its keys: the earliest of the leases, as the claim wrote them.
    pub const fn holds_until(&self) -> Timestamp {
        self.holds_until
    }

    /// The claim's next request. `now` is given to [`on_reply`](Self::on_reply) with the reply.
    pub fn ask(&mut self, keys: ClaimKeys<'_>, now: Timestamp) -> Ask<V> {
        if let Some(swap) = self.next_swap(keys, now) {
            return swap;
        }
        match &self.phase {
            Phase::Write(_) | Phase::Resend => unreachable!("next_swap asks in these phases, or leaves them"),
            Phase::Own(key) => Ask::Load(keys.own[*key].id),
            Phase::Reread => Ask::Load(self.present(keys).id),
            Phase::RereadResent => Ask::Load(self.end(keys).id),
            Phase::Follow(chain) => Ask::Load(chain.target()),
            Phase::Check { chain, next, .. } => Ask::Load(chain.links()[*next].id),
            Phase::Look(AnswerSearch { via: Some(chain), .. }) => Ask::Load(chain.target()),
            Phase::Look(AnswerSearch { key, .. }) => Ask::Load(keys.own[*key].id),
            Phase::Ended(result) => Ask::Done((**result).clone()),
        }
    }

    /// The swap that the phase asks for. Where time has made it impossible, the claim goes on to its end.
    fn next_swap(&mut self, keys: ClaimKeys<'_>, now: Timestamp) -> Option<Ask<V>> {
        if let Phase::Write(over) = &self.phase {
            let over = over.clone();
            match self.next_record(keys, over.as_ref(), now) {
                Ok(next) => {
                    let expected = over.map(|over| over.version);
                    return Some(Ask::Swap { id: self.present(keys).id, expected, next: Arc::new(next) });
                }
                Err(refusal) => {
                    let (instead, id) = (NotWon::Refuse(refusal), self.end(keys).id);
                    self.phase = Phase::look(ClaimResult::NotWon { instead, id, record: None });
                }
            }
        }
        if let (Phase::Resend, Some(Again { key, version, record })) = (&self.phase, &self.again) {
            let Key { id, fingerprint, .. } = keys.own[*key];
            match judge(keys, record, fingerprint, now) {
                Decision::Execute(next) => {
                    return Some(Ask::Swap { id, expected: Some(version.clone()), next: Arc::new(next) });
                }
                // The record expired meanwhile.
                decision => {
                    let record = Some((version.clone(), record.clone()));
                    self.end_with(keys, ClaimResult::NotWon { instead: NotWon::by(decision), id, record });
                }
            }
        }
        None
    }

    /// Takes in the store's reply. `asked` is the time that was given to [`ask`](Self::ask), before the store
    /// looked.
    pub fn on_reply(&mut self, keys: ClaimKeys<'_>, reply: StoreReply<V>, asked: Timestamp) {
        // The phase is replaced only for this call: every branch puts the next phase there.
        match (std::mem::replace(&mut self.phase, Phase::Reread), reply) {
            (Phase::Own(key), StoreReply::Loaded(found)) => self.own(keys, key, found, asked),
            (Phase::Write(over), StoreReply::Swapped(version, record)) => {
                // The claimant of a live pointer that was written over may still be on its way, and now
                // relies on this one. So does a record to which the pointer leads.
                let alone = over.is_none_or(|over| over.is_free);
                if self.step < keys.common.len() && alone {
                    self.common.push((self.present(keys).id, version.clone()));
                }
                self.wrote(keys, version, record, asked);
            }
            (Phase::Write(_), StoreReply::Conflict(Some(standing))) => self.found(keys, standing, asked),
            (Phase::Write(_), StoreReply::Conflict(None)) => self.phase = Phase::Write(None),
            // The store's answer was lost: read the present key again.
            (Phase::Write(_), _) => {}
            (Phase::Reread, StoreReply::Loaded(Some(standing))) => self.found(keys, standing, asked),
            (Phase::Reread, _) => self.phase = Phase::Write(None),
            (phase @ (Phase::Resend | Phase::RereadResent), reply) => self.resend(keys, phase, reply),
            (Phase::Follow(chain), StoreReply::Loaded(found)) => self.follow(keys, chain, found, asked),
            (Phase::Check { chain, next, live }, StoreReply::Loaded(found)) => {
                self.check(keys, chain, next, live, found);
            }
            (Phase::Look(look), StoreReply::Loaded(found)) => self.look(keys, look, found, asked),
            (phase, _) => self.phase = phase,
        }
    }

    /// The key that is being claimed. The common keys come first, and lower spaces before higher ones, so
    /// that two claims with two keys in common never hold one of them each.
    pub(super) fn present<'a>(&self, keys: ClaimKeys<'a>) -> &'a Key {
        match self.step.checked_sub(keys.common.len()) {
            None => &keys.common[self.step],
            Some(step) if self.again.as_ref().is_some_and(|again| again.key <= step) => &keys.own[step + 1],
            Some(step) => &keys.own[step],
        }
    }

    /// The key to which the others point: the highest, or the one whose record is sent again.
    pub(super) fn end<'a>(&self, keys: ClaimKeys<'a>) -> &'a Key {
        self.again.as_ref().map_or(keys.highest(), |again| &keys.own[again.key])
    }
}

impl<V> Phase<V> {
    /// A search for an answer under every key, before the claim ends with `otherwise`.
    pub(super) fn look(otherwise: ClaimResult<V>) -> Self {
        Self::Look(AnswerSearch { otherwise: Box::new(otherwise), key: 0, via: None })
    }
}

/// The decision of a state on a claim whose fingerprint there would be `fingerprint`.
pub(super) fn judge(
    keys: ClaimKeys<'_>,
    record: &Record,
    fingerprint: Fingerprint,
    now: Timestamp,
) -> Decision {
    match fingerprint == keys.claim.fingerprint {
        true => decide(keys.rules, Some(record), Event::Claim(keys.claim), now),
        false => {
            let claim = Claim { fingerprint, ..keys.claim.clone() };
            decide(keys.rules, Some(record), Event::Claim(&claim), now)
        }
    }
}
