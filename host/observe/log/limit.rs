//! Of warnings and errors about requests, one a second of a kind is written: a service that is down makes one
//! with every request. An outcome that nobody knows is told each time: its key is held. Policies have a few lines
//! a second of a kind. What was left out is told with the next line of its kind, or by the log's thread a second later,
//! if none comes.

use super::own::own_line;
use crate::metrics::LOG_LINES;
use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The rooms that requests pass. Their crates are named after them.
const ROOMS: [&str; 2] = ["gateway", "upstream"];
/// The fields that tell kinds of one place apart. Their values are names of the configuration.
const NAMES: [&str; 3] = ["upstream", "policy", "route"];
const SECOND: Duration = Duration::from_secs(1);
/// The room of the lines that policies write.
const GUESTS: &str = "policy::guest";
/// The lines a second of a kind that a policy may write.
const GUEST_LINES: u64 = 20;

/// Leaves out what was said less than a second ago, and says later how much that was.
pub(super) struct OnceASecond<F> {
    inner: F,
    told: Arc<ToldLines>,
}

/// The lines of each kind, for those who write them and for the log's thread.
#[derive(Default)]
pub(super) struct ToldLines {
    kinds: Mutex<HashMap<LineKind, LastLine>>,
    /// Asks the log's thread to come back at that moment.
    come_back: OnceLock<fn(Instant)>,
}

/// Those of the process's log.
pub(super) static TOLD: LazyLock<Arc<ToldLines>> = LazyLock::new(Arc::default);

/// The place in the code, and a hash of the names.
type LineKind = (Identifier, u64);

struct LastLine {
    /// When the second began.
    at: Instant,
    /// The lines written in it.
    written: u64,
    left_out: u64,
    /// What the lines of this kind say.
    text: String,
}

impl<F> OnceASecond<F> {
    /// `told`: the kinds that it counts.
    pub(super) fn new(inner: F, told: Arc<ToldLines>) -> Self {
        Self { inner, told }
    }
}

impl ToldLines {
    /// Has `come_back` called with a moment at which lines that were left out may have to be told.
    pub(super) fn remind(&self, come_back: fn(Instant)) {
        // The first one stays: a process has one log.
        let _ = self.come_back.set(come_back);
    }

    /// Whether a line of this kind is written now, and how many were left out before it. `most`: the lines of this
    /// kind in a second.
    fn admit(&self, kind: LineKind, most: u64, now: Instant, text: impl FnOnce() -> String) -> Option<u64> {
        let mut kinds = self.kinds();
        let first = || LastLine { at: now, written: 0, left_out: 0, text: text() };
        let last = kinds.entry(kind).or_insert_with(first);
        if now.saturating_duration_since(last.at) >= SECOND {
            (last.at, last.written) = (now, 0);
        }
        if last.written < most {
            last.written += 1;
            return Some(std::mem::take(&mut last.left_out));
        }
        last.left_out += 1;
        LOG_LINES.repeated.inc();
        let (is_first, told_at) = (last.left_out == 1, last.at + SECOND);
        drop(kinds);
        if is_first && let Some(come_back) = self.come_back.get() {
            come_back(told_at);
        }
        None
    }

    /// Tells of the lines that were left out in seconds that were over at `now`, and the moment at which others are.
    pub(super) fn left_out(&self, now: Instant) -> (String, Option<Instant>) {
        let (mut told, mut next) = (String::new(), None);
        for last in self.kinds().values_mut().filter(|last| last.left_out > 0) {
            let over = last.at + SECOND;
            if over > now {
                next = Some(next.map_or(over, |next: Instant| next.min(over)));
                continue;
            }
            let count = std::mem::take(&mut last.left_out);
            told += &own_line("WARN", format_args!("{count} lines like {:?} were left out", last.text));
        }
        (told, next)
    }

    fn kinds(&self) -> MutexGuard<'_, HashMap<LineKind, LastLine>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S, N, F> FormatEvent<S, N> for OnceASecond<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let place = event.metadata();
        let room = place
            .target()
            .strip_prefix("oncegate")
            .and_then(|rest| rest.strip_prefix('_'))
            .unwrap_or_default();
        let is_guests = room == GUESTS;
        let is_of_request =
            *place.level() <= Level::WARN && ROOMS.iter().any(|passed| room.starts_with(passed));
        let mut names = Names::default();
        if is_guests || is_of_request {
            event.record(&mut names);
        }
        if is_guests || (is_of_request && !names.is_unknown) {
            let kind = (place.callsite(), names.hash.finish());
            let most = if is_guests { GUEST_LINES } else { 1 };
            match self.told.admit(kind, most, Instant::now(), || names.text) {
                None => return Ok(()),
                Some(0) => {}
                Some(left_out) => {
                    let told = format!("{left_out} lines like the next one were left out");
                    out.write_str(&own_line("WARN", told))?;
                }
            }
        }
        self.inner.format_event(context, out, event)
    }
}

/// Hashes the fields that tell kinds apart.
#[derive(Default)]
struct Names {
    hash: DefaultHasher,
    /// The line tells of an outcome that nobody knows.
    is_unknown: bool,
    /// The message and these fields.
    text: String,
}

