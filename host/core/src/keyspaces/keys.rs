//! The keys under which one operation is claimed.

use crate::decide::{Claim, Rules};
use crate::ids::{Fingerprint, OperationId, SpaceNumber};
use std::sync::Arc;

/// An operation's key in one key space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The number of the space.
    pub space: SpaceNumber,
    /// The key.
    pub id: OperationId,
    /// The operation's fingerprint by the generation that derives keys in this space.
    pub fingerprint: Fingerprint,
    /// The key schema of the space.
    pub key_schema: Arc<str>,
    /// The key epoch of the space.
    pub key_epoch: u64,
}

/// A claim with all its keys.
#[derive(Clone, Copy, Debug)]
pub struct ClaimKeys<'a> {
    /// The operation's keys in the spaces that this gateway derives, lowest space first. Never empty.
    pub own: &'a [Key],
    /// The common keys: the same keys without the principal. Empty where the route does not refuse a changed
    /// principal.
    pub common: &'a [Key],
    /// The record under the highest own key, if the claim wins.
    pub claim: &'a Claim,
    /// The rules of the request's route.
    pub rules: &'a Rules,
}

impl<'a> ClaimKeys<'a> {
    /// The own key in the highest space.
    pub(super) const fn highest(self) -> &'a Key {
        &self.own[self.own.len() - 1]
    }

    /// The own key in this space, where this gateway derives keys in it.
    pub(super) fn in_space(self, space: SpaceNumber) -> Option<&'a Key> {
        self.own.iter().find(|key| key.space == space)
    }
}
