//! Client connections that were closed to keep room.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::sync::LazyLock;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CloseReason {
    reason: &'static str,
}

/// The client connections that were closed to keep room. They are those of the process.
pub static CONNECTIONS_CLOSED: LazyLock<ConnectionsClosed> = LazyLock::new(ConnectionsClosed::new);

/// Client connections that were closed to keep room, by the reason.
#[derive(Debug)]
pub struct ConnectionsClosed {
    family: Family<CloseReason, Counter>,
    /// An idle one gave way to a new one.
    pub idle: Counter,
    /// All that the configuration allows are taken.
    pub full: Counter,
    /// The process may not open more files.
    pub files: Counter,
    /// The peer has its share.
    pub share: Counter,
}

impl ConnectionsClosed {
    fn new() -> Self {
        let family = Family::<CloseReason, Counter>::default();
        let of = |reason| family.get_or_create_owned(&CloseReason { reason });
        let [idle, full, files, share] = ["idle", "full", "files", "share"].map(of);
        Self { family: family.clone(), idle, full, files, share }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "connections_closed",
            "Client connections that were closed to keep room",
            self.family.clone(),
        );
    }
}
