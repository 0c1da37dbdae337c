//! Reloading: configuration and policies, all or nothing, while requests flow. A request keeps the
//! configuration that it began with; a fault leaves the active one alone and is told.

mod history;
mod policies;
pub mod preflight;
mod promise;
mod rollback;
mod tend;
mod watch;

pub use history::Attempt;
pub use policies::{identity, load_policies, retentions};
pub use promise::{PromiseBroken, check_start};
pub use tend::log_unavailable;

use crate::config::{self, Config, Faults, Source};
use crate::gateway::{ActiveConfig, Retirement, Shared};
use crate::keyspaces::{self, Archive, ResolveError, Resolved, SpaceGuard};
use crate::ledger::{Clock, IdentityError, Ledger};
use crate::policy::{Generation, Generations, LoadError, Step};
use history::{PolicyHistories, Revision};
use promise::Promises;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Why a reload is refused. The active configuration stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration has faults.
    #[error("{0}")]
    Config(Faults),
    /// It changes what can't change while the gateway runs.
    #[error("{} can't change while the gateway runs: restart it, or put the old value back", .0.join(", "))]
    Unchangeable(Vec<String>),
    /// A policy doesn't load.
    #[error("{0}")]
    Policy(#[from] LoadError),
    /// A policy breaks the promise of its key-schema.
    #[error("{0}")]
    Promise(PromiseBroken),
    /// Keys would change.
    #[error("{0}")]
    Identity(#[from] IdentityError),
    /// Keys can't be derived in all key spaces.
    #[error("{0}")]
    Resolve(#[from] ResolveError),
    /// No policy has this name.
    #[error("there is no policy `{0}`; there are: {1}")]
    NoSuchPolicy(String, String),
    /// There is nothing to go back to.
    #[error(
        "policy `{0}` has had no other generation since the gateway started: there is nothing to go back to"
    )]
    NothingBefore(Arc<str>),
    /// A thread of the reload died.
    #[error("the reload broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl ReloadError {
    /// The steps of the load that it ended, the last one failed; none where it was no policy's.
    pub fn steps(&self) -> &[Step] {
        match self {
            Self::Policy(fault) => &fault.steps,
            Self::Promise(broken) => &broken.steps,
            Self::Config(_)
            | Self::Unchangeable(_)
            | Self::Identity(_)
            | Self::Resolve(_)
            | Self::NoSuchPolicy(..)
            | Self::NothingBefore(_)
            | Self::Broken(_) => &[],
        }
    }

    /// The policy whose fault it is, where it is one's.
    fn policy(&self) -> Option<String> {
        match self {
            Self::Policy(fault) => Some(fault.policy.to_string()),
            Self::Promise(broken) => Some(broken.policy.to_string()),
            Self::NothingBefore(name) => Some(name.to_string()),
            Self::Config(_)
            | Self::Unchangeable(_)
            | Self::Identity(_)
            | Self::Resolve(_)
            | Self::NoSuchPolicy(..)
            | Self::Broken(_) => None,
        }
    }
}

/// What a reload did.
#[derive(Clone, Debug, Serialize)]
pub struct ActivationReport {
    /// All policies, and whether they are new.
    pub policies: Vec<PolicyReport>,
    /// What the configuration allows but is worth saying aloud.
    pub warnings: Vec<String>,
}

/// One policy after a reload.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReport {
    /// Its name.
    pub name: String,
    /// Its active generation.
    pub generation: u64,
    /// The digest of its component.
    pub sha256: String,
    /// Whether this reload brought it.
    pub changed: bool,
    /// The steps that brought it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// Reloads, one at a time.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    shared: Arc<Shared>,
    retirement: Retirement,
    archive: Archive,
    /// Who decides by which key space, requests in flight included.
    guards: Mutex<Vec<Weak<SpaceGuard>>>,
    /// Another configuration is active.
    changed: tokio::sync::Notify,
    one_at_a_time: tokio::sync::Mutex<()>,
    last_error: Mutex<Option<(Option<String>, String)>>,
    history: Mutex<PolicyHistories>,
}

