//! The report of a reload or rollback, for the log, for metrics and for the client that asked.

use super::archive::deriver;
use crate::gateway::ActiveConfig;
use crate::policy::{Generation, Step};
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
    /// The digest of its settings.
    settings_sha256: Arc<str>,
    /// Its key-schema.
    pub key_schema: String,
    /// Its key epoch.
    pub key_epoch: u64,
    /// The key space by which it decides; none: it has none for now.
    pub key_space: Option<u32>,
    /// True if this reload brought the generation.
    pub changed: bool,
    /// What of the policy is not as it was, in words.
    pub changes: Vec<String>,
    /// The steps that brought it.
    pub steps: Vec<Step>,
}

impl PolicyReport {
    fn new(
        generation: &Generation,
        before: Option<&ActiveConfig>,
        after: &ActiveConfig,
        entries: &Entries,
    ) -> Self {
        let entry = entries.get(generation.name());
        let old =
            before.and_then(|before| before.generations.get(generation.name())).filter(|_| entry.is_some());
        let deriver = deriver(generation);
        let spaces = after.spaces.open.get(generation.name());
        Self {
            name: generation.name().to_string(),
            generation: generation.number(),
            sha256: generation.digest().to_owned(),
            settings_sha256: deriver.settings,
            key_schema: deriver.key_schema.to_string(),
            key_epoch: deriver.key_epoch,
            key_space: spaces.map(|spaces| spaces.guard.number.0),
            changed: entry.is_some(),
            changes: old.map_or_else(Vec::new, |old| changes(old, generation)),
            steps: entry.map_or_else(Vec::new, |entry| [generation.steps(), entry].concat()),
        }
    }

    /// The reports of the policies of `after`, which has taken the place of `before`.
    pub(super) fn all(before: Option<&ActiveConfig>, after: &ActiveConfig, entries: &Entries) -> Vec<Self> {
        after.generations.values().map(|generation| Self::new(generation, before, after, entries)).collect()
    }

    /// Logs that a new generation is active, by which steps, and everything that its keys depend on.
    pub(super) fn log(&self, occasion: Occasion) {
        let steps: Vec<&str> = self.steps.iter().map(|step| step.step).collect();
        tracing::info!(
            policy = self.name,
            generation = self.generation,
            sha256 = self.sha256,
            settings_sha256 = &*self.settings_sha256,
            key_schema = self.key_schema,
            key_epoch = self.key_epoch,
            key_space = self.key_space,
            changed = self.changes.join(", "),
            occasion = occasion.word,
            steps = steps.join(", "),
            "a policy is active"
        );
    }
}

/// What of a policy is not as it was, in words.
fn changes(old: &Generation, new: &Generation) -> Vec<String> {
    let mut changes = Vec::new();
    if old.digest() != new.digest() {
        changes.push("component".to_owned());
    }
    if old.settings() != new.settings() {
        changes.push("settings".to_owned());
    }
    let (from, to) = (&old.plan().key_schema, &new.plan().key_schema);
    if from != to {
        changes.push(format!("key-schema {from:?} to {to:?}"));
    }
    if old.key_epoch() != new.key_epoch() {
        changes.push(format!("key_epoch {} to {}", old.key_epoch(), new.key_epoch()));
    }
    changes
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
