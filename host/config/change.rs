//! The differences between two configurations that a reload needs to know.

use super::ledger::StoreKind;
use super::load::Config;
use super::policies::{ComponentSource, Policy};
use super::upstreams::UpstreamConfig;
use std::path::PathBuf;
use std::sync::Arc;

impl Config {
    /// The files whose change is a reason to reload: the configuration file, the components' files and
    /// the files with fields of probes.
    pub fn watched_files(&self) -> Vec<PathBuf> {
        let component = |policy: &Arc<Policy>| match &policy.component {
            ComponentSource::File(path) => Some(path.clone()),
            ComponentSource::Builtin(_) => None,
        };
        let headers = |upstream: &Arc<UpstreamConfig>| upstream.probe.headers_file.clone();
        let mut files: Vec<_> = self
            .file
            .iter()
            .cloned()
            .chain(self.policies.values().filter_map(component))
            .chain(self.upstreams.values().filter_map(headers))
            .collect();
        files.sort();
        files.dedup();
        files
    }
}

/// The keys in which `new` differs from `old` though they can't change while the gateway runs.
pub fn unchangeable(old: &Config, new: &Config) -> Vec<String> {
    let path = |config: &Config| match &config.ledger.store {
        StoreKind::Embedded(path) => Some(path.clone()),
        StoreKind::Memory => None,
    };
    let store = |config: &Config| matches!(config.ledger.store, StoreKind::Memory);
    let same_store = store(old) == store(new);
    let changed = [
        ("server.listen", old.server.listen != new.server.listen),
        ("server.admin", old.server.admin != new.server.admin),
        ("server.workers", old.server.workers != new.server.workers),
        ("ledger.store", !same_store),
        ("ledger.path", same_store && path(old) != path(new)),
        ("ledger.mark_file", old.ledger.mark_file != new.ledger.mark_file),
        ("ledger.secret_file", old.ledger.secret != new.ledger.secret),
        ("ledger.deployment", old.ledger.deployment != new.ledger.deployment),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect()
}
