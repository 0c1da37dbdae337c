//! Words to standard output and standard error. A reader that has gone away (`| head`) is no
//! reason to panic.

use std::fmt::Display;
use std::io::Write as _;

/// Writes to standard output, unchanged.
pub(super) fn out(text: impl Display) {
    let _ = write!(std::io::stdout().lock(), "{text}");
}

/// Writes one JSON object to standard output.
pub(super) fn json(value: &serde_json::Value) {
    out(format_args!("{value:#}\n"));
}

/// Writes to standard error: `error: …`, and `help: …` if there is help. Reports that have this
/// shape already are written unchanged.
pub(super) fn error(problem: impl Display, help: &str) {
    let problem = problem.to_string();
    let prefix = if problem.starts_with("error: ") { "" } else { "error: " };
    let help = if help.is_empty() { String::new() } else { format!("help: {help}\n") };
    let _ = write!(std::io::stderr().lock(), "{prefix}{problem}\n{help}");
}
