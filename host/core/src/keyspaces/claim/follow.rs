//! Following a chain of pointers to its target.

use super::machine::{MultiKeyClaim, Over, Phase, Standing};
use super::result::{ClaimResult, NotWon};
use crate::decide::{Refusal, WhileRunning};
use crate::keyspaces::chain::PointerChain;
use crate::keyspaces::keys::ClaimKeys;
use crate::record::{State, View};
use crate::time::Timestamp;

impl<V: Clone + Eq> MultiKeyClaim<V> {
    /// Takes in the record at the chain's target.
    pub(super) fn follow(
        &mut self,
        keys: ClaimKeys<'_>,
        mut chain: PointerChain<V>,
        found: Option<Standing<V>>,
        asked: Timestamp,
    ) {
        let found = found.filter(|(_, record)| record.view(asked) != View::Absent && !chain.is_past(record));
        let Some((version, record)) = found else {
            // The chain is judged by a time before the target was read. The claimant of a pointer that lapsed
            // only afterwards may have arrived there in between.
            let live = chain.lives(self.end(keys), asked);
            match chain.links().len() > 1 {
                true => self.phase = Phase::Check { chain, next: 1, live },
                false => self.nothing(keys, &chain, live),
            }
            return;
        };
        match &record.state {
            State::Pointer(_) if chain.is_full() => self.nothing(keys, &chain, true),
            State::Pointer(pointer) => {
                chain.push(keys, version, &record, pointer);
                let live = chain.lives(self.end(keys), asked);
                self.phase = match chain.returns() {
                    true => Phase::Check { chain, next: 1, live },
                    false => Phase::Follow(chain),
                };
            }
            _ => match chain.fingerprint_of(keys, &record) {
                Some(fingerprint) => {
                    self.duplicate(keys, chain.target(), (version, record), fingerprint, asked);
                }
                None => self.refuse(keys, &chain, Some((version, record))),
            },
        }
    }

    /// Whether the chain's pointer numbered `next` still stands as it was read.
    pub(super) fn check(
        &mut self,
        keys: ClaimKeys<'_>,
        chain: PointerChain<V>,
        next: usize,
        live: bool,
        found: Option<Standing<V>>,
    ) {
        if found.is_none_or(|(version, _)| version != chain.links()[next].version) {
            // A pointer changed on the way: begin again at the present key.
            self.phase = Phase::Reread;
            return;
        }
        match next + 1 < chain.links().len() {
            true => self.phase = Phase::Check { chain, next: next + 1, live },
            false => self.nothing(keys, &chain, live),
        }
    }

    /// Nothing is at the end of the chain. `live`: a claimant may still be on its way there.
    fn nothing(&mut self, keys: ClaimKeys<'_>, chain: &PointerChain<V>, live: bool) {
        if !live {
            let link = &chain.links()[0];
            let (version, lease_until) = (link.version.clone(), link.lease_until);
            let over = Over { version, lease_until, is_free: true };
            self.phase = Phase::Write(Some(over));
            return;
        }
        if chain.refusal().is_some() {
            return self.refuse(keys, chain, None);
        }
        let instead = match keys.rules.while_running {
            WhileRunning::Wait => NotWon::Wait,
            WhileRunning::Reject => NotWon::Refuse(Refusal::InFlight),
        };
        self.end_with(keys, ClaimResult::NotWon { instead, id: chain.target(), record: None });
    }

    /// The chain leads to another operation. An operation of another principal is not shown. Where the caller
    /// has an operation of its own, which would have been sent again, that operation stays unknown.
    fn refuse(&mut self, keys: ClaimKeys<'_>, chain: &PointerChain<V>, standing: Option<Standing<V>>) {
        let (refusal, id, record) = match (chain.refusal(), self.again.take()) {
            (Some(Refusal::PrincipalChanged), Some(again)) => {
                (Refusal::Unknown, keys.own[again.key].id, Some((again.version, again.record)))
            }
            (Some(Refusal::PrincipalChanged), None) => (Refusal::PrincipalChanged, keys.highest().id, None),
            _ => (Refusal::KeyReused, chain.target(), standing),
        };
        self.end_with(keys, ClaimResult::NotWon { instead: NotWon::Refuse(refusal), id, record });
    }
}
