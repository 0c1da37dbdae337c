//! Reloading: configuration and policies, all or nothing, while requests flow. A request keeps the
//! program that it began with; a fault leaves the active one alone and is told.

use crate::config::{self, ComponentSource, Config, Faults, Source};
use crate::gateway::{Program, Retirement, Shared};
use crate::ledger::{Identity, IdentityError, NORMALISATION, RouteMemory, Space};
use crate::policy::{self, Engine, Generation, LoadError};
use notify_debouncer_full::notify::{self, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, new_debouncer};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Several writes to a file within this time are one change.
const SETTLE_TIME: Duration = Duration::from_millis(100);

/// Policies that are loaded, by name.
pub type Generations = BTreeMap<Arc<str>, Arc<Generation>>;

/// Why a reload is refused. The active program stays as it is.
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
    /// Keys would change.
    #[error("{0}")]
    Identity(#[from] IdentityError),
    /// No policy has this name.
    #[error("there is no policy `{0}`; there are: {1}")]
    NoSuchPolicy(String, String),
    /// A thread of the reload died.
    #[error("the reload broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl ReloadError {
    /// The policy whose fault it is, where it is one's.
    fn policy(&self) -> Option<String> {
        match self {
            Self::Policy(fault) => Some(fault.policy.to_string()),
            Self::Config(_)
            | Self::Unchangeable(_)
            | Self::Identity(_)
            | Self::NoSuchPolicy(..)
            | Self::Broken(_) => None,
        }
    }
}

/// What a reload did.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
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
}

/// Loads policies; keeps generations whose component and configuration are as they were.
pub fn load_policies(
    engine: &Arc<Engine>,
    config: &Config,
    active: Option<&Program>,
) -> Result<Generations, LoadError> {
    let mut generations = Generations::new();
    for (name, policy) in &config.policies {
        let kept = active.and_then(|active| {
            let same = active.config.policies.get(name) == Some(policy);
            active.generations.get(name).filter(|generation| same && is_unchanged(policy, generation))
        });
        let generation = match kept {
            Some(generation) => generation.clone(),
            None => engine.load(policy)?,
        };
        let routes = config.routes.iter().filter(|route| route.policy.as_ref() == Some(name));
        routes.map(|route| generation.fits(route)).collect::<Result<(), _>>()?;
        generations.insert(name.clone(), generation);
    }
    Ok(generations)
}

fn is_unchanged(policy: &config::Policy, generation: &Generation) -> bool {
    match &policy.component {
        ComponentSource::Builtin(_) => true,
        ComponentSource::File(path) => file_digest(path).is_some_and(|digest| digest == generation.digest()),
    }
}

fn file_digest(path: &Path) -> Option<String> {
    // A FIFO in its place would be read for ever.
    let bytes =
        path.metadata().ok().filter(std::fs::Metadata::is_file).and_then(|_| std::fs::read(path).ok())?;
    Some(policy::hex(&Sha256::digest(bytes)))
}

/// How keys are made with this configuration and these policies.
pub fn identity(config: &Config, generations: &Generations) -> Identity {
    let guarded = config.routes.iter().filter(|route| route.policy.is_some());
    Identity {
        deployment: config.ledger.deployment.to_string(),
        normalisation: NORMALISATION,
        principals: guarded.map(|route| (route.name.to_string(), route.principal.from.to_string())).collect(),
        spaces: (generations.iter())
            .map(|(name, generation)| {
                let key_schema = generation.plan().key_schema.to_string();
                (name.to_string(), Space { key_schema, key_epoch: generation.key_epoch() })
            })
            .collect(),
    }
}

/// How long the guarded routes remember.
pub fn memories(config: &Config) -> BTreeMap<String, RouteMemory> {
    let of = |route: &Arc<config::Route>| {
        let policy = route.policy.as_deref()?.to_owned();
        Some((route.name.to_string(), RouteMemory { policy, memory: route.times.memory }))
    };
    config.routes.iter().filter_map(of).collect()
}

/// Reloads, one at a time.
#[derive(Debug)]
pub struct Reloader {
    source: Source,
    shared: Arc<Shared>,
    retirement: Retirement,
    one_at_a_time: tokio::sync::Mutex<()>,
    last_error: Mutex<Option<(Option<String>, String)>>,
}

