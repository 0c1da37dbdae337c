//! Lines of the log that were not written.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::sync::LazyLock;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

/// The lines that were not written. A process has one log.
pub static LOG_LINES: LazyLock<LogLines> = LazyLock::new(LogLines::new);

/// Lines of the log that were not written, by the reason.
#[derive(Debug)]
pub struct LogLines {
    family: Family<Why, Counter>,
    /// Nobody read standard error in time, or at all.
    pub unread: Counter,
    /// Standard error could not be written: its disk is full, say.
    pub unwritten: Counter,
    /// A warning of its kind was written in the same second.
    pub repeated: Counter,
}

impl LogLines {
    fn new() -> Self {
        let family = Family::<Why, Counter>::default();
        let of = |reason| family.get_or_create_owned(&Why { reason });
        Self {
            unread: of("unread"),
            unwritten: of("unwritten"),
            repeated: of("repeated"),
            family: family.clone(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("log_lines_dropped", "Lines of the log that were not written", self.family.clone());
    }
}
