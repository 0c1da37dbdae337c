//! The lists of key spaces in the store, this gateway's membership and its lease: `design/key-changes.md`.
//!
//! [`oncegate_core::keyspaces::list`] decides the meaning of the document. This module reads it, swaps it and
//! has it at hand. On a store that one process has for itself the lease never ends, because no other gateway
//! could act on its end. Then the document is written only when something changes.

use super::lease::Lease;
use super::pins::SpacePins;
use super::searches::Searches;
use arc_swap::ArcSwap;
use oncegate_core::keyspaces::codec;
use oncegate_core::keyspaces::list::{Blocker, Closed, Deriver, Membership, Space};
use oncegate_core::{GatewayId, KeySpaces, SpaceNumber, Timestamp};
use oncegate_store::{Confirmed, DocumentError, Store, StoreError, Swap, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The name of the document.
const DOCUMENT: &str = "key-spaces";

/// How long a gateway stays a member on a shared store without renewal.
pub const LIST_LEASE: Duration = Duration::from_secs(30);

/// Spaces by policy.
pub type Numbers = BTreeMap<Arc<str>, BTreeSet<SpaceNumber>>;

/// The lists of key spaces, and this gateway's place on them.
#[derive(Debug)]
pub struct SpaceRegistry<S> {
    pub(super) store: Arc<Confirmed<S>>,
    gateway: GatewayId,
    /// The document as it was last read or written here.
    document: ArcSwap<KeySpaces>,
    pub(super) lease: Lease,
    /// One change at a time. The mutex holds the length of the lease; `None`: the lease never ends.
    changing: tokio::sync::Mutex<Option<Duration>>,
    /// The progress of the searches for records that block a space.
    pub(super) searches: Searches,
    /// The spaces that requests in flight pin.
    pub(super) pins: Arc<SpacePins>,
    /// The derivers by which this gateway decides.
    derivers: Mutex<BTreeMap<Arc<str>, Deriver>>,
}

/// A membership that was entered.
#[derive(Clone, Debug)]
pub struct Entered {
    /// The number of the space by which each policy decides.
    pub numbers: BTreeMap<Arc<str>, SpaceNumber>,
    /// The term of the lease in which the lists were entered. Keys that these lists derive may be sent only
    /// while this term goes on, whenever they are derived: a request can be long on its way.
    pub term: u64,
    /// The version of each policy's list.
    pub versions: BTreeMap<Arc<str>, u64>,
}

/// Why the lists can't be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum SpacesError {
    /// The lists can't be read, or the store failed.
    #[error(transparent)]
    Read(#[from] DocumentError),
    /// The space may not enter the list of this policy.
    #[error("policy `{0}`: {1}")]
    Closed(Arc<str>, Closed),
    /// A list has changed since the older generations were loaded: look again.
    #[error("the list of key spaces changed meanwhile")]
    Moved,
}

impl From<StoreError> for SpacesError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// Whether a gateway that isn't a member becomes one by a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joins {
    /// The gateway becomes a member, and says by what it derives keys from now on.
    Yes,
    /// The gateway's lease, if it is over, stays over.
    No,
}

impl<S: Store> SpaceRegistry<S> {
    /// The lists in this store. `gateway`: the id of this gateway on them.
    pub fn new(store: Arc<Confirmed<S>>, gateway: GatewayId) -> Self {
        Self {
            store,
            gateway,
            document: ArcSwap::default(),
            lease: Lease::new(),
            changing: tokio::sync::Mutex::new(None),
            searches: Searches::default(),
            pins: Arc::default(),
            derivers: Mutex::default(),
        }
    }

    /// The id of this gateway on the lists.
    pub fn gateway(&self) -> GatewayId {
        self.gateway
    }

    pub(super) fn now(&self) -> Timestamp {
        self.store.clock().now()
    }