impl Names {
    fn note(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.text.insert_str(0, value),
            name if NAMES.contains(&name) => {
                (name, value).hash(&mut self.hash);
                self.text += &format!(" {name}={value}");
            }
            _ => {}
        }
    }
}

impl Visit for Names {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value);
        self.is_unknown |= field.name() == "outcome" && value == "unknown";
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" || NAMES.contains(&field.name()) {
            self.note(field, &format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use tracing::Callsite as _;

    const UPSTREAM: &str = concat!("oncegate", "_upstream::exchange");
    const GATEWAY: &str = concat!("oncegate", "_gateway::guard");
    const GUEST: &str = concat!("oncegate", "_policy::guest");
    const LEDGER: &str = concat!("oncegate", "_ledger::keeper");

    /// The log of `say`, line by line.
    fn logged(say: impl FnOnce()) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Out(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Out {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().expect("no holder panics").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let out = Out::default();
        let theirs = out.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || theirs.clone());
        tracing::subscriber::with_default(
            log.map_event_format(|inner| OnceASecond::new(inner, Arc::default())).finish(),
            say,
        );
        let bytes = out.0.lock().expect("no holder panics").clone();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    fn broken(upstream: &str) {
        tracing::warn!(target: UPSTREAM, upstream, "upstream broke off");
    }

    #[test]
    fn a_warning_is_told_once_a_second() {
        let before = LOG_LINES.repeated.get();
        let lines = logged(|| (0..100).for_each(|_| broken("one")));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(LOG_LINES.repeated.get() - before >= 99);
    }

    #[test]
    fn other_kinds_are_told_beside_it() {
        let lines = logged(|| {
            for _ in 0..10 {
                broken("one");
                broken("two");
                tracing::error!(target: GATEWAY, policy = %"p", "a policy failed");
                tracing::error!(target: GATEWAY, policy = %"p", operation = 1, "no answer");
            }
        });
        assert_eq!(lines.len(), 4, "{lines:?}");
    }

    #[test]
    fn each_unknown_outcome_is_told() {
        let lines = logged(|| {
            for n in 0..10 {
                tracing::warn!(target: GATEWAY, operation = n, outcome = "unknown", "no answer");
                tracing::warn!(target: GATEWAY, operation = n, outcome = "not_applied", "no answer");
            }
        });
        assert_eq!(lines.len(), 11, "{lines:?}");
    }

    #[test]
    fn a_policy_has_few_lines_a_second() {
        let lines = logged(|| {
            for _ in 0..1000 {
                tracing::info!(target: GUEST, policy = "one", "a policy says: a");
                tracing::warn!(target: GUEST, policy = "two", "a policy says: b");
            }
        });
        assert!((40..200).contains(&lines.len()), "{}", lines.len());
    }

    /// What operators do, what a configuration brings, and what is no warning.
    #[test]
    fn what_no_request_makes_is_told_each_time() {
        let lines = logged(|| {
            for n in 0..10 {
                tracing::warn!(target: concat!("once", "gate::admin::operations"), n, "an operator resolved an operation");
                tracing::error!(target: LEDGER, n, "a record can't be read");
                tracing::info!(target: GATEWAY, n, "information");
            }
        });
        assert_eq!(lines.len(), 30, "{lines:?}");
    }

    fn kind() -> LineKind {
        let place = tracing::callsite!(name: "k", kind: tracing::metadata::Kind::EVENT, fields: );
        (place.metadata().callsite(), 0)
    }

    #[test]
    fn what_was_left_out_is_told_with_the_next() {
        let (told, begun, mut admitted) = (ToldLines::default(), Instant::now(), Vec::new());
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            for tenths in [0, 1, 9, 10, 11, 35] {
                let now = begun + Duration::from_millis(100 * tenths);
                admitted.push(told.admit(kind(), 1, now, String::new));
            }
        });
        assert_eq!(admitted, [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn what_was_left_out_is_told_without_a_next() {
        static ASKED: Mutex<Vec<Instant>> = Mutex::new(Vec::new());
        let asked = || ASKED.lock().expect("no holder panics").clone();
        let (told, begun) = (ToldLines::default(), Instant::now());
        told.remind(|at| ASKED.lock().expect("no holder panics").push(at));
        let at = |millis| begun + Duration::from_millis(millis);
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            let (one, two) = (kind(), (kind().0, 1));
            for (kind, millis) in [(&one, 0), (&two, 500), (&one, 600), (&two, 700), (&one, 800), (&one, 900)]
            {
                told.admit(kind.clone(), 1, at(millis), || format!("a line\u{1b} {}", kind.1));
            }
        });
        assert_eq!(asked(), [at(1_000), at(1_500)], "once a kind");
        assert_eq!(told.left_out(at(999)), (String::new(), Some(at(1_000))));
        let (text, next) = told.left_out(at(1_000));
        assert!(text.ends_with("WARN 3 lines like \"a line\\u{1b} 0\" were left out\n"), "{text}");
        assert_eq!(next, Some(at(1_500)));
        let (text, next) = told.left_out(at(9_000));
        assert!(text.contains("WARN 1 lines like") && text.lines().count() == 1, "{text}");
        assert_eq!((next, told.left_out(at(9_000))), (None, (String::new(), None)), "once");
    }
}
