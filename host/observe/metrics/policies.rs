//! Policies: calls of their hooks, failures, generations and reloads.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PolicyHook {
    policy: String,
    hook: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PolicyKind {
    policy: String,
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PolicyReload {
    policy: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PolicyName {
    policy: String,
}

/// Buckets from a compiled policy's microsecond to the limit of a slow policy.
fn policy_histogram() -> Histogram {
    Histogram::new([
        0.000_000_5,
        0.000_001,
        0.000_002_5,
        0.000_005,
        0.000_01,
        0.000_025,
        0.000_05,
        0.000_1,
        0.001,
        0.005,
        0.05,
    ])
}

/// The metrics that have a policy as their label.
pub(super) struct PolicyFamilies {
    calls: Family<PolicyHook, Histogram, fn() -> Histogram>,
    failures: Family<PolicyKind, Counter>,
    generation: Family<PolicyName, Gauge>,
    reloads: Family<PolicyReload, Counter>,
}

impl PolicyFamilies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            calls: Family::new_with_constructor(policy_histogram as fn() -> Histogram),
            failures: Family::default(),
            generation: Family::default(),
            reloads: Family::default(),
        };
        registry.register_with_unit(
            "policy_call",
            "One call of a policy's hook",
            Unit::Seconds,
            families.calls.clone(),
        );
        registry.register("policy_failures", "Failed calls of policies", families.failures.clone());
        registry.register(
            "policy_generation",
            "The active generation of a policy",
            families.generation.clone(),
        );
        registry.register("policy_reloads", "Reloads of policies by result", families.reloads.clone());
        families
    }

    /// The times of one hook's calls.
    pub(super) fn hook(&self, policy: &str, hook: &'static str) -> Histogram {
        self.calls.get_or_create_owned(&PolicyHook { policy: policy.to_owned(), hook })
    }

    pub(super) fn called(&self, policy: &str, hook: &'static str, elapsed: Duration) {
        let labels = PolicyHook { policy: policy.to_owned(), hook };
        self.calls.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }

    pub(super) fn failed(&self, policy: &str, kind: &str) {
        self.failures.get_or_create(&PolicyKind { policy: policy.to_owned(), kind: kind.to_owned() }).inc();
    }

    pub(super) fn reloaded(&self, policy: &str, result: &'static str, generation: Option<u64>) {
        self.reloads.get_or_create(&PolicyReload { policy: policy.to_owned(), result }).inc();
        if let Some(generation) = generation {
            self.generation
                .get_or_create(&PolicyName { policy: policy.to_owned() })
                .set(i64::try_from(generation).unwrap_or(i64::MAX));
        }
    }
}
