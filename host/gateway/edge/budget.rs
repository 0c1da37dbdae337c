//! What one peer holds: connections, turns for large documents, and of the budget of bodies, which all of them share
//! (`design/edge.md`).

use super::peer::network;
use bytes::Bytes;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Semaphore;

/// The bytes of each body that are not counted. A connection has buffers of this size anyway, and their number is
/// bounded by `server.limits.connections`.
pub const UNCOUNTED: usize = 8 << 10;

/// The large documents of one peer that may be read at a time: one on a policy thread, and the next.
const DOCUMENTS: usize = 2;

/// The way that a body goes. Each way has a budget of its own, so that nobody's uploads take the room of another's
/// answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client.
    In,
    /// To a client.
    Out,
}

/// The bytes that bodies hold, by direction.
#[derive(Debug, Default)]
struct Held([AtomicUsize; 2]);

impl Held {
    fn of(&self, direction: Direction) -> &AtomicUsize {
        match direction {
            Direction::In => &self.0[0],
            Direction::Out => &self.0[1],
        }
    }
}

/// The budget of all bodies.
#[derive(Debug)]
pub struct BodyBudget {
    held: Held,
    /// The bytes that the bodies of one direction may hold.
    max: AtomicUsize,
    accounts: Mutex<Accounts>,
}

/// The accounts of peers with open connections or bodies.
#[derive(Debug, Default)]
struct Accounts {
    open: HashMap<(IpAddr, bool), Weak<PeerAccount>>,
    /// The number of accounts at which closed ones are looked for.
    tidied_at: usize,
}

/// What one peer holds.
#[derive(Debug)]
pub struct PeerAccount {
    budget: Arc<BodyBudget>,
    /// Bytes of its bodies.
    held: Held,
    /// Its open connections, tunnels among them.
    pub(crate) connections: AtomicUsize,
    /// The turns of its large documents: so many may be read on policy threads or be next there.
    pub(crate) documents: Arc<Semaphore>,
    /// The peer's address, or the network that counts as one peer; none: the gateway itself.
    address: Option<IpAddr>,
    /// Whether the peer speaks for many, so that it may hold all.
    is_many: bool,
}

impl BodyBudget {
    /// A budget of `bytes` for both directions together.
    pub fn new(bytes: usize) -> Self {
        Self { held: Held::default(), max: AtomicUsize::new(bytes / 2), accounts: Mutex::default() }
    }

    /// Makes this the bytes for both directions together. What is held above it is given back in time.
    pub fn resize(&self, bytes: usize) {
        self.max.store(bytes / 2, Ordering::Relaxed);
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.held.0.iter().map(|held| held.load(Ordering::Relaxed)).sum()
    }

    /// The account of the peer at this address. `is_trusted`: the peer is a proxy, which speaks for many.
    pub(super) fn account(self: &Arc<Self>, address: IpAddr, is_trusted: bool) -> Arc<PeerAccount> {
        let key = (network(address), is_trusted);
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.open.get(&key).and_then(Weak::upgrade) {
            return account;
        }
        if accounts.open.len() >= accounts.tidied_at {
            accounts.open.retain(|_, account| account.strong_count() > 0);
            accounts.tidied_at = 2 * accounts.open.len() + 64;
        }
        let account = self.open(Some(key.0), is_trusted);
        accounts.open.insert(key, Arc::downgrade(&account));
        account
    }

    /// An account of the gateway's own.
    pub fn own_account(self: &Arc<Self>) -> Arc<PeerAccount> {
        self.open(None, true)
    }

    fn open(self: &Arc<Self>, address: Option<IpAddr>, is_many: bool) -> Arc<PeerAccount> {
        let documents = if is_many { Semaphore::MAX_PERMITS } else { DOCUMENTS };
        Arc::new(PeerAccount {
            budget: self.clone(),
            held: Held::default(),
            connections: AtomicUsize::new(0),
            documents: Arc::new(Semaphore::new(documents)),
            address,
            is_many,
        })
    }
}

impl PeerAccount {
    /// The connections that the peer may hold, of so many: half of them, or all if it speaks for many.
    pub(super) fn share_of(&self, connections: usize) -> usize {
        if self.is_many { connections } else { connections.div_ceil(2) }
    }

    /// Takes `bytes` more for a body that holds `own` already, if there is room. A peer may hold as much as is left
    /// for all others then, or one body.
    fn take(&self, direction: Direction, bytes: usize, own: usize) -> bool {
        let fits = self.charge(direction, bytes, own);
        if !fits {
            self.give_back(direction, bytes);
        }
        fits
    }

