//! What is counted, in the names of DESIGN §10. Handles are looked up when routes and policies are
//! loaded, so that a request only adds.

use crate::store::{Kind, Kinds};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the results of DESIGN §10")]
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
}

impl RequestResult {
    const ALL: [Self; 12] = [
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
    ];

    /// The word for it in metrics and the access log.
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
        }
    }
}

type Labels<const N: usize> = [(&'static str, String); N];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteResult {
    route: String,
    result: &'static str,
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
struct UpstreamResult {
    upstream: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StoreOp {
    op: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateName {
    state: &'static str,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RouteResult, Counter>,
    durations: Family<RouteResult, Histogram, fn() -> Histogram>,
    executions: Family<RouteOutcome, Counter>,
    policy_calls: Family<PolicyHook, Histogram, fn() -> Histogram>,
    policy_failures: Family<PolicyKind, Counter>,
    policy_generation: Family<PolicyName, Gauge>,
    policy_reloads: Family<PolicyReload, Counter>,
    upstream_requests: Family<UpstreamResult, Counter>,
    probes: Family<RouteResult, Counter>,
    principals_changed: Family<RouteName, Counter>,
    records: Family<StateName, Gauge>,
    records_cached: Gauge,
    executing: Gauge,
    settlements_overdue: Gauge,
    buffers_bytes: Gauge,
    connections: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}

/// From a replay's tens of microseconds to a long call's minute.
fn request_histogram() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        10.0, 30.0, 60.0,
    ])
}

/// From a compiled policy's microsecond to the limit of a slow one.
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

/// Calls of the store, of which a process has one.
pub static STORE_CALLS: LazyLock<StoreCalls> = LazyLock::new(StoreCalls::new);

/// How long calls of the store take, by what they are.
#[derive(Debug)]
pub struct StoreCalls {
    family: Family<StoreOp, Histogram, fn() -> Histogram>,
    /// A record is looked up.
    pub load: Histogram,
    /// A record is put in another's place: with `sync` until it is durable.
    pub swap: Histogram,
    /// What is due is looked for.
    pub due: Histogram,
    /// Records are listed.
    pub scan: Histogram,
}

impl StoreCalls {
    fn new() -> Self {
        let family = Family::new_with_constructor(store_histogram as fn() -> Histogram);
        let of = |op| family.get_or_create_owned(&StoreOp { op });
        Self { load: of("load"), swap: of("swap"), due: of("due"), scan: of("scan"), family: family.clone() }
    }
}

/// Awaits a call of the store and notes how long it took.
pub async fn timed<T>(histogram: &Histogram, call: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let came = call.await;
    histogram.observe(begun.elapsed().as_secs_f64());
    came
}

/// From a look into memory to a disk that hangs.
fn store_histogram() -> Histogram {
    Histogram::new([
        0.000_001, 0.000_01, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5,
        1.0, 5.0,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("oncegate");
        let requests = Family::default();
        registry.register("requests", "Requests by route and what came of them", requests.clone());
        let durations = Family::new_with_constructor(request_histogram as fn() -> Histogram);
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to the head of its answer",
            Unit::Seconds,
            durations.clone(),
        );
        let executions = Family::default();
        registry.register("executions", "Executions by route and outcome", executions.clone());
        let policy_calls = Family::new_with_constructor(policy_histogram as fn() -> Histogram);
        registry.register_with_unit(
            "policy_call",
            "One call of a policy's hook",
            Unit::Seconds,
            policy_calls.clone(),
        );
        registry.register_with_unit(
            "store",
            "One call of the ledger's store",
            Unit::Seconds,
            STORE_CALLS.family.clone(),
        );
        let policy_failures = Family::default();
        registry.register("policy_failures", "Failed calls of policies", policy_failures.clone());
        let policy_generation = Family::default();
        registry.register(
            "policy_generation",
            "The active generation of a policy",
            policy_generation.clone(),
        );
        let policy_reloads = Family::default();
        registry.register("policy_reloads", "Reloads of policies by result", policy_reloads.clone());
        let upstream_requests = Family::default();
        registry.register("upstream_requests", "Requests sent upstream by result", upstream_requests.clone());
        let probes = Family::default();
        registry.register(
            "probes",
            "Unknown outcomes that an upstream was asked about, by route and what came of it",
            probes.clone(),
        );
        let principals_changed = Family::default();
        registry.register(
            "principal_changed",
            "Requests whose key and content came under another principal before, as far as that is known",
            principals_changed.clone(),
        );
        let records = Family::default();
        registry.register(
            "records",
            "Records in the store by the state that they are stored in",
            records.clone(),
        );
        let records_cached = Gauge::default();
        registry.register("records_cached", "Final records kept at hand", records_cached.clone());
        let executing = Gauge::default();
        registry.register("executing", "Executions under way here", executing.clone());
        let settlements_overdue = Gauge::default();
        registry.register(
            "settlements_overdue",
            "Outcomes that the store has not taken yet",
            settlements_overdue.clone(),
        );
        let buffers_bytes = Gauge::default();
        registry.register_with_unit(
            "buffers",
            "Bodies held at this time",
            Unit::Bytes,
            buffers_bytes.clone(),
        );
        let connections = Gauge::default();
        registry.register("connections", "Open client connections", connections.clone());
        let build: Labels<1> = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        registry.register("build", "This build", Info::new(build.to_vec()));
        Self {
            registry,
            requests,
            durations,
            executions,
            policy_calls,
            policy_failures,
            policy_generation,
            policy_reloads,
            upstream_requests,
            probes,
            principals_changed,
            records,
            records_cached,
            executing,
            settlements_overdue,
            buffers_bytes,
            connections,
        }
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

/// In the order of [`oncegate_core::Disposition`].
const OUTCOMES: [&str; 4] = ["not_applied", "unknown", "consumed", "completed"];

impl RouteMetrics {
    /// Counts a request.
    pub fn request(&self, result: RequestResult, took: Duration) {
        let (counter, histogram) = &self.results[result as usize];
        counter.inc();
        histogram.observe(took.as_secs_f64());
    }

    /// Counts an execution.
    pub fn execution(&self, outcome: oncegate_core::Disposition) {
        self.outcomes[outcome as usize].inc();
    }

    /// Counts a request that came under another principal than the same one before.
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

/// An upstream's counters.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    /// A head came back.
    pub answered: Counter,
    /// Nothing was sent.
    pub unreachable: Counter,
    /// Cut off after sending.
    pub broken: Counter,
    /// No head in time.
    pub timed_out: Counter,
}

/// What the process looks like at the moment of a scrape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Executions under way here.
    pub executing: u64,
    /// Records in the store.
    pub stored: Kinds,
    /// Final records at hand.
    pub cached: u64,
    /// Outcomes that the store has not taken.
    pub settlements_overdue: u64,
    /// Bytes of bodies held.
    pub buffers: u64,
    /// Open client connections.
    pub connections: u64,
}

impl Metrics {
    /// The counters of a route and its policy.
    pub fn route(&self, route: &str, policy: Option<&str>) -> RouteMetrics {
        let labels = |result| RouteResult { route: route.to_owned(), result };
        RouteMetrics {
            results: RequestResult::ALL
                .iter()
                .map(|result| {
                    let labels = labels(result.word());
                    (self.requests.get_or_create_owned(&labels), self.durations.get_or_create_owned(&labels))
                })
                .collect(),
            outcomes: OUTCOMES
                .iter()
                .map(|outcome| {
                    self.executions.get_or_create_owned(&RouteOutcome { route: route.to_owned(), outcome })
                })
                .collect(),
            policy_decide: policy.map(|policy| {
                self.policy_calls
                    .get_or_create_owned(&PolicyHook { policy: policy.to_owned(), hook: "decide" })
            }),
            principal_changed: self
                .principals_changed
                .get_or_create_owned(&RouteName { route: route.to_owned() }),
        }
    }

    /// The counters of an upstream.
    pub fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        let counter = |result| {
            self.upstream_requests
                .get_or_create_owned(&UpstreamResult { upstream: upstream.to_owned(), result })
        };
        UpstreamMetrics {
            answered: counter("answered"),
            unreachable: counter("unreachable"),
            broken: counter("broken"),
            timed_out: counter("timed_out"),
        }
    }

    /// Counts a probe.
    pub fn probed(&self, route: &str, result: &'static str) {
        self.probes.get_or_create_owned(&RouteResult { route: route.to_owned(), result }).inc();
    }

    /// Counts a call of a hook.
    pub fn policy_called(&self, policy: &str, hook: &'static str, elapsed: Duration) {
        let labels = PolicyHook { policy: policy.to_owned(), hook };
        self.policy_calls.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }

    /// Counts a failed call.
    pub fn policy_failed(&self, policy: &str, kind: &str) {
        self.policy_failures
            .get_or_create(&PolicyKind { policy: policy.to_owned(), kind: kind.to_owned() })
            .inc();
    }

    /// Notes what came of a policy's reload (`ok`, `failed`, `rolled_back`), and the generation that
    /// is active after it.
    pub fn policy_reloaded(&self, policy: &str, result: &'static str, generation: Option<u64>) {
        self.policy_reloads.get_or_create(&PolicyReload { policy: policy.to_owned(), result }).inc();
        if let Some(generation) = generation {
            self.policy_generation
                .get_or_create(&PolicyName { policy: policy.to_owned() })
                .set(i64::try_from(generation).unwrap_or(i64::MAX));
        }
    }

    /// All of it as Prometheus text (OpenMetrics).
    pub fn render(&self, snapshot: &Snapshot) -> String {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        for kind in Kind::ALL {
            let records = self.records.get_or_create(&StateName { state: kind.word() });
            set(&records, snapshot.stored.count(kind));
        }
        set(&self.records_cached, snapshot.cached);
        set(&self.executing, snapshot.executing);
        set(&self.settlements_overdue, snapshot.settlements_overdue);
        set(&self.buffers_bytes, snapshot.buffers);
        set(&self.connections, snapshot.connections);
        let mut out = String::new();
        // Writing to a String doesn't fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}
