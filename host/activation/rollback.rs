//! Rollback: the generation before becomes active again. An operator asks for a rollback, or a new generation
//! fails within its trial.
//!
//! A rollback suspends the generation that it replaces. A reload leaves the suspended generation out while
//! the configuration still names it; otherwise the next change of any file would bring the failing generation
//! back. A reload of the policy by its name ends the suspension, and so does a restart.

use super::ActivationError;
use super::history::Revision;
use super::policies::{component_digest, fits_routes};
use super::reload::{Reloader, no_such};
use super::report::{ActivationReport, Occasion};
use crate::config::Config;
use oncegate_core::LostRecords;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Reloader {
    /// Brings back the generation that was active before this policy's present one, with its
    /// settings.
    pub async fn roll_back(&self, name: &str) -> Result<ActivationReport, ActivationError> {
        let _one = self.one_at_a_time.lock().await;
        let active = self.shared.active.load_full();
        let Some(policy) = active.config.policies.get(name) else { return Err(no_such(&active, name)) };
        let before = self.history().before(name).cloned();
        let outcome = match before {
            Some(before) => self.bring_back(before).await,
            None => Err(ActivationError::NothingBefore(policy.name.clone())),
        };
        self.tell(name, Occasion::ROLLBACK, outcome)
    }

    /// Rolls back generations that fail within their trial, for as long as it is polled.
    pub async fn watch_trials(self: Arc<Self>) {
        loop {
            self.shared.condemned.notified().await;
            let _one = self.one_at_a_time.lock().await;
            let active = self.shared.active.load_full();
            for generation in active.generations.values().filter(|generation| generation.is_condemned()) {
                let name = generation.name();
                let before = self.history().before(name).cloned();
                let Some(before) = before.filter(|before| before.generation.shares_keys_with(generation))
                else {
                    tracing::error!(
                        policy = %name,
                        generation = generation.number(),
                        "a policy fails within its trial, and no generation of its key space was there before"
                    );
                    continue;
                };
                tracing::error!(
                    policy = %name,
                    from = generation.number(),
                    to = before.generation.number(),
                    "a policy fails for several principals within its trial: the generation before is brought back"
                );
                let outcome = self.bring_back(before).await;
                // `tell` reports a refusal.
                let _ = self.tell(name, Occasion::AUTOMATIC, outcome);
            }
        }
    }

    /// Makes `before` active in place of its policy's present generation, which is suspended.
    async fn bring_back(&self, before: Revision) -> Result<ActivationReport, ActivationError> {
        let active = self.shared.active.load_full();
        let name = before.config.name.clone();
        fits_routes(&before.generation, &active.config)?;
        let (mut config, mut generations) = (active.config.clone(), active.generations.clone());
        let is_suspended = self.take_warning(&name, &mut config) == Some(before.generation.number());
        let left = match (active.config.policies.get(&name), active.generations.get(&name)) {
            (Some(config), Some(generation)) => {
                Some(Revision { config: config.clone(), generation: generation.clone() })
            }
            _ => None,
        };
        // The configuration names what a rollback left out before. When that comes back, nothing is left out.
        config.warnings.extend(left.iter().filter(|_| !is_suspended).map(suspended_words));
        config.policies.insert(name.clone(), before.config);
        generations.insert(name.clone(), before.generation);
        let report = self.put_in_force(config, generations, LostRecords::Refuse).await?;
        if let Some(left) = left {
            self.history().rolled_back(left, !is_suspended);
        }
        Ok(report)
    }

    /// Takes the warning that the policy's suspended generation is left out from the configuration. Returns that
    /// generation's number.
    pub(super) fn take_warning(&self, name: &str, config: &mut Config) -> Option<u64> {
        let suspended = self.history().suspended(name).cloned()?;
        let words = suspended_words(&suspended);
        config.warnings.retain(|warning| *warning != words);
        Some(suspended.generation.number())
    }

    /// The configuration with the active policy in place of each suspended revision, and the names of these
    /// policies.
    pub(super) async fn without_suspended(
        &self,
        mut config: Config,
    ) -> Result<(Config, BTreeSet<Arc<str>>), ActivationError> {
        let mut suspended = BTreeSet::new();
        let asked: Vec<_> = {
            let history = self.history();
            config
                .policies
                .values()
                .filter(|policy| history.suspended(&policy.name).is_some())
                .cloned()
                .collect()
        };
        let read = || asked.into_iter().map(|policy| (component_digest(&policy), policy)).collect::<Vec<_>>();
        let found = tokio::task::spawn_blocking(read).await?;
        let active = self.shared.active.load();
        let history = self.history();
        for (digest, policy) in found {
            let Some(present) = active.config.policies.get(&policy.name) else { continue };
            if history.is_suspended(&policy, digest.as_deref().unwrap_or_default()) {
                config.policies.insert(policy.name.clone(), present.clone());
                suspended.insert(policy.name.clone());
                config.warnings.extend(history.suspended(&policy.name).map(suspended_words));
            }
        }
        drop(history);
        Ok((config, suspended))
    }
}

fn suspended_words(left: &Revision) -> String {
    let name = &left.config.name;
    format!(
        "policy `{name}` was rolled back from generation {}, which the configuration still names: it is left out \
         until its file or settings change, or `oncegate reload --policy {name}` asks for it; a restart takes it, too",
        left.generation.number()
    )
}
