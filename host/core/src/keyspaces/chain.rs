//! The pointers that lead from one key to the operation's record.

use crate::decide::Refusal;
use crate::ids::{Fingerprint, OperationId};
use crate::keyspaces::keys::{ClaimKeys, Key};
use crate::record::{Pointer, Record, State};
use crate::time::Timestamp;

/// At most four spaces are on a list. A longer chain of pointers spans lists that are long gone, and is taken
/// to live.
const LINKS_MAX: usize = 16;

/// What a chain leads to. A later variant overrules an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum LeadsTo {
    /// The operation that is claimed.
    SameOperation,
    /// Another operation of the same principal: a fingerprint on the way differs, or a pointer names another
    /// key in a space that this gateway derives.
    OtherOperation,
    /// An operation of another principal.
    OtherPrincipal,
}

/// The pointers that were followed from one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PointerChain<V> {
    links: Vec<Link<V>>,
    target: OperationId,
    /// The last pointer leads back to a key on the chain, so the chain has nothing but pointers.
    returns: bool,
    /// The operation's fingerprint at the target, by the gateway that wrote the last pointer.
    fingerprint: Fingerprint,
    leads_to: LeadsTo,
}

/// One pointer of a chain, as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Link<V> {
    pub(super) id: OperationId,
    pub(super) version: V,
    target: OperationId,
    pub(super) lease_until: Timestamp,
}

impl<V> PointerChain<V> {
    /// The chain of one pointer, which was found under `key`.
    pub(super) fn from(
        keys: ClaimKeys<'_>,
        key: &Key,
        version: V,
        record: &Record,
        pointer: &Pointer,
    ) -> Self {
        let mut chain = Self {
            links: Vec::new(),
            target: key.id,
            returns: false,
            fingerprint: key.fingerprint,
            leads_to: LeadsTo::SameOperation,
        };
        chain.push(keys, version, record, pointer);
        chain
    }

    /// Adds the pointer that was found at the target.
    pub(super) fn push(&mut self, keys: ClaimKeys<'_>, version: V, record: &Record, pointer: &Pointer) {
        let other_key = keys.in_space(pointer.target_space).is_some_and(|key| key.id != pointer.target);
        let leads_to = match record.origin.principal == keys.claim.origin.principal {
            false => LeadsTo::OtherPrincipal,
            true if record.fingerprint != self.fingerprint || other_key => LeadsTo::OtherOperation,
            true => LeadsTo::SameOperation,
        };
        self.leads_to = self.leads_to.max(leads_to);
        let Pointer { target, lease_until, .. } = *pointer;
        self.links.push(Link { id: self.target, version, target, lease_until });
        self.target = pointer.target;
        self.returns = self.links.iter().any(|link| link.id == pointer.target);
        self.fingerprint = pointer.target_fingerprint;
    }

    /// The key to which the last pointer leads.
    pub(super) const fn target(&self) -> OperationId {
        self.target
    }

    /// The chain's pointers, the one under the claim's own key first.
    pub(super) fn links(&self) -> &[Link<V>] {
        &self.links
    }

    /// Whether the chain leads back to a key on it.
    pub(super) const fn returns(&self) -> bool {
        self.returns
    }

    /// Whether the chain has as many pointers as are followed.
    pub(super) fn is_full(&self) -> bool {
        self.links.len() >= LINKS_MAX
    }

    /// Whether a claimant that wrote one of the chain's pointers may still be on its way. A claimant on the
    /// way to `end`, where this claim ends too, is met there by a swap. Only the first pointer, which is to
    /// be written over, must never live.
    pub(super) fn lives(&self, end: &Key, now: Timestamp) -> bool {
        let mut live = self.links.iter().enumerate().filter(|(_, link)| now < link.lease_until);
        live.any(|(place, link)| place == 0 || link.target != end.id)
    }

    /// Why a claim on this chain is refused, if it leads to another operation.
    pub(super) const fn refusal(&self) -> Option<Refusal> {
        match self.leads_to {
            LeadsTo::SameOperation => None,
            LeadsTo::OtherOperation => Some(Refusal::KeyReused),
            LeadsTo::OtherPrincipal => Some(Refusal::PrincipalChanged),
        }
    }

    /// Whether the pointers were written for another principal's operation that is gone: the state at the
    /// target is a later one of the same key.
    pub(super) fn is_past(&self, record: &Record) -> bool {
        self.leads_to == LeadsTo::OtherPrincipal
            && !matches!(record.state, State::Pointer(_))
            && record.fingerprint != self.fingerprint
    }

    /// The fingerprint by which the state at the target is the claimed operation. `None`: the state is
    /// another operation's.
    pub(super) fn fingerprint_of(&self, keys: ClaimKeys<'_>, record: &Record) -> Option<Fingerprint> {
        let own = keys.own.iter().find(|key| key.id == self.target).map(|key| key.fingerprint);
        let here = own.unwrap_or(self.fingerprint);
        let same = self.leads_to == LeadsTo::SameOperation
            && record.fingerprint == self.fingerprint
            && here == record.fingerprint;
        same.then_some(here)
    }
}
