//! The number of connections to all upstreams, which the process must have files for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Connections to upstreams.
#[derive(Debug)]
pub(super) struct UpstreamSockets {
    open: AtomicUsize,
    max: AtomicUsize,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct UpstreamSocket(Arc<UpstreamSockets>);

impl Default for UpstreamSockets {
    fn default() -> Self {
        Self { open: AtomicUsize::new(0), max: AtomicUsize::new(usize::MAX) }
    }
}

impl UpstreamSockets {
    /// Allows at most `max` connections.
    pub(super) fn bound(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Whether more than half of the places are taken. Connections are not kept idle then, so that idle ones, of
    /// whatever upstream and worker, never take the places of those that are to send.
    pub(super) fn are_scarce(&self) -> bool {
        self.open.load(Ordering::Relaxed) > self.max.load(Ordering::Relaxed) / 2
    }

    /// A place for one more connection, if there is one.
    pub(super) fn place(sockets: &Arc<Self>) -> Option<UpstreamSocket> {
        let place = UpstreamSocket(sockets.clone());
        let before = sockets.open.fetch_add(1, Ordering::Relaxed);
        (before < sockets.max.load(Ordering::Relaxed)).then_some(place)
    }
}

impl Drop for UpstreamSocket {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let sockets = Arc::<UpstreamSockets>::default();
        sockets.bound(2);
        let [first, _second] = [(); 2].map(|()| UpstreamSockets::place(&sockets).expect("there is room"));
        assert!((0..3).all(|_| UpstreamSockets::place(&sockets).is_none()));
        drop(first);
        assert!(UpstreamSockets::place(&sockets).is_some());
    }
}
