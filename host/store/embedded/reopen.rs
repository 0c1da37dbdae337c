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
use super::calls::Queued;
use super::copy;
use super::folder::{HeldLock, files, journals, sync_folder};
use super::mark;
use super::shared::StoreState;
use super::tables::{Own, Tables, panic_text};
use super::writer::{Command, VERSIONS_RESERVED_AT_ONCE};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use fjall::PersistMode;
use oncegate_core::Durability;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
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
                ballast::give_back(&self.folder);
                self.try_disk(0).map_err(words)?;
            }
            tried => tried.map_err(words)?,
        }
        self.shared.close_tables();
        renew_journals(&self.database).map_err(words)?;
        // The system still has the data that it took: no more than the last batch can be torn.
        let tables =
            Tables::open(&self.database, true, &self.folder, Durability::Sync).map_err(|e| e.to_string())?;
        self.see_that_nothing_is_missing(&tables)?;
        let own = begin(&tables, self.shared.versions_taken()).map_err(|e| e.to_string())?;
        if let Some(marking) = self.shared.marking.get() {
            // A batch whose write failed may be there nevertheless.
            marking.resume(own.changes, own.clock)?;
        }
        Ok((tables, own))
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

    /// Puts the copy of what lives in the place of the database. Readers wait meanwhile. An error: the database
    /// is not open.
    pub(super) fn exchange(&self) -> Result<Tables, String> {
        let open =
            || Tables::open(&self.database, true, &self.folder, Durability::Sync).map_err(|e| e.to_string());
        let before = self.shared.size().bytes;
        self.see_that_it_is_ours()?;
        let tables = self.shared.replace_tables(|| {
            let exchange = || copy::exchange(&self.folder, &self.database).map_err(|e| e.to_string());
            // An exchange that may not be on the disk is made sure of before anything is written.
            exchange()?;
            // As it was before, if the copy can't be opened.
            open().or_else(|_| exchange().and_then(|()| open()))
        })?;
        let now = tables.db.disk_space().unwrap_or(0);
        tracing::info!(folder = %self.folder.display(), before, now, "the disk of what is gone was given back");
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
    copy::clear(folder);
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
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::super::Embedded;
    use super::super::folder::Folder;
    use super::*;
    use oncegate_core::Timestamp;

    #[test]
    fn a_journal_that_is_written_again_is_the_same() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes, length) in [
            ("0.jnl", 0, 0),
            ("1.jnl", 100_000, 64 << 20),
            ("2.jnl", 70_000, 70_010),
            ("3.jnl", 65_536, 65_536),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, (0..bytes).map(|n: u32| (n % 251) as u8 + 1).collect::<Vec<_>>()).unwrap();
            File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
            let (before, file) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
            write_again(&path).unwrap();
            assert!(fs::read(&path).unwrap() == before, "{name}");
            let after = fs::metadata(&path).unwrap();
            assert_eq!((after.ino(), after.blocks()), (file.ino(), file.blocks()), "{name}");
        }
    }

    #[test]
    fn what_an_interrupted_reopening_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, database) = (folder.path(), folder.path().join("db"));
        let strays = || ["oncegate.trial", "db/0.renewed", "db/17.renewed"].map(|name| path.join(name));
        // A new folder, one with a ledger, and one that a later reopening finds.
        for opened in ["made", "opened", "opened again"] {
            let (store, _) = Embedded::open(path, Durability::Sync).unwrap();
            assert_eq!(strays().map(|stray| stray.exists()), [false; 3], "{opened}");
            drop(store);
            let before = fs::read_dir(&database).unwrap().count();
            strays().iter().for_each(|stray| fs::write(stray, [1; 5_000]).unwrap());
            if opened == "opened" {
                clear(path, &database);
                assert_eq!(fs::read_dir(&database).unwrap().count(), before);
                assert_eq!(strays().map(|stray| stray.exists()), [false; 3]);
            }
        }
    }

    /// The reopening of a new folder at this path, whose tables nobody else has.
    fn reopening(path: &Path) -> Reopening {
        let (folder, _) = Folder::take(path).unwrap();
        let (database, lock) = (folder.database(), folder.lock());
        let tables = Tables::open(&database, false, path, Durability::Sync).unwrap();
        let own = begin(&tables, 1).unwrap();
        Reopening {
            folder: path.into(),
            database,
            lock,
            shared: Arc::new(StoreState::new(1, &own, 0, tables)),
        }
    }

    #[test]
    fn another_folder_in_its_place_is_not_opened() {
        let above = tempfile::tempdir().unwrap();
        let [data, copy, bad] = ["data", "copy", "bad"].map(|name| above.path().join(name));
        let reopening = reopening(&data);
        let opens = |expected: bool, what: &str| {
            let opened = reopening.attempt().map(drop);
            assert_eq!(opened.is_ok(), expected, "{what}: {opened:?}");
            opened.is_err_and(|why| why.contains("put the folder back"))
        };
        opens(true, "as it was");
        let done = std::process::Command::new("cp").arg("-a").args([&data, &copy]).status().unwrap();
        assert!(done.success());
        fs::rename(&data, &bad).unwrap();
        assert!(opens(false, "taken away"));
        fs::write(&data, "a file").unwrap();
        assert!(opens(false, "a file"));
        fs::remove_file(&data).unwrap();
        fs::rename(&copy, &data).unwrap();
        fs::write(data.join(TRIAL), "").unwrap();
        assert!(opens(false, "a copy"));
        assert!(data.join(TRIAL).exists(), "nothing is touched there");
        assert!(reopening.exchange().is_err());
        fs::rename(&data, &copy).unwrap();
        std::os::unix::fs::symlink(&bad, &data).unwrap();
        opens(true, "the same by another way");
        fs::remove_file(&data).unwrap();
        fs::rename(&bad, &data).unwrap();
        opens(true, "put back");
        fs::remove_file(data.join("oncegate.lock")).unwrap();
        assert!(opens(false, "another may lock it"));
    }

    #[test]
    fn what_was_on_disk_must_be_there() {
        let above = tempfile::tempdir().unwrap();
        let reopening = reopening(&above.path().join("data"));
        let (tables, own) = reopening.attempt().unwrap();
        let later = Own { clock: Timestamp::from_secs(5), ..own };
        drop(tables);
        reopening.shared.committed(&later, [].into_iter());
        let (tables, _) = reopening.attempt().expect("it may have been lost");
        drop(tables);
        reopening.shared.kept();
        for _ in 0..2 {
            let refused = reopening.attempt().map(drop).unwrap_err();
            assert!(
                refused.contains("ends at 1970-01-01T00:00:00Z, and was on disk until 1970-01-01T00:00:05Z"),
                "{refused}"
            );
        }
        let tables = Tables::open(&reopening.database, true, &reopening.folder, Durability::Sync).unwrap();
        let mut batch = tables.batch(1, PersistMode::SyncAll);
        tables.put_own(&mut batch, later);
        batch.commit().unwrap();
        drop(tables);
        reopening.attempt().map(drop).unwrap();
    }

    #[test]
    fn there_is_room_for_the_largest_copy_only() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("journals");
        fs::create_dir(&database).unwrap();
        let reopening = Reopening { database, ..reopening(&folder.path().join("data")) };
        let block = BLOCK as u64;
        for (name, bytes, largest) in
            [("0.jnl", 100, 100), ("1.jnl", 5_000, 5_000), ("2.jnl", 300, 5_000), ("3.jnl", BLOCK, block)]
        {
            fs::write(reopening.database.join(name), vec![1; bytes]).unwrap();
            assert_eq!(reopening.largest_copy().unwrap(), largest, "{name}");
        }
    }

    #[test]
    fn a_copied_journal_keeps_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes, length) in
            [("0.jnl", 0, 0), ("1.jnl", 100_000, 64 << 20), ("2.jnl", 70_000, 70_010)]
        {
            let content: Vec<u8> = (0..bytes).map(|n: u32| (n % 251) as u8 + 1).collect();
            fs::write(folder.path().join(name), &content).unwrap();
            File::options().write(true).open(folder.path().join(name)).unwrap().set_len(length).unwrap();
            renew_journals(folder.path()).unwrap();
            let renewed = fs::read(folder.path().join(name)).unwrap();
            assert!(renewed.starts_with(&content), "{name}");
            assert!(renewed[content.len()..].iter().all(|byte| *byte == 0), "{name}");
            assert!(renewed.len() as u64 <= length, "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