impl Reloader {
    /// For a running gateway whose configuration was read from `source`.
    pub fn new(source: Source, shared: Arc<Shared>, retirement: Retirement) -> Self {
        Self {
            source,
            shared,
            retirement,
            one_at_a_time: tokio::sync::Mutex::default(),
            last_error: Mutex::default(),
        }
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

    /// Reads the configuration again and loads what changed.
    pub async fn reload(&self) -> Result<Report, ReloadError> {
        let _one = self.one_at_a_time.lock().await;
        let outcome = self.reload_config().await;
        self.tell("configuration", outcome)
    }

    /// Loads one policy's component again.
    pub async fn reload_policy(&self, name: &str) -> Result<Report, ReloadError> {
        let _one = self.one_at_a_time.lock().await;
        let active = self.shared.program.load_full();
        let outcome = match active.config.policies.contains_key(name) {
            true => self.activate(active.config.clone(), Some(name)).await,
            false => {
                let names: Vec<&str> = active.config.policies.keys().map(|name| &**name).collect();
                return Err(ReloadError::NoSuchPolicy(name.to_owned(), names.join(", ")));
            }
        };
        self.tell(name, outcome)
    }

    async fn reload_config(&self) -> Result<Report, ReloadError> {
        let source = self.source.clone();
        let config =
            tokio::task::spawn_blocking(move || config::load(&source)).await?.map_err(ReloadError::Config)?;
        let fixed = config::unchangeable(&self.shared.program.load().config, &config);
        if !fixed.is_empty() {
            return Err(ReloadError::Unchangeable(fixed));
        }
        self.activate(config, None).await
    }

    /// Loads the policies of `config` (of `only` one, if given; the others stay) and makes it all
    /// active by one pointer swap.
    async fn activate(&self, config: Config, only: Option<&str>) -> Result<Report, ReloadError> {
        let active = self.shared.program.load_full();
        let (engine, before) = (self.shared.engine.clone(), active.clone());
        let only = only.map(str::to_owned);
        let (config, generations) = tokio::task::spawn_blocking(move || {
            let loaded = match only {
                None => load_policies(&engine, &config, Some(&before)),
                Some(name) => {
                    let mut one = config.clone();
                    one.policies.retain(|own, _| **own == *name);
                    load_policies(&engine, &one, Some(&before)).map(|loaded| {
                        let mut all = before.generations.clone();
                        all.extend(loaded);
                        all
                    })
                }
            };
            loaded.map(|generations| (config, generations))
        })
        .await??;
        self.shared.ledger.agree(&identity(&config, &generations), true).await?;
        self.shared.ledger.remember(&memories(&config)).await?;
        let report = Report {
            policies: generations.values().map(|generation| policy_report(generation, &active)).collect(),
            warnings: config.warnings.clone(),
        };
        let program = Arc::new(Program::new(config, generations, &self.shared.metrics));
        let keep: Vec<u64> = program.generations.values().map(|generation| generation.number()).collect();
        self.shared.program.store(program);
        self.retirement.retire_all_but(&keep);
        Ok(report)
    }

    fn tell(&self, what: &str, outcome: Result<Report, ReloadError>) -> Result<Report, ReloadError> {
        let metrics = &self.shared.metrics;
        match &outcome {
            Ok(report) => {
                for policy in report.policies.iter().filter(|policy| policy.changed) {
                    metrics.policy_reloaded(&policy.name, true, Some(policy.generation));
                    tracing::info!(
                        policy = policy.name,
                        generation = policy.generation,
                        sha256 = policy.sha256,
                        "a policy is active"
                    );
                }
                for warning in &report.warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(what, "reloaded");
            }
            Err(error) => {
                if let ReloadError::Policy(fault) = error {
                    metrics.policy_reloaded(&fault.policy, false, None);
                }
                tracing::error!(what, "a reload is refused, and what was active stays: {error}");
            }
        }
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) =
            outcome.as_ref().err().map(|error| (error.policy(), error.to_string()));
        outcome
    }

    /// Reloads when a file changes, for as long as it is polled.
    pub async fn watch(self: Arc<Self>) {
        let (changed, mut changes) = mpsc::unbounded_channel();
        // Its own tick would be a quarter of that, all day long.
        let watcher = new_debouncer(SETTLE_TIME, Some(SETTLE_TIME), move |events: DebounceEventResult| {
            if events.is_ok() {
                // Nobody listens only while the gateway ends.
                let _ = changed.send(());
            }
        });
        let mut watcher = match watcher {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, "files can't be watched: reload with SIGHUP or `oncegate reload`");
                return;
            }
        };
        let mut folders = BTreeSet::new();
        let mut seen = self.digests().await;
        loop {
            for folder in self.folders().difference(&folders.clone()) {
                // The folder, not the file: files are replaced, and symlinks swapped.
                match watcher.watch(folder, RecursiveMode::NonRecursive) {
                    Ok(()) => _ = folders.insert(folder.clone()),
                    Err(error) => {
                        tracing::warn!(folder = %folder.display(), error = %words(&error), "a folder can't be watched: reload with SIGHUP or `oncegate reload`")
                    }
                }
            }
            if changes.recv().await.is_none() {
                return;
            }
            while changes.try_recv().is_ok() {}
            let now = self.digests().await;
            if now != seen {
                // A refusal is told by `reload`, and tried again when the files change again.
                let _ = self.reload().await;
                seen = now;
            }
        }
    }

    fn folders(&self) -> BTreeSet<PathBuf> {
        let files = self.shared.program.load().config.watched_files();
        let parent = |file: PathBuf| match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        files.into_iter().map(parent).collect()
    }

    async fn digests(&self) -> BTreeMap<PathBuf, Option<String>> {
        let files = self.shared.program.load().config.watched_files();
        let read = || files.into_iter().map(|file| (file.clone(), file_digest(&file))).collect();
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }
}

fn words(error: &notify::Error) -> String {
    error.to_string()
}

fn policy_report(generation: &Generation, before: &Program) -> PolicyReport {
    let old = before.generations.get(generation.name()).map(|old| old.number());
    PolicyReport {
        name: generation.name().to_string(),
        generation: generation.number(),
        sha256: generation.digest().to_owned(),
        changed: old != Some(generation.number()),
    }
}
