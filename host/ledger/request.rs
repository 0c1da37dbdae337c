//! A request to the ledger: an operation by its keys.

use super::flight::Flight;
use super::waiting::{WaitingPlace, WaitingRoom};
use crate::keyspaces::SpacePin;
use oncegate_core::{Claim, Key, OperationId, Rules, SpaceNumber};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A request that asks to begin an operation.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which operation.
    pub id: OperationId,
    /// What its record would be.
    pub claim: Claim,
    /// The rules of its route.
    pub rules: Rules,
    /// How long it waits for a running execution.
    pub wait: Duration,
    /// Who has room for it to wait; none: there is always room.
    pub waiting_room: Option<Arc<dyn WaitingRoom>>,
    /// By which key spaces its keys were derived.
    pub derived: Derived,
}

/// By which key spaces an operation's keys were derived.
#[derive(Clone, Debug, Default)]
pub struct Derived {
    /// The number of the space of the request's id, the highest.
    pub space: SpaceNumber,
    /// The keys in all spaces, lowest number first and the request's own last; empty where that is the
    /// only one.
    pub keys: Vec<Key>,
    /// The same keys without the principal, one for each space, where the route refuses a changed one.
    pub common: Vec<Key>,
    /// In which term of the lease on the list of key spaces the list was entered by which they were: see
    /// [`Entered::term`](crate::keyspaces::Entered::term).
    pub term: u64,
    /// It is guarded by an older generation only, whose space it keeps on the list.
    pub pin: Option<Arc<SpacePin>>,
}

impl Request {
    /// A place to wait. None: there is no room. A request that names no waiting room always has a place.
    pub(super) fn place(&self) -> Option<WaitingPlace> {
        match &self.waiting_room {
            Some(room) => room.enter(),
            None => Some(Box::new(())),
        }
    }

    /// Its key in its own space.
    pub fn only_key(&self) -> Key {
        Key {
            space: self.derived.space,
            id: self.id,
            fingerprint: self.claim.fingerprint,
            key_schema: self.claim.origin.key_schema.clone(),
            key_epoch: self.claim.origin.key_epoch,
        }
    }

    /// The same request as one of another of its keys, to be answered and not to claim.
    pub(super) fn by(&self, key: &Key) -> Self {
        let claim = Claim { fingerprint: key.fingerprint, ..self.claim.clone() };
        Self { id: key.id, claim, ..self.clone() }
    }

    /// The same by the key under which the record of this flight is; none: it isn't one of its keys.
    pub(super) fn at<'a>(&'a self, flight: &Flight) -> Option<Cow<'a, Self>> {
        match flight.kept_at() {
            Some(id) if id != self.id => {
                let key = self.derived.keys.iter().find(|key| key.id == id)?;
                Some(Cow::Owned(self.by(key)))
            }
            _ => Some(Cow::Borrowed(self)),
        }
    }

    /// Its keys in lower spaces.
    pub(super) fn lower(&self) -> &[Key] {
        self.derived.keys.split_last().map_or(&[], |(_, lower)| lower)
    }
}
