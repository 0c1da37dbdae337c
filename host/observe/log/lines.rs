//! Lines on their way to standard error. Those who write one leave it here, and a thread of its own waits for
//! the reader. When nobody reads, what finds no room is dropped and counted.

use super::own::own_line;
use crate::metrics::LOG_LINES;
use std::io::{ErrorKind, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most bytes that wait, beside those that are being written.
const WAITING_MAX: usize = 1 << 20;
/// A write of so many bytes to a pipe goes in whole, whoever else writes there (`PIPE_BUF`).
const WHOLE_MAX: usize = 4096;
/// After a write, more lines are gathered for so long: one write takes them all.
const GATHERING: Duration = Duration::from_millis(2);
/// How long a reader that takes nothing is left alone, where standard error doesn't block.
const AGAIN: Duration = Duration::from_millis(10);

/// The lines that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Lines {
    state: Mutex<WaitingLines>,
    /// Tells the thread that there are lines, or that somebody waits for their end.
    come: Condvar,
    /// Tells who waits for it that lines are written.
    gone: Condvar,
}

#[derive(Debug, Default)]
struct WaitingLines {
    waiting: Vec<u8>,
    /// The thread sleeps until it is told of lines.
    is_asleep: bool,
    is_writing: bool,
    /// Somebody waits until everything is written.
    is_awaited: bool,
    /// Lines that found no room since this was told last.
    dropped: u64,
    /// When the thread looks whether something is to be told that nobody wrote.
    look_at: Option<Instant>,
}

/// What is to be told that nobody wrote, and when to ask again.
pub(super) type Untold = fn(Instant) -> (String, Option<Instant>);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, WaitingLines> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a line here, or drops it. Never waits.
    pub(super) fn add(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > WAITING_MAX {
            state.dropped += 1;
            LOG_LINES.unread.inc();
            return;
        }
        state.waiting.extend_from_slice(line);
        let was_asleep = std::mem::take(&mut state.is_asleep);
        drop(state);
        if was_asleep {
            self.come.notify_one();
        }
    }

    /// Has the thread look at that moment whether something is to be told.
    pub(super) fn look_at(&self, at: Instant) {
        let mut state = self.lock();
        state.look_at = Some(state.look_at.map_or(at, |before| before.min(at)));
        drop(state);
        self.come.notify_one();
    }

    /// Waits until all lines are written, at most `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let mut state = self.lock();
        state.is_awaited = true;
        self.come.notify_one();
        let is_left = |state: &mut WaitingLines| !state.waiting.is_empty() || state.is_writing;
        let (mut state, _) =
            self.gone.wait_timeout_while(state, limit, is_left).unwrap_or_else(PoisonError::into_inner);
        state.is_awaited = false;
    }

    /// Writes lines for ever.
    pub(super) fn write_to(&self, mut out: impl Write, untold: Untold) {
        let (mut lines, mut lost) = (Vec::new(), Unwritten::default());
        loop {
            self.take(&mut lines, untold);
            if lost.lines > 0 && write_lines(lost.told().as_bytes(), &mut out).lines == 0 {
                lost = Unwritten::default();
            }
            let now = write_lines(&lines, &mut out);
            LOG_LINES.unwritten.inc_by(now.lines);
            lost =
                Unwritten { lines: lost.lines + now.lines, breaks_line: lost.breaks_line || now.breaks_line };
        }
    }

    /// Waits for lines, and takes all of them in exchange for those that are written.
    fn take(&self, lines: &mut Vec<u8>, untold: Untold) {
        lines.clear();
        let mut state = self.lock();
        state.is_writing = false;
        if state.is_awaited {
            self.gone.notify_all();
        } else {
            let is_calm = |state: &mut WaitingLines| !state.is_awaited;
            (state, _) = self
                .come
                .wait_timeout_while(state, GATHERING, is_calm)
                .unwrap_or_else(PoisonError::into_inner);
        }
        loop {
            let now = Instant::now();
            let left = state.look_at.map(|at| at.saturating_duration_since(now));
            if left == Some(Duration::ZERO) {
                let (told, next) = untold(now);
                state.waiting.extend_from_slice(told.as_bytes());
                state.look_at = next;
                continue;
            }
            if !state.waiting.is_empty() {
                break;
            }
            state.is_asleep = true;
            let left = left.unwrap_or(Duration::MAX);
            (state, _) = self.come.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_asleep = false;
        state.is_writing = true;
        std::mem::swap(&mut state.waiting, lines);
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        if dropped > 0 {
            let told =
                format!("{dropped} lines of the log were dropped here, because nobody read them in time");
            lines.extend_from_slice(own_line("WARN", told).as_bytes());
        }
    }
}

/// Lines that could not be written since this was told last.
#[derive(Debug, Default)]
struct Unwritten {
    lines: u64,
    /// Of the first of them a part was written.
    breaks_line: bool,
}

impl Unwritten {
    fn told(&self) -> String {
        let told = format!("{} lines of the log could not be written here", self.lines);
        let end = if self.breaks_line { "\n" } else { "" };
        format!("{end}{}", own_line("WARN", told))
    }
}

/// Writes all lines, and returns what could not be written. A reader that is gone gets none, and must not fail a request.
fn write_lines(lines: &[u8], out: &mut impl Write) -> Unwritten {
    let mut rest = lines;
    while !rest.is_empty() {
        match out.write(&rest[..whole(rest)]) {
            Ok(0) => break,
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(AGAIN),
            Err(_) => break,
        }
    }
    let written = &lines[..lines.len() - rest.len()];
    Unwritten {
        lines: rest.split_inclusive(|byte| *byte == b'\n').count() as u64,
        breaks_line: !rest.is_empty() && written.last().is_some_and(|byte| *byte != b'\n'),
    }
}

