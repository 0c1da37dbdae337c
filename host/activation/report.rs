//! The report of a reload or rollback, for the log, for metrics and for the client that asked.

use super::promise::Promises;
use crate::gateway::ActiveConfig;
use crate::policy::{Generation, Step};

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
    pub(super) fn new(generation: &Generation, before: &ActiveConfig, promises: &Promises) -> Self {
        let old = before.generations.get(generation.name()).map(|old| old.number());
        let changed = old != Some(generation.number());
        let promise = promises.get(generation.name()).into_iter().flat_map(|checked| checked.steps.clone());
        let steps = generation.steps().iter().cloned().chain(promise);
        Self {
            name: generation.name().to_string(),
            generation: generation.number(),
            sha256: generation.digest().to_owned(),
            changed,
            steps: if changed { steps.collect() } else { Vec::new() },
        }
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
    /// The process got SIGHUP.
    pub const SIGHUP: Self = Self { word: "reload by SIGHUP", result: "ok" };
    /// A file that is watched has changed.
    pub const FILE: Self = Self { word: "reload by a changed file", result: "ok" };
    /// The admin interface was asked.
    pub const ADMIN: Self = Self { word: "reload by the admin interface", result: "ok" };
    pub(super) const ROLLBACK: Self = Self { word: "rollback", result: "rolled_back" };
    pub(super) const AUTOMATIC: Self = Self { word: "automatic rollback", result: "rolled_back" };
}
