//! The gauges of the process at the moment of a scrape.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateName {
    state: &'static str,
}

/// The state of the process at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Executions under way here.
    pub executing: u64,
    /// Records in the store, by the word for the state that they are stored in.
    pub records: Vec<(&'static str, u64)>,
    /// Final records in the cache.
    pub cached: u64,
    /// Due records that can't be read.
    pub unreadable: u64,
    /// Outcomes that the store has not taken yet.
    pub settlements_overdue: u64,
    /// Bytes of bodies held.
    pub buffers: u64,
    /// Open client connections, tunnels among them.
    pub connections: u64,
    /// Open connections that speak another protocol than HTTP.
    pub tunnels: u64,
    /// Changes on disk that the ledger's mark does not have yet.
    pub unmarked: u64,
    /// How far the store's database is behind; `None`: there is none.
    pub backlog: Option<BacklogSeen>,
}

/// How far the store's database is behind with its own work.
#[derive(Clone, Copy, Debug)]
pub struct BacklogSeen {
    /// Bytes in memory that are in no table yet.
    pub write_buffers: u64,
    /// Bytes of the journal on disk.
    pub journal: u64,
    /// Full write buffers that wait to be written into tables.
    pub flushes: u64,
    /// Seconds since the last compaction.
    pub since_compaction: u64,
}

/// The gauges, which are set at each scrape.
pub(super) struct ProcessGauges {
    records: Family<StateName, Gauge>,
    records_cached: Gauge,
    records_unreadable: Gauge,
    executing: Gauge,
    settlements_overdue: Gauge,
    buffers_bytes: Gauge,
    connections: Gauge,
    write_buffers: Gauge,
    journal: Gauge,
    flushes_waiting: Gauge,
    since_compaction: Gauge,
    changes_unmarked: Gauge,
    tunnels: Gauge,
}

impl ProcessGauges {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauges = Self {
            records: Family::default(),
            records_cached: Gauge::default(),
            records_unreadable: Gauge::default(),
            executing: Gauge::default(),
            settlements_overdue: Gauge::default(),
            buffers_bytes: Gauge::default(),
            connections: Gauge::default(),
            write_buffers: Gauge::default(),
            journal: Gauge::default(),
            flushes_waiting: Gauge::default(),
            since_compaction: Gauge::default(),
            changes_unmarked: Gauge::default(),
            tunnels: Gauge::default(),
        };
        registry.register(
            "records",
            "Records in the store by the state that they are stored in",
            gauges.records.clone(),
        );
        registry.register("records_cached", "Final records kept at hand", gauges.records_cached.clone());
        registry.register(
            "records_unreadable",
            "Due records that the sweep could not read",
            gauges.records_unreadable.clone(),
        );
        registry.register("executing", "Executions under way here", gauges.executing.clone());
        registry.register(
            "settlements_overdue",
            "Outcomes that the store has not taken yet",
            gauges.settlements_overdue.clone(),
        );
        registry.register_with_unit(
            "buffers",
            "Bodies held at this time",
            Unit::Bytes,
            gauges.buffers_bytes.clone(),
        );
        registry.register("connections", "Open client connections", gauges.connections.clone());
        gauges.register_backlog(registry);
        registry.register("tunnels", "Open connections of another protocol", gauges.tunnels.clone());
        gauges
    }

    pub(super) fn set(&self, snapshot: &Snapshot) {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        for (state, count) in &snapshot.records {
            set(&self.records.get_or_create(&StateName { state }), *count);
        }
        set(&self.records_cached, snapshot.cached);
        set(&self.records_unreadable, snapshot.unreadable);
        set(&self.executing, snapshot.executing);
        set(&self.settlements_overdue, snapshot.settlements_overdue);
        set(&self.buffers_bytes, snapshot.buffers);
        set(&self.connections, snapshot.connections);
        set(&self.tunnels, snapshot.tunnels);
        set(&self.changes_unmarked, snapshot.unmarked);
        if let Some(backlog) = &snapshot.backlog {
            set(&self.write_buffers, backlog.write_buffers);
            set(&self.journal, backlog.journal);
            set(&self.flushes_waiting, backlog.flushes);
            set(&self.since_compaction, backlog.since_compaction);
        }
    }

    fn register_backlog(&self, registry: &mut Registry) {
        registry.register(
            "store_changes_unmarked",
            "Changes of records on disk that the file of the ledger's mark does not have yet",
            self.changes_unmarked.clone(),
        );
        registry.register_with_unit(
            "store_write_buffers",
            "Records in memory that are in no table of the embedded store yet",
            Unit::Bytes,
            self.write_buffers.clone(),
        );
        registry.register_with_unit(
            "store_journal",
            "The journal of the embedded store on disk",
            Unit::Bytes,
            self.journal.clone(),
        );
        registry.register(
            "store_flushes_waiting",
            "Full write buffers that wait to be written into tables of the embedded store",
            self.flushes_waiting.clone(),
        );
        registry.register_with_unit(
            "store_since_compaction",
            "Time since the last compaction of the embedded store, or since its start",
            Unit::Seconds,
            self.since_compaction.clone(),
        );
    }
}