/// The length of the whole lines that one write takes, or of the first line.
fn whole(lines: &[u8]) -> usize {
    let end = |lines: &[u8]| lines.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    let first = || lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |at| at + 1);
    end(&lines[..lines.len().min(WHOLE_MAX)]).unwrap_or_else(first)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use std::io::{self, BufRead as _, BufReader, Read as _};
    use std::sync::Arc;

    fn reading(lines: &Arc<Lines>) -> io::PipeReader {
        let (reader, writer) = io::pipe().unwrap();
        let lines = lines.clone();
        std::thread::spawn(move || lines.write_to(writer, |_| (String::new(), None)));
        reader
    }

    /// Standard error on a disk that has room for so many bytes, until it is given more.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let (written, room) = &mut *disk;
            let taken = bytes.len().min(*room);
            if taken == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            *room -= taken;
            written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_disk_refused_are_told() {
        for (room, before) in [(0, ""), (4, "one\n"), (6, "one\ntw\n"), (8, "one\ntwo\n")] {
            let (lines, disk) = (Arc::new(Lines::default()), Disk::default());
            disk.0.lock().unwrap().1 = room;
            let (theirs, out) = (lines.clone(), disk.clone());
            std::thread::spawn(move || theirs.write_to(out, |_| (String::new(), None)));
            for line in ["one\n", "two\n", "three\n"] {
                lines.add(line.as_bytes());
                lines.flush(Duration::from_secs(60));
            }
            disk.0.lock().unwrap().1 = usize::MAX;
            lines.add(b"four\n");
            lines.flush(Duration::from_secs(60));
            let told = String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap();
            let lost = 3 - before.matches('\n').count() + usize::from(before.contains("tw\n"));
            assert!(told.starts_with(before) && told.ends_with("\nfour\n"), "{room}: {told:?}");
            assert!(
                told.contains(&format!("{lost} lines of the log could not be written")),
                "{room}: {told:?}"
            );
        }
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let lines = Arc::new(Lines::default());
        let reader = reading(&lines);
        let long = "l".repeat(3 * WHOLE_MAX);
        let writing = lines.clone();
        let theirs = std::thread::spawn(move || {
            for n in 0..1000 {
                writing.add(format!("{n} {}\n", if n % 100 == 0 { &long } else { "" }).as_bytes());
            }
        });
        for (n, line) in BufReader::new(reader).lines().take(1000).enumerate() {
            assert!(line.unwrap().starts_with(&format!("{n} ")));
        }
        theirs.join().unwrap();
    }

    #[test]
    fn what_nobody_reads_is_dropped_and_told() {
        let lines = Arc::new(Lines::default());
        let reader = reading(&lines);
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let before = LOG_LINES.unread.get();
        for _ in 0..10_000 {
            lines.add(&line);
        }
        // A pipe, what is being written and what waits: 3 MiB at most.
        assert!(LOG_LINES.unread.get() - before > 7_000);
        lines.flush(Duration::from_millis(1));
        let mut told = String::new();
        let mut reader = BufReader::new(reader);
        while !told.contains("lines of the log were dropped") {
            told.clear();
            reader.read_line(&mut told).unwrap();
        }
        lines.add(b"the next\n");
        told.clear();
        reader.read_line(&mut told).unwrap();
        assert_eq!(told, "the next\n");
    }

    #[test]
    fn the_end_waits_for_the_last_line() {
        for n in 0..100 {
            let lines = Arc::new(Lines::default());
            let mut reader = reading(&lines);
            lines.add(b"first\n");
            lines.add(b"last\n");
            lines.flush(Duration::from_secs(60));
            let mut all = [0; 11];
            reader.read_exact(&mut all).unwrap();
            assert_eq!(&all, b"first\nlast\n", "{n}");
        }
    }

    #[test]
    fn a_reader_that_is_gone_holds_nothing_up() {
        let lines = Arc::new(Lines::default());
        drop(reading(&lines));
        for _ in 0..100 {
            lines.add(b"a line\n");
            lines.flush(Duration::from_secs(60));
        }
        assert!(lines.lock().waiting.is_empty());
    }

    #[test]
    fn what_nobody_wrote_is_told_in_time() {
        let lines = Arc::new(Lines::default());
        let (reader, writer) = io::pipe().unwrap();
        let theirs = lines.clone();
        // Once it is asked for, and not before its moment.
        let untold = |_| ("untold\n".to_owned(), None);
        std::thread::spawn(move || theirs.write_to(writer, untold));
        let mut told = BufReader::new(reader).lines().map(Result::unwrap);
        lines.look_at(Instant::now() + Duration::from_secs(3600));
        lines.add(b"first\n");
        assert_eq!(told.next().as_deref(), Some("first"));
        for _ in 0..3 {
            lines.look_at(Instant::now() + Duration::from_millis(1));
            assert_eq!(told.next().as_deref(), Some("untold"), "nobody writes a line");
        }
        lines.look_at(Instant::now());
        lines.add(b"last\n");
        let mut both = [told.next().unwrap(), told.next().unwrap()];
        both.sort();
        assert_eq!(both, ["last", "untold"]);
    }

    #[test]
    fn one_write_ends_with_a_line() {
        let short = b"a\nb\nc".repeat(1000);
        assert_eq!(short[whole(&short) - 1], b'\n');
        assert!(whole(&short) <= WHOLE_MAX && whole(&short) > WHOLE_MAX - 4);
        let long = [&[b'x'; 9000][..], b"\ny\n"].concat();
        assert_eq!((whole(&long), whole(b"no end"), whole(b"a\n")), (9001, 6, 2));
    }
}