impl Reloader {
    /// For a running gateway whose configuration was read from `source`.
    pub fn new(source: Source, shared: Arc<Shared>, retirement: Retirement) -> Self {
        let active = shared.active.load_full();
        let reloader = Self {
            source,
            archive: Archive::of(&active.config),
            guards: Mutex::default(),
            changed: tokio::sync::Notify::new(),
            shared,
            retirement,
            one_at_a_time: tokio::sync::Mutex::default(),
            last_error: Mutex::default(),
            history: Mutex::default(),
        };
        reloader.note(&active);
        reloader
    }

    /// Why the last reload was refused, if it was.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone().map(|(_, error)| error)
    }

    /// Why the last reload was refused, if it was because of this policy.
    pub fn policy_error(&self, name: &str) -> Option<String> {
        let last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(policy, _)| policy.as_deref() == Some(name)).map(|(_, error)| error.clone())
    }

    /// The last load of this policy since the start, if there was one.
    pub fn last_attempt(&self, name: &str) -> Option<Attempt> {
        self.history().last(name).cloned()
    }

    /// The generation that a rollback of this policy would bring back.
    pub fn before(&self, name: &str) -> Option<Arc<Generation>> {
        self.history().before(name).map(|before| before.generation.clone())
    }

    /// Reads the configuration again and loads what changed. `accept_duplicates`: records that would lose
    /// their keys by it are given up, this once.
    pub async fn reload(&self, accept_duplicates: bool) -> Result<ActivationReport, ReloadError> {
        let _one = self.one_at_a_time.lock().await;
        let outcome = self.reload_config(accept_duplicates).await;
        self.tell("configuration", RELOAD, outcome)
    }

    /// Loads one policy's component again, also one that was rolled back from. `accept_duplicates`: as for
    /// [`Self::reload`].
    pub async fn reload_policy(
        &self,
        name: &str,
        accept_duplicates: bool,
    ) -> Result<ActivationReport, ReloadError> {
        let _one = self.one_at_a_time.lock().await;
        let active = self.shared.active.load_full();
        let Some(present) = active.config.policies.get(name) else { return Err(no_such(&active, name)) };
        let wanted = self
            .history()
            .suspended(name)
            .map_or_else(|| present.clone(), |suspended| suspended.config.clone());
        let mut config = active.config.clone();
        config.policies.insert(wanted.name.clone(), wanted);
        let outcome = self.activate(config, Some(name), BTreeSet::new(), accept_duplicates).await;
        if outcome.is_ok() {
            self.history().forgive(name);
        }
        self.tell(name, RELOAD, outcome)
    }

    async fn reload_config(&self, accept_duplicates: bool) -> Result<ActivationReport, ReloadError> {
        let source = self.source.clone();
        let config =
            tokio::task::spawn_blocking(move || config::load(&source)).await?.map_err(ReloadError::Config)?;
        let fixed = config::unchangeable(&self.shared.active.load().config, &config);
        if !fixed.is_empty() {
            return Err(ReloadError::Unchangeable(fixed));
        }
        let (config, held) = self.without_suspended(config).await?;
        self.activate(config, None, held, accept_duplicates).await
    }

    /// Loads the policies of `config` (of `only` one, if given; the others stay, and so do those that
    /// are `held`) and makes it all active.
    async fn activate(
        &self,
        config: Config,
        only: Option<&str>,
        held: BTreeSet<Arc<str>>,
        accept_duplicates: bool,
    ) -> Result<ActivationReport, ReloadError> {
        let active = self.shared.active.load_full();
        let (engine, before) = (self.shared.engine.clone(), active.clone());
        let only = only.map(str::to_owned);
        let (config, generations) = tokio::task::spawn_blocking(move || {
            let loaded = match only {
                None => load_policies(&engine, &config, Some(&before), &held),
                Some(name) => {
                    let mut one = config.clone();
                    one.policies.retain(|own, _| **own == *name);
                    load_policies(&engine, &one, Some(&before), &held).map(|loaded| {
                        let mut all = before.generations.clone();
                        all.extend(loaded);
                        all
                    })
                }
            };
            loaded.map(|generations| (config, generations))
        })
        .await??;
        let report = self.commit(config, generations, accept_duplicates).await?;
        for replaced in changed(&active, &self.shared.active.load()) {
            let active = self.shared.active.load();
            let (Some(generation), Some(config)) = (
                active.generations.get(replaced.generation.name()),
                active.config.policies.get(replaced.generation.name()),
            ) else {
                continue;
            };
            // Across key spaces it would not be taken back by itself, so there is nothing to watch.
            if generation.shares_keys_with(&replaced.generation) {
                generation.begin_trial(config.trial);
            }
            self.history().replaced(replaced);
        }
        Ok(report)
    }

    /// Makes a configuration with its generations active by one pointer swap, if they keep their
    /// promises and the ledger agrees.
    async fn commit(
        &self,
        config: Config,
        generations: Generations,
        accept_duplicates: bool,
    ) -> Result<ActivationReport, ReloadError> {
        let (ledger, active) = (&self.shared.ledger, self.shared.active.load_full());
        let promises = self.promises(&active, &generations).await?;
        let change = ledger.examine(&identity(&config, &generations), accept_duplicates).await?;
        let resolved = self.resolve(&config, &generations, &active, accept_duplicates).await?;
        ledger.remember(&retentions(&config)).await.map_err(IdentityError::from)?;
        let Resolved { spaces: mut table, given_up } = resolved;
        let given_up = change.given_up().iter().chain(&given_up).map(|what| given_up_words(what));
        let unavailable = table.unavailable.values().map(|unavailable| unavailable.why.to_string());
        let report = ActivationReport {
            policies: generations.values().map(|new| policy_report(new, &active, &promises)).collect(),
            warnings: (config.warnings.iter().cloned())
                .chain(promises.values().flat_map(|kept| &kept.warnings).cloned())
                .chain(given_up)
                .chain(unavailable)
                .collect(),
        };
        let taken = match change.take_effect().await {
            Ok(taken) => taken,
            Err(error) => {
                // The lists go by what stays active.
                self.resolve(&active.config, &active.generations, &active, false).await?;
                return Err(error.into());
            }
        };
        if let Some(term) = taken.term {
            table.begin(term);
        }
        self.put(ActiveConfig::new(config, generations, table, &active.upstreams, &self.shared.metrics));
        drop(taken);
        Ok(report)
    }

    /// Checks the promises of what is new. One that is broken is kept in the ledger: no gateway takes it.
    async fn promises(
        &self,
        active: &Arc<ActiveConfig>,
        next: &Generations,
    ) -> Result<Promises, ReloadError> {
        let ledger = &self.shared.ledger;
        let spaces = ledger.read_spaces().await.map_err(ResolveError::from)?;
        for (name, generation) in next.iter().filter(|(_, new)| !is_active(active, new)) {
            if let Some(why) = keyspaces::refusal(&spaces, name, generation) {
                return Err(ReloadError::Promise(PromiseBroken::recorded(generation, &why)));
            }
        }
        let (before, after) = (active.clone(), next.clone());
        let kept = tokio::task::spawn_blocking(move || promise::check(&before, &after)).await?;
        if let Err(ReloadError::Promise(broken)) = &kept
            && let Some(generation) = next.get(&broken.policy)
        {
            record_refusal(ledger, broken, generation).await;
        }
        kept
    }

    fn history(&self) -> MutexGuard<'_, PolicyHistories> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts and logs what came of it, and keeps it for whoever asks later.
    fn tell(
        &self,
        what: &str,
        occasion: Occasion,
        outcome: Result<ActivationReport, ReloadError>,
    ) -> Result<ActivationReport, ReloadError> {
        match &outcome {
            Ok(report) => self.tell_report(what, occasion, report),
            Err(error) => self.tell_refusal(what, occasion, error),
        }
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) =
            outcome.as_ref().err().map(|error| (error.policy(), error.to_string()));
        outcome
    }

    fn tell_report(&self, what: &str, occasion: Occasion, report: &ActivationReport) {
        for policy in report.policies.iter().filter(|policy| policy.changed) {
            self.shared.metrics.policy_reloaded(&policy.name, occasion.result, Some(policy.generation));
            tracing::info!(
                policy = policy.name,
                generation = policy.generation,
                sha256 = policy.sha256,
                occasion = occasion.word,
                "a policy is active"
            );
            self.attempted(&policy.name.as_str().into(), occasion, &policy.steps, None);
        }
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(what, occasion = occasion.word, "reloaded");
    }

    fn tell_refusal(&self, what: &str, occasion: Occasion, error: &ReloadError) {
        let of_policy = match error {
            ReloadError::Policy(fault) => Some((&fault.policy, &fault.steps)),
            ReloadError::Promise(broken) => Some((&broken.policy, &broken.steps)),
            _ => None,
        };
        if let Some((policy, steps)) = of_policy {
            self.shared.metrics.policy_reloaded(policy, "failed", None);
            self.attempted(policy, occasion, steps, Some(error.to_string()));
        }
        tracing::error!(
            what,
            occasion = occasion.word,
            "a reload is refused, and what was active stays: {error}"
        );
    }

    fn attempted(&self, name: &Arc<str>, occasion: Occasion, steps: &[Step], error: Option<String>) {
        let attempt =
            Attempt { at: Clock::wall().to_string(), occasion: occasion.word, steps: steps.to_vec(), error };
        self.history().attempted(name, attempt);
    }
}

