//! The look at all own keys, before a claim ends without an answer.

use super::machine::{AnswerSearch, MultiKeyClaim, Phase, Standing, judge};
use super::result::{ClaimResult, NotWon};
use crate::decide::Refusal;
use crate::keyspaces::chain::PointerChain;
use crate::keyspaces::keys::ClaimKeys;
use crate::record::{State, View};
use crate::time::Timestamp;

impl<V: Clone + Eq> MultiKeyClaim<V> {
    /// Takes in the record under the present key of the search, or at the end of its pointers so far.
    pub(super) fn look(
        &mut self,
        keys: ClaimKeys<'_>,
        mut look: AnswerSearch<V>,
        found: Option<Standing<V>>,
        now: Timestamp,
    ) {
        if let Some(standing) = found.filter(|(_, record)| record.view(now) != View::Absent) {
            if let State::Pointer(_) = &standing.1.state {
                if let Some(chain) = longer(keys, &mut look, standing).filter(|chain| !chain.returns()) {
                    self.phase = Phase::Look(AnswerSearch { via: Some(chain), ..look });
                    return;
                }
            } else {
                let result = seen(keys, &look, standing, now);
                if result.is_answer() {
                    self.phase = Phase::Ended(Box::new(result));
                    return;
                }
                if look.otherwise.is_without_record() {
                    *look.otherwise = result;
                }
            }
        }
        self.phase = match look.key + 1 < keys.own.len() {
            true => Phase::Look(AnswerSearch { key: look.key + 1, via: None, ..look }),
            false => Phase::Ended(look.otherwise),
        };
    }
}

/// The chain with this pointer added; `None` where it is too long to be followed.
fn longer<V>(
    keys: ClaimKeys<'_>,
    look: &mut AnswerSearch<V>,
    (version, record): Standing<V>,
) -> Option<PointerChain<V>> {
    let State::Pointer(pointer) = &record.state else { return None };
    match look.via.take() {
        None => Some(PointerChain::from(keys, &keys.own[look.key], version, &record, pointer)),
        Some(chain) if chain.is_full() => None,
        Some(mut chain) => {
            chain.push(keys, version, &record, pointer);
            Some(chain)
        }
    }
}

/// How the claim ends by this state.
fn seen<V>(
    keys: ClaimKeys<'_>,
    look: &AnswerSearch<V>,
    (version, record): Standing<V>,
    now: Timestamp,
) -> ClaimResult<V> {
    let here = &keys.own[look.key];
    let (id, fingerprint) = match &look.via {
        None => (here.id, Some(here.fingerprint)),
        Some(chain) => (chain.target(), chain.fingerprint_of(keys, &record)),
    };
    let instead = match fingerprint {
        Some(fingerprint) => NotWon::by(judge(keys, &record, fingerprint, now)),
        None => NotWon::Refuse(Refusal::KeyReused),
    };
    ClaimResult::NotWon { instead, id, record: Some((version, record)) }
}
