//! Reopening after a failed write. Nothing that the old handle says of writes is believed again. Records that
//! it acknowledged before can still be read through it. This module waits until the disk takes writes, and
//! then opens the database anew, on the writer's thread and under the folder's lock.
//!
//! After a failed fsync the system may keep the unwritten data in its cache, call it clean, and lose it with
//! the power later (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). So the
//! journals are copied to new files and those are synced before the database is opened: all that the database
//! then finds is on the disk.

use super::calls::Queued;
use super::folder::sync_folder;
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
/// A trial write is as large as the data to be copied, plus this.
const TRIAL_BYTES: u64 = 1 << 20;
const BLOCK: usize = 64 << 10;

/// Everything that opening the database again needs.
pub(super) struct Reopening {
    pub(super) folder: PathBuf,
    pub(super) database: PathBuf,
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
        let words = |error: io::Error| error.to_string();
        // The old handle can be read while it is there, so it goes only when there is hope.
        self.try_disk().map_err(words)?;
        self.shared.close_tables();
        renew_journals(&self.database).map_err(words)?;
        // The system still has the data that it took: no more than the last batch can be torn.
        let tables =
            Tables::open(&self.database, true, &self.folder, Durability::Sync).map_err(|e| e.to_string())?;
        let own = begin(&tables, self.shared.versions_taken()).map_err(|e| e.to_string())?;
        Ok((tables, own))
    }

    /// Whether the disk takes as much data as is to be written now.
    fn try_disk(&self) -> io::Result<()> {
        let path = self.folder.join("oncegate.trial");
        let result = (|| {
            let mut bytes = TRIAL_BYTES;
            for journal in journals(&self.database)? {
                bytes += used(&mut File::open(journal)?)?;
            }
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
    let own = Own { versions_reserved: taken + VERSIONS_RESERVED_AT_ONCE, indexed, ..before };
    let unavailable = |error: fjall::Error| crate::StoreError::Unavailable(error.to_string().into());
    // What was found in the journals may be more than the database takes at once.
    tables.keep_back(|| ()).map_err(unavailable)?;
    let mut batch = tables.batch(2, PersistMode::SyncAll);
    tables.put_own(&mut batch, own);
    tables.put_indexed(&mut batch, own);
    batch.commit().map_err(unavailable)?;
    Ok(own)
}

fn journals(database: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(database)?.map(|entry| entry.map(|entry| entry.path()));
    let all = paths.collect::<io::Result<Vec<_>>>()?;
    Ok(all.into_iter().filter(|path| path.extension().is_some_and(|end| end == "jnl")).collect())
}

/// Puts a synced copy in the place of each journal.
fn renew_journals(database: &Path) -> io::Result<()> {
    for path in journals(database)? {
        let fresh = path.with_extension("renewed");
        let mut from = File::open(&path)?;
        let length = used(&mut from)?;
        from.seek(SeekFrom::Start(0))?;
        let mut to = File::create(&fresh)?;
        io::copy(&mut from.take(length), &mut to)?;
        to.sync_all()?;
        fs::rename(&fresh, &path)?;
    }
    sync_folder(database)
}

/// How much of a journal is used. A journal has its full length from the start, and is zero behind its end.
/// One block more than the used part is copied.
fn used(file: &mut File) -> io::Result<u64> {
    let (mut block, mut at, mut end) = ([0; BLOCK], 0_u64, 0_u64);
    loop {
        let length = file.read(&mut block)?;
        if length == 0 {
            return Ok(at.min(end + BLOCK as u64));
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

    use super::*;

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
