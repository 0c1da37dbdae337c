//! Why a verb of `oncegate policy` could not do what it was asked for.

use crate::cli::say::{self, Output, USAGE};
use crate::config::{self, Faults, Place};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// Why a verb could not do what it was asked for.
#[derive(Debug)]
pub(super) struct Trouble {
    problem: String,
    help: String,
    usage: bool,
}

/// True if all is fine; an error says why that can't be told.
pub(super) type Done = Result<bool, Trouble>;

impl Trouble {
    pub(super) fn new(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { problem: problem.into(), help: help.into(), usage: false }
    }

    pub(super) fn usage(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(problem, help) }
    }

    pub(super) fn tell(self, output: Output) -> ExitCode {
        match output {
            Output::Text => say::error(&self.problem, &self.help),
            Output::Json => say::json(&json!({ "ok": false, "problem": self.problem, "help": self.help })),
        }
        if self.usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
    }
}

impl From<Faults> for Trouble {
    /// The component is an argument here, and a flag of `serve`.
    fn from(mut faults: Faults) -> Self {
        let usage = faults.are_usage();
        for fault in faults.0.iter_mut().filter(|fault| fault.place == Place::Flag("--policy")) {
            fault.problem = fault.problem.replace("`policies.default.component`", "the COMPONENT");
            fault.place = Place::Nowhere;
        }
        Self { usage, ..Self::new(faults.to_string(), "") }
    }
}

/// Checks that this build makes policies: the feature `author` has the parts that only this needs.
pub(super) fn authoring(verb: &str) -> Result<(), Trouble> {
    if cfg!(feature = "author") {
        return Ok(());
    }
    let problem = format!("this build has no `policy {verb}`");
    Err(Trouble::new(problem, "build oncegate with `--features author`, which is on by default"))
}

/// Reads a file that the author named; `-`: standard input.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    if path.as_os_str() == "-" {
        let mut text = Vec::new();
        return match std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut text) {
            Ok(_) => Ok(text),
            Err(error) => {
                let why = config::io_words(&error);
                Err(Trouble::new(format!("standard input can't be read: {why}"), ""))
            }
        };
    }
    std::fs::read(path).map_err(|error| {
        Trouble::new(format!("{} can't be read: {}", path.display(), config::io_words(&error)), "")
    })
}
