//! The gateway's place on the lists of key spaces, which is tended across reloads.

use super::archive::deriver;
use super::loader::{LoaderError, PolicyLoader};
use super::reload::Reloader;
use crate::gateway::ActiveConfig;
use crate::keyspaces::{SpaceGuards, SpaceRegistry, SpaceTable, Tended};
use crate::policy::Generation;
use crate::store::ConfiguredStore;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::MutexGuard;

impl Reloader {
    /// Makes a configuration active.
    pub(super) fn put(&self, next: ActiveConfig) {
        let older = next.spaces.open.values().flat_map(|spaces| &spaces.older);
        let older = older.map(|older| older.generation.number());
        let active = next.generations.values().map(|generation| generation.number());
        let keep: Vec<u64> = active.chain(older).collect();
        self.guards.note(&next.spaces);
        next.spaces.log_changes(&self.shared.active.load().spaces);
        self.shared.activate(next);
        self.retirement.retire_all_but(&keep);
        self.changed.notify_one();
    }

    /// The digests of all components whose generations are active or may be rolled back to.
    fn may_come_back(&self) -> BTreeSet<Arc<str>> {
        let active = self.shared.active.load_full();
        let before = active.generations.keys().filter_map(|name| self.before(name)).collect::<Vec<_>>();
        let derivers = active.generations.values().chain(&before).map(|one| deriver(one));
        derivers.flat_map(|deriver| [deriver.component, deriver.settings]).collect()
    }
}

impl Tended for Reloader {
    type Store = ConfiguredStore;
    type Active = ActiveConfig;
    type Loader<'a> = PolicyLoader<'a>;
    type LoadError = LoaderError;

    fn registry(&self) -> &SpaceRegistry<ConfiguredStore> {
        self.shared.ledger.key_spaces()
    }

    fn guards(&self) -> &SpaceGuards {
        &self.guards
    }

    fn active(&self) -> impl Deref<Target = ActiveConfig> {
        self.shared.active.load_full()
    }

    fn loader<'a>(&'a self, active: &'a ActiveConfig) -> PolicyLoader<'a> {
        PolicyLoader { config: &active.config, engine: &self.shared.engine, archive: &self.archive }
    }

    fn put(&self, active: &ActiveConfig, spaces: SpaceTable<Arc<Generation>>) {
        let (config, generations) = (active.config.clone(), active.generations.clone());
        self.put(ActiveConfig::new(config, generations, spaces, &active.upstreams, &self.shared.metrics));
    }

    async fn tidy(&self) {
        let (archive, lists, needed) = (self.archive.clone(), self.registry().lists(), self.may_come_back());
        // A file that can't be removed now is removed another time.
        let _ = tokio::task::spawn_blocking(move || archive.tidy(&lists, &needed)).await;
    }

    async fn lock(&self) -> MutexGuard<'_, ()> {
        self.one_at_a_time.lock().await
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
#[path = "tend_tests.rs"]
mod tests;
