//! `GET /v1/status`

use super::api::{LedgerStatus, RouteStatus, Status};
use super::context::Admin;
use super::policies::key_spaces;
use crate::config::StoreKind;
use crate::gateway::{ActiveConfig, Shared};
use crate::observe::metrics::Snapshot;
use crate::store::Store as _;

pub(super) fn status(admin: &Admin) -> Status {
    let shared = &admin.shared;
    let (snapshot, active) = (shared.snapshot(), shared.active.load());
    let unready = shared.unready();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: admin.started.elapsed().as_secs(),
        ready: unready.is_none(),
        unready_reason: unready.map(str::to_owned),
        configuration: active.config.file.as_ref().map(|file| file.display().to_string()),
        warnings: active.config.warnings.clone(),
        last_reload_error: admin.reloader.last_error(),
        connections: snapshot.connections,
        buffers_bytes: snapshot.buffers,
        ledger: ledger(shared, &active, &snapshot),
        routes: active.routes.iter().map(|route| route_status(&route.config)).collect(),
        key_spaces: (active.generations.keys())
            .map(|policy| (policy.to_string(), key_spaces(shared, policy)))
            .collect(),
    }
}

fn ledger(shared: &Shared, active: &ActiveConfig, snapshot: &Snapshot) -> LedgerStatus {
    let config = &active.config.ledger;
    let (clock, size) = (shared.ledger.clock(), shared.ledger.store().size());
    let (store, path, durability) = match &config.store {
        StoreKind::Memory => ("memory", None, "none".to_owned()),
        StoreKind::Embedded(folder) => {
            let durability = format!("{:?}", config.durability).to_lowercase();
            ("embedded", Some(folder.display().to_string()), durability)
        }
    };
    LedgerStatus {
        store: store.to_owned(),
        path,
        durability,
        deployment: config.deployment.to_string(),
        time: clock.now().to_string(),
        wall_clock_ahead_seconds: clock.wall_ahead(),
        records: size.records,
        bytes: size.bytes,
        executing: snapshot.executing,
        cached: snapshot.cached,
        settlements_overdue: snapshot.settlements_overdue,
    }
}

fn route_status(route: &crate::config::RouteConfig) -> RouteStatus {
    RouteStatus {
        name: route.name.to_string(),
        host: route.host.clone(),
        path: if route.path.is_empty() { "/".to_owned() } else { route.path.clone() },
        methods: route.methods.clone(),
        upstream: route.upstream.to_string(),
        policy: route.policy.as_deref().map(str::to_owned),
    }
}
