//! A request to the ledger: an operation by its keys.

use super::flight::Flight;
use super::waiting::{WaitingPlace, WaitingRoom};
use oncegate_core::{Claim, Key, OperationId, Rules, SpaceNumber};
use oncegate_keyspaces::SpacePin;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A request that asks to begin an operation.
#[derive(Clone, Debug)]
pub struct Request {
    /// The operation's id.
    pub id: OperationId,
    /// The claim, from which the record is made.
    pub claim: Claim,
    /// The rules of the request's route.
    pub rules: Rules,
    /// How long the request waits for a running execution.
    pub wait: Duration,
    /// The room in which the request waits; `None`: there is always room.
    pub waiting_room: Option<Arc<dyn WaitingRoom>>,
    /// The key spaces by which the request's keys were derived.
    pub derived: Derived,
}

/// The key spaces by which an operation's keys were derived.
#[derive(Clone, Debug, Default)]
pub struct Derived {
    /// The number of the space of the request's id, the highest.
    pub space: SpaceNumber,
    /// The keys in all spaces, lowest number first and the request's own last. Empty where there is only that
    /// key.
    pub keys: Vec<Key>,
    /// The same keys without the principal, one for each space, where the route refuses a changed principal.
    pub common: Vec<Key>,
    /// The term of the lease in which the list was entered by which these keys were derived: see
    /// [`Entered::term`](oncegate_keyspaces::Entered::term).
    pub term: u64,
    /// The pin of a request that only an older generation guards: it keeps that generation's space on the
    /// list.
    pub pin: Option<Arc<SpacePin>>,
}

impl Request {
    /// A place to wait. `None`: there is no room. A request that names no waiting room always has a place.
    pub(super) fn place(&self) -> Option<WaitingPlace> {
        match &self.waiting_room {
            Some(room) => room.enter(),
            None => Some(Box::new(())),
        }
    }

    /// The request's key in its own space.
    pub fn only_key(&self) -> Key {
        Key {
            space: self.derived.space,
            id: self.id,
            fingerprint: self.claim.fingerprint,
            key_schema: self.claim.origin.key_schema.clone(),
            key_epoch: self.claim.origin.key_epoch,
        }
    }

    /// The same request with these keys, one for each space in which keys are derived; there is at least one. The
    /// request's own key is the one of the highest space.
    #[must_use]
    pub fn with_keys(mut self, mut keys: Vec<Key>) -> Self {
        keys.sort_by_key(|key| key.space);
        if let Some(highest) = keys.last() {
            self.id = highest.id;
            self.derived.space = highest.space;
            self.claim.fingerprint = highest.fingerprint;
            self.claim.origin.key_schema = highest.key_schema.clone();
            self.claim.origin.key_epoch = highest.key_epoch;
        }
        if keys.len() > 1 {
            self.derived.keys = keys;
        }
        self
    }

    /// The same request under another of its keys, to be answered and not to claim.
    pub(super) fn by(&self, key: &Key) -> Self {
        let claim = Claim { fingerprint: key.fingerprint, ..self.claim.clone() };
        Self { id: key.id, claim, ..self.clone() }
    }

    /// The same request under the key that has this flight's record; `None`: that is none of the request's
    /// keys.
    pub(super) fn at<'a>(&'a self, flight: &Flight) -> Option<Cow<'a, Self>> {
        match flight.kept_at() {
            Some(id) if id != self.id => {
                let key = self.derived.keys.iter().find(|key| key.id == id)?;
                Some(Cow::Owned(self.by(key)))
            }
            _ => Some(Cow::Borrowed(self)),
        }
    }

    /// The request's keys in lower spaces.
    pub(super) fn lower(&self) -> &[Key] {
        self.derived.keys.split_last().map_or(&[], |(_, lower)| lower)
    }
}
