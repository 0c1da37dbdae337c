//! The mark of the last acknowledged change, in a file outside of the folder. A folder that is put back from a
//! copy has forgotten operations, and nothing in it tells so; the mark does.
//!
//! Each batch that changes records counts up a number in the folder. A thread writes the number that is surely
//! on disk to the file, once a second where it changed, and at the end. So nobody who claims a key waits for the
//! file, and the folder is never behind it, unless changes were lost.

use super::folder::{can_be_used, sync_folder, write_synced};
use super::mark_error::{Gap, MarkError, RefusedCall};
use super::paths::{is_mounted, leads_into, parent, resolved};
use super::tables::Tables;
use crate::StoreError;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use oncegate_core::{LostRecords, Timestamp};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The time between two looks at what is to be written.
const INTERVAL: Duration = Duration::from_secs(1);
/// The key of the folder's own mark among the documents.
pub(super) const MARKED: &[u8] = b"marked";
/// The first line of the file.
const FIRST_LINE: &str = "oncegate ledger, mark 1";

/// The file of a mark, and what becomes of a folder that is behind it.
#[derive(Clone, Debug)]
pub struct MarkFile {
    /// The file.
    pub path: PathBuf,
    /// Whether a folder that is behind its mark is opened nevertheless.
    pub lost: LostRecords,
    /// Whether the mark is only compared, and nothing is written.
    pub is_only_read: bool,
}

impl MarkFile {
    /// Looks whether the file can stand where it is, and makes nothing.
    pub(super) fn look(&self, folder: &Path) -> Result<(), MarkError> {
        let file = resolved(&self.path);
        if leads_into(parent(&self.path), folder) || leads_into(&file, folder) {
            return Err(MarkError::Inside { folder: folder.into(), file: self.path.clone() });
        }
        // A new file takes the place of the old one, which it can't where that is a place to mount on.
        if is_mounted(&file) {
            return Err(MarkError::Mounted(self.path.clone()));
        }
        can_be_used(parent(&file)).map_err(|source| self.refused(parent(&file), source))
    }

    /// Compares a folder without a ledger with the mark.
    pub(super) fn compare_with_nothing(&self, folder: &Path) -> Result<(), MarkError> {
        compare(None, Mark::read(self)?, folder, self).map(drop)
    }

    fn refused(&self, path: &Path, source: io::Error) -> MarkError {
        MarkError::Io { file: self.path.clone(), refused: RefusedCall { path: path.into(), source } }
    }
}

/// A mark: which ledger, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    ledger: u128,
    changes: u64,
    time: Timestamp,
}

impl Mark {
    /// The mark of a ledger that has none.
    fn fresh() -> io::Result<Self> {
        let mut ledger = [0; 16];
        getrandom::fill(&mut ledger).map_err(io::Error::other)?;
        Ok(Self { ledger: u128::from_be_bytes(ledger), changes: 0, time: Timestamp::default() })
    }

    /// The folder's own.
    fn of(tables: &Tables, time: Timestamp) -> Result<Option<Self>, StoreError> {
        let Some(value) = tables.meta_value(MARKED)? else { return Ok(None) };
        let read = || {
            let (ledger, changes) = value.split_first_chunk()?;
            let (ledger, changes) =
                (u128::from_be_bytes(*ledger), u64::from_be_bytes(changes.try_into().ok()?));
            Some(Self { ledger, changes, time })
        };
        read().map(Some).ok_or_else(|| StoreError::Corrupt("the folder's own mark has another size".into()))
    }

    /// The file's.
    fn read(mark: &MarkFile) -> Result<Option<Self>, MarkError> {
        // A pipe or a device would be read without end.
        let is_file = |found: fs::Metadata| {
            found.is_file().then_some(()).ok_or_else(|| io::Error::other("it is no regular file"))
        };
        let text = match fs::metadata(&mark.path).and_then(is_file).and_then(|()| fs::read(&mark.path)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(mark.refused(&mark.path, source)),
        };
        let mut lines = text.lines();
        let mut read = || {
            if lines.next()? != FIRST_LINE {
                return None;
            }
            let ledger = u128::from_str_radix(lines.next()?.strip_prefix("ledger ")?, 16).ok()?;
            let changes = lines.next()?.strip_prefix("changes ")?.parse().ok()?;
            let time = lines.next()?.strip_prefix("time ")?.parse().ok()?;
            Some(Self { ledger, changes, time: Timestamp::from_millis(time) })
        };
        read().map(Some).ok_or_else(|| MarkError::NoMark(mark.path.clone()))
    }

