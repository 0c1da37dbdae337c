//! The number of connections to all upstreams, which the process must have files for, and each upstream's share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections to upstreams.
#[derive(Debug)]
pub(super) struct UpstreamSockets {
    open: AtomicUsize,
    max: AtomicUsize,
    /// The connections to each upstream, by its name.
    of_upstreams: Mutex<BTreeMap<Arc<str>, usize>>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct UpstreamSocket {
    sockets: Arc<UpstreamSockets>,
    upstream: Arc<str>,
}

impl Default for UpstreamSockets {
    fn default() -> Self {
        Self { open: AtomicUsize::new(0), max: AtomicUsize::new(usize::MAX), of_upstreams: Mutex::default() }
    }
}

impl UpstreamSockets {
    fn of_upstreams(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, usize>> {
        self.of_upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Allows at most `max` connections.
    pub(super) fn bound(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Shares the places out among these upstreams. Others that have connections keep them.
    pub(super) fn share_among<'a>(&self, names: impl Iterator<Item = &'a Arc<str>>) {
        let mut open = self.of_upstreams();
        open.retain(|_, open| *open > 0);
        for name in names {
            open.entry(name.clone()).or_default();
        }
    }

    /// Whether more than half of the places are taken. Connections are not kept idle then, so that idle ones, of
    /// whatever upstream and worker, never take the places of those that are to send.
    pub(super) fn are_scarce(&self) -> bool {
        self.open.load(Ordering::Relaxed) > self.max.load(Ordering::Relaxed) / 2
    }

    /// A place for one more connection to this upstream, if there is one. Half of the places are shared out in equal
    /// parts, which are each upstream's own. Any may have those of the other half.
    pub(super) fn place(sockets: &Arc<Self>, upstream: &Arc<str>) -> Option<UpstreamSocket> {
        let mut open = sockets.of_upstreams();
        let max = sockets.max.load(Ordering::Relaxed);
        let part = max / 2 / open.len().max(1);
        let others = open.iter().filter(|(name, _)| *name != upstream);
        let kept_for_others: usize = others.map(|(_, open)| part.saturating_sub(*open)).sum();
        if sockets.open.load(Ordering::Relaxed) + kept_for_others >= max {
            return None;
        }
        *open.entry(upstream.clone()).or_default() += 1;
        sockets.open.fetch_add(1, Ordering::Relaxed);
        Some(UpstreamSocket { sockets: sockets.clone(), upstream: upstream.clone() })
    }
}

impl Drop for UpstreamSocket {
    fn drop(&mut self) {
        if let Some(open) = self.sockets.of_upstreams().get_mut(&self.upstream) {
            *open -= 1;
            self.sockets.open.fetch_sub(1, Ordering::Relaxed);
        }
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
        std::iter::from_fn(|| UpstreamSockets::place(sockets, upstream)).collect()
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
        let (held, later) = (all(&sockets, &names[0]), Arc::from("later"));
        assert_eq!(held.len(), 30);
        sockets.share_among([&later].into_iter());
        assert_eq!(all(&sockets, &later).len(), 10, "what is open goes on");
        drop(held);
        sockets.share_among([&later].into_iter());
        assert_eq!(all(&sockets, &later).len(), 40, "and has no part once it is gone");
    }
}
