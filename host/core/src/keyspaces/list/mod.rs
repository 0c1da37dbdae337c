//! The list of each policy's key spaces, and the gateways that derive keys in them: `design/key-changes.md`.
//!
//! The lists of all policies are one document in the ledger, which is changed by compare-and-swap. This
//! module has that document as plain data; the time is an argument.

use crate::ids::{GatewayId, SpaceNumber};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many spaces a list has at most. Every operation has one key to derive and one record to write for each
/// space.
pub const SPACES_MAX: usize = 4;

/// How many refusals a policy has at most. A further one replaces the oldest.
const REFUSALS_MAX: usize = 32;

/// The component and settings that derive keys, with the key schema that the plan names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Deriver {
    /// The key schema.
    pub key_schema: Arc<str>,
    /// The operator's number.
    pub key_epoch: u64,
    /// SHA-256 of the component, in hexadecimal.
    pub component: Arc<str>,
    /// SHA-256 of the settings as JSON, in hexadecimal.
    pub settings: Arc<str>,
}

/// A key space on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// The number of the space.
    pub number: SpaceNumber,
    /// The deriver that last decided by the space. Every other gateway loads this one to derive its keys.
    pub deriver: Deriver,
    /// Since when no member decides by the space while every member derives keys in all the others. The space
    /// leaves the list when no record claimed before then is left.
    pub closing_since: Option<Timestamp>,
}

/// A key space that is or was active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSpace {
    /// The number of the space.
    pub number: SpaceNumber,
    /// The key schema of the space.
    pub key_schema: Arc<str>,
    /// The key epoch of the space.
    pub key_epoch: u64,
}

/// A deriver that must not become active: it made other keys under the same key schema and epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeriverRefusal {
    /// The deriver.
    pub deriver: Deriver,
    /// The difference that was seen, as a text.
    pub why: Arc<str>,
}

/// The key spaces of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpaceList {
    /// Raised whenever a space enters or leaves.
    pub version: u64,
    /// The spaces, lowest number first.
    pub spaces: Vec<Space>,
    /// Every space that is or was on the list.
    pub known: Vec<KnownSpace>,
    /// The derivers that may not become active.
    pub refused: Vec<DeriverRefusal>,
}

/// What a gateway derives and decides by on the list of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The version of the list by which the gateway derives keys.
    pub version: u64,
    /// The spaces in which the gateway derives the keys of each operation.
    pub derives: BTreeSet<SpaceNumber>,
    /// The spaces by which the gateway, or a request in flight in it, decides.
    pub decides: BTreeSet<SpaceNumber>,
    /// The spaces that requests in flight in the gateway pin: an older generation guards these requests
    /// there, and the active one does not.
    pub pins: BTreeSet<SpaceNumber>,
}

/// A gateway with a lease on the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The gateway.
    pub id: GatewayId,
    /// When the gateway's lease ends, unless it is renewed. After that the gateway claims nothing until it
    /// has read the lists again, and sends nothing of what it claimed before.
    pub lease_until: Timestamp,
    /// The gateway's memberships, by policy.
    pub memberships: BTreeMap<Arc<str>, Membership>,
}

/// The lists of all policies, and the gateways that derive keys by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySpaces {
    /// The lists, by policy.
    pub policies: BTreeMap<Arc<str>, SpaceList>,
    /// The members, in no order.
    pub members: Vec<Member>,
}

/// Why a space cannot enter a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The list is full.
    #[error(
        "the policy has {SPACES_MAX} key spaces open, which is the most: a further one can become active when one of \
         them has left; going back to one of them is possible at any time"
    )]
    Full,
    /// The deriver was refused before.
    #[error(
        "the ledger refuses this component under these settings: {0}; raise `key_epoch` to say that keys change"
    )]
    Refused(Arc<str>),
}

/// Why a space cannot leave its list yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// This gateway, or a request in flight in it, decides by the space or pins it.
    Decides(GatewayId),
    /// This gateway does not derive keys in all other spaces yet.
    Behind(GatewayId),
    /// The space is the only one on the list, and a member knows the policy.
    Only,
    /// Only records that were claimed before this moment may be left.
    Records(Timestamp),
}

impl SpaceList {
    /// The space of this number, if it is on the list.
    pub fn find(&self, number: SpaceNumber) -> Option<&Space> {
        self.spaces.iter().find(|space| space.number == number)
    }

    /// The space with this schema and epoch, if it is on the list.
    pub fn find_by(&self, key_schema: &str, key_epoch: u64) -> Option<&Space> {
        let same =
            |space: &&Space| *space.deriver.key_schema == *key_schema && space.deriver.key_epoch == key_epoch;
        self.spaces.iter().find(same)
    }