    /// Takes `bytes` more, whether there is room or not. True: there is.
    fn charge(&self, direction: Direction, bytes: usize, own: usize) -> bool {
        let max = self.budget.max.load(Ordering::Relaxed);
        let (all, mine) = (self.budget.held.of(direction), self.held.of(direction));
        let held_by_all = all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let held_by_peer = mine.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let is_fair = self.is_many
            || held_by_peer <= max.saturating_sub(held_by_all)
            || held_by_peer == own.saturating_add(bytes);
        held_by_all <= max && is_fair
    }

    /// Tells the operator that a request is refused for want of room. The log has one such line a second for each
    /// direction.
    pub fn tell_full(&self, direction: Direction) {
        const WAYS_OUT: &str = "a peer may hold as much as is left for all others: raise `server.limits.buffers`, or name \
                                a proxy that speaks for many in `server.trusted_proxies`";
        let max = self.budget.max.load(Ordering::Relaxed);
        let [all, mine] =
            [&self.budget.held, &self.held].map(|held| held.of(direction).load(Ordering::Relaxed));
        let peer =
            self.address.map_or_else(|| "the gateway itself".to_owned(), |address| address.to_string());
        match direction {
            Direction::In => tracing::warn!(
                %peer, held_by_peer = mine, held_by_all = all, max,
                "503 `overloaded`: there is no room for the body of a request; {WAYS_OUT}"
            ),
            Direction::Out => tracing::warn!(
                %peer, held_by_peer = mine, held_by_all = all, max,
                "503 `overloaded`: there is no room for an answer that another request caused; {WAYS_OUT}"
            ),
        }
    }

    fn give_back(&self, direction: Direction, bytes: usize) {
        self.budget.held.of(direction).fetch_sub(bytes, Ordering::Relaxed);
        self.held.of(direction).fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The body with its part of the budget, for as long as anybody has the body. None: there is no room.
    pub fn hold(self: &Arc<Self>, direction: Direction, body: Bytes) -> Option<Bytes> {
        if body.len() <= UNCOUNTED {
            return Some(body);
        }
        let mut reserved = Reservation::none(self, direction);
        reserved.cover(body.len()).then(|| reserved.hold(body))
    }
}

/// A body's part of the budget, given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    account: Arc<PeerAccount>,
    direction: Direction,
    bytes: usize,
}

impl Reservation {
    /// A reservation of no bytes.
    pub fn none(account: &Arc<PeerAccount>, direction: Direction) -> Self {
        Self { account: account.clone(), direction, bytes: 0 }
    }

    /// Grows the reservation to what a body that holds `held` bytes needs, if there is room.
    #[must_use]
    pub fn cover(&mut self, held: usize) -> bool {
        let more = held.saturating_sub(UNCOUNTED).saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let taken = self.account.take(self.direction, more, self.bytes);
        if taken {
            self.bytes += more;
        }
        taken
    }

    /// Grows the reservation to what a body needs that holds `held` bytes already, and goes out whether there is room
    /// for it or not. True: there is.
    pub fn charge(&mut self, held: usize) -> bool {
        let more = held.saturating_sub(UNCOUNTED).saturating_sub(self.bytes);
        let fits = more == 0 || self.account.charge(self.direction, more, self.bytes);
        self.bytes += more;
        fits
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what a body that holds `held` bytes does not need.
    pub fn shrink(&mut self, held: usize) {
        let less = self.bytes.saturating_sub(held.saturating_sub(UNCOUNTED));
        if less > 0 {
            self.account.give_back(self.direction, less);
            self.bytes -= less;
        }
    }

    /// The body with this reservation, for as long as anybody has the body.
    pub fn hold(self, body: Bytes) -> Bytes {
        match self.bytes {
            0 => body,
            _ => Bytes::from_owner(CountedBody { body, _reserved: self }),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.give_back(self.direction, self.bytes);
        }
    }
}

/// A body that is counted.
struct CountedBody {
    body: Bytes,
    _reserved: Reservation,
}

impl AsRef<[u8]> for CountedBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn budget() -> Arc<BodyBudget> {
        Arc::new(BodyBudget::new(2 * 1024 * KIB))
    }

    fn peer(budget: &Arc<BodyBudget>, last: u8) -> Arc<PeerAccount> {
        budget.account([127, 0, 0, last].into(), false)
    }

