//! A copy of what lives, in a database of its own beside the store's, and the exchange of the two.
//!
//! The copy is on the disk, has been opened and compared, and nothing of it is in its journal, before it takes the
//! database's place. That is one step of the file system. What stands in the copy's place when a process begins is
//! removed: a copy that was not finished, or the database that was before.

use super::folder::{journals, sync_folder};
use super::paths::is_mounted;
use super::tables::{StoredRecord, Tables, due_key, operation_of};
use crate::Kinds;
use fjall::{OwnedWriteBatch, PersistMode};
use oncegate_core::Durability;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// The copy's place in the folder.
pub(super) const COPY: &str = "db.copy";
/// The bounds of one batch.
const ENTRIES: usize = 4096;
const BYTES: usize = 1 << 20;
const PAUSE: Duration = Duration::from_millis(2);

/// Makes a copy of what lives. An error: there is none, because somebody writes, because more lives than `limit`
/// bytes, or because something failed.
pub(super) fn make(from: &Tables, folder: &Path, limit: u64, enough: &AtomicBool) -> Result<(), String> {
    let made = try_make(from, folder, &folder.join(COPY), limit, enough);
    if made.is_err() {
        let _ = clear(folder);
    }
    made
}

fn try_make(
    from: &Tables,
    folder: &Path,
    path: &Path,
    limit: u64,
    enough: &AtomicBool,
) -> Result<(), String> {
    clear(folder).map_err(words)?;
    can_exchange(path).map_err(words)?;
    let to = Tables::open(path, false, folder, Durability::Async).map_err(words)?;
    let batch = to.batch(ENTRIES, PersistMode::Buffer);
    let copy = Copy { from, to, enough, left: limit, kinds: Kinds::default(), batch, entries: 0, bytes: 0 };
    let records = copy.run()?;
    for journal in journals(path).map_err(words)? {
        File::create(journal).map_err(words)?;
    }
    let whole = Tables::open_whole(path, folder)?;
    if whole.own().map_err(words)? != from.own().map_err(words)? || whole.entries() != records {
        return Err("the copy is not whole".into());
    }
    drop(whole);
    sync_all(path).and_then(|()| sync_folder(folder)).map_err(words)
}

/// Exchanges the database and its copy, which is on the disk once the folder is synced. Nobody has either open.
pub(super) fn exchange(folder: &Path, database: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, database, CWD, folder.join(COPY), RenameFlags::EXCHANGE)?)
}

/// Makes sure that an exchange of an earlier process is on the disk, before anything is written.
pub(super) fn settle(folder: &Path) -> io::Result<()> {
    if folder.join(COPY).exists() { sync_folder(folder) } else { Ok(()) }
}

/// Removes what stands in the copy's place. True: there was something.
pub(super) fn clear(folder: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(folder.join(COPY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// Whether a database is a folder of this one's disk, so that another can take its place.
pub(super) fn can_be_replaced(folder: &Path, database: &Path) -> bool {
    let found = (fs::symlink_metadata(database), fs::metadata(folder));
    let (Ok(database_is), Ok(folder_is)) = found else { return false };
    database_is.is_dir() && database_is.dev() == folder_is.dev() && !is_mounted(database)
}

/// An error where the file system exchanges nothing. The copy's place is free after it.
fn can_exchange(path: &Path) -> io::Result<()> {
    let (one, other) = (path.join("1"), path.join("2"));
    // Not the folder above, which may have been taken away.
    fs::create_dir(path)?;
    fs::create_dir(&one)?;
    fs::create_dir(&other)?;
    renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE)?;
    fs::remove_dir_all(path)
}

/// Syncs all files and folders below a path.
fn sync_all(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_all(&entry.path())?,
            false => File::open(entry.path())?.sync_all()?,
        }
    }
    sync_folder(path)
}

struct Copy<'a> {
    from: &'a Tables,
    to: Tables,
    enough: &'a AtomicBool,
    /// How many bytes may yet be copied.
    left: u64,
    kinds: Kinds,
    batch: OwnedWriteBatch,
    entries: usize,
    bytes: usize,
}

impl Copy<'_> {
    /// Copies all. Returns the number of records.
    fn run(mut self) -> Result<u64, String> {
        let own = self.from.own().map_err(words)?.ok_or("the store's own document is missing")?;
        // In parts, because what was removed is passed over in one go.
        for first in 0..=u8::MAX {
            let (mut least, mut most) = ([0; 32], [0xff; 32]);
            (least[0], most[0]) = (first, first);
            for guard in self.from.records.range(least..=most) {
                let (key, value) = guard.into_inner().map_err(words)?;
                self.record(&key, value)?;
            }
            self.go_on()?;
        }
        for guard in self.from.meta.iter() {
            let (key, value) = guard.into_inner().map_err(words)?;
            self.put(key.len() + value.len(), |to, batch| batch.insert(&to.meta, key, value))?;
        }
        if (self.kinds, self.kinds.total()) != (own.kinds, own.records) {
            return Err(format!("{} records were found where {} are", self.kinds.total(), own.records));
        }
        self.commit()?;
        self.to.flush(|| self.go_on())?;
        Ok(own.records)
    }

    /// Copies a record, and makes what the indexes have of it.
    fn record(&mut self, key: &[u8], value: fjall::UserValue) -> Result<(), String> {
        let id = operation_of(key).map_err(words)?;
        let head = StoredRecord::try_new(value.clone()).map_err(words)?.head;
        self.kinds.change(None, Some(head.kind));
        self.put(2 * key.len() + value.len() + 17, |to, batch| {
            batch.insert(&to.records, id.0, value);
            batch.insert(&to.due, due_key(head.due, id), head.due_value());
            if let Some(index) = to.index(head.kind) {
                batch.insert(index, id.0, []);
            }
        })
    }

    fn put(&mut self, bytes: usize, put: impl FnOnce(&Tables, &mut OwnedWriteBatch)) -> Result<(), String> {
        self.go_on()?;
        self.left = self.left.checked_sub(bytes as u64).ok_or("more lives than was thought")?;
        put(&self.to, &mut self.batch);
        (self.entries, self.bytes) = (self.entries + 1, self.bytes + bytes);
        if self.entries >= ENTRIES || self.bytes >= BYTES { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), String> {
        let next = self.to.batch(ENTRIES, PersistMode::Buffer);
        let batch = std::mem::replace(&mut self.batch, next);
        (self.entries, self.bytes) = (0, 0);
        self.to.keep_back(|| ()).map_err(words)?;
        batch.commit().map_err(words)?;
        self.to.seal_full().map_err(words)
    }

    fn go_on(&self) -> Result<(), String> {
        if self.enough.load(Ordering::Relaxed) { Err("somebody writes".into()) } else { Ok(()) }
    }
}

impl Tables {
    /// Puts all that waits in memory into tables.
    fn flush(&self, go_on: impl Fn() -> Result<(), String>) -> Result<(), String> {
        self.seal(|size, _| size > 0).map_err(words)?;
        while self.memtables().iter().any(|(keyspace, _)| keyspace.sealed_memtable_count() > 0) {
            go_on()?;
            // This writes nothing new. It fails where the database's worker has died.
            self.db.persist(PersistMode::Buffer).map_err(words)?;
            sleep(PAUSE);
        }
        Ok(())
    }

    /// The number of records in tables and memory, with all that is there of each.
    fn entries(&self) -> u64 {
        self.records.approximate_len() as u64
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
