//! The state that callers, readers and the writer share: the next version, sizes, the open tables, whether a
//! write has failed, and where the due index begins.

use super::calls::Calls;
use super::heads::FoundDue;
use super::mark::Marking;
use super::tables::{Own, Tables};
use crate::{Backlog, Kinds, Size, StoreError, Version};
use arc_swap::ArcSwapOption;
use oncegate_core::{OperationId, Timestamp};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

/// The state that callers and the store's threads share.
pub(super) struct StoreState {
    version_next: AtomicU64,
    records: AtomicU64,
    kinds: Mutex<Kinds>,
    bytes: AtomicU64,
    /// The ledger time of the last batch that is committed, and of the last that is surely on disk.
    committed_until: AtomicU64,
    kept_until: AtomicU64,
    /// `None` until the writer has looked.
    backlog: Mutex<Option<Backlog>>,
    /// `None` while the database is being opened again.
    tables: RwLock<Option<Tables>>,
    failure: ArcSwapOption<FailedWrite>,
    /// Whether the disk has room for new records.
    room: AtomicBool,
    /// The disk's free bytes when they were looked up last. [`u64::MAX`]: nobody knows.
    free_bytes: AtomicU64,
    pub(super) due_floor: DueFloor,
    pub(super) found_due: FoundDue,
    pub(super) calls: Calls,
    /// Set before the first write, if the folder has a mark outside.
    pub(super) marking: OnceLock<Arc<Marking>>,
}

impl StoreState {
    pub(super) fn new(version_next: u64, own: &Own, bytes: u64, tables: Tables) -> Self {
        Self {
            version_next: version_next.into(),
            records: own.records.into(),
            kinds: Mutex::new(own.kinds),
            bytes: bytes.into(),
            committed_until: own.clock.as_millis().into(),
            kept_until: own.clock.as_millis().into(),
            backlog: Mutex::default(),
            tables: RwLock::new(Some(tables)),
            failure: ArcSwapOption::empty(),
            room: AtomicBool::new(true),
            free_bytes: AtomicU64::new(u64::MAX),
            due_floor: DueFloor::default(),
            found_due: FoundDue::default(),
            calls: Calls::default(),
            marking: OnceLock::new(),
        }
    }

