//! A verb's words to standard output and standard error, their form, and the exit code for usage. A reader
//! that has gone away (`| head`) is no reason to panic.

use crate::config::io_words;
use crate::observe::log;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;
use std::sync::OnceLock;

/// The exit code for usage: the arguments have no meaning.
pub(super) const USAGE: u8 = 2;

/// How a verb's result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON object, for programs.
    Json,
}

/// Why standard output took less than all, if it did.
static LOST: OnceLock<String> = OnceLock::new();

/// Writes to standard output, unchanged. [`end`] tells of what could not be written.
pub(super) fn out(text: impl Display) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        lost(&error);
    }
}

/// Remembers that output was lost. A reader that has gone away has what it wanted.
pub(super) fn lost(error: &io::Error) {
    if error.kind() != ErrorKind::BrokenPipe {
        LOST.get_or_init(|| io_words(error));
    }
}

/// The exit code of a verb: no verb is done whose words did not arrive.
pub(super) fn end(code: ExitCode) -> ExitCode {
    let Some(why) = LOST.get() else { return code };
    error(format_args!("the output can't be written: {why}"), "what it says was done is done");
    ExitCode::FAILURE
}

/// Writes one JSON object to standard output.
pub(super) fn json(value: &serde_json::Value) {
    out(format_args!("{value:#}\n"));
}

/// Writes a result to standard output in the form that was asked for.
pub(super) fn tell(
    output: Output,
    words: impl FnOnce() -> String,
    document: impl FnOnce() -> serde_json::Value,
) {
    match output {
        Output::Text => out(words()),
        Output::Json => json(&document()),
    }
}

/// Writes to standard error: `error: …`, and `help: …` if there is help. Reports that have this
/// shape already are written unchanged.
pub(super) fn error(problem: impl Display, help: &str) {
    let _ = write!(std::io::stderr().lock(), "{}", error_text(problem, help));
}

/// Writes to standard error behind the lines of the log, and as they are written: without waiting for ever
/// for a reader.
pub(super) fn error_to_log(problem: impl Display) {
    log::write(&error_text(problem, ""));
}

fn error_text(problem: impl Display, help: &str) -> String {
    let problem = problem.to_string();
    let prefix = if problem.starts_with("error: ") { "" } else { "error: " };
    let help = if help.is_empty() { String::new() } else { format!("help: {help}\n") };
    format!("{prefix}{problem}\n{help}")
}

/// A word as a shell takes it.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}
