//! What came of the checks.

use serde::Serialize;

/// Of one kind as many faults are written down; more would say nothing new.
const FAULTS_MAX: usize = 20;
/// A trap can bring a long trace along.
const FAULT_BYTES_MAX: usize = 600;

/// What came of all checks.
#[derive(Clone, Debug, Serialize)]
pub struct PromiseReport {
    /// In the order in which they were made.
    pub checks: Vec<Check>,
}

/// What came of one check.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// What was looked at, in words.
    pub scope: String,
    /// Broken promises.
    pub faults: Vec<String>,
    /// What may be meant so.
    pub warnings: Vec<String>,
    /// What was found out.
    pub facts: Vec<String>,
}

impl PromiseReport {
    /// Whether every promise is kept.
    pub fn is_fine(&self) -> bool {
        self.checks.iter().all(|check| check.faults.is_empty())
    }
}

impl Check {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    pub(super) fn fault(&mut self, text: impl Into<String>) {
        note(&mut self.faults, text.into());
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        note(&mut self.warnings, text.into());
    }
}

fn note(list: &mut Vec<String>, mut text: String) {
    if text.len() > FAULT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(FAULT_BYTES_MAX));
        text.push('…');
    }
    if list.len() < FAULTS_MAX && !list.contains(&text) {
        list.push(text);
    }
}
