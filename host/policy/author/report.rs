//! The report of the checks.

use serde::Serialize;

/// The most faults of one kind that are written down; more would say nothing new.
const FAULTS_MAX: usize = 20;
/// The most bytes of a fault: a trap can bring a long trace along.
const FAULT_BYTES_MAX: usize = 600;

/// The results of all checks.
#[derive(Clone, Debug, Serialize)]
pub struct PromiseReport {
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
    /// Whether there were test vectors to try anything with, beside the gateway's own requests.
    pub is_tested: bool,
}

/// The result of one check.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Check {
    /// The check's name.
    pub name: &'static str,
    /// The things that were looked at, in words.
    pub scope: String,
    /// The promises that are broken.
    pub faults: Vec<String>,
    /// Findings that the author may have intended.
    pub warnings: Vec<String>,
    /// Other findings.
    pub facts: Vec<String>,
}

impl PromiseReport {
    /// True if no promise was found broken.
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
