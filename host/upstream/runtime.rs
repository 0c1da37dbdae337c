//! An upstream while the gateway runs: its configuration, its counters, and the executions and waiters there.

use super::slots::{Admission, NotAdmitted, Slot, Slots, SlotsByName};
use super::sockets::UpstreamSockets;
use oncegate_config as config;
use oncegate_observe::metrics::{Metrics, UpstreamMetrics};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One configured upstream. All workers share the object, and it outlives reloads that do not change its
/// configuration.
#[derive(Debug)]
pub struct Upstream {
    /// The upstream's configuration.
    pub config: Arc<config::UpstreamConfig>,
    /// The upstream's counters of requests.
    pub metrics: UpstreamMetrics,
    slots: Arc<Slots>,
    pub(super) sockets: Arc<UpstreamSockets>,
    /// A reload removed the upstream, or made it anew.
    is_retired: AtomicBool,
}

/// All configured upstreams, by name.
#[derive(Debug, Default)]
pub struct UpstreamTable {
    upstreams: BTreeMap<Arc<str>, Arc<Upstream>>,
    /// All tables of a process share these.
    slots: Arc<SlotsByName>,
    sockets: Arc<UpstreamSockets>,
}

impl Upstream {
    /// The upstream's name.
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("{}:{}", self.config.host, self.config.port)
    }

    /// The count of executions and waiters at the upstream.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Admits an execution before its claim, or a request before it waits for an execution. The slot is
    /// held as long as the execution or the wait lasts. Unguarded requests need no slot: an answer that an
    /// execution waits for may come as an unguarded request.
    pub fn admit(&self, kind: Admission) -> Result<Slot, NotAdmitted> {
        Slots::admit(&self.slots, kind)
    }

    /// Closes the idle connections of all workers, and keeps none from now on.
    fn retire(&self) {
        self.is_retired.store(true, Ordering::SeqCst);
        self.sockets.recall();
    }

    /// Whether a reload removed the upstream, or made it anew.
    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::SeqCst)
    }
}

impl UpstreamTable {
    /// The upstreams of the next configuration. Upstreams of this table with the same configuration go on. The
    /// others keep the slots of their name, and are retired.
    #[must_use]
    pub fn next(
        &self,
        configured: &BTreeMap<Arc<str>, Arc<config::UpstreamConfig>>,
        metrics: &Metrics,
    ) -> Self {
        let one = |config: &Arc<config::UpstreamConfig>| {
            let name = &config.name;
            let same = self.get(name).filter(|upstream| upstream.config == *config).cloned();
            let changed = || {
                let (metrics, slots) = (metrics.upstream(name), self.slots.of(name));
                let sockets = self.sockets.clone();
                let is_retired = AtomicBool::new(false);
                Arc::new(Upstream { config: config.clone(), metrics, slots, sockets, is_retired })
            };
            (name.clone(), same.unwrap_or_else(changed))
        };
        let upstreams: BTreeMap<_, _> = configured.values().map(one).collect();
        self.sockets.share_among(configured.keys());
        let goes_on = |upstream: &Arc<Upstream>| {
            upstreams.get(upstream.name()).is_some_and(|next| Arc::ptr_eq(next, upstream))
        };
        self.values().filter(|upstream| !goes_on(upstream)).for_each(|upstream| upstream.retire());
        Self { upstreams, slots: self.slots.clone(), sockets: self.sockets.clone() }
    }

    /// Allows at most `max` connections to all upstreams of this table and of later ones.
    pub fn bound_connections(&self, max: usize) {
        self.sockets.bound(max);
    }

    /// Admits nothing from now on, at upstreams of earlier and later configurations neither: the gateway's
    /// grace at shutdown is over. Admitted executions and waiters go on.
    pub fn close(&self) {
        self.slots.close();
    }
}

impl Deref for UpstreamTable {
    type Target = BTreeMap<Arc<str>, Arc<Upstream>>;

    fn deref(&self) -> &Self::Target {
        &self.upstreams
    }
}
