//! The program's own log, which goes to standard error.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines, with colours where standard error is a terminal.
    Text,
    /// A JSON object a line.
    Json,
}

/// Sets the log up for the whole process. A filter that can't be read is an error.
pub fn set_up(filter: &str, format: LogFormat) -> Result<(), String> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|error| format!("--log {filter:?} (or ONCEGATE_LOG) can't be read: {error}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let set = match format {
        LogFormat::Text => {
            log.with_ansi(std::io::stderr().is_terminal() && !plain).with_target(false).try_init()
        }
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| format!("the log can't be set up: {error}"))
}
