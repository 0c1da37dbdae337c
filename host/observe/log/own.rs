//! Lines of the log about the log itself, and about what `tracing` can't tell.

use std::fmt::{Display, Write as _};
use std::sync::OnceLock;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines, with colours where standard error is a terminal.
    Text,
    /// A JSON object a line.
    Json,
}

/// The format in force.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Puts the format in force for the whole process, and returns the one that is.
pub(super) fn keep_to(format: LogFormat) -> LogFormat {
    *FORMAT.get_or_init(|| format)
}

/// A line in the format of the log.
pub(super) fn own_line(level: &str, message: impl Display) -> String {
    let (mut time, mut line) = (String::new(), String::new());
    // Writing to a String doesn't fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let _ = match FORMAT.get() {
        Some(LogFormat::Json) => {
            let message = serde_json::Value::from(message.to_string());
            writeln!(
                line,
                r#"{{"timestamp":"{time}","level":"{level}","message":{message},"target":"oncegate_observe"}}"#
            )
        }
        _ => writeln!(line, "{time} {level:>5} {message}"),
    };
    line
}