/// Why generations change.
#[derive(Clone, Copy, Debug)]
struct Occasion {
    word: &'static str,
    /// In `policy_reloads_total`.
    result: &'static str,
}

const RELOAD: Occasion = Occasion { word: "reload", result: "ok" };

/// Has the ledger keep that this generation breaks its promise.
pub async fn record_refusal(ledger: &Ledger, broken: &PromiseBroken, generation: &Generation) {
    let Some(why) = &broken.to_record else { return };
    let kept = ledger.refuse_deriver(&broken.policy, &keyspaces::deriver(generation), why).await;
    if let Err(error) = kept {
        tracing::warn!(policy = %broken.policy, %error, "that it is refused can't be kept in the ledger");
    }
}

/// What is said of what was given up.
pub fn given_up_words(what: &str) -> String {
    format!("accepted: these operations may run again: {what}")
}

fn is_active(active: &ActiveConfig, generation: &Generation) -> bool {
    let deciding = active.generations.get(generation.name());
    deciding.is_some_and(|deciding| deciding.number() == generation.number())
}

fn no_such(active: &ActiveConfig, name: &str) -> ReloadError {
    let names: Vec<&str> = active.config.policies.keys().map(|name| &**name).collect();
    ReloadError::NoSuchPolicy(name.to_owned(), names.join(", "))
}

/// What was active and is not any more, of policies that are still there.
fn changed(before: &ActiveConfig, after: &ActiveConfig) -> Vec<Revision> {
    let gone = |(name, old): (&Arc<str>, &Arc<Generation>)| {
        let new = after.generations.get(name)?;
        let config = before.config.policies.get(name)?.clone();
        (new.number() != old.number()).then(|| Revision { config, generation: old.clone() })
    };
    before.generations.iter().filter_map(gone).collect()
}

fn policy_report(generation: &Generation, before: &ActiveConfig, promises: &Promises) -> PolicyReport {
    let old = before.generations.get(generation.name()).map(|old| old.number());
    let changed = old != Some(generation.number());
    let promise = promises.get(generation.name()).into_iter().flat_map(|kept| kept.steps.clone());
    let steps = generation.steps().iter().cloned().chain(promise);
    PolicyReport {
        name: generation.name().to_string(),
        generation: generation.number(),
        sha256: generation.digest().to_owned(),
        changed,
        steps: if changed { steps.collect() } else { Vec::new() },
    }
}
