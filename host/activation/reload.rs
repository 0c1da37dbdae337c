//! Reloads: of the configuration or of one policy, one at a time, while requests flow.

use super::history::{Attempt, PolicyHistories, Revision};
use super::plan::{ActivationPlan, Purpose, Tools};
use super::policies::{Reuse, load_policies};
use super::report::{ActivationReport, Occasion, PolicyReport};
use super::{ActivationError, Archive};
use crate::config::{self, Config, Source};
use crate::gateway::{ActiveConfig, Retirement, Shared};
use crate::keyspaces::SpaceGuards;
use crate::policy::{Generation, Generations, Step};
use crate::store::Clock;
use oncegate_core::LostRecords;
use oncegate_core::normal::PathRules;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Reloads, one at a time.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    pub(super) shared: Arc<Shared>,
    pub(super) retirement: Retirement,
    pub(super) archive: Archive,
    /// The key spaces by which the active configuration and requests in flight decide.
    pub(super) guards: SpaceGuards,
    /// Notified when another configuration is active, or was refused after it had entered the lists.
    pub(super) changed: tokio::sync::Notify,
    pub(super) one_at_a_time: tokio::sync::Mutex<()>,
    last_error: Mutex<Option<RefusedReload>>,
    history: Mutex<PolicyHistories>,
}

/// Why the last reload was refused.
#[derive(Debug)]
struct RefusedReload {
    /// The policy that is at fault, if one is.
    policy: Option<Arc<str>>,
    /// The step that refused.
    step: Option<&'static str>,
    why: String,
}

impl Reloader {
    /// A reloader for a running gateway whose configuration was read from `source`.
    pub fn new(source: Source, shared: Arc<Shared>, retirement: Retirement) -> Self {
        let active = shared.active.load_full();
        let reloader = Self {
            source,
            archive: Archive::of(&active.config),
            guards: SpaceGuards::default(),
            changed: tokio::sync::Notify::new(),
            shared,
            retirement,
            one_at_a_time: tokio::sync::Mutex::default(),
            last_error: Mutex::default(),
            history: Mutex::default(),
        };
        reloader.guards.note(&active.spaces);
        reloader
    }

    /// Why the last reload was refused, if it was.
    pub fn last_error(&self) -> Option<String> {
        self.refused().as_ref().map(|refused| refused.why.clone())
    }

