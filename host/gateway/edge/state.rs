//! The state that the listeners and connections of all workers share.

use super::budget::BodyBudget;
use super::heart::Heart;
use super::open::OpenConnections;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// The numbers of listeners and connections, and whether they must end.
#[derive(Debug)]
pub struct EdgeState {
    /// Open client connections, tunnels among them.
    pub connections: AtomicUsize,
    /// Open connections that speak another protocol than HTTP.
    pub tunnels: AtomicUsize,
    /// The connections of clients, and those that tunnels have to upstreams, that the process has files for.
    pub files: AtomicUsize,
    /// The open client connections without tunnels.
    pub(super) open: OpenConnections,
    /// Open listeners.
    pub listeners: AtomicUsize,
    /// Connections that were in the listeners' queues when they closed.
    pub queued: AtomicUsize,
    /// What all bodies may hold.
    pub bodies: Arc<BodyBudget>,
    /// Set once, at shutdown. No connection is accepted after it, and each open one ends with its present
    /// request.
    pub draining: watch::Sender<bool>,
    /// Whether the workers go on.
    pub heart: Heart,
}

impl EdgeState {
    /// A state without connections, in which all bodies together may hold `bodies` bytes.
    pub fn new(bodies: usize) -> Self {
        Self {
            connections: AtomicUsize::new(0),
            tunnels: AtomicUsize::new(0),
            files: AtomicUsize::new(usize::MAX),
            open: OpenConnections::default(),
            listeners: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            bodies: Arc::new(BodyBudget::new(bodies)),
            draining: watch::Sender::new(false),
            heart: Heart::default(),
        }
    }

    /// A warning for the operator if the process has fewer files than this many connections need.
    pub fn short_of_files(&self, connections: usize) -> Option<String> {
        let files = self.files.load(Ordering::Relaxed);
        (files < connections).then(|| {
            format!(
                "`server.limits.connections` is {connections}, and the limit of open files of this process leaves {files} \
                 client connections at a time. Raise it (`ulimit -Hn`, `LimitNOFILE=`), or lower \
                 `server.limits.connections`"
            )
        })
    }

    /// Whether connections must end.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}

/// Holds a counter one higher until it is dropped.
#[derive(Debug)]
pub struct Counted<T> {
    counters: Arc<T>,
    which: fn(&T) -> &AtomicUsize,
}

impl<T> Counted<T> {
    /// Adds one to the counter `which`.
    pub fn new(counters: &Arc<T>, which: fn(&T) -> &AtomicUsize) -> Self {
        which(counters).fetch_add(1, Ordering::Relaxed);
        Self { counters: counters.clone(), which }
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        (self.which)(&self.counters).fetch_sub(1, Ordering::Relaxed);
    }
}
