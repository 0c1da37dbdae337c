//! The metrics, under the names of `design/metrics.md`. Handles are looked up when routes and policies are
//! loaded, so that a request only adds.

mod connections;
mod log;
mod policies;
mod process;
mod reloads;
mod requests;
mod store;
mod upstreams;

pub use connections::{CONNECTIONS_CLOSED, ConnectionsClosed};
pub use log::{LOG_LINES, LogLines};
pub use process::{BacklogSeen, Snapshot};
pub use requests::{RequestResult, RouteMetrics};
pub use store::{STORE_CALLS, StoreCalls};
pub use upstreams::UpstreamMetrics;

use policies::PolicyFamilies;
use process::ProcessGauges;
use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use reloads::ConfigReloads;
use requests::RequestFamilies;
use std::fmt;
use std::time::Duration;
use upstreams::UpstreamFamilies;

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: RequestFamilies,
    policies: PolicyFamilies,
    upstreams: UpstreamFamilies,
    process: ProcessGauges,
    reloads: ConfigReloads,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("oncegate");
        let requests = RequestFamilies::register(&mut registry);
        let policies = PolicyFamilies::register(&mut registry);
        STORE_CALLS.register(&mut registry);
        LOG_LINES.register(&mut registry);
        CONNECTIONS_CLOSED.register(&mut registry);
        let upstreams = UpstreamFamilies::register(&mut registry);
        let process = ProcessGauges::register(&mut registry);
        let reloads = ConfigReloads::register(&mut registry);
        let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        registry.register("build", "This build", Info::new(build));
        Self { registry, requests, policies, upstreams, process, reloads }
    }
}

impl Metrics {
    /// The counters of a route and its policy.
    pub fn route(&self, route: &str, policy: Option<&str>) -> RouteMetrics {
        self.requests.route(route, policy.map(|policy| self.policies.hook(policy, "decide")))
    }

    /// The counters of an upstream.
    pub fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        self.upstreams.upstream(upstream)
    }

    /// Counts a request that was answered before it had a route, or by no route. `problem`: the answer's code.
    pub fn unrouted(&self, problem: &str) {
        self.requests.unrouted(problem);
    }

    /// Counts a probe.
    pub fn probed(&self, route: &str, result: &'static str) {
        self.requests.probed(route, result);
    }

    /// Counts a call of a hook.
    pub fn policy_called(&self, policy: &str, hook: &'static str, elapsed: Duration) {
        self.policies.called(policy, hook, elapsed);
    }

    /// Counts a failed call.
    pub fn policy_failed(&self, policy: &str, kind: &str) {
        self.policies.failed(policy, kind);
    }

    /// Counts a guarded request by the labels that its policy gave it.
    pub fn policy_labelled(&self, policy: &str, labels: &[(String, String)]) {
        self.policies.labelled(policy, labels);
    }

    /// Notes the result of a policy's reload (`ok`, `failed`, `rolled_back`), and the generation that
    /// is active after the reload.
    pub fn policy_reloaded(&self, policy: &str, result: &'static str, generation: Option<u64>) {
        self.policies.reloaded(policy, result, generation);
    }

    /// Notes a policy's generation at the start, which is no reload.
    pub fn policy_started(&self, policy: &str, generation: u64) {
        self.policies.started(policy, generation);
    }

    /// Counts a reload of the configuration that was made, or refused.
    pub fn config_reloaded(&self, made: bool) {
        self.reloads.count(made);
    }

    /// All metrics as Prometheus text (OpenMetrics).
    pub fn render(&self, snapshot: &Snapshot) -> String {
        self.process.set(snapshot);
        let mut out = String::new();
        // Writing to a String doesn't fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}