    /// Reserves for bodies of 64 KiB until there is no room.
    fn fill(account: &Arc<PeerAccount>, direction: Direction) -> Vec<Reservation> {
        let mut taken = Vec::new();
        loop {
            let mut next = Reservation::none(account, direction);
            if !next.cover(UNCOUNTED + 64 * KIB) {
                return taken;
            }
            taken.push(next);
        }
    }

    #[test]
    fn a_peer_leaves_room_for_others() {
        let budget = budget();
        let first = fill(&peer(&budget, 1), Direction::In);
        assert_eq!(first.len(), 8, "half of it");
        let second = fill(&peer(&budget, 2), Direction::In);
        assert_eq!(second.len(), 4, "half of the rest");
        assert_eq!(fill(&peer(&budget, 1), Direction::In).len(), 0);
        drop(first);
        assert_eq!(fill(&peer(&budget, 3), Direction::In).len(), 6);
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn each_direction_has_its_own_room() {
        let budget = budget();
        let proxy = budget.account([127, 0, 0, 1].into(), true);
        let uploads = fill(&proxy, Direction::In);
        assert_eq!(uploads.len(), 16, "who speaks for many has all of it");
        assert_eq!(fill(&peer(&budget, 2), Direction::In).len(), 0);
        assert_eq!(fill(&peer(&budget, 2), Direction::Out).len(), 8);
        assert_eq!(budget.held(), 1024 * KIB);
    }

    #[test]
    fn one_body_of_a_peer_may_have_all() {
        let budget = budget();
        let account = peer(&budget, 1);
        let mut only = Reservation::none(&account, Direction::In);
        assert!((1..=16).all(|n| only.cover(UNCOUNTED + n * 64 * KIB)));
        assert!(!only.cover(UNCOUNTED + 1025 * KIB));
        assert!(Reservation::none(&account, Direction::In).cover(UNCOUNTED));
        only.shrink(0);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_body_is_counted_while_anybody_has_it() {
        let budget = budget();
        let body = Bytes::from(vec![7; 64 * KIB]);
        let held = peer(&budget, 1).hold(Direction::Out, body.clone()).expect("there is room");
        assert_eq!(held, body);
        let part = held.slice(10..20);
        drop(held);
        assert_eq!(budget.held(), 56 * KIB);
        drop(part);
        assert_eq!(budget.held(), 0);
        budget.resize(0);
        assert_eq!(peer(&budget, 1).hold(Direction::Out, body), None);
        assert!(peer(&budget, 1).hold(Direction::Out, Bytes::from(vec![7; UNCOUNTED])).is_some());
    }

    #[test]
    fn what_goes_out_anyway_is_counted_beyond_the_budget() {
        let budget = budget();
        let account = peer(&budget, 1);
        let _all = fill(&budget.account([127, 0, 0, 9].into(), true), Direction::Out);
        let mut forced = Reservation::none(&account, Direction::Out);
        assert!(!forced.cover(UNCOUNTED + 64 * KIB));
        assert_eq!((forced.bytes(), budget.held()), (0, 1024 * KIB));
        assert!(!forced.charge(UNCOUNTED + 64 * KIB));
        assert_eq!((forced.bytes(), budget.held()), (64 * KIB, 1088 * KIB));
        assert!(forced.charge(UNCOUNTED + 64 * KIB), "no more is needed");
        drop(forced);
        assert_eq!(budget.held(), 1024 * KIB);
        assert!(Reservation::none(&account, Direction::In).charge(UNCOUNTED + 64 * KIB));
    }

    #[test]
    fn a_site_is_one_peer() {
        let budget = budget();
        let account = |address: &str| budget.account(address.parse().expect("an address"), false);
        let site = account("2001:db8::1");
        assert!(Arc::ptr_eq(&site, &account("2001:db8::2:0:0:1")));
        assert!(!Arc::ptr_eq(&site, &account("2001:db8:0:1::1")));
        assert!(!Arc::ptr_eq(&account("10.0.0.1"), &account("10.0.0.2")));
        drop(site);
        let many: Vec<_> = (0..200).map(|n| account(&format!("2001:db8:1:{n:x}::1"))).collect();
        drop(many);
        let _one = account("10.0.0.3");
        let accounts = budget.accounts.lock().expect("no holder panics");
        assert!(accounts.open.len() <= 64 + 2 * 64 + 256, "{}", accounts.open.len());
    }
}