    /// Writes the file, whole or not at all. Where it is a link, the file that it leads to is written: it is to lie on
    /// that disk.
    fn write(&self, file: &Path) -> Result<(), RefusedCall> {
        let file = &resolved(file);
        let at = |path: &Path, source| RefusedCall { path: path.into(), source };
        let Self { ledger, changes, time } = self;
        let mut new = file.as_os_str().to_owned();
        new.push(".new");
        let text =
            format!("{FIRST_LINE}\nledger {ledger:032x}\nchanges {changes}\ntime {}\n", time.as_millis());
        let written = write_synced(Path::new(&new), &text).map_err(|source| at(Path::new(&new), source));
        let written = written.and_then(|()| fs::rename(&new, file).map_err(|source| at(file, source)));
        if written.is_err() {
            // It takes room, and is nobody's.
            let _is_there = fs::remove_file(&new);
        }
        written?;
        sync_folder(parent(file)).map_err(|source| at(parent(file), source))
    }

    fn to_value(self) -> [u8; 24] {
        let mut value = [0; 24];
        value[..16].copy_from_slice(&self.ledger.to_be_bytes());
        value[16..].copy_from_slice(&self.changes.to_be_bytes());
        value
    }
}

/// The mark with which a folder goes on, by its own and the file's, and what is given up for that.
fn compare(
    own: Option<Mark>,
    filed: Option<Mark>,
    folder: &Path,
    mark: &MarkFile,
) -> Result<(Mark, Option<MarkError>), MarkError> {
    let (folder, file) = (folder.to_owned(), mark.path.clone());
    let (next, lost) = match (own, filed) {
        (None, None) => return Ok((Mark::fresh().map_err(|source| mark.refused(&file, source))?, None)),
        // Its mark was begun, and the file could not be written. Nothing has changed since.
        (Some(own), None) if own.changes == 0 => return Ok((own, None)),
        (Some(own), None) => (own, MarkError::Missing { folder, file }),
        (Some(own), Some(filed)) if own.ledger != filed.ledger => {
            return Err(MarkError::Foreign { folder, file });
        }
        (Some(own), Some(filed)) if own.changes >= filed.changes => return Ok((own, None)),
        // Of a ledger without changes nothing can be missing.
        (None, Some(filed)) if filed.changes == 0 => return Ok((filed, None)),
        (own, Some(filed)) => {
            let changes = filed.changes - own.map_or(0, |own| own.changes);
            let gap = Gap { changes, since: own.map(|own| own.time), until: filed.time };
            // Another copy of the same folder is behind this one from now on.
            let next = Mark { changes: filed.changes.saturating_add(1), ..filed };
            (next, MarkError::Behind { folder, file, gap })
        }
    };
    match mark.lost {
        LostRecords::GiveUp => Ok((next, Some(lost))),
        LostRecords::Refuse => Err(lost),
    }
}

/// Tells the log what is given up.
fn tell(lost: &MarkError, next: Mark) {
    match lost {
        MarkError::Behind { folder, file, gap } => tracing::warn!(
            folder = %folder.display(), mark_file = %file.display(),
            "the ledger is older than its mark and goes on by --accept-duplicates: {gap}. What was executed then can run a second time"
        ),
        _ => tracing::warn!(
            changes = next.changes, until = %next.time,
            "the ledger's mark is missing and is made anew by --accept-duplicates: nobody knows whether the folder is the newest, and what it lacks can run a second time"
        ),
    }
}

/// Tells the log that the file can't be written, which stops nothing.
fn tell_unwritten(file: &Path, error: &RefusedCall) {
    tracing::error!(
        file = %file.display(), %error,
        "the ledger's mark can't be written: if a copy is put back, what was executed since its last writing goes unnoticed"
    );
}

/// The number of the folder's last change; 0 where nobody counts them.
pub(super) fn last_change(tables: &Tables) -> Result<u64, StoreError> {
    Ok(Mark::of(tables, Timestamp::default())?.map_or(0, |own| own.changes))
}

/// How far the folder is, for its writer and the thread that writes the file.
#[derive(Debug)]
pub(super) struct Marking {
    ledger: u128,
    /// The last change that is surely on disk, and its time.
    kept: AtomicU64,
    time: AtomicU64,
    /// The last change that is in the file.
    written: AtomicU64,
}

