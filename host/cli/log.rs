//! The flags that say what is logged, and how.

use crate::config::nearest;
use crate::observe::log::{self, LogFormat};
use clap::ValueEnum;

/// How much is logged, and how.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LogArgs {
    /// What to log: error, warn, info, debug or trace, also by part: `info,oncegate_ledger=debug`
    #[arg(
        long = "log",
        value_name = "FILTER",
        env = "ONCEGATE_LOG",
        default_value = "info",
        hide_env_values = true
    )]
    filter: String,
    /// How to write it
    #[arg(
        long = "log-format",
        value_name = "FORMAT",
        env = "ONCEGATE_LOG_FORMAT",
        default_value = "text",
        hide_env_values = true
    )]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines, with colours where standard error is a terminal.
    Text,
    /// A JSON object a line.
    Json,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Sets the log up for the whole process. Returns the reason if the filter can't be read.
pub(super) fn set_up(args: &LogArgs) -> Result<(), String> {
    check(&args.filter)?;
    let format = match args.format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    };
    log::set_up(&args.filter, format)
}

/// Refuses a filter with a word that is neither a level nor a part of the program. `EnvFilter` takes such a
/// word for a part that logs nothing.
fn check(filter: &str) -> Result<(), String> {
    let Some(word) = filter.split(',').map(str::trim).find(|word| silences(word)) else { return Ok(()) };
    let meant = nearest(word, LEVELS).map_or_else(String::new, |level| format!("; did you mean {level:?}?"));
    Err(format!(
        "--log {filter:?} (or ONCEGATE_LOG): {word:?} is no level and no part of Oncegate, and nothing would be logged{meant}"
    ))
}

/// Whether this part of a filter is such a word.
fn silences(word: &str) -> bool {
    let is_bare = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte));
    let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
        || matches!(word.as_bytes(), [b'0'..=b'5']);
    !word.is_empty() && is_bare && !is_level && !word.starts_with("oncegate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        for (filter, words) in [
            (
                "debgu",
                "\"debgu\" is no level and no part of Oncegate, and nothing would be logged; did you mean \"debug\"?",
            ),
            ("warnn", "did you mean \"warn\"?"),
            ("oncegate_ledger=debug, inof", "\"inof\" is no level"),
            ("verbose", "\"verbose\" is no level"),
            ("hyper", "\"hyper\" is no level"),
        ] {
            let refused = check(filter).err().unwrap_or_default();
            assert!(refused.contains(words), "{filter}: {refused}");
        }
        for word in ["", "INFO", "off", "3", "oncegate", "oncegate_ledger", "hyper=debug", "[span{a=1}]"] {
            assert!(!silences(word), "{word}");
        }
    }
}
