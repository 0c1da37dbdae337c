//! Key spaces across reloads: who decides by which, and their end.

use super::reload::Reloader;
use crate::config::Config;
use crate::gateway::ActiveConfig;
use crate::keyspaces::{self, ResolveError, Resolved, SpaceResolver, SpaceTable};
use crate::ledger::Numbers;
use crate::policy::Generations;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// While a policy's keys change, the lists of key spaces are looked after so often.
const TEND_EVERY: Duration = Duration::from_millis(500);
/// What can't be loaded is tried again after so long, then after twice that, and so on.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// But no later than after this.
const TRY_AGAIN_MAX: Duration = Duration::from_secs(60);
/// And so often while they don't.
const TEND_IDLE: Duration = Duration::from_secs(600);

impl Reloader {
    pub(super) async fn resolve(
        &self,
        config: &Config,
        generations: &Generations,
        active: &ActiveConfig,
        accept_duplicates: bool,
    ) -> Result<Resolved, ResolveError> {
        let resolver = SpaceResolver {
            ledger: &self.shared.ledger,
            engine: &self.shared.engine,
            archive: &self.archive,
            accept_duplicates,
        };
        resolver.resolve(config, generations, Some(active), &self.deciding()).await
    }

    /// Makes a configuration active.
    pub(super) fn put(&self, active: ActiveConfig) {
        let older = active.spaces.open.values().flat_map(|spaces| &spaces.older);
        let older = older.map(|older| older.generation.number());
        let deciding = active.generations.values().map(|generation| generation.number());
        let keep: Vec<u64> = deciding.chain(older).collect();
        self.note(&active);
        log_unavailable(&self.shared.active.load().spaces, &active.spaces);
        self.shared.active.store(Arc::new(active));
        self.retirement.retire_all_but(&keep);
        self.changed.notify_one();
    }

    /// Takes note of who decides from now on.
    pub(super) fn note(&self, active: &ActiveConfig) {
        let mut guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        guards.retain(|guard| guard.strong_count() > 0);
        guards.extend(active.spaces.open.values().map(|spaces| Arc::downgrade(&spaces.guard)));
    }

    /// By which key spaces the active configuration and requests in flight decide.
    pub(super) fn deciding(&self) -> Numbers {
        let guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        let mut deciding = Numbers::new();
        for guard in guards.iter().filter_map(Weak::upgrade) {
            deciding.entry(guard.policy.clone()).or_default().insert(guard.number);
        }
        deciding
    }

    /// Keeps this gateway's place on the lists of key spaces, for as long as it is polled: says by what
    /// it decides, takes off what nothing needs any more, and derives keys by the lists as they are.
    pub async fn tend(self: Arc<Self>) {
        let (mut tried, mut patience) = (Instant::now(), TRY_AGAIN);
        loop {
            let spaces = self.shared.ledger.spaces();
            let open = spaces.policies.values().any(|list| list.spaces.len() > 1);
            let idle = self.shared.ledger.list_lease().await.map_or(TEND_IDLE, |lease| lease / 3);
            let unavailable = !self.shared.active.load().spaces.unavailable.is_empty();
            if !unavailable {
                patience = TRY_AGAIN;
            }
            let pause = if open { TEND_EVERY } else { idle };
            let pause = if unavailable { pause.min(patience) } else { pause };
            let _ = tokio::time::timeout(pause, self.changed.notified()).await;
            let _one = self.one_at_a_time.lock().await;
            let again = unavailable && tried.elapsed() >= patience;
            if again {
                (tried, patience) = (Instant::now(), (patience * 2).min(TRY_AGAIN_MAX));
            }
            if let Err(error) = self.tend_once(again).await {
                tracing::warn!(%error, "the list of key spaces can't be kept: it is tried again");
            }
        }
    }

    /// `again`: what couldn't be loaded is tried again.
    async fn tend_once(&self, again: bool) -> Result<(), ResolveError> {
        let ledger = &self.shared.ledger;
        let stands = ledger.tend_spaces(&self.deciding()).await?;
        let active = self.shared.active.load_full();
        if again || !stands || !keyspaces::is_up_to_date(&active, ledger) {
            let (config, generations) = (active.config.clone(), active.generations.clone());
            let Resolved { spaces: table, .. } = self.resolve(&config, &generations, &active, false).await?;
            let next = ActiveConfig::new(config, generations, table, &active.upstreams, &self.shared.metrics);
            if next.spaces.unavailable != active.spaces.unavailable
                || !keyspaces::is_up_to_date(&active, ledger)
            {
                self.put(next);
            }
        }
        self.archive.tidy(&ledger.spaces(), &self.may_come_back());
        Ok(())
    }

    /// What makes the keys of generations that are active or may be rolled back to, by digest.
    fn may_come_back(&self) -> BTreeSet<Arc<str>> {
        let active = self.shared.active.load_full();
        let before = active.generations.keys().filter_map(|name| self.before(name)).collect::<Vec<_>>();
        let derivers = active.generations.values().chain(&before).map(|one| keyspaces::deriver(one));
        derivers.flat_map(|deriver| [deriver.component, deriver.settings]).collect()
    }
}

/// Says which policies can't guard anything from now on, and which can again.
pub fn log_unavailable(before: &SpaceTable, after: &SpaceTable) {
    for (policy, unavailable) in &after.unavailable {
        if before.unavailable.get(policy).is_none_or(|known| known.why != unavailable.why) {
            tracing::error!(space = unavailable.number.map(|number| number.0), "{}", unavailable.why);
        }
    }
    for policy in before.unavailable.keys().filter(|policy| !after.unavailable.contains_key(*policy)) {
        tracing::info!(%policy, "keys can be derived in all key spaces again: the policy guards its routes");
    }
}

#[cfg(test)]
#[path = "tend_tests.rs"]
mod tests;
