//! The report of a reload or rollback, for the log, for metrics and for the client that asked.

use crate::policy::{Generation, Generations, Step};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names of the steps behind the loads of policies (`design/loading.md`).
pub(super) const PROMISE: &str = "promise";
pub(super) const IDENTITY: &str = "identity";
pub(super) const KEY_SPACES: &str = "key spaces";
pub(super) const ACTIVATE: &str = "activate";

/// The steps behind its load by which each new generation came into force, by policy.
pub(super) type Entries = BTreeMap<Arc<str>, Vec<Step>>;

/// The result of a reload.
#[derive(Clone, Debug)]
pub struct ActivationReport {
    /// The report of each policy.
    pub policies: Vec<PolicyReport>,
    /// Warnings about settings that are allowed but risky or surprising.
    pub warnings: Vec<String>,
}

/// One policy after a reload.
#[derive(Clone, Debug)]
pub struct PolicyReport {
    /// The policy's name.
    pub name: String,
    /// The policy's active generation.
    pub generation: u64,
    /// The digest of its component.
    pub sha256: String,
    /// True if this reload brought the generation.
    pub changed: bool,
    /// The steps that brought it.
    pub steps: Vec<Step>,
}

impl PolicyReport {
    fn new(generation: &Generation, entries: &Entries) -> Self {
        let entry = entries.get(generation.name());
        Self {
            name: generation.name().to_string(),
            generation: generation.number(),
            sha256: generation.digest().to_owned(),
            changed: entry.is_some(),
            steps: entry.map_or_else(Vec::new, |entry| [generation.steps(), entry].concat()),
        }
    }

    pub(super) fn all(generations: &Generations, entries: &Entries) -> Vec<Self> {
        generations.values().map(|generation| Self::new(generation, entries)).collect()
    }

    /// Logs that a new generation is active, and by which steps.
    pub(super) fn log(&self, occasion: Occasion) {
        let steps: Vec<&str> = self.steps.iter().map(|step| step.step).collect();
        tracing::info!(
            policy = self.name,
            generation = self.generation,
            sha256 = self.sha256,
            occasion = occasion.word,
            steps = steps.join(", "),
            "a policy is active"
        );
    }
}

/// Why generations change.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    pub(super) word: &'static str,
    /// The occasion's label in `policy_reloads_total`.
    pub(super) result: &'static str,
}

impl Occasion {
    pub(super) const START: Self = Self { word: "start", result: "ok" };
    /// The process got SIGHUP.
    pub const SIGHUP: Self = Self { word: "reload by SIGHUP", result: "ok" };
    /// A file that is watched has changed.
    pub const FILE: Self = Self { word: "reload by a changed file", result: "ok" };
    /// The admin interface was asked.
    pub const ADMIN: Self = Self { word: "reload by the admin interface", result: "ok" };
    pub(super) const ROLLBACK: Self = Self { word: "rollback", result: "rolled_back" };
    pub(super) const AUTOMATIC: Self = Self { word: "automatic rollback", result: "rolled_back" };
}