impl Marking {
    /// Compares the folder with its mark, and brings both to the same number.
    pub(super) fn begin(
        tables: &Tables,
        time: Timestamp,
        folder: &Path,
        mark: &MarkFile,
    ) -> Result<Self, MarkError> {
        let own = Mark::of(tables, time).map_err(|error| mark.refused(folder, io::Error::other(error)))?;
        let filed = Mark::read(mark)?;
        let (next, lost) = compare(own, filed, folder, mark)?;
        let is_whole = lost.is_none();
        if !mark.is_only_read {
            if let Some(lost) = lost {
                tell(&lost, next);
            }
            // The folder first: it may be ahead, and never behind.
            if own.is_none_or(|own| own.changes != next.changes) {
                let put = tables.put_now(MARKED, &next.to_value());
                put.map_err(|error| mark.refused(folder, io::Error::other(error)))?;
            }
        }
        let mut marking = Self::new(next, time, next.changes);
        if !mark.is_only_read && filed.is_none_or(|filed| filed.changes != next.changes) {
            match (next.write(&mark.path), filed) {
                (Ok(()), _) => {}
                // As while it runs: the folder is ahead, and the file follows once it can be written.
                (Err(error), Some(filed)) if is_whole => {
                    tell_unwritten(&mark.path, &error);
                    marking.written = filed.changes.into();
                }
                (Err(refused), _) => return Err(MarkError::Io { file: mark.path.clone(), refused }),
            }
        }
        Ok(marking)
    }

    /// Counts the changes of a folder that has had a mark, and is opened without: none is written, and a later one is
    /// compared with all of them.
    pub(super) fn without_a_file(tables: &Tables, time: Timestamp) -> Result<Option<Self>, StoreError> {
        let Some(own) = Mark::of(tables, time)? else { return Ok(None) };
        tracing::warn!(
            "this ledger has had a mark, and `ledger.mark_file` is not set: the mark is not kept up, and a copy of the data folder that is put back goes unnoticed"
        );
        Ok(Some(Self::new(own, time, u64::MAX)))
    }

    fn new(mark: Mark, time: Timestamp, written: u64) -> Self {
        let (kept, time) = (mark.changes.into(), time.as_millis().into());
        Self { ledger: mark.ledger, kept, time, written: written.into() }
    }

    /// The folder's own mark at this change.
    pub(super) fn value(&self, changes: u64) -> [u8; 24] {
        Mark { ledger: self.ledger, changes, time: Timestamp::default() }.to_value()
    }

    /// All changes up to this one are surely on disk, the last of them made at this time.
    pub(super) fn keep(&self, changes: u64, time: Timestamp) {
        self.time.store(time.as_millis(), Ordering::Relaxed);
        self.kept.store(changes, Ordering::Release);
    }

    /// Goes on with the folder as it was found when it was opened again, all of it on disk. An error: changes
    /// that were on disk are missing. A start would be refused, too.
    pub(super) fn resume(&self, changes: u64, time: Timestamp) -> Result<(), String> {
        let kept = self.kept.load(Ordering::Acquire);
        if changes < kept {
            return Err(format!("change {kept} of its records was on disk, and its last is {changes} now"));
        }
        self.keep(changes, time);
        Ok(())
    }

    /// How many changes on disk the file does not have. More than those of a second or two: it can't be written.
    pub(super) fn unmarked(&self) -> u64 {
        self.kept.load(Ordering::Acquire).saturating_sub(self.written.load(Ordering::Relaxed))
    }

    fn mark(&self) -> Mark {
        let changes = self.kept.load(Ordering::Acquire);
        let time = Timestamp::from_millis(self.time.load(Ordering::Relaxed));
        Mark { ledger: self.ledger, changes, time }
    }
}

