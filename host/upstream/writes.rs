//! What an upstream's socket takes of requests. The socket is in hyper's hands, and the exchange watches it from
//! outside. Nothing is noted, and no clock read, while the socket takes all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The least number of bytes that are asked after: fewer find room in the other system, whatever the service does,
/// and to ask costs a call of the system.
const BEHIND_MIN: usize = 4 << 10;

/// The writes to one socket.
#[derive(Debug)]
pub(super) struct Writes {
    begun: Instant,
    /// The socket is full, and there is more to write.
    is_stuck: AtomicBool,
    /// When the socket, once full, took something last or became full: microseconds after `begun`; zero: never.
    moved: AtomicU64,
    /// Bytes that were written and that are not known to have arrived.
    behind: AtomicUsize,
    /// What the system still has to send goes with the connection.
    is_cut: AtomicBool,
    /// The connection has left HTTP, and ends as its sides end it.
    is_tunnel: AtomicBool,
}

impl Writes {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            is_stuck: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            behind: AtomicUsize::new(0),
            is_cut: AtomicBool::new(false),
            is_tunnel: AtomicBool::new(false),
        })
    }

    /// The socket takes nothing now.
    pub(super) fn stuck(&self) {
        if !self.is_stuck.load(Ordering::Relaxed) {
            self.is_stuck.store(true, Ordering::Relaxed);
            self.note();
        }
    }

    /// The socket took `bytes` bytes.
    pub(super) fn took(&self, bytes: usize) {
        self.behind.fetch_add(bytes, Ordering::Relaxed);
        if self.is_stuck.load(Ordering::Relaxed) {
            self.is_stuck.store(false, Ordering::Relaxed);
            self.note();
        }
    }

    /// All that was written has arrived.
    pub(super) fn arrived(&self) {
        self.behind.store(0, Ordering::Relaxed);
    }

    /// Whether a part of what was written may still lie on this side.
    pub(super) fn may_be_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed) > BEHIND_MIN
    }

    /// The connection becomes a tunnel.
    pub(super) fn switched(&self) {
        self.is_tunnel.store(true, Ordering::Relaxed);
    }

    /// Whether the connection is a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        self.is_tunnel.load(Ordering::Relaxed)
    }

    /// The connection's end is to be a reset.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    /// Whether the connection's end is to be a reset.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    fn note(&self) {
        let micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved.store(micros.max(1), Ordering::Relaxed);
    }

    /// Whether the socket is full with more to write.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    /// The later of `since` and of when a full socket took something last.
    pub(super) fn latest(&self, since: Instant) -> Instant {
        match self.moved.load(Ordering::Relaxed) {
            0 => since,
            micros => since.max(self.begun + Duration::from_micros(micros)),
        }
    }
}
