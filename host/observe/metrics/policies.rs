//! Policies: calls of their hooks, failures, generations and reloads.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};
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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PolicyLabel {
    policy: String,
    label: String,
    value: String,
}

/// The most labels of a policy, and the most values of a label, that have a series of their own.
const SERIES_MAX: usize = 32;
/// What the labels and values beyond these are counted as.
const OTHER: &str = "other";

/// The labels and values of each policy that have a series of their own.
#[derive(Default)]
struct KnownLabels(RwLock<BTreeMap<String, BTreeMap<String, BTreeSet<String>>>>);

impl KnownLabels {
    /// The label and value that these are counted as.
    fn counted<'a>(&self, policy: &str, label: &'a str, value: &'a str) -> (&'a str, &'a str) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let values = known.get(policy).and_then(|labels| labels.get(label));
        if values.is_some_and(|values| values.contains(value)) {
            return (label, value);
        }
        if values.is_some_and(|values| values.len() >= SERIES_MAX) {
            return (label, OTHER);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let labels = known.entry(policy.to_owned()).or_default();
        if !labels.contains_key(label) && labels.len() >= SERIES_MAX {
            return (OTHER, OTHER);
        }
        let values = labels.entry(label.to_owned()).or_default();
        if !values.contains(value) && values.len() >= SERIES_MAX {
            return (label, OTHER);
        }
        values.insert(value.to_owned());
        (label, value)
    }
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
    labels: Family<PolicyLabel, Counter>,
    known: KnownLabels,
}

impl PolicyFamilies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            calls: Family::new_with_constructor(policy_histogram as fn() -> Histogram),
            failures: Family::default(),
            generation: Family::default(),
            reloads: Family::default(),
            labels: Family::default(),
            known: KnownLabels::default(),
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
        registry.register(
            "policy_labels",
            "Guarded requests by the labels that their policy gave them",
            families.labels.clone(),
        );
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

    pub(super) fn labelled(&self, policy: &str, labels: &[(String, String)]) {
        for (label, value) in labels {
            let (label, value) = self.known.counted(policy, label, value);
            let series =
                PolicyLabel { policy: policy.to_owned(), label: label.to_owned(), value: value.to_owned() };
            self.labels.get_or_create(&series).inc();
        }
    }

    pub(super) fn reloaded(&self, policy: &str, result: &'static str, generation: Option<u64>) {
        self.begin(policy);
        self.reloads.get_or_create(&PolicyReload { policy: policy.to_owned(), result }).inc();
        if let Some(generation) = generation {
            self.is_at(policy, generation);
        }
    }

    /// Notes the first generation.
    pub(super) fn started(&self, policy: &str, generation: u64) {
        self.begin(policy);
        self.is_at(policy, generation);
    }

    /// Begins a policy's counters with 0, so that the first event is an increase.
    fn begin(&self, policy: &str) {
        for result in ["ok", "failed", "rolled_back"] {
            drop(self.reloads.get_or_create(&PolicyReload { policy: policy.to_owned(), result }));
        }
    }

    fn is_at(&self, policy: &str, generation: u64) {
        self.generation
            .get_or_create(&PolicyName { policy: policy.to_owned() })
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_a_bounded_number_of_series() {
        let known = KnownLabels::default();
        for value in 0..SERIES_MAX {
            let value = value.to_string();
            assert_eq!(known.counted("p", "kind", &value), ("kind", &*value));
        }
        assert_eq!(known.counted("p", "kind", "33"), ("kind", OTHER));
        assert_eq!(known.counted("p", "kind", "7"), ("kind", "7"), "it was there before");
        assert_eq!(known.counted("q", "kind", "33"), ("kind", "33"), "another policy has its own");
        for label in 1..SERIES_MAX {
            let label = format!("label_{label}");
            assert_eq!(known.counted("p", &label, "a"), (&*label, "a"));
        }
        assert_eq!(known.counted("p", "one_more", "a"), (OTHER, OTHER));
        assert_eq!(known.counted("p", "label_1", "b"), ("label_1", "b"));
    }
}