    /// The step that refused the last reload, if it was refused at one.
    pub fn last_step(&self) -> Option<&'static str> {
        self.refused().as_ref().and_then(|refused| refused.step)
    }

    /// Why the last reload was refused, if it was because of this policy.
    pub fn policy_error(&self, name: &str) -> Option<String> {
        let refused = self.refused();
        let own = refused.as_ref().filter(|refused| refused.policy.as_deref() == Some(name));
        own.map(|refused| refused.why.clone())
    }

    /// The last load of this policy since the start, if there was one.
    pub fn last_attempt(&self, name: &str) -> Option<Attempt> {
        self.history().last(name).cloned()
    }

    /// The generation that a rollback of this policy would bring back.
    pub fn before(&self, name: &str) -> Option<Arc<Generation>> {
        self.history().before(name).map(|before| before.generation.clone())
    }

    /// Reads the configuration again and loads the policies that changed. `lost`: what becomes of records
    /// that would lose their keys by this reload alone.
    pub async fn reload(
        &self,
        lost: LostRecords,
        occasion: Occasion,
    ) -> Result<ActivationReport, ActivationError> {
        let _one = self.one_at_a_time.lock().await;
        let outcome = self.reload_config(lost).await;
        self.shared.metrics.config_reloaded(outcome.is_ok());
        if let Ok(report) = &outcome {
            let unchanged = report.policies.iter().filter(|policy| !policy.changed);
            unchanged.for_each(|policy| self.history().failure_over(&policy.name));
        }
        self.tell("configuration", occasion, outcome)
    }

    /// Loads one policy's component again, even one that a rollback suspended. `lost`: as for
    /// [`Self::reload`].
    pub async fn reload_policy(
        &self,
        name: &str,
        lost: LostRecords,
    ) -> Result<ActivationReport, ActivationError> {
        let _one = self.one_at_a_time.lock().await;
        let active = self.shared.active.load_full();
        let Some(present) = active.config.policies.get(name) else { return Err(no_such(&active, name)) };
        let wanted = self.history().suspended(name).map(|suspended| suspended.config.clone());
        let wanted = wanted.unwrap_or_else(|| present.clone());
        let mut config = active.config.clone();
        self.take_warning(name, &mut config);
        config.policies.insert(wanted.name.clone(), wanted);
        let outcome = self.activate(config, Anew::Policy(name.to_owned()), lost).await;
        if outcome.is_ok() {
            self.history().forgive(name);
        }
        self.tell(name, Occasion::ADMIN, outcome)
    }

    async fn reload_config(&self, lost: LostRecords) -> Result<ActivationReport, ActivationError> {
        let source = self.source.clone();
        let config = tokio::task::spawn_blocking(move || config::load(&source)).await?;
        let config = config.map_err(ActivationError::Config)?;
        let fixed = config::unchangeable(&self.shared.active.load().config, &config);
        if !fixed.is_empty() {
            return Err(ActivationError::Unchangeable(fixed));
        }
        let (config, suspended) = self.without_suspended(config).await?;
        self.activate(config, Anew::WhatChanged { suspended }, lost).await
    }

    /// Loads policies of `config` and puts all of it in force. A rollback can bring back the replaced
    /// generations.
    async fn activate(
        &self,
        config: Config,
        anew: Anew,
        lost: LostRecords,
    ) -> Result<ActivationReport, ActivationError> {
        let before = self.shared.active.load_full();
        let (engine, active) = (self.shared.engine.clone(), before.clone());
        let (config, generations) = tokio::task::spawn_blocking(move || {
            let reuse = match &anew {
                Anew::WhatChanged { suspended } => Reuse::Unchanged(&active, suspended),
                Anew::Policy(name) => Reuse::AllBut(&active, name),
            };
            load_policies(&engine, &config, reuse).map(|generations| (config, generations))
        })
        .await??;
        let report = self.put_in_force(config, generations, lost).await?;
        for replaced in replaced(&before, &self.shared.active.load()) {
            self.begin_trial(&replaced);
            self.history().replaced(replaced);
        }
        Ok(report)
    }

    /// Makes a configuration with its generations active, if they keep their promises and the ledger agrees.
    pub(super) async fn put_in_force(
        &self,
        config: Config,
        generations: Generations,
        lost: LostRecords,
    ) -> Result<ActivationReport, ActivationError> {
        let active = self.shared.active.load_full();
        let shared = &self.shared;
        let tools = Tools { ledger: &shared.ledger, engine: &shared.engine, archive: &self.archive, lost };
        let purpose = Purpose::Reload(&active);
        let plan = ActivationPlan::make(tools, purpose, config, generations).await?;
        let short_of_files = shared.edge.short_of_files(plan.config.server.limits.connections);
        let stricter = stricter_paths(&active.config, &plan.config);
        let in_flight = self.guards.deciding();
        let committed = plan.commit(tools, purpose, &in_flight, &shared.metrics, |next| self.put(next)).await;
        let committed = committed.inspect_err(|_| self.changed.notify_one())?;
        let policies = PolicyReport::all(Some(&active), &shared.active.load(), &committed.entries);
        let warnings = committed.warnings().into_iter().chain(short_of_files).chain(stricter).collect();
        Ok(ActivationReport { policies, warnings })
    }

    /// Puts the generation that replaced this one on trial: failures within the trial bring the old one back.
    fn begin_trial(&self, replaced: &Revision) {
        let active = self.shared.active.load();
        let name = replaced.generation.name();
        let (Some(generation), Some(config)) =
            (active.generations.get(name), active.config.policies.get(name))
        else {
            return;
        };
        // An automatic rollback never changes the key space, so there is nothing to watch across key spaces.
        if generation.shares_keys_with(&replaced.generation) {
            generation.begin_trial(config.trial);
        }
    }

    pub(super) fn history(&self) -> MutexGuard<'_, PolicyHistories> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Option<RefusedReload>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts and logs the outcome of an activation, and remembers it for later questions.
    pub(super) fn tell(
        &self,
        what: &str,
        occasion: Occasion,
        outcome: Result<ActivationReport, ActivationError>,
    ) -> Result<ActivationReport, ActivationError> {
        match &outcome {
            Ok(report) => self.tell_report(what, occasion, report),
            Err(error) => self.tell_refusal(what, occasion, error),
        }
        let refused = |error: &ActivationError| RefusedReload {
            policy: error.policy().cloned(),
            step: error.step(),
            why: error.to_string(),
        };
        *self.refused() = outcome.as_ref().err().map(refused);
        outcome
    }

    fn tell_report(&self, what: &str, occasion: Occasion, report: &ActivationReport) {
        for policy in report.policies.iter().filter(|policy| policy.changed) {
            self.shared.metrics.policy_reloaded(&policy.name, occasion.result, Some(policy.generation));
            policy.log(occasion);
            self.attempted(&policy.name.as_str().into(), occasion, &policy.steps, None);
        }
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(what, occasion = occasion.word, "reloaded");
    }

    fn tell_refusal(&self, what: &str, occasion: Occasion, error: &ActivationError) {
        if let Some((policy, steps)) = error.failed_load() {
            self.shared.metrics.policy_reloaded(policy, "failed", None);
            self.attempted(policy, occasion, steps, Some(error.to_string()));
        }
        tracing::error!(
            what,
            occasion = occasion.word,
            step = error.step(),
            "a reload is refused, and what was active stays: {error}"
        );
    }

    fn attempted(&self, name: &Arc<str>, occasion: Occasion, steps: &[Step], error: Option<String>) {
        let attempt =
            Attempt { at: Clock::wall().to_string(), occasion: occasion.word, steps: steps.to_vec(), error };
        self.history().attempted(name, attempt);
    }
}

