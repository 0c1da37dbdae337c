//! The key spaces of each policy, and the gateways that derive keys by them: one document in the
//! ledger, changed by compare-and-swap (DESIGN §6, "Changing the keys").
//!
//! Everything here is plain data and takes the time as an argument.

use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// How many spaces a list holds at most: each is a key to derive and a record to write for every
/// operation.
pub const SPACES_MAX: usize = 4;

/// How many refusals are kept for a policy; the oldest goes.
const REFUSALS_MAX: usize = 32;

/// Counts the key spaces of one policy, from when each was first active. Kept when a space leaves
/// and comes back, and never given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceNumber(pub u32);

impl fmt::Display for SpaceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A gateway of this ledger, for as long as its process lives. Random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId(pub [u8; 16]);

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What makes keys: a component under settings, with what its plan names its way of making keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Maker {
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
pub struct Listed {
    /// Its number.
    pub number: SpaceNumber,
    /// What last decided by it. Every other gateway loads this to derive its keys.
    pub maker: Maker,
    /// Since when nobody decides by it and everybody derives all the others. When no record is left
    /// that was claimed before then, it leaves.
    pub closing_since: Option<Timestamp>,
}

/// A key space that was ever active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub number: SpaceNumber,
    /// Its key schema.
    pub key_schema: Arc<str>,
    /// Its key epoch.
    pub key_epoch: u64,
}

/// A component under settings that must not become active: it was seen to make other keys under
/// the same key schema and epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// It.
    pub maker: Maker,
    /// What was seen, in words.
    pub why: Arc<str>,
}

/// The key spaces of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpaceList {
    /// Raised with every change of which spaces are on it.
    pub version: u64,
    /// The spaces, lowest number first.
    pub spaces: Vec<Listed>,
    /// Every space that was ever on it.
    pub known: Vec<Known>,
    /// What may not become active.
    pub refused: Vec<Refused>,
}

/// How a gateway stands to one policy's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// The version of the list by which it derives keys.
    pub version: u64,
    /// The spaces under which it derives each key.
    pub derives: BTreeSet<SpaceNumber>,
    /// The spaces by which it or a request in flight in it decides.
    pub decides: BTreeSet<SpaceNumber>,
    /// The spaces by which requests in flight in it are guarded, though the policy doesn't guard them any more.
    pub keeps: BTreeSet<SpaceNumber>,
}

/// A gateway that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// It.
    pub id: GatewayId,
    /// It lives until then, unless it renews this. One whose lease is over claims nothing until it
    /// has read the list again, and sends nothing of what it claimed before.
    pub lease_until: Timestamp,
    /// By policy.
    pub stands: BTreeMap<Arc<str>, Stand>,
}

/// All lists, and who derives by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySpaces {
    /// By policy name.
    pub policies: BTreeMap<Arc<str>, SpaceList>,
    /// In no order.
    pub gateways: Vec<Live>,
}

/// Why a space can't be put on a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// There are as many as there may be.
    #[error(
        "the policy has {SPACES_MAX} key spaces open, which is the most: a further one can become active when one of \
         them has left; going back to one of them is possible at any time"
    )]
    Full,
    /// It was refused before.
    #[error(
        "the ledger refuses this component under these settings: {0}; raise `key_epoch` to say that keys change"
    )]
    Refused(Arc<str>),
}

/// What holds a space open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// This gateway, or a request in flight in it, decides by the space.
    Decides(GatewayId),
    /// This gateway doesn't derive keys in all the others yet.
    Behind(GatewayId),
    /// It is the only one, and somebody decides by it.
    Only,
    /// Nothing but records that were claimed before this moment.
    Records(Timestamp),
}

impl SpaceList {
    /// The space of this number, if it is on the list.
    pub fn find(&self, number: SpaceNumber) -> Option<&Listed> {
        self.spaces.iter().find(|space| space.number == number)
    }

    /// The space with this schema and epoch, if it is on the list.
    pub fn find_by(&self, key_schema: &str, key_epoch: u64) -> Option<&Listed> {
        let same =
            |space: &&Listed| *space.maker.key_schema == *key_schema && space.maker.key_epoch == key_epoch;
        self.spaces.iter().find(same)
    }

    /// The numbers on it.
    pub fn numbers(&self) -> BTreeSet<SpaceNumber> {
        self.spaces.iter().map(|space| space.number).collect()
    }

