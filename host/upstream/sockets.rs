//! The number of connections to all upstreams, which the process must have files for, and each upstream's share.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::timeout;

/// Connections to upstreams.
#[derive(Debug)]
pub(super) struct UpstreamSockets {
    open: AtomicUsize,
    max: AtomicUsize,
    /// Open connections on which nothing is under way, in the pools of all workers.
    idle: AtomicUsize,
    /// Those who wait for the place of an idle connection.
    waiting: AtomicUsize,
    /// Notified when idle connections are to be closed.
    recall: Notify,
    /// Notified when a place is free again.
    freed: Notify,
    /// The connections to each upstream, by its name.
    of_upstreams: Mutex<BTreeMap<Arc<str>, UpstreamShare>>,
}

/// The places of one upstream.
#[derive(Debug, Default)]
struct UpstreamShare {
    open: usize,
    /// Whether it has a part of its own. One that a reload removed has none.
    has_part: bool,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct UpstreamSocket {
    sockets: Arc<UpstreamSockets>,
    upstream: Arc<str>,
    is_idle: AtomicBool,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlacesTaken {
    /// Something is under way on each connection.
    AllInUse,
    /// Some connections are idle.
    SomeIdle,
}

/// Somebody who waits for the place of an idle connection.
struct PlaceAwaiter<'a>(&'a UpstreamSockets);

impl Default for UpstreamSockets {
    fn default() -> Self {
        let zero = AtomicUsize::default;
        let max = AtomicUsize::new(usize::MAX);
        let (recall, freed) = (Notify::new(), Notify::new());
        Self {
            open: zero(),
            max,
            idle: zero(),
            waiting: zero(),
            recall,
            freed,
            of_upstreams: Mutex::default(),
        }
    }
}

impl UpstreamSockets {
    fn of_upstreams(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, UpstreamShare>> {
        self.of_upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Allows at most `max` connections.
    pub(super) fn bound(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Shares the places out among these upstreams. Others keep the connections that they have, and no part.
    pub(super) fn share_among<'a>(&self, names: impl Iterator<Item = &'a Arc<str>>) {
        let mut shares = self.of_upstreams();
        shares.retain(|_, share| {
            share.has_part = false;
            share.open > 0
        });
        for name in names {
            shares.entry(name.clone()).or_default().has_part = true;
        }
    }

    /// Whether more than half of the places are taken. Connections are not kept idle then, so that idle ones, of
    /// whatever upstream and worker, never take the places of those that are to send.
    pub(super) fn are_scarce(&self) -> bool {
        self.open.load(Ordering::Relaxed) > self.max.load(Ordering::Relaxed) / 2
    }

    /// Whether somebody waits for the place of an idle connection.
    pub(super) fn are_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Makes all pools look whether their idle connections are to be closed.
    pub(super) fn recall(&self) {
        self.recall.notify_waiters();
    }

    /// Ends at the next recall.
    pub(super) fn recalled(&self) -> Notified<'_> {
        self.recall.notified()
    }

    /// A place for one more connection to this upstream, if there is one. Where there is none, all idle connections are
    /// closed, of whatever upstream and worker, and the place of one is waited for at most `limit`.
    pub(super) async fn place(
        sockets: &Arc<Self>,
        upstream: &Arc<str>,
        limit: Duration,
    ) -> Option<UpstreamSocket> {
        match Self::free_place(sockets, upstream) {
            Ok(place) => Some(place),
            Err(PlacesTaken::AllInUse) => None,
            Err(PlacesTaken::SomeIdle) => timeout(limit, Self::given_place(sockets, upstream)).await.ok()?,
        }
    }

    async fn given_place(sockets: &Arc<Self>, upstream: &Arc<str>) -> Option<UpstreamSocket> {
        let _waiting = PlaceAwaiter::new(sockets);
        loop {
            let mut freed = pin!(sockets.freed.notified());
            // Registered first, so that no place is free unnoticed between the look and the wait.
            freed.as_mut().enable();
            match Self::free_place(sockets, upstream) {
                Ok(place) => return Some(place),
                Err(PlacesTaken::AllInUse) => return None,
                Err(PlacesTaken::SomeIdle) => {
                    sockets.recall();
                    freed.await;
                }
            }
        }
    }

    /// A place that is free. Half of the places are shared out in equal parts, which are each upstream's own. Any may
    /// have those of the other half.
    fn free_place(sockets: &Arc<Self>, upstream: &Arc<str>) -> Result<UpstreamSocket, PlacesTaken> {
        let mut shares = sockets.of_upstreams();
        let (open, max) = (sockets.open.load(Ordering::Relaxed), sockets.max.load(Ordering::Relaxed));
        let with_part = || shares.iter().filter(|(_, share)| share.has_part);
        let part = max / 2 / with_part().count().max(1);
        let (own, others): (Vec<_>, Vec<_>) = with_part().partition(|(name, _)| *name == upstream);
        let is_of_part = own.iter().any(|(_, share)| share.open < part);
        let kept_for_others: usize = others.iter().map(|(_, share)| part.saturating_sub(share.open)).sum();
        // After a reload connections may be open in the place of a part. It is for who comes first then.
        if open >= max || (!is_of_part && open + kept_for_others >= max) {
            // An idle connection leaves with its place, behind the same lock.
            return Err(match sockets.idle.load(Ordering::SeqCst) {
                0 => PlacesTaken::AllInUse,
                _ => PlacesTaken::SomeIdle,
            });
        }
        shares.entry(upstream.clone()).or_default().open += 1;
        sockets.open.fetch_add(1, Ordering::Relaxed);
        let (sockets, upstream) = (sockets.clone(), upstream.clone());
        Ok(UpstreamSocket { sockets, upstream, is_idle: AtomicBool::new(false) })
    }
}

impl UpstreamSocket {
    /// Notes whether something is under way on the connection.
    pub(super) fn idles(&self, is_idle: bool) {
        match (self.is_idle.swap(is_idle, Ordering::Relaxed), is_idle) {
            (false, true) => _ = self.sockets.idle.fetch_add(1, Ordering::SeqCst),
            (true, false) => _ = self.sockets.idle.fetch_sub(1, Ordering::SeqCst),
            _ => {}
        }
    }
}

impl Drop for UpstreamSocket {
    fn drop(&mut self) {
        {
            let mut shares = self.sockets.of_upstreams();
            if let Some(share) = shares.get_mut(&self.upstream) {
                share.open -= 1;
                self.sockets.open.fetch_sub(1, Ordering::Relaxed);
            }
            self.idles(false);
        }
        self.sockets.freed.notify_waiters();
    }
}

impl<'a> PlaceAwaiter<'a> {
    fn new(sockets: &'a UpstreamSockets) -> Self {
        sockets.waiting.fetch_add(1, Ordering::SeqCst);
        Self(sockets)
    }
}

impl Drop for PlaceAwaiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(max: usize, names: &[&str]) -> (Arc<UpstreamSockets>, Vec<Arc<str>>) {
        let sockets = Arc::<UpstreamSockets>::default();
        let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        sockets.bound(max);
        sockets.share_among(names.iter());
        (sockets, names)
    }