    /// The numbers on the list.
    pub fn numbers(&self) -> BTreeSet<SpaceNumber> {
        self.spaces.iter().map(|space| space.number).collect()
    }

    /// The number that this schema and epoch have or would get.
    fn number(&self, deriver: &Deriver) -> SpaceNumber {
        let same = |known: &&KnownSpace| {
            known.key_schema == deriver.key_schema && known.key_epoch == deriver.key_epoch
        };
        let next = || self.known.iter().map(|known| known.number.0 + 1).max().unwrap_or(0);
        self.known.iter().find(same).map_or_else(|| SpaceNumber(next()), |known| known.number)
    }

    /// Makes `deriver` the deriver of its space, and puts the space on the list where it is not there yet.
    /// A space that is on the list is never refused for want of room.
    pub fn enter(&mut self, deriver: &Deriver) -> Result<SpaceNumber, Closed> {
        match self.refusal(deriver) {
            Some(refused) => Err(refused),
            None => self.stay(deriver),
        }
    }

    /// Why `deriver` must not become active, if it was refused. A refusal counts as long as the deriver's
    /// space, where its keys would differ, is on the list.
    pub fn refusal(&self, deriver: &Deriver) -> Option<Closed> {
        self.find_by(&deriver.key_schema, deriver.key_epoch)?;
        let refused = self.refused.iter().find(|refused| refused.deriver == *deriver)?;
        Some(Closed::Refused(refused.why.clone()))
    }

    /// As [`enter`](Self::enter), for a deriver that is active already: refusals do not count for it.
    pub fn stay(&mut self, deriver: &Deriver) -> Result<SpaceNumber, Closed> {
        let number = self.number(deriver);
        let full = self.spaces.len() >= SPACES_MAX;
        match self.spaces.iter_mut().find(|space| space.number == number) {
            Some(space) => {
                space.deriver = deriver.clone();
                space.closing_since = None;
            }
            None if full => return Err(Closed::Full),
            None => {
                if !self.known.iter().any(|known| known.number == number) {
                    let Deriver { key_schema, key_epoch, .. } = deriver.clone();
                    self.known.push(KnownSpace { number, key_schema, key_epoch });
                }
                let place = self.spaces.partition_point(|space| space.number < number);
                self.spaces.insert(place, Space { number, deriver: deriver.clone(), closing_since: None });
                self.version += 1;
            }
        }
        Ok(number)
    }

    /// Records that `deriver` must not become active. A deriver of a space on the list is active, and is not
    /// refused.
    pub fn refuse(&mut self, deriver: &Deriver, why: &str) {
        if self.spaces.iter().any(|space| space.deriver == *deriver) {
            return;
        }
        self.refused.retain(|refused| refused.deriver != *deriver);
        if self.refused.len() >= REFUSALS_MAX {
            self.refused.remove(0);
        }
        self.refused.push(DeriverRefusal { deriver: deriver.clone(), why: why.into() });
    }
}

impl KeySpaces {
    /// The list of a policy, if it has one.
    pub fn list(&self, policy: &str) -> Option<&SpaceList> {
        self.policies.get(policy)
    }

    /// Renews the lease of a gateway, and makes the gateway a member where it is none.
    pub fn renew(&mut self, gateway: GatewayId, lease_until: Timestamp) {
        match self.members.iter_mut().find(|member| member.id == gateway) {
            Some(member) => member.lease_until = lease_until,
            None => self.members.push(Member { id: gateway, lease_until, memberships: BTreeMap::new() }),
        }
    }

    /// Takes out a gateway that ended.
    pub fn remove_member(&mut self, gateway: GatewayId) {
        self.members.retain(|member| member.id != gateway);
    }

    /// Records that the gateway derives keys in every space on the policy's list, and decides by the spaces
    /// `decides`.
    pub fn set_membership(&mut self, gateway: GatewayId, policy: &Arc<str>, decides: BTreeSet<SpaceNumber>) {
        let Some(list) = self.policies.get(policy) else { return };
        let membership =
            Membership { version: list.version, derives: list.numbers(), decides, pins: BTreeSet::new() };
        if let Some(member) = self.members.iter_mut().find(|member| member.id == gateway) {
            member.memberships.insert(policy.clone(), membership);
        }
    }

    /// Pins a space for a request whose keys the gateway derived by this version of the list. False where the
    /// list has changed since, or the gateway is no member with a lease: other gateways may then claim the
    /// operation under none of these keys.
    pub fn pin(
        &mut self,
        gateway: GatewayId,
        policy: &str,
        (number, version): (SpaceNumber, u64),
        now: Timestamp,
    ) -> bool {
        let known = self.policies.get(policy).filter(|list| list.version == version);
        if known.and_then(|list| list.find(number)).is_none() {
            return false;
        }
        let mine = self.members.iter_mut().find(|member| member.id == gateway && now < member.lease_until);
        let membership = mine.and_then(|member| member.memberships.get_mut(policy));
        membership.map(|membership| membership.pins.insert(number)).is_some()
    }

