//! An upstream while the gateway runs: its configuration, its counters, and the executions and waiters there.

use super::slots::{Admission, NotAdmitted, Slot, Slots};
use oncegate_config as config;
use oncegate_observe::metrics::{Metrics, UpstreamMetrics};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One configured upstream. All workers share the object, and it outlives reloads that do not change its
/// configuration.
#[derive(Debug)]
pub struct Upstream {
    /// The upstream's configuration.
    pub config: Arc<config::UpstreamConfig>,
    /// The upstream's counters of requests.
    pub metrics: UpstreamMetrics,
    slots: Arc<Slots>,
}

/// All configured upstreams, by name.
pub type UpstreamTable = BTreeMap<Arc<str>, Arc<Upstream>>;

impl Upstream {
    /// An upstream without executions and waiters.
    pub fn new(config: Arc<config::UpstreamConfig>, metrics: &Metrics) -> Arc<Self> {
        let metrics = metrics.upstream(&config.name);
        Arc::new(Self { config, metrics, slots: Arc::default() })
    }

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

    /// Admits nothing from now on: the gateway's grace at shutdown is over. Admitted executions and waiters
    /// go on.
    pub fn close(&self) {
        self.slots.close();
    }
}

/// The upstreams of a configuration. Upstreams of `before` with the same configuration go on.
pub fn upstreams(
    configured: &BTreeMap<Arc<str>, Arc<config::UpstreamConfig>>,
    before: &UpstreamTable,
    metrics: &Metrics,
) -> UpstreamTable {
    let one = |config: &Arc<config::UpstreamConfig>| {
        let same = before.get(&config.name).filter(|upstream| upstream.config == *config).cloned();
        (config.name.clone(), same.unwrap_or_else(|| Upstream::new(config.clone(), metrics)))
    };
    configured.values().map(one).collect()
}