    /// Becomes a member. `lease`: how long a member stays one without renewal ([`LIST_LEASE`]) where other
    /// gateways may share the store; `None`: every other gateway on the lists is gone for certain.
    pub async fn join(&self, lease: Option<Duration>) -> Result<(), SpacesError> {
        *self.changing.lock().await = lease;
        self.change(Joins::Yes, |spaces, _| {
            if lease.is_none() {
                spaces.members.clear();
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// How long this gateway stays a member without renewal; `None`: for ever.
    pub async fn lease_length(&self) -> Option<Duration> {
        *self.changing.lock().await
    }

    /// The lists as they were last read or written here.
    pub fn lists(&self) -> Arc<KeySpaces> {
        self.document.load_full()
    }

    /// Reads the lists again.
    pub async fn read(&self) -> Result<Arc<KeySpaces>, SpacesError> {
        let spaces = Arc::new(self.stored().await?);
        self.document.store(spaces.clone());
        Ok(spaces)
    }

    /// The lists as they are in the store. The lists at hand stay as they are.
    pub async fn stored(&self) -> Result<KeySpaces, DocumentError> {
        Ok(self.load().await?.1)
    }

    /// The term of the lease. Keys that were derived by lists entered in another term may not be sent.
    pub fn term(&self) -> u64 {
        self.lease.term()
    }

    /// Whether the lease has held without a break since this term, so that keys derived in it may be sent.
    pub fn holds_since(&self, term: u64) -> bool {
        self.lease.holds_since(term, || self.now())
    }

    /// No derived key may be sent until [`resume`](Self::resume).
    pub fn suspend(&self) {
        self.lease.suspend();
    }

    /// Keys that are derived in the present term may be sent again.
    pub fn resume(&self) {
        self.lease.resume();
    }

    /// Begins a new term: keys that were derived before and aren't sent yet are never sent. Returns the term.
    pub fn begin_term(&self) -> u64 {
        self.lease.begin_term()
    }

    /// Puts the space of each policy on its list and makes this gateway a member. The gateway decides by
    /// these spaces and by those of requests in flight, and derives keys in all. `readable`: whether the
    /// deriver of a space is loaded here; it is asked about the new spaces, too.
    pub async fn enter(
        &self,
        derivers: &BTreeMap<Arc<str>, Deriver>,
        in_flight: &Numbers,
        readable: impl Fn(&Arc<str>, &Space) -> bool,
    ) -> Result<Entered, SpacesError> {
        let active = self.active_derivers().clone();
        let ((numbers, versions), term) = self
            .change(Joins::Yes, |spaces, _| {
                let (mut numbers, mut versions) = (BTreeMap::new(), BTreeMap::new());
                for (policy, deriver) in derivers {
                    let list = spaces.policies.entry(policy.clone()).or_default();
                    let entered = match active.get(policy) == Some(deriver) {
                        true => list.stay(deriver),
                        false => list.enter(deriver),
                    };
                    let number = entered.map_err(|closed| SpacesError::Closed(policy.clone(), closed))?;
                    if !list.spaces.iter().all(|space| readable(policy, space)) {
                        return Err(SpacesError::Moved);
                    }
                    let mut decides = in_flight.get(policy).cloned().unwrap_or_default();
                    decides.insert(number);
                    versions.insert(policy.clone(), list.version);
                    spaces.set_membership(self.gateway, policy, decides);
                    numbers.insert(policy.clone(), number);
                }
                if let Some(mine) = spaces.members.iter_mut().find(|member| member.id == self.gateway) {
                    mine.memberships
                        .retain(|policy, _| derivers.contains_key(policy) || in_flight.contains_key(policy));
                    for (policy, membership) in &mut mine.memberships {
                        membership.pins = self.pins.of(policy);
                    }
                }
                Ok((numbers, versions))
            })
            .await?;
        self.active_derivers().clone_from(derivers);
        Ok(Entered { numbers, term, versions })
    }

    /// Records that `deriver` must not become active for this policy: it was seen to make other keys under
    /// the same key schema and epoch. The refusal holds for all gateways.
    pub async fn refuse(&self, policy: &Arc<str>, deriver: &Deriver, why: &str) -> Result<(), SpacesError> {
        self.change(Joins::No, |spaces, _| {
            spaces.policies.entry(policy.clone()).or_default().refuse(deriver, why);
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Housekeeping: renews the lease, records the spaces by which requests still decide, and removes the
    /// spaces that nothing blocks any more. True: this gateway is a member as before. False: the gateway has
    /// to enter again.
    pub async fn tend(&self, decides: &Numbers) -> Result<bool, SpacesError> {
        let (is_member, _) = self
            .change(Joins::No, |spaces, now| {
                let mine = spaces
                    .members
                    .iter_mut()
                    .find(|member| member.id == self.gateway && now < member.lease_until);
                let Some(mine) = mine else { return Ok(false) };
                for (policy, membership) in &mut mine.memberships {
                    membership.decides = decides.get(policy).cloned().unwrap_or_default();
                    membership.pins = self.pins.of(policy);
                }
                mine.memberships.retain(|_, membership| uses_any(membership));
                Ok(true)
            })
            .await?;
        self.remove_closing().await?;
        Ok(is_member)
    }

    /// The other gateways that derive keys in a space, by the lists at hand.
    pub fn others_deriving(&self, policy: &str, number: SpaceNumber) -> Vec<GatewayId> {
        self.document.load().others_deriving(self.gateway, policy, number, self.now())
    }

    /// Whether any gateway or request in flight decides by this space, by the lists at hand.
    pub(super) fn is_decided_by(&self, policy: &str, number: SpaceNumber) -> bool {
        let spaces = self.document.load();
        spaces.memberships(policy, self.now()).any(|(_, membership)| membership.decides.contains(&number))
    }

    /// The other gateways that live on this store.
    pub async fn others_alive(&self) -> Result<Vec<GatewayId>, DocumentError> {
        if self.lease_length().await.is_none() {
            // The store is this gateway's alone: every other gateway on the lists is gone.
            return Ok(Vec::new());
        }
        let spaces = self.stored().await?;
        let now = self.now();
        let others =
            spaces.members.iter().filter(|member| member.id != self.gateway && now < member.lease_until);
        Ok(others.map(|member| member.id).collect())
    }

    /// The blockers that keep a space on its list, by the lists at hand.
    pub fn blockers(&self, policy: &str, number: SpaceNumber) -> Vec<Blocker> {
        self.lists().blockers(policy, number, self.now())
    }

    async fn load(&self) -> Result<(Option<Version>, KeySpaces), DocumentError> {
        Ok(match self.store.load_meta(DOCUMENT).await? {
            None => (None, KeySpaces::default()),
            Some((version, bytes)) => {
                (Some(version), codec::decode(&bytes).map_err(|_| DocumentError::Damaged(DOCUMENT))?)
            }
        })
    }

    pub(super) async fn change_as_member<T>(
        &self,
        change: impl FnMut(&mut KeySpaces, Timestamp) -> Result<T, SpacesError>,
    ) -> Result<(T, u64), SpacesError> {
        self.change(Joins::No, change).await
    }

    /// Changes the document by compare-and-swap and renews this gateway's lease along with it. Also returns
    /// the term of the lease in which the change was made.
    async fn change<T>(
        &self,
        joins: Joins,
        mut change: impl FnMut(&mut KeySpaces, Timestamp) -> Result<T, SpacesError>,
    ) -> Result<(T, u64), SpacesError> {
        let lease = self.changing.lock().await;
        loop {
            let (expected, before) = self.load().await?;
            let now = self.now();
            let was_member =
                before.members.iter().any(|member| member.id == self.gateway && now < member.lease_until);
            let is_member = was_member || joins == Joins::Yes;
            let mut next = before.clone();
            let lapses = self.lease.until();
            let until = lease.map_or(Timestamp::MAX, |lease| now.plus(lease));
            if is_member {
                next.renew(self.gateway, until);
            }
            let result = change(&mut next, now)?;
            next.review(now);
            if next != before {
                let bytes = codec::encode(&next).into();
                if let Swap::Conflict(_) = self.store.swap_meta(DOCUMENT, expected, bytes).await? {
                    continue;
                }
            }
            // The swap came late: another gateway may have taken this one for dead before it, and let a space
            // leave.
            if !was_member || self.now() >= lapses {
                self.lease.begin_term();
            }
            self.lease.extend(if is_member { until } else { Timestamp::default() });
            self.document.store(Arc::new(next));
            return Ok((result, self.term()));
        }
    }

    fn active_derivers(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Deriver>> {
        self.derivers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn uses_any(membership: &Membership) -> bool {
    !membership.decides.is_empty() || !membership.pins.is_empty()
}
