//! The history of each policy since the start: the generation before the active one, the one that a rollback
//! suspended, and how far the last load came.

use crate::config;
use crate::policy::{Generation, Step};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A generation with the configuration that it was loaded from.
#[derive(Clone, Debug)]
pub(super) struct Revision {
    pub(super) config: Arc<config::Policy>,
    pub(super) generation: Arc<Generation>,
}

impl Revision {
    /// True if loading this configuration would bring the same generation again.
    fn is_of(&self, config: &config::Policy, digest: &str) -> bool {
        *self.config == *config && self.generation.digest() == digest
    }
}

/// The last load of a policy that did something.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When the load ended, by the wall clock.
    pub at: String,
    /// The cause of the load, such as `reload by SIGHUP` or `rollback`.
    pub occasion: &'static str,
    /// The steps that were taken; the last one is the one that failed, if the load failed.
    pub steps: Vec<Step>,
    /// Why the load failed, if it did.
    pub error: Option<String>,
}

/// The history of one policy.
#[derive(Debug, Default)]
struct PolicyHistory {
    before: Option<Revision>,
    suspended: Option<Revision>,
    last: Option<Attempt>,
}

/// The history of all policies, by name.
#[derive(Debug, Default)]
pub(super) struct PolicyHistories(BTreeMap<Arc<str>, PolicyHistory>);

impl PolicyHistories {
    fn of(&mut self, name: &Arc<str>) -> &mut PolicyHistory {
        self.0.entry(name.clone()).or_default()
    }

    /// The revision that was active before the present generation.
    pub(super) fn before(&self, name: &str) -> Option<&Revision> {
        self.0.get(name)?.before.as_ref()
    }

    /// The revision that a rollback suspended. A reload of the configuration leaves it out.
    pub(super) fn suspended(&self, name: &str) -> Option<&Revision> {
        self.0.get(name)?.suspended.as_ref()
    }

    /// True if the configuration still names the suspended revision.
    pub(super) fn is_suspended(&self, config: &config::Policy, digest: &str) -> bool {
        self.suspended(&config.name).is_some_and(|suspended| suspended.is_of(config, digest))
    }

    /// Another generation has taken the place of `old`.
    pub(super) fn replaced(&mut self, old: Revision) {
        let history = self.of(&old.config.name.clone());
        (history.before, history.suspended) = (Some(old), None);
    }

    /// The generation before `old` is back. `is_named`: the configuration still names `old`, which is left out then.
    pub(super) fn rolled_back(&mut self, old: Revision, is_named: bool) {
        let history = self.of(&old.config.name.clone());
        (history.before, history.suspended) = (Some(old.clone()), is_named.then_some(old));
    }

    /// The policy's suspended revision may become active again.
    pub(super) fn forgive(&mut self, name: &str) {
        if let Some(history) = self.0.get_mut(name) {
            history.suspended = None;
        }
    }

    pub(super) fn attempted(&mut self, name: &Arc<str>, attempt: Attempt) {
        self.of(name).last = Some(attempt);
    }

    /// Forgets that the last load of a policy failed: what it failed by is gone.
    pub(super) fn failure_over(&mut self, name: &str) {
        if let Some(history) = self.0.get_mut(name)
            && history.last.as_ref().is_some_and(|last| last.error.is_some())
        {
            history.last = None;
        }
    }

    /// The last load of a policy since the start.
    pub(super) fn last(&self, name: &str) -> Option<&Attempt> {
        self.0.get(name)?.last.as_ref()
    }
}
