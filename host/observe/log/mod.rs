//! The program's own log, which goes to standard error. Nobody who writes a line waits for its reader
//! (`design/metrics.md`).

mod limit;
mod lines;
mod own;

pub use own::LogFormat;

use limit::{OnceASecond, TOLD};
use lines::Lines;
use own::own_line;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

/// How long the end of the process waits until the last lines are written.
const WRITTEN_AT_END: Duration = Duration::from_secs(1);

/// The lines on their way. None: there is no thread that writes them.
static LINES: LazyLock<Option<Arc<Lines>>> = LazyLock::new(|| {
    let lines = Arc::new(Lines::default());
    let theirs = lines.clone();
    let thread = std::thread::Builder::new().name("log".to_owned());
    thread.spawn(move || theirs.write_to(io::stderr(), |now| TOLD.left_out(now))).is_ok().then_some(lines)
});

/// Sets the log up for the whole process. A filter that can't be read is an error.
pub fn set_up(filter: &str, format: LogFormat) -> Result<(), String> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|error| format!("--log {filter:?} (or ONCEGATE_LOG) can't be read: {error}"))?;
    let format = own::keep_to(format);
    let log = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(|| Log);
    TOLD.remind(|at| {
        if let Some(lines) = &*LINES {
            lines.look_at(at);
        }
    });
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let set = match format {
        LogFormat::Text => {
            let log = log.with_ansi(io::stderr().is_terminal() && !plain).with_target(false);
            log.map_event_format(|inner| OnceASecond::new(inner, TOLD.clone())).try_init()
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true);
            log.map_event_format(|inner| OnceASecond::new(inner, TOLD.clone())).try_init()
        }
    };
    // The standard library's own words on a panic would wait for the reader.
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("?");
        write(&own_line("ERROR", format_args!("thread {thread:?} {}", panic.to_string().replace('\n', " "))));
    }));
    set.map_err(|error| format!("the log can't be set up: {error}"))
}

/// Writes a line, or several, without waiting for their reader.
pub fn write(line: &str) {
    match &*LINES {
        Some(lines) => lines.add(line.as_bytes()),
        None => {
            let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
        }
    }
}

/// Waits, for a bounded time, until all lines are written. For the end of the process.
pub fn flush() {
    if let Some(lines) = &*LINES {
        // The seconds of all kinds are over.
        lines.add(TOLD.left_out(Instant::now() + Duration::from_secs(1)).0.as_bytes());
        lines.flush(WRITTEN_AT_END);
    }
}

/// What `tracing` writes to.
struct Log;

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &*LINES {
            Some(lines) => {
                lines.add(line);
                Ok(line.len())
            }
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