    /// Takes out members whose lease is over, and notes which spaces only records block from now on.
    pub fn review(&mut self, now: Timestamp) {
        self.members.retain(|member| now < member.lease_until);
        let policies: Vec<Arc<str>> = self.policies.keys().cloned().collect();
        for policy in policies {
            let numbers = self.policies[&policy].numbers();
            for number in numbers {
                let closing = self.is_closing(&policy, number, now);
                let Some(list) = self.policies.get_mut(&policy) else { continue };
                for space in list.spaces.iter_mut().filter(|space| space.number == number) {
                    space.closing_since = closing.then(|| space.closing_since.unwrap_or(now));
                }
            }
        }
    }

    /// Whether only records block the space from leaving.
    pub fn is_closing(&self, policy: &str, number: SpaceNumber, now: Timestamp) -> bool {
        !self.blockers(policy, number, now).iter().any(|blocker| !matches!(blocker, Blocker::Records(_)))
    }

    /// The members with a lease that know the policy. No other gateway decides or claims anything by the
    /// policy.
    pub fn memberships(
        &self,
        policy: &str,
        now: Timestamp,
    ) -> impl Iterator<Item = (GatewayId, &Membership)> {
        let members = self.members.iter().filter(move |member| now < member.lease_until);
        members.filter_map(move |member| Some((member.id, member.memberships.get(policy)?)))
    }

    /// The other members that derive keys in a space.
    pub fn others_deriving(
        &self,
        own: GatewayId,
        policy: &str,
        number: SpaceNumber,
        now: Timestamp,
    ) -> Vec<GatewayId> {
        let derives = |membership: &Membership| {
            membership.derives.contains(&number) || membership.decides.contains(&number)
        };
        let others = self
            .memberships(policy, now)
            .filter(|(gateway, membership)| *gateway != own && derives(membership));
        others.map(|(gateway, _)| gateway).collect()
    }

    /// Why a space cannot leave its list yet. Empty where the space is not on the list.
    pub fn blockers(&self, policy: &str, number: SpaceNumber, now: Timestamp) -> Vec<Blocker> {
        let Some(list) = self.policies.get(policy) else { return Vec::new() };
        let Some(space) = list.find(number) else { return Vec::new() };
        let mut memberships = self.memberships(policy, now).peekable();
        if list.spaces.len() == 1 && memberships.peek().is_some() {
            return vec![Blocker::Only];
        }
        let others: BTreeSet<_> = list.numbers().into_iter().filter(|other| *other != number).collect();
        let mut blockers = Vec::new();
        for (gateway, membership) in memberships {
            if membership.decides.contains(&number) || membership.pins.contains(&number) {
                blockers.push(Blocker::Decides(gateway));
            } else if !others.is_subset(&membership.derives) {
                blockers.push(Blocker::Behind(gateway));
            }
        }
        if blockers.is_empty() {
            blockers.push(Blocker::Records(space.closing_since.unwrap_or(now)));
        }
        blockers
    }

    /// Takes a space off the list. The caller has seen that only records blocked the space since
    /// `closing_since`, and that no record claimed before then is left. False where only records no longer
    /// block it.
    pub fn remove_space(
        &mut self,
        policy: &str,
        number: SpaceNumber,
        closing_since: Timestamp,
        now: Timestamp,
    ) -> bool {
        let space = self.policies.get(policy).and_then(|list| list.find(number));
        let unchanged = space.is_some_and(|space| space.closing_since == Some(closing_since));
        if !unchanged || !self.is_closing(policy, number, now) {
            return false;
        }
        let Some(list) = self.policies.get_mut(policy) else { return false };
        list.spaces.retain(|space| space.number != number);
        list.version += 1;
        true
    }
}

/// The lease of a gateway on the lists, as requests see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListLease {
    /// How often the lease was taken anew after a break.
    pub term: u64,
    /// When the lease ends.
    pub until: Timestamp,
}

impl ListLease {
    /// Whether the lease holds at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Whether the lease has held without a break since `term`, in which the keys of a claim were derived.
    /// After a break nothing that was claimed by those keys may be sent: other gateways may claim in a space
    /// that entered meanwhile, or the last common space may have left.
    pub fn is_unbroken_since(&self, term: u64, now: Timestamp) -> bool {
        self.term == term && self.holds(now)
    }
}

#[cfg(test)]
mod tests;
