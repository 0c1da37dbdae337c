//! Reopening after a failed write. Nothing that the old handle says of writes is believed again. Records that
//! it acknowledged before can still be read through it. This module waits until the disk takes writes, and
//! then opens the database anew, on the writer's thread and under the folder's lock.
//!
//! After a failed fsync the system may keep the unwritten data in its cache, call it clean, and lose it with
//! the power later (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). So the
//! journals are copied to new files, one by one, and those are synced before the database is opened: all that
//! the database then finds is on the disk. A disk that has no room for a copy has the journal written again in
//! its place, which takes none, and is given the ballast back.
//!
//! Somebody may have put another folder in the place meanwhile, a copy say. It lacks what was acknowledged since, and is not
//! opened.

use super::ballast::{self, is_want_of_room};
use super::calls::{Queued, Works};
use super::copy;
use super::folder::{HeldLock, files, journals, sync_folder};
use super::mark;
use super::shared::{ReadSubject, StoreState};
use super::tables::{Own, Tables, panic_text};
use super::writer::{Command, VERSIONS_RESERVED_AT_ONCE};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use fjall::PersistMode;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first wait before the disk is tried; each further wait is twice as long.
const TRY: Duration = Duration::from_millis(100);
/// The longest such wait.
const TRY_MAX: Duration = Duration::from_secs(2);
/// A trial write is as large as the largest copy, plus this.
const TRIAL_BYTES: u64 = 1 << 20;
const TRIAL: &str = "oncegate.trial";
/// The extension of a journal's copy.
const RENEWED: &str = "renewed";
const BLOCK: usize = 64 << 10;
/// How to go on with a folder that is not the one of before.
const PUT_BACK: &str = "put the folder back, or restart and know that what it lacks can run a second time";

/// Everything that opening the database again needs.
pub(super) struct Reopening {
    pub(super) folder: PathBuf,
    pub(super) database: PathBuf,
    pub(super) lock: HeldLock,
    pub(super) shared: Arc<StoreState>,
}

impl Reopening {
    /// Refuses calls to the writer until the database is open again. `None`: the store is closed.
    pub(super) fn run(&self, commands: &Receiver<Queued<Command>>) -> Option<(Tables, Own)> {
        let begun = Instant::now();
        let mut pause = TRY;
        loop {
            if !self.refuse_until(commands, Instant::now() + pause) {
                return None;
            }
            // The database asserts some of what it reads and writes: a panic must not end the writer.
            let attempt = catch_unwind(AssertUnwindSafe(|| self.attempt()))
                .unwrap_or_else(|panic| Err(panic_text(&*panic)));
            match attempt {
                Ok((tables, own)) => {
                    self.shared.reopened(tables.clone(), &own);
                    tracing::info!(
                        folder = %self.folder.display(),
                        seconds = begun.elapsed().as_secs(),
                        records = own.records,
                        "the ledger's store is open again"
                    );
                    return Some((tables, own));
                }
                Err(reason) => {
                    tracing::warn!(folder = %self.folder.display(), reason, "the ledger's store can't be opened again yet");
                }
            }
            pause = (pause * 2).min(TRY_MAX);
        }
    }