    /// As many places as there are for this upstream.
    fn all(sockets: &Arc<UpstreamSockets>, upstream: &Arc<str>) -> Vec<UpstreamSocket> {
        std::iter::from_fn(|| UpstreamSockets::free_place(sockets, upstream).ok()).collect()
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let (sockets, names) = among(2, &["a"]);
        let mut held = all(&sockets, &names[0]);
        assert_eq!(held.len(), 2, "one upstream has all places");
        held.pop();
        assert_eq!(all(&sockets, &names[0]).len(), 1);
    }

    #[test]
    fn each_upstream_has_places_of_its_own() {
        // Each number is what an upstream gets that takes all it can, one after the other.
        for (max, names, takes) in [
            (42, &["a", "b"][..], &[32, 10][..]),
            (42, &["a", "b", "c"], &[28, 7, 7]),
            (100, &["a", "b", "c", "d", "e"], &[60, 10, 10, 10, 10]),
            // There are fewer places than upstreams.
            (2, &["a", "b", "c"], &[2, 0, 0]),
        ] {
            let (sockets, names) = among(max, names);
            let held: Vec<_> = names.iter().map(|name| all(&sockets, name)).collect();
            assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), takes, "{max} places");
        }
    }

    #[test]
    fn a_reload_shares_the_places_anew() {
        let (sockets, names) = among(40, &["a", "b"]);
        let (mut held, later) = (all(&sockets, &names[0]), Arc::from("later"));
        assert_eq!(held.len(), 30);
        sockets.share_among([&names[1], &later].into_iter());
        assert!(all(&sockets, &names[0]).is_empty());
        // Each number is how many connections of the removed upstream go on, and what the others get.
        for (open, first, second) in [(30, 10, 0), (25, 10, 5), (10, 20, 10), (1, 29, 10), (0, 30, 10)] {
            held.truncate(open);
            let [one, other] = [&later, &names[1]].map(|name| all(&sockets, name));
            assert_eq!((one.len(), other.len()), (first, second), "{open} go on");
        }
        sockets.share_among([&later].into_iter());
        assert_eq!(all(&sockets, &later).len(), 40, "and has no part once it is gone");
    }
}