    /// A version that nobody ever had.
    pub(super) fn version(&self) -> Version {
        Version(self.version_next.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn versions_taken(&self) -> u64 {
        self.version_next.load(Ordering::Relaxed)
    }

    /// Skips versions, as if they had been handed out.
    #[cfg(test)]
    pub(super) fn skip_versions(&self, to: u64) {
        self.version_next.fetch_max(to, Ordering::Relaxed);
    }

    /// Takes in a batch that everybody can read by now.
    pub(super) fn committed(&self, own: &Own, dues: impl Iterator<Item = Timestamp>) {
        self.count(own);
        if let Some(earliest) = dues.min() {
            self.due_floor.arrived(earliest);
        }
    }

    /// All that is committed is on disk.
    pub(super) fn kept(&self) {
        self.kept_until.store(self.committed_until.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The ledger time that a folder has seen, if nothing that was on its disk is missing.
    pub(super) fn kept_until(&self) -> Timestamp {
        Timestamp::from_millis(self.kept_until.load(Ordering::Relaxed))
    }

    fn count(&self, own: &Own) {
        self.committed_until.store(own.clock.as_millis(), Ordering::Relaxed);
        self.records.store(own.records, Ordering::Relaxed);
        *locked(&self.kinds) = own.kinds;
    }

    pub(super) fn sized(&self, bytes: u64, backlog: Backlog) {
        self.bytes.store(bytes, Ordering::Relaxed);
        let was = self.keeps_up();
        *locked(&self.backlog) = Some(backlog);
        match (was, self.keeps_up()) {
            (true, false) => tracing::error!(
                journal_bytes = backlog.journal,
                "the ledger's store does not keep up: its journal is far longer than it may be"
            ),
            (false, true) => tracing::info!("the ledger's store keeps up again"),
            _ => {}
        }
    }

    /// Whether the database gets its journal into tables.
    pub(super) fn keeps_up(&self) -> bool {
        locked(&self.backlog).is_none_or(|backlog| !backlog.is_too_long())
    }

    pub(super) fn size(&self) -> Size {
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        Size {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            kinds: *locked(&self.kinds),
            backlog: *locked(&self.backlog),
            unmarked: self.marking.get().map_or(0, |marking| marking.unmarked()),
            room: (free_bytes != u64::MAX).then_some(free_bytes),
        }
    }

    /// Records a failed write. Nothing is written until [`reopened`](Self::reopened). The first reason stays.
    pub(super) fn fail(&self, reason: &str, unclear: Unclear) {
        if self.failure.load().is_some() {
            return;
        }
        let text = format!("a write to its folder failed ({reason})");
        self.failure.store(Some(Arc::new(FailedWrite { text: text.into(), unclear })));
        tracing::error!(
            reason,
            "the ledger's store failed: nothing new is executed until it is open again, what it acknowledged can be read"
        );
    }

    /// Closes the failed handle: nobody reads through it any more.
    pub(super) fn close_tables(&self) {
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Closes the tables, and opens others. Readers wait until that is done.
    pub(super) fn replace_tables(
        &self,
        open: impl FnOnce() -> Result<Tables, String>,
    ) -> Result<Tables, String> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        *tables = None;
        let opened = open()?;
        *tables = Some(opened.clone());
        self.due_floor.reset();
        Ok(opened)
    }

    /// Ends the failure: the database can be used again, with these tables.
    pub(super) fn reopened(&self, tables: Tables, own: &Own) {
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = Some(tables);
        self.count(own);
        self.kept();
        self.due_floor.reset();
        self.failure.store(None);
    }

    /// Whether a write has failed, and the database isn't open again yet.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.load().is_some()
    }

    pub(super) fn failure_text(&self) -> Arc<str> {
        let failure = self.failure.load();
        failure.as_ref().map_or_else(|| "its thread has ended".into(), |failure| failure.text.clone())
    }

    /// The error of a call of which surely nothing is written.
    pub(super) fn failure_error(&self) -> StoreError {
        StoreError::Unavailable(self.failure_text())
    }

    /// An error once a write has failed.
    pub(super) fn refusal(&self) -> Result<(), StoreError> {
        if self.has_failed() { Err(self.failure_error()) } else { Ok(()) }
    }

    /// Reads. After a failure only certain data is read: acknowledged writes, and nothing that the failed
    /// write may have changed.
    pub(super) fn read<T>(
        &self,
        of: ReadSubject,
        read: impl FnOnce(&Tables) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(failure) = &*self.failure.load()
            && failure.unclear.covers(of)
        {
            return Err(self.failure_error());
        }
        match &*self.tables.read().unwrap_or_else(PoisonError::into_inner) {
            Some(tables) => read(tables),
            None => Err(self.failure_error()),
        }
    }

    /// The open tables.
    #[cfg(test)]
    pub(super) fn tables(&self) -> Option<Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records what the disk has free, and whether that is room. True where the latter has changed.
    pub(super) fn set_room(&self, free_bytes: u64, room: bool) -> bool {
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
        self.room.swap(room, Ordering::Relaxed) != room
    }

    pub(super) fn has_room(&self) -> bool {
        self.room.load(Ordering::Relaxed)
    }
}

/// A failed write.
struct FailedWrite {
    text: Arc<str>,
    unclear: Unclear,
}

/// The parts of the store that a failed write may have changed.
pub(super) enum Unclear {
    /// These records and documents.
    Of(HashSet<OperationId>, HashSet<&'static str>),
    /// Nobody can say: any part.
    All,
}

/// The subject of a read.
#[derive(Clone, Copy)]
pub(super) enum ReadSubject {
    Record(OperationId),
    Document(&'static str),
    /// A list of records, each of which is read again before anything follows from it.
    List,
}

impl Unclear {
    pub(super) fn nothing() -> Self {
        Self::Of(HashSet::new(), HashSet::new())
    }

    fn covers(&self, subject: ReadSubject) -> bool {
        match (self, subject) {
            (Self::All, _) => true,
            (Self::Of(records, _), ReadSubject::Record(id)) => records.contains(&id),
            (Self::Of(_, documents), ReadSubject::Document(name)) => documents.contains(name),
            (Self::Of(..), ReadSubject::List) => false,
        }
    }
}

/// A moment before which nothing is due. Each operation leaves a trail of removed entries in the due index.
/// Scans that start at this moment need not walk over them until the database has merged them away.
#[derive(Default)]
pub(super) struct DueFloor {
    marks: Mutex<DueMarks>,
    /// One scan at a time: the marks are about it.
    scan: Mutex<()>,
}

#[derive(Default)]
struct DueMarks {
    floor: Timestamp,
    /// The earliest entry that arrived since the scan began.
    arrived: Timestamp,
}

impl DueFloor {
    /// Takes in an entry, after it can be read and before anybody is told of it. (If this came
    /// earlier, a scan between this call and the write would miss the entry and raise the floor over it.)
    fn arrived(&self, due: Timestamp) {
        let mut marks = locked(&self.marks);
        marks.floor = marks.floor.min(due);
        marks.arrived = marks.arrived.min(due);
    }

    /// Forgets the learned floor: the index was opened again.
    fn reset(&self) {
        *locked(&self.marks) = DueMarks::default();
    }

    /// Runs a scan for entries up to `until`, from the moment that the scan is given, and learns from its
    /// result.
    pub(super) fn scan(
        &self,
        until: Timestamp,
        run: impl FnOnce(Timestamp) -> Result<Vec<(Timestamp, OperationId)>, StoreError>,
    ) -> Result<Vec<(Timestamp, OperationId)>, StoreError> {
        let _one = locked(&self.scan);
        let from = {
            let mut marks = locked(&self.marks);
            marks.arrived = Timestamp::MAX;
            marks.floor
        };
        let found = run(from)?;
        // An entry due exactly at `until` may yet arrive; the floor may stand on `until`, not above.
        let first = found.first().map_or(until.max(from), |(due, _)| *due);
        let mut marks = locked(&self.marks);
        marks.floor = first.min(marks.arrived);
        Ok(found)
    }
}

/// The critical sections here can't panic half-way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn the_floor_rises_with_scans_and_falls_with_arrivals() {
        let (floor, at, id) = (DueFloor::default(), Timestamp::from_secs, OperationId([0; 32]));
        let scan = |until, expected_from, found: Vec<Timestamp>, arriving: Option<Timestamp>| {
            let found: Vec<_> = found.into_iter().map(|due| (due, id)).collect();
            let run = |from| {
                assert_eq!(from, expected_from);
                arriving.into_iter().for_each(|due| floor.arrived(due));
                Ok(found)
            };
            floor.scan(until, run).unwrap();
        };
        scan(at(10), at(0), vec![], None);
        scan(at(20), at(10), vec![at(15)], None);
        // A found entry stays due until its record is changed.
        scan(at(20), at(15), vec![], None);
        scan(at(30), at(20), vec![], Some(at(5)));
        scan(at(30), at(5), vec![], None);
        // A scan of earlier times doesn't take the floor down, nor one of later ones above arrivals.
        scan(at(1), at(30), vec![], None);
        floor.arrived(at(29));
        scan(at(40), at(29), vec![at(29)], Some(at(35)));
        scan(at(40), at(29), vec![at(35)], None);
        scan(at(40), at(35), vec![], None);
    }
}