    /// The number that this schema and epoch have or would get.
    fn number(&self, maker: &Maker) -> SpaceNumber {
        let same =
            |known: &&Known| known.key_schema == maker.key_schema && known.key_epoch == maker.key_epoch;
        let next = || self.known.iter().map(|known| known.number.0 + 1).max().unwrap_or(0);
        self.known.iter().find(same).map_or_else(|| SpaceNumber(next()), |known| known.number)
    }

    /// Puts the space of `maker` on the list, where it isn't yet; it is the space's maker from now on.
    /// Going back to one that is on it is never refused for want of room.
    pub fn enter(&mut self, maker: &Maker) -> Result<SpaceNumber, Closed> {
        match self.refusal(maker) {
            Some(refused) => Err(refused),
            None => self.stay(maker),
        }
    }

    /// Why `maker` must not become active, if it was refused: for as long as the space whose keys it
    /// makes otherwise is on the list.
    pub fn refusal(&self, maker: &Maker) -> Option<Closed> {
        self.find_by(&maker.key_schema, maker.key_epoch)?;
        let refused = self.refused.iter().find(|refused| refused.maker == *maker)?;
        Some(Closed::Refused(refused.why.clone()))
    }

    /// As [`enter`](Self::enter), of a maker that is active already: it is never refused, whatever is said
    /// of it.
    pub fn stay(&mut self, maker: &Maker) -> Result<SpaceNumber, Closed> {
        let number = self.number(maker);
        let full = self.spaces.len() >= SPACES_MAX;
        match self.spaces.iter_mut().find(|space| space.number == number) {
            Some(space) => {
                space.maker = maker.clone();
                space.closing_since = None;
            }
            None if full => return Err(Closed::Full),
            None => {
                if !self.known.iter().any(|known| known.number == number) {
                    let Maker { key_schema, key_epoch, .. } = maker.clone();
                    self.known.push(Known { number, key_schema, key_epoch });
                }
                let place = self.spaces.partition_point(|space| space.number < number);
                self.spaces.insert(place, Listed { number, maker: maker.clone(), closing_since: None });
                self.version += 1;
            }
        }
        Ok(number)
    }

    /// Keeps that `maker` must not become active. One that a space on the list has decided by last is: nothing
    /// is kept of that.
    pub fn refuse(&mut self, maker: &Maker, why: &str) {
        if self.spaces.iter().any(|space| space.maker == *maker) {
            return;
        }
        self.refused.retain(|refused| refused.maker != *maker);
        if self.refused.len() >= REFUSALS_MAX {
            self.refused.remove(0);
        }
        self.refused.push(Refused { maker: maker.clone(), why: why.into() });
    }
}

impl KeySpaces {
    /// The list of a policy; an empty one where it has none yet.
    pub fn list(&self, policy: &str) -> Option<&SpaceList> {
        self.policies.get(policy)
    }

    /// Renews the lease of a gateway, or makes it live.
    pub fn keep(&mut self, gateway: GatewayId, lease_until: Timestamp) {
        match self.gateways.iter_mut().find(|live| live.id == gateway) {
            Some(live) => live.lease_until = lease_until,
            None => self.gateways.push(Live { id: gateway, lease_until, stands: BTreeMap::new() }),
        }
    }

    /// The gateway ended.
    pub fn end(&mut self, gateway: GatewayId) {
        self.gateways.retain(|live| live.id != gateway);
    }

    /// The gateway derives every space that is on the policy's list, and decides by these.
    pub fn stand(&mut self, gateway: GatewayId, policy: &Arc<str>, decides: BTreeSet<SpaceNumber>) {
        let Some(list) = self.policies.get(policy) else { return };
        let stand = Stand { version: list.version, derives: list.numbers(), decides, keeps: BTreeSet::new() };
        if let Some(live) = self.gateways.iter_mut().find(|live| live.id == gateway) {
            live.stands.insert(policy.clone(), stand);
        }
    }

    /// The live gateway keeps a space on the policy's list, for a request whose keys it derived by this
    /// version of it. Of another one, or where it isn't live, false: others may claim under none of these keys.
    pub fn keep_space(
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
        let mine = self.gateways.iter_mut().find(|live| live.id == gateway && now < live.lease_until);
        let stand = mine.and_then(|live| live.stands.get_mut(policy));
        stand.map(|stand| stand.keeps.insert(number)).is_some()
    }

