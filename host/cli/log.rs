//! Where the program's own log goes: standard error.

use clap::ValueEnum;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// How much is logged, and how.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
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

/// Sets the log up for the whole process. Says why not, if the filter can't be read.
pub(super) fn set_up(args: &Args) -> Result<(), String> {
    let filter = EnvFilter::try_new(&args.filter)
        .map_err(|error| format!("--log {:?} (or ONCEGATE_LOG) can't be read: {error}", args.filter))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let set = match args.format {
        Format::Text => {
            log.with_ansi(std::io::stderr().is_terminal() && !plain).with_target(false).try_init()
        }
        Format::Json => log.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| format!("the log can't be set up: {error}"))
}