    /// Refuses calls until that moment. False: nobody can ask any more.
    fn refuse_until(&self, commands: &Receiver<Queued<Command>>, until: Instant) -> bool {
        loop {
            match commands.recv_deadline(until) {
                Ok(command) => command.message.refuse(self.shared.failure_error()),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn attempt(&self) -> Result<(Tables, Own), String> {
        let words = |error: io::Error| match is_want_of_room(&error) {
            true => format!("its disk is full, make room on it: {error}"),
            false => error.to_string(),
        };
        self.see_that_it_is_ours()?;
        // Whatever is written from now on is written to the folder that the disk has as the database.
        sync_folder(&self.folder).map_err(words)?;
        clear(&self.folder, &self.database);
        // The old handle can be read while it is there, so it goes only when there is hope.
        match self.try_disk(self.largest_copy().map_err(words)?) {
            Err(error) if is_want_of_room(&error) => {
                let _ = copy::clear(&self.folder);
                ballast::give_back(&self.folder);
                match self.try_disk(0) {
                    Err(error) if is_want_of_room(&error) && self.has_leftovers() => {}
                    tried => tried.map_err(words)?,
                }
            }
            tried => tried.map_err(words)?,
        }
        self.shared.close_tables();
        renew_journals(&self.database).map_err(words)?;
        // The system still has the data that it took: no more than the last batch can be torn.
        let tables = self.open()?;
        let own = begin(&tables, self.shared.versions_taken()).map_err(|e| e.to_string())?;
        if let Some(marking) = self.shared.marking.get() {
            // A batch whose write failed may be there nevertheless.
            marking.resume(own.changes, own.clock)?;
        }
        Ok((tables, own))
    }

    /// Opens the database. An error, too: it is older than what was on the disk.
    fn open(&self) -> Result<Tables, String> {
        let tables = Tables::open_whole(&self.database, &self.folder)?;
        self.see_that_nothing_is_missing(&tables).map(|()| tables)
    }

    /// Whether opening the database makes room: what its worker began to write and could not end is removed then,
    /// and not before.
    fn has_leftovers(&self) -> bool {
        let known = self.shared.read(ReadSubject::List, |tables| Ok(tables.table_bytes()));
        let taken = bytes_below(&self.database.join("keyspaces")).unwrap_or(0);
        // Where nobody reads through the old handle any more, nothing is lost by it.
        known.map_or(true, |known| taken >= known + TRIAL_BYTES)
    }

    /// An error: another folder is in its place.
    fn see_that_it_is_ours(&self) -> Result<(), String> {
        match self.lock.is_in(&self.folder) {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(format!("the data folder was replaced or taken away while this gateway ran: {PUT_BACK}"))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// An error: what was found is older than what was on the disk.
    fn see_that_nothing_is_missing(&self, tables: &Tables) -> Result<(), String> {
        let found = tables.own().map_err(|error| error.to_string())?.unwrap_or_default().clock;
        let kept = self.shared.kept_until();
        if found < kept {
            return Err(format!(
                "what is in the data folder ends at {found}, and was on disk until {kept}: {PUT_BACK}"
            ));
        }
        Ok(())
    }

    /// Puts the copy of what lives in the place of the database, with this own document. Readers wait meanwhile.
    /// False: the database is the one that it was. An error: it is not open.
    pub(super) fn exchange(&self, own: &Own) -> Result<(Tables, bool), String> {
        let begun = self.shared.calls.work(Works::Writer, Instant::now());
        let before = self.shared.size().bytes;
        self.see_that_it_is_ours()?;
        let mut is_given_back = false;
        let tables = self.shared.replace_tables(|| {
            if copy::exchange(&self.folder, &self.database).is_err() {
                return self.open_as(own);
            }
            // An exchange that may not be on the disk is made sure of before anything is written.
            let sync = || sync_folder(&self.folder).map_err(|e| e.to_string());
            sync()?;
            match self.open_as(own) {
                Ok(tables) => {
                    is_given_back = true;
                    Ok(tables)
                }
                Err(_) => {
                    copy::exchange(&self.folder, &self.database).map_err(|e| e.to_string())?;
                    sync()?;
                    self.open_as(own)
                }
            }
        })?;
        drop(begun);
        let now = tables.db.disk_space().unwrap_or(0);
        match is_given_back {
            true => {
                tracing::info!(folder = %self.folder.display(), before, now, "the disk of what is gone was given back");
            }
            false => {
                tracing::warn!(folder = %self.folder.display(), "the disk of what is gone can't be given back: its copy can't take the database's place");
            }
        }
        Ok((tables, is_given_back))
    }

    /// Opens the database. An error, too: its content is not this.
    fn open_as(&self, own: &Own) -> Result<Tables, String> {
        let tables = self.open()?;
        let found = tables.own().map_err(|error| error.to_string())?.unwrap_or_default();
        let same = |own: &Own| (own.records, own.kinds, own.versions_reserved);
        if same(&found) != same(own) {
            return Err("what was found in the database's place is not what was in it".into());
        }
        Ok(tables)
    }

    /// How much room the largest of the copies takes. Each takes the place of its journal before the next is
    /// made.
    fn largest_copy(&self) -> io::Result<u64> {
        let mut copies = journals(&self.database)?.into_iter().map(|journal| used(&mut File::open(journal)?));
        copies.try_fold(0, |largest, copy| Ok(largest.max(copy?)))
    }

    /// Whether the disk takes so much data, and a little more.
    fn try_disk(&self, bytes: u64) -> io::Result<()> {
        let path = self.folder.join(TRIAL);
        let result = (|| {
            let mut bytes = bytes + TRIAL_BYTES;
            let mut file = File::create(&path)?;
            let block = [0x5a; BLOCK];
            while bytes > 0 {
                let length = bytes.min(BLOCK as u64);
                file.write_all(&block[..length as usize])?;
                bytes -= length;
            }
            file.sync_all()
        })();
        // The trial file must not take room, whatever its result.
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        result.and(removed)
    }
}

/// Records that the database is ours from now on: no version below the reserved number is handed out again.
/// This is a first write, with everything that a write needs.
pub(super) fn begin(tables: &Tables, versions_taken: u64) -> Result<Own, crate::StoreError> {
    let before = tables.own()?.unwrap_or(Own { versions_reserved: 1, ..Own::default() });
    let taken = before.versions_reserved.max(versions_taken);
    let indexed = tables.keep_index(&before)?;
    let changes = mark::last_change(tables)?;
    let own = Own { versions_reserved: taken + VERSIONS_RESERVED_AT_ONCE, indexed, changes, ..before };
    let unavailable = |error: fjall::Error| crate::StoreError::Unavailable(error.to_string().into());
    // What was found in the journals may be more than the database takes at once.
    tables.keep_back(|| ()).map_err(unavailable)?;
    let mut batch = tables.batch(2, PersistMode::SyncAll);
    tables.put_own(&mut batch, own);
    tables.put_indexed(&mut batch, own);
    batch.commit().map_err(unavailable)?;
    Ok(own)
}

/// Removes what a reopening left behind, if the process was killed meanwhile: it takes the room that the disk
/// lacks. What can't be removed stops nothing.
pub(super) fn clear(folder: &Path, database: &Path) {
    let copies = files(database, RENEWED).unwrap_or_default();
    for path in copies.into_iter().chain([folder.join(TRIAL)]) {
        let _ = fs::remove_file(path);
    }
}

/// What all files below a path take on the disk.
fn bytes_below(path: &Path) -> io::Result<u64> {
    let mut entries = fs::read_dir(path)?;
    entries.try_fold(0, |sum, entry| {
        let found = entry?;
        let bytes = match found.file_type()?.is_dir() {
            true => bytes_below(&found.path())?,
            false => found.metadata()?.blocks() * 512,
        };
        Ok(sum + bytes)
    })
}

/// Puts a synced copy in the place of each journal.
fn renew_journals(database: &Path) -> io::Result<()> {
    for path in journals(database)? {
        let fresh = path.with_extension(RENEWED);
        match copy(&path, &fresh) {
            Ok(()) => fs::rename(&fresh, &path)?,
            Err(error) if is_want_of_room(&error) => {
                // What is left of it takes room, and is written over by the next try.
                let _ = fs::remove_file(&fresh);
                write_again(&path)?;
            }
            Err(error) => return Err(error),
        }
    }
    sync_folder(database)
}

fn copy(path: &Path, fresh: &Path) -> io::Result<()> {
    let mut from = File::open(path)?;
    let length = used(&mut from)?;
    from.seek(SeekFrom::Start(0))?;
    let mut to = File::create(fresh)?;
    io::copy(&mut from.take(length), &mut to)?;
    to.sync_all()
}

/// Has the system write what it shows of a journal to the disk once more, as a copy would, in the same place:
/// no byte of the file changes.
fn write_again(path: &Path) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    // Behind its end a write would take room.
    let (end, _) = end(&mut file)?;
    let (mut block, mut at) = ([0; BLOCK], 0);
    while at < end {
        let part = &mut block[..(end - at).min(BLOCK as u64) as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(part)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(part)?;
        at += part.len() as u64;
    }
    file.sync_all()
}

/// How much of a journal is copied: one block more than is used.
fn used(file: &mut File) -> io::Result<u64> {
    let (end, length) = end(file)?;
    Ok(length.min(end + BLOCK as u64))
}

/// Where a journal ends, and its length. A journal has its full length from the start, and is zero behind its
/// end.
fn end(file: &mut File) -> io::Result<(u64, u64)> {
    let (mut block, mut at, mut end) = ([0; BLOCK], 0_u64, 0_u64);
    loop {
        let length = file.read(&mut block)?;
        if length == 0 {
            return Ok((end, at));
        }
        if let Some(last) = block[..length].iter().rposition(|byte| *byte != 0) {
            end = at + last as u64 + 1;
        }
        at += length as u64;
    }
}

#[cfg(test)]
mod tests;
