//! Upstreams: the requests that were sent to them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct UpstreamResult {
    upstream: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct UpstreamName {
    upstream: String,
}

/// The metrics that have an upstream as their label.
pub(super) struct UpstreamFamilies {
    requests: Family<UpstreamResult, Counter>,
    cut: Family<UpstreamName, Counter>,
}

impl UpstreamFamilies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self { requests: Family::default(), cut: Family::default() };
        registry.register("upstream_requests", "Requests sent upstream by result", families.requests.clone());
        registry.register(
            "upstream_answers_cut",
            "Answers that broke off after their head",
            families.cut.clone(),
        );
        families
    }

    pub(super) fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        let counter = |result| {
            self.requests.get_or_create_owned(&UpstreamResult { upstream: upstream.to_owned(), result })
        };
        UpstreamMetrics {
            answered: counter("answered"),
            unreachable: counter("unreachable"),
            broken: counter("broken"),
            timed_out: counter("timed_out"),
            aborted: counter("aborted"),
            cut: self.cut.get_or_create_owned(&UpstreamName { upstream: upstream.to_owned() }),
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
    /// Ended from this side before a head came: the client broke its request off or left, or the gateway gave it up.
    pub aborted: Counter,
    /// A head came back, and its body broke off.
    pub cut: Counter,
}