/// The thread that writes the file. It writes a last time when this is dropped.
#[derive(Debug)]
pub(super) struct MarkWriter {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MarkWriter {
    pub(super) fn start(marking: Arc<Marking>, file: PathBuf) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let thread = std::thread::Builder::new().name("store-mark".into());
        let thread = thread.spawn(move || run(&marking, &file, &stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for MarkWriter {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // The thread's panic, if there was one, has been reported already.
            let _ = thread.join();
        }
    }
}

fn run(marking: &Marking, file: &Path, stopped: &Receiver<()>) {
    // A start has told what it could not write.
    let mut told = marking.unmarked() > 0;
    loop {
        let is_last = stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Disconnected);
        let mark = marking.mark();
        if mark.changes != marking.written.load(Ordering::Relaxed) {
            match mark.write(file) {
                Ok(()) => {
                    marking.written.store(mark.changes, Ordering::Relaxed);
                    if std::mem::take(&mut told) {
                        tracing::info!(file = %file.display(), "the ledger's mark is written again");
                    }
                }
                Err(error) if !told => {
                    told = true;
                    tell_unwritten(file, &error);
                }
                Err(_) => {}
            }
        }
        if is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mark");
        let mark_file = MarkFile { path: file.clone(), lost: LostRecords::Refuse, is_only_read: false };
        assert_eq!(Mark::read(&mark_file).unwrap(), None);
        for changes in [0, 7, u64::MAX] {
            let mark = Mark { ledger: 0xab, changes, time: Timestamp::from_millis(5) };
            mark.write(&file).unwrap();
            assert_eq!(Mark::read(&mark_file).unwrap(), Some(mark));
        }
        let text = fs::read_to_string(&file).unwrap();
        for end in 0..text.len() - 1 {
            fs::write(&file, &text[..end]).unwrap();
            let cut = Mark::read(&mark_file);
            assert!(cut.is_err() || end > text.find("time").unwrap(), "{end}: {cut:?}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // A link leads to another disk, and goes on to.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mark = Mark { ledger: 0xab, changes: 8, time: Timestamp::from_millis(5) };
        mark.write(&link).unwrap();
        assert!(link.is_symlink());
        assert_eq!(Mark::read(&mark_file).unwrap(), Some(mark));
    }

    /// A batch that failed may have reached the folder or not: the mark follows what is there.
    #[test]
    fn a_mark_goes_on_with_what_is_found() {
        let at = Timestamp::from_secs;
        let marking = Marking { ledger: 1, kept: 6.into(), time: 0.into(), written: 6.into() };
        for (found, kept) in [(6, Some(6)), (7, Some(7)), (6, None), (0, None), (9, Some(9))] {
            let before = marking.mark();
            let resumed = marking.resume(found, at(found));
            assert_eq!(resumed.is_ok(), kept.is_some(), "{found}: {resumed:?}");
            let after = kept.map_or(before, |changes| Mark { ledger: 1, changes, time: at(found) });
            assert_eq!(marking.mark(), after, "{found}");
        }
    }

    #[test]
    fn a_folder_behind_its_mark_is_refused() {
        let at = |ledger, changes| Some(Mark { ledger, changes, time: Timestamp::from_secs(changes) });
        let (one, two, all) = (
            "1 change of its records is missing, made after 1970-01-01T00:00:04Z and until 1970-01-01T00:00:05Z",
            "2 changes of its records are missing, made after 1970-01-01T00:00:03Z and until 1970-01-01T00:00:05Z",
            "5 changes of its records are missing, all of them, made until 1970-01-01T00:00:05Z",
        );
        let mark = |lost| MarkFile { path: "mark".into(), lost, is_only_read: false };
        let compared = |own, filed, lost| match compare(own, filed, Path::new("data"), &mark(lost)) {
            Ok((next, lost)) => format!("{}{}", next.changes, lost.map_or("", |_| ", told")),
            Err(MarkError::Behind { gap, .. }) => gap.to_string(),
            Err(MarkError::Missing { .. }) => "missing".to_owned(),
            Err(MarkError::Foreign { .. }) => "foreign".to_owned(),
            Err(other) => other.to_string(),
        };
        for (own, filed, refused, given_up) in [
            (None, None, "0", "0"),
            (at(1, 0), None, "0", "0"),
            (at(1, 5), at(1, 5), "5", "5"),
            (at(1, 6), at(1, 5), "6", "6"),
            (at(1, 4), at(1, 5), one, "6, told"),
            (at(1, 3), at(1, 5), two, "6, told"),
            (None, at(1, 5), all, "6, told"),
            (None, at(1, 0), "0", "0"),
            (at(1, 0), at(1, 0), "0", "0"),
            (at(1, 5), None, "missing", "5, told"),
            (at(2, 5), at(1, 5), "foreign", "foreign"),
        ] {
            assert_eq!(compared(own, filed, LostRecords::Refuse), refused, "{own:?} {filed:?}");
            assert_eq!(compared(own, filed, LostRecords::GiveUp), given_up, "{own:?} {filed:?}");
        }
    }
}
