//! The list of key spaces that the ledger holds for each policy (DESIGN §6, "Changing the keys"): this
//! gateway's place on it, and its lease.
//!
//! What the document says is decided in [`oncegate_core::keyspaces::list`]; here it is read, swapped and
//! kept at hand. On a store that one process has for itself the lease never ends, because nobody else
//! could act on its end; then nothing is written but when something changes.

use super::identity::IdentityError;
use super::leaving::Looks;
use super::pins::SpacePins;
use super::state::Ledger;
use crate::store::{DocumentError, Store, StoreError, Swap, Version};
use arc_swap::ArcSwap;
use oncegate_core::keyspaces::list::{Blocker, Closed, Deriver, Space};
use oncegate_core::{GatewayId, KeySpaces, SpaceNumber, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SPACES: &str = "key-spaces";

/// How long a gateway stands on a shared list without renewal.
pub const LIST_LEASE: Duration = Duration::from_secs(30);

/// Spaces by policy.
pub type Numbers = BTreeMap<Arc<str>, BTreeSet<SpaceNumber>>;

/// This gateway's place on the list.
#[derive(Debug)]
pub(super) struct Spaces {
    /// As it was last read or written.
    document: ArcSwap<KeySpaces>,
    /// How often the lease was taken anew after a break.
    term: AtomicU64,
    /// When it ends, in milliseconds of ledger time.
    until: AtomicU64,
    /// One change at a time, and how long the lease is; none: it never ends.
    changing: tokio::sync::Mutex<Option<Duration>>,
    /// How far the look for what holds a space open has come.
    pub(super) looks: Looks,
    /// What requests in flight keep on the lists.
    pub(super) pins: Arc<SpacePins>,
    /// What this gateway decides by.
    derivers: std::sync::Mutex<BTreeMap<Arc<str>, Deriver>>,
}

/// A place on the list.
#[derive(Clone, Debug)]
pub struct Entered {
    /// The number of the space by which each policy decides.
    pub numbers: BTreeMap<Arc<str>, SpaceNumber>,
    /// In this term of the lease on the list. Keys that are derived by the list as it was then may be
    /// sent only while it goes on, whenever they are derived: a request can be long on its way.
    pub term: u64,
    /// The version of each policy's list.
    pub versions: BTreeMap<Arc<str>, u64>,
}

/// Why the list can't be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum SpacesError {
    /// The store failed, or what it keeps can't be read.
    #[error(transparent)]
    Ledger(#[from] IdentityError),
    /// The space may not be put on the list.
    #[error("policy `{0}`: {1}")]
    Closed(Arc<str>, Closed),
    /// The list isn't as it was when the readers were loaded: look again.
    #[error("the list of key spaces changed meanwhile")]
    Moved,
}

impl From<StoreError> for SpacesError {
    fn from(error: StoreError) -> Self {
        Self::Ledger(error.into())
    }
}

impl Spaces {
    pub(super) fn new() -> Self {
        Self {
            document: ArcSwap::default(),
            term: AtomicU64::new(0),
            until: AtomicU64::new(u64::MAX),
            changing: tokio::sync::Mutex::new(None),
            looks: Looks::default(),
            pins: Arc::default(),
            derivers: std::sync::Mutex::default(),
        }
    }
}

/// What is said of a claim when the lease on the list is over.
pub(super) fn list_lapsed() -> StoreError {
    StoreError::Unavailable(
        "this gateway's lease on the list of key spaces is over, or keys are made in another way from now on"
            .into(),
    )
}

impl<S: Store> Ledger<S> {
    /// Says whether other gateways may share the store, and then how long one stands on the list without
    /// renewal: [`LIST_LEASE`]. `None`: whoever stands on it is gone for certain.
    pub async fn join_spaces(&self, lease: Option<Duration>) -> Result<(), SpacesError> {
        *self.spaces.changing.lock().await = lease;
        self.change_spaces(true, |spaces, _| {
            if lease.is_none() {
                spaces.members.clear();
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// How long this gateway stands on the list without renewal; none: for ever.
    pub async fn list_lease(&self) -> Option<Duration> {
        *self.spaces.changing.lock().await
    }

    /// The lists as they were last read or written here.
    pub fn spaces(&self) -> Arc<KeySpaces> {
        self.spaces.document.load_full()
    }

    /// Reads the lists again.
    pub async fn read_spaces(&self) -> Result<Arc<KeySpaces>, SpacesError> {
        let (_, spaces) = self.load_spaces().await?;
        self.spaces.document.store(Arc::new(spaces));
        Ok(self.spaces())
    }

    /// The term of the lease on the list. What is derived by a list that was entered in another may not
    /// be sent.
    pub fn list_term(&self) -> u64 {
        self.spaces.term.load(Ordering::Acquire)
    }

    /// What was derived until now is no longer sent, if it isn't yet. The new term.
    pub(super) fn begin_term(&self) -> u64 {
        self.spaces.term.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub(super) fn list_holds(&self, term: u64) -> bool {
        // First: it opens again after a new term has begun.
        if self.gate.is_closed() {
            return false;
        }
        let lease = oncegate_core::keyspaces::list::ListLease {
            term: self.list_term(),
            until: Timestamp::from_millis(self.spaces.until.load(Ordering::Acquire)),
        };
        lease.is_unbroken_since(term, self.clock().now())
    }

    /// Who this gateway is on the list.
    pub fn gateway(&self) -> GatewayId {
        let half = self.executions.process.to_le_bytes();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&half);
        id[8..].copy_from_slice(&half);
        GatewayId(id)
    }

    /// Puts the space of each policy on its list and this gateway beside it: it decides by these, and by
    /// what requests in flight decide by, and it derives keys in all. `readable`: the spaces whose
    /// derivers are loaded here, the new ones included.
    pub async fn enter_spaces(
        &self,
        derivers: &BTreeMap<Arc<str>, Deriver>,
        in_flight: &Numbers,
        readable: impl Fn(&Arc<str>, &Space) -> bool,
    ) -> Result<Entered, SpacesError> {
        let gateway = self.gateway();
        let active = self.active_derivers().clone();
        let ((numbers, versions), term) = self
            .change_spaces(true, |spaces, _| {
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
                    spaces.set_membership(gateway, policy, decides);
                    numbers.insert(policy.clone(), number);
                }
                let mine = spaces.members.iter_mut().find(|live| live.id == gateway);
                if let Some(mine) = mine {
                    mine.memberships
                        .retain(|policy, _| derivers.contains_key(policy) || in_flight.contains_key(policy));
                    for (policy, membership) in &mut mine.memberships {
                        membership.pins = self.spaces.pins.of(policy);
                    }
                }
                Ok((numbers, versions))
            })
            .await?;
        self.active_derivers().clone_from(derivers);
        Ok(Entered { numbers, term, versions })
    }

    /// Keeps that `deriver` must not become active for this policy: it was seen to make other keys under
    /// the same key schema and epoch. It holds for all gateways.
    pub async fn refuse_deriver(
        &self,
        policy: &Arc<str>,
        deriver: &Deriver,
        why: &str,
    ) -> Result<(), SpacesError> {
        self.change_spaces(false, |spaces, _| {
            spaces.policies.entry(policy.clone()).or_default().refuse(deriver, why);
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Housekeeping: renews the lease, says by which spaces requests still decide, and takes off the
    /// lists what nothing holds open any more. Says whether this gateway stands on the list as before;
    /// if not it has to enter again.
    pub async fn tend_spaces(&self, decides: &Numbers) -> Result<bool, SpacesError> {
        let gateway = self.gateway();
        let (stands, _) = self
            .change_spaces(false, |spaces, now| {
                let live = |live: &&mut oncegate_core::keyspaces::list::Member| {
                    live.id == gateway && now < live.lease_until
                };
                let Some(mine) = spaces.members.iter_mut().find(live) else { return Ok(false) };
                for (policy, membership) in &mut mine.memberships {
                    membership.decides = decides.get(policy).cloned().unwrap_or_default();
                    membership.pins = self.spaces.pins.of(policy);
                }
                mine.memberships
                    .retain(|_, membership| !membership.decides.is_empty() || !membership.pins.is_empty());
                Ok(true)
            })
            .await?;
        self.leave_all().await?;
        Ok(stands)
    }

    /// The other gateways that derive keys in a space, as this gateway knows it.
    pub fn others_deriving(&self, policy: &str, number: SpaceNumber) -> Vec<GatewayId> {
        self.spaces.document.load().others_deriving(self.gateway(), policy, number, self.clock().now())
    }

    /// Whether another gateway or a request in flight decides by this space, as this gateway knows it.
    pub fn decides_somebody_by(&self, policy: &str, number: SpaceNumber) -> bool {
        let spaces = self.spaces.document.load();
        spaces
            .memberships(policy, self.clock().now())
            .any(|(_, membership)| membership.decides.contains(&number))
    }

    /// The other gateways that live on this ledger.
    pub(super) async fn others_alive(&self) -> Result<Vec<GatewayId>, IdentityError> {
        if self.list_lease().await.is_none() {
            // The store is this one's alone: who stands on the list beside it is gone.
            return Ok(Vec::new());
        }
        let (_, spaces) = self.load_spaces().await?;
        let (now, own) = (self.clock().now(), self.gateway());
        let others = spaces.members.iter().filter(|live| live.id != own && now < live.lease_until);
        Ok(others.map(|live| live.id).collect())
    }

    /// What holds a space open, as this gateway knows it.
    pub fn blockers(&self, policy: &str, number: SpaceNumber) -> Vec<Blocker> {
        self.spaces().blockers(policy, number, self.clock().now())
    }

    pub(super) async fn load_spaces(&self) -> Result<(Option<Version>, KeySpaces), IdentityError> {
        Ok(match self.store.load_meta(SPACES).await? {
            None => (None, KeySpaces::default()),
            Some((version, bytes)) => {
                let damaged = |_| IdentityError::from(DocumentError::Damaged(SPACES));
                (Some(version), oncegate_core::keyspaces::codec::decode(&bytes).map_err(damaged)?)
            }
        })
    }

    /// Changes the document by compare-and-swap, renewing this gateway's lease along with it, and says in
    /// which term of it. One whose lease is over gets it back only with `enters`, which says by what it
    /// derives keys from now on.
    pub(super) async fn change_spaces<T>(
        &self,
        enters: bool,
        mut change: impl FnMut(&mut KeySpaces, Timestamp) -> Result<T, SpacesError>,
    ) -> Result<(T, u64), SpacesError> {
        let lease = self.spaces.changing.lock().await;
        let gateway = self.gateway();
        loop {
            let (expected, before) = self.load_spaces().await?;
            let now = self.clock().now();
            let was_member =
                before.members.iter().any(|member| member.id == gateway && now < member.lease_until);
            let mut next = before.clone();
            let stands_on = self.spaces.until.load(Ordering::Acquire);
            let until = lease.map_or(Timestamp::MAX, |lease| now.plus(lease));
            if was_member || enters {
                next.renew(gateway, until);
            }
            let result = change(&mut next, now)?;
            next.review(now);
            if next != before {
                let bytes = oncegate_core::keyspaces::codec::encode(&next).into();
                if let Swap::Conflict(_) = self.store.swap_meta(SPACES, expected, bytes).await? {
                    continue;
                }
            }
            // Late: somebody may have taken it for dead before this swap, and let a space leave.
            if !was_member || self.clock().now() >= Timestamp::from_millis(stands_on) {
                self.spaces.term.fetch_add(1, Ordering::AcqRel);
            }
            if was_member || enters {
                self.spaces.until.store(until.as_millis(), Ordering::Release);
            } else {
                self.spaces.until.store(0, Ordering::Release);
            }
            self.spaces.document.store(Arc::new(next));
            return Ok((result, self.list_term()));
        }
    }

    fn active_derivers(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Deriver>> {
        self.spaces.derivers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
