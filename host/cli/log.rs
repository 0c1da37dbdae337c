//! The flags that say what is logged, and how.

use crate::observe::log::{self, LogFormat};
use clap::ValueEnum;

/// How much is logged, and how.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LogArgs {
    /// What to log: error, warn, info, debug or trace, also by part: `info,oncegate::ledger=debug`
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

/// Sets the log up for the whole process. Returns the reason if the filter can't be read.
pub(super) fn set_up(args: &LogArgs) -> Result<(), String> {
    let format = match args.format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    };
    log::set_up(&args.filter, format)
}