/// The warning that paths which were taken are refused from now on. Records keep their keys, so nothing runs twice.
fn stricter_paths(before: &Config, after: &Config) -> Option<String> {
    let is_stricter = before.server.paths != PathRules::Strict && after.server.paths == PathRules::Strict;
    is_stricter.then(|| {
        "`server.paths` is \"strict\" now: a path with `//`, dot segments and the like is 400 on hosts that have a guarded \
         route, also where it is a retry of what was executed before. Written plainly it gets the recorded answer"
            .to_owned()
    })
}

/// The policies that are loaded anew.
enum Anew {
    /// The policies whose component or configuration has changed; suspended policies stay as they are.
    WhatChanged { suspended: BTreeSet<Arc<str>> },
    /// This policy alone.
    Policy(String),
}

pub(super) fn no_such(active: &ActiveConfig, name: &str) -> ActivationError {
    let names: Vec<&str> = active.config.policies.keys().map(|name| &**name).collect();
    ActivationError::NoSuchPolicy(name.to_owned(), names.join(", "))
}

/// The revisions that were replaced, of policies that are still there.
fn replaced(before: &ActiveConfig, after: &ActiveConfig) -> Vec<Revision> {
    let gone = |(name, old): (&Arc<str>, &Arc<Generation>)| {
        let new = after.generations.get(name)?;
        let config = before.config.policies.get(name)?.clone();
        (new.number() != old.number()).then(|| Revision { config, generation: old.clone() })
    };
    before.generations.iter().filter_map(gone).collect()
}
