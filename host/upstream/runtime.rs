//! An upstream while the gateway runs: its configuration, its counters, and what is under way to it.

use super::slots::{Admission, NotAdmitted, Slot, Slots};
use crate::config;
use crate::observe::metrics::{Metrics, UpstreamMetrics};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One configured upstream. All workers share it. It outlives reloads that do not change its
/// configuration.
#[derive(Debug)]
pub struct Upstream {
    /// Its configuration.
    pub config: Arc<config::UpstreamConfig>,
    /// Its counters of requests.
    pub metrics: UpstreamMetrics,
    slots: Arc<Slots>,
}

/// All configured upstreams, by name.
pub type UpstreamTable = BTreeMap<Arc<str>, Arc<Upstream>>;

impl Upstream {
    /// An upstream to which nothing is under way.
    pub fn new(config: Arc<config::UpstreamConfig>, metrics: &Metrics) -> Arc<Self> {
        let metrics = metrics.upstream(&config.name);
        Arc::new(Self { config, metrics, slots: Arc::default() })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("{}:{}", self.config.host, self.config.port)
    }

    /// What is under way to it.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Admits an execution before its claim, or a request before it waits for an execution. The slot is
    /// held for as long as that lasts. Unguarded requests need none: an answer that an execution waits
    /// for may come as one.
    pub fn admit(&self, kind: Admission) -> Result<Slot, NotAdmitted> {
        Slots::admit(&self.slots, kind)
    }

    /// Admits nothing from now on: the gateway's grace at shutdown is over. What was admitted goes on.
    pub fn close(&self) {
        self.slots.close();
    }
}

/// The upstreams of a configuration. Those of `before` that are configured as before go on.
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
