//! Requests, executions and probes, by route.

use oncegate_core::Disposition;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the results of design/metrics.md")]
pub enum RequestResult {
    Executed,
    Replayed,
    Waited,
    InFlight,
    KeyReused,
    Unknown,
    Consumed,
    Expired,
    Refused,
    Bypassed,
    Passed,
    Failed,
    Left,
}

impl RequestResult {
    const ALL: [Self; 13] = [
        Self::Executed,
        Self::Replayed,
        Self::Waited,
        Self::InFlight,
        Self::KeyReused,
        Self::Unknown,
        Self::Consumed,
        Self::Expired,
        Self::Refused,
        Self::Bypassed,
        Self::Passed,
        Self::Failed,
        Self::Left,
    ];

    /// The result's word in metrics and the access log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Replayed => "replayed",
            Self::Waited => "waited",
            Self::InFlight => "in_flight",
            Self::KeyReused => "key_reused",
            Self::Unknown => "unknown",
            Self::Consumed => "consumed",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Bypassed => "bypassed",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Left => "left",
        }
    }
}

/// The words for outcomes, in the order of [`Disposition`].
const OUTCOMES: [&str; 4] = ["not_applied", "unknown", "consumed", "completed"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteResult {
    route: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ProblemName {
    problem: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteName {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteOutcome {
    route: String,
    outcome: &'static str,
}

/// Buckets from a replay's tens of microseconds to a long call's minute.
fn request_histogram() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        10.0, 30.0, 60.0,
    ])
}

/// The metrics that have a route as their label.
pub(super) struct RequestFamilies {
    requests: Family<RouteResult, Counter>,
    unrouted: Family<ProblemName, Counter>,
    durations: Family<RouteResult, Histogram, fn() -> Histogram>,
    executions: Family<RouteOutcome, Counter>,
    probes: Family<RouteResult, Counter>,
    principals_changed: Family<RouteName, Counter>,
}

impl RequestFamilies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            requests: Family::default(),
            unrouted: Family::default(),
            durations: Family::new_with_constructor(request_histogram as fn() -> Histogram),
            executions: Family::default(),
            probes: Family::default(),
            principals_changed: Family::default(),
        };
        registry.register("requests", "Requests by route and what came of them", families.requests.clone());
        registry.register(
            "requests_unrouted",
            "Requests that were answered without a route, by the code of their problem",
            families.unrouted.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to the head of its answer",
            Unit::Seconds,
            families.durations.clone(),
        );
        registry.register("executions", "Executions by route and outcome", families.executions.clone());
        registry.register(
            "probes",
            "Unknown outcomes that an upstream was asked about, by route and what came of it",
            families.probes.clone(),
        );
        registry.register(
            "principal_changed",
            "Requests whose key and content came under another principal before, as far as that is known",
            families.principals_changed.clone(),
        );
        families
    }

    pub(super) fn unrouted(&self, problem: &str) {
        self.unrouted.get_or_create(&ProblemName { problem: problem.to_owned() }).inc();
    }

    /// A route's counters. `policy_decide`: the times of its policy's `decide`.
    pub(super) fn route(&self, route: &str, policy_decide: Option<Histogram>) -> RouteMetrics {
        let result = |result: &RequestResult| {
            let labels = RouteResult { route: route.to_owned(), result: result.word() };
            (self.requests.get_or_create_owned(&labels), self.durations.get_or_create_owned(&labels))
        };
        let outcome = |outcome: &&'static str| {
            self.executions.get_or_create_owned(&RouteOutcome { route: route.to_owned(), outcome })
        };
        let route = RouteName { route: route.to_owned() };
        RouteMetrics {
            results: RequestResult::ALL.iter().map(result).collect(),
            outcomes: OUTCOMES.iter().map(outcome).collect(),
            policy_decide,
            principal_changed: self.principals_changed.get_or_create_owned(&route),
        }
    }

    pub(super) fn probed(&self, route: &str, result: &'static str) {
        self.probes.get_or_create_owned(&RouteResult { route: route.to_owned(), result }).inc();
    }
}

/// A route's counters.
#[derive(Clone, Debug)]
pub struct RouteMetrics {
    results: Vec<(Counter, Histogram)>,
    outcomes: Vec<Counter>,
    policy_decide: Option<Histogram>,
    principal_changed: Counter,
}

impl RouteMetrics {
    /// Counts a request.
    pub fn request(&self, result: RequestResult, took: Duration) {
        let (counter, histogram) = &self.results[result as usize];
        counter.inc();
        histogram.observe(took.as_secs_f64());
    }

    /// Counts an execution.
    pub fn execution(&self, outcome: Disposition) {
        self.outcomes[outcome as usize].inc();
    }

    /// Counts a request that came under another principal than the same request before.
    pub fn principal_changed(&self) {
        self.principal_changed.inc();
    }

    /// Counts a call of `decide`.
    pub fn decided(&self, took: Duration) {
        if let Some(histogram) = &self.policy_decide {
            histogram.observe(took.as_secs_f64());
        }
    }
}
