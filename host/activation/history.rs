//! What became of each policy's reloads: what was active before, what was rolled back from, and how
//! far the last load came.

use crate::config;
use crate::policy::{Generation, Step};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A generation with the configuration that it was loaded from.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    pub(super) config: Arc<config::Policy>,
    pub(super) generation: Arc<Generation>,
}

impl Activation {
    /// Whether loading this would bring the same generation again.
    fn is_of(&self, config: &config::Policy, digest: &str) -> bool {
        *self.config == *config && self.generation.digest() == digest
    }
}

/// The last load of a policy that did something.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// When it ended, by the wall clock.
    pub at: String,
    /// What began it: `reload`, `rollback`, `automatic rollback`.
    pub occasion: &'static str,
    /// The steps that were taken; where it failed the last is the one that did.
    pub steps: Vec<Step>,
    /// Why it failed, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One policy's past.
#[derive(Debug, Default)]
struct Past {
    before: Option<Activation>,
    aside: Option<Activation>,
    last: Option<Attempt>,
}

/// All policies' past, by name.
#[derive(Debug, Default)]
pub(super) struct History(BTreeMap<Arc<str>, Past>);

impl History {
    fn of(&mut self, name: &Arc<str>) -> &mut Past {
        self.0.entry(name.clone()).or_default()
    }

    /// What was active before the present generation.
    pub(super) fn before(&self, name: &str) -> Option<&Activation> {
        self.0.get(name)?.before.as_ref()
    }

    /// What was rolled back from, and is not taken again without being asked for by name.
    pub(super) fn aside(&self, name: &str) -> Option<&Activation> {
        self.0.get(name)?.aside.as_ref()
    }

    /// Whether the configuration still says what was rolled back from.
    pub(super) fn is_aside(&self, config: &config::Policy, digest: &str) -> bool {
        self.aside(&config.name).is_some_and(|aside| aside.is_of(config, digest))
    }

    /// Another generation has taken the place of `old`.
    pub(super) fn replaced(&mut self, old: Activation) {
        let past = self.of(&old.config.name.clone());
        (past.before, past.aside) = (Some(old), None);
    }

    /// The generation before `old` is back.
    pub(super) fn rolled_back(&mut self, old: Activation) {
        let past = self.of(&old.config.name.clone());
        (past.before, past.aside) = (Some(old.clone()), Some(old));
    }

    /// It may be taken again.
    pub(super) fn forgive(&mut self, name: &str) {
        if let Some(past) = self.0.get_mut(name) {
            past.aside = None;
        }
    }

    pub(super) fn attempted(&mut self, name: &Arc<str>, attempt: Attempt) {
        self.of(name).last = Some(attempt);
    }

    /// The last load of a policy since the start.
    pub(super) fn last(&self, name: &str) -> Option<&Attempt> {
        self.0.get(name)?.last.as_ref()
    }
}