    /// Takes out gateways whose lease is over, and notes which spaces nothing but records holds open
    /// from now on.
    pub fn review(&mut self, now: Timestamp) {
        self.gateways.retain(|live| now < live.lease_until);
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

    /// Whether nothing but records holds the space open.
    pub fn is_closing(&self, policy: &str, number: SpaceNumber, now: Timestamp) -> bool {
        !self.holds(policy, number, now).iter().any(|hold| !matches!(hold, Hold::Records(_)))
    }

    /// The gateways that live and know the policy. Another neither decides nor claims anything by it.
    pub fn standing(&self, policy: &str, now: Timestamp) -> impl Iterator<Item = (GatewayId, &Stand)> {
        let live = self.gateways.iter().filter(move |live| now < live.lease_until);
        live.filter_map(move |live| Some((live.id, live.stands.get(policy)?)))
    }

    /// The gateways beside this one that live and derive keys in a space.
    pub fn others_deriving(
        &self,
        own: GatewayId,
        policy: &str,
        number: SpaceNumber,
        now: Timestamp,
    ) -> Vec<GatewayId> {
        let derives = |stand: &Stand| stand.derives.contains(&number) || stand.decides.contains(&number);
        let others = self.standing(policy, now).filter(|(gateway, stand)| *gateway != own && derives(stand));
        others.map(|(gateway, _)| gateway).collect()
    }

    /// What holds a space open; nothing: it isn't on the list.
    pub fn holds(&self, policy: &str, number: SpaceNumber, now: Timestamp) -> Vec<Hold> {
        let Some(list) = self.policies.get(policy) else { return Vec::new() };
        let Some(space) = list.find(number) else { return Vec::new() };
        let mut standing = self.standing(policy, now).peekable();
        if list.spaces.len() == 1 && standing.peek().is_some() {
            return vec![Hold::Only];
        }
        let others: BTreeSet<_> = list.numbers().into_iter().filter(|other| *other != number).collect();
        let mut holds = Vec::new();
        for (gateway, stand) in standing {
            if stand.decides.contains(&number) || stand.keeps.contains(&number) {
                holds.push(Hold::Decides(gateway));
            } else if !others.is_subset(&stand.derives) {
                holds.push(Hold::Behind(gateway));
            }
        }
        if holds.is_empty() {
            holds.push(Hold::Records(space.closing_since.unwrap_or(now)));
        }
        holds
    }

    /// Takes a space off the list: nothing but records held it open since `closing_since`, and none
    /// that was claimed before then is left, as the caller found out. False where that is no longer
    /// so.
    pub fn leave(
        &mut self,
        policy: &str,
        number: SpaceNumber,
        closing_since: Timestamp,
        now: Timestamp,
    ) -> bool {
        let stands = self.policies.get(policy).and_then(|list| list.find(number));
        let unchanged = stands.is_some_and(|space| space.closing_since == Some(closing_since));
        if !unchanged || !self.is_closing(policy, number, now) {
            return false;
        }
        let Some(list) = self.policies.get_mut(policy) else { return false };
        list.spaces.retain(|space| space.number != number);
        list.version += 1;
        true
    }

    /// The document as bytes.
    pub fn encode(&self) -> Vec<u8> {
        crate::keyspace_codec::encode(self)
    }

    /// The document that `bytes` hold.
    pub fn decode(bytes: &[u8]) -> Result<Self, crate::codec::Corrupt> {
        crate::keyspace_codec::decode(bytes)
    }
}

/// A gateway's lease on the list, as requests look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListLease {
    /// Counts how often it was taken anew after a break.
    pub term: u64,
    /// It holds until then.
    pub until: Timestamp,
}

impl ListLease {
    /// Whether it holds at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Whether it has held without a break since `term`, in which keys were derived. Without that
    /// nothing that was claimed by those keys may be sent: a key space may have come meanwhile under
    /// which others claim, or the last one in common may have left.
    pub fn is_unbroken_since(&self, term: u64, now: Timestamp) -> bool {
        self.term == term && self.holds(now)
    }
}

#[cfg(test)]
#[path = "keyspace_list_tests.rs"]
mod tests;
