//! The times that calls of the ledger's store take.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::LazyLock;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StoreOp {
    op: &'static str,
}

/// The times of the store's calls. A process has one store.
pub static STORE_CALLS: LazyLock<StoreCalls> = LazyLock::new(StoreCalls::new);

/// The times of the store's calls, by kind of call.
#[derive(Debug)]
pub struct StoreCalls {
    family: Family<StoreOp, Histogram, fn() -> Histogram>,
    /// Look-ups of a record.
    pub load: Histogram,
    /// Swaps of one record for another; with `sync` until the new record is durable.
    pub swap: Histogram,
    /// Searches for due records.
    pub due: Histogram,
    /// Listings of records.
    pub scan: Histogram,
}

impl StoreCalls {
    fn new() -> Self {
        let family = Family::new_with_constructor(store_histogram as fn() -> Histogram);
        let of = |op| family.get_or_create_owned(&StoreOp { op });
        Self { load: of("load"), swap: of("swap"), due: of("due"), scan: of("scan"), family: family.clone() }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "store",
            "One call of the ledger's store",
            Unit::Seconds,
            self.family.clone(),
        );
    }
}

/// Buckets from a look into memory to a disk that hangs.
fn store_histogram() -> Histogram {
    Histogram::new([
        0.000_001, 0.000_01, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5,
        1.0, 5.0,
    ])
}
