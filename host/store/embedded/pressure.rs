//! Keeps the database's one worker able to work.
//!
//! Left to itself, the database asks its worker with each batch to seal a memtable that is full. It asks
//! through a bounded queue into which the worker itself sends. While the worker merges for long, the queue
//! fills up, and the worker then waits for itself: nothing is flushed any more, and memory and journal grow
//! (fjall-rs/fjall#257, #323). So the writer seals each memtable before it is full, and the database never
//! asks. The writer also waits while the worker is behind, before the database would: that one's waits don't
//! end when its worker has died.

use super::tables::{INDEX_MEMTABLE_BYTES, JOURNAL_BYTES, RECORDS_MEMTABLE_BYTES, Tables};
use crate::size::Backlog;
use fjall::{AbstractTree, Keyspace, PersistMode};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The writer waits while more sealed memtables than this wait for the worker. The database waits from four
/// on, and its worker may seal one itself.
const SEALED_MAX: usize = 2;
/// The writer waits from so many unmerged runs on, while the worker works. The database waits from 30 on.
const RUNS_MAX: usize = 20;
/// How soon the writer looks again.
const PAUSE: Duration = Duration::from_millis(2);
/// From a journal of this size on all memtables are sealed, so that nothing holds the journal back.
const JOURNAL_LONG: u64 = 2 * JOURNAL_BYTES;
/// A journal of more than this means that the worker does not keep up.
const JOURNAL_MAX: u64 = 4 * JOURNAL_BYTES;

impl Tables {
    /// The keyspaces, each with the size up to which the database leaves its memtable alone.
    pub(super) fn memtables(&self) -> [(&Keyspace, u64); 5] {
        [
            (&self.records, RECORDS_MEMTABLE_BYTES),
            (&self.due, INDEX_MEMTABLE_BYTES),
            (&self.running, INDEX_MEMTABLE_BYTES),
            (&self.unknown, INDEX_MEMTABLE_BYTES),
            (&self.meta, INDEX_MEMTABLE_BYTES),
        ]
    }

    /// Seals the memtables that are nearly full.
    pub(super) fn seal_full(&self) -> fjall::Result<()> {
        self.seal(|size, limit| size >= limit / 4 * 3)
    }

    pub(super) fn seal(&self, is_due: impl Fn(u64, u64) -> bool) -> fjall::Result<()> {
        for (keyspace, limit) in self.memtables() {
            if is_due(keyspace.tree.active_memtable().size(), limit) {
                keyspace.rotate_memtable()?;
            }
        }
        Ok(())
    }

    /// Waits while the worker is behind. An error: the worker has died, and nothing was written.
    pub(super) fn keep_back(&self, mut meanwhile: impl FnMut()) -> fjall::Result<()> {
        while self.is_behind() {
            // This writes nothing new. It fails where the database is poisoned.
            self.db.persist(PersistMode::Buffer)?;
            meanwhile();
            sleep(PAUSE);
        }
        Ok(())
    }

    /// Whether the writer must wait.
    pub(super) fn is_behind(&self) -> bool {
        let keyspaces = self.memtables().map(|(keyspace, _)| keyspace);
        let works = || self.db.outstanding_flushes() > 0 || self.db.active_compactions() > 0;
        keyspaces.iter().any(|keyspace| keyspace.sealed_memtable_count() > SEALED_MAX)
            || keyspaces.iter().any(|keyspace| keyspace.tree.l0_run_count() >= RUNS_MAX) && works()
    }
}

/// Looks once in a while how far the worker is behind.
pub(super) struct Watch {
    looked_at: Instant,
    compactions: usize,
    compacted_at: Instant,
    /// The last look is out of date: something was written since, or the worker still had work.
    moves: bool,
}

impl Watch {
    /// How often the writer looks.
    const INTERVAL: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { looked_at: now, compactions: 0, compacted_at: now, moves: true }
    }

    pub(super) fn written(&mut self) {
        self.moves = true;
    }

    /// When to look again, though nobody writes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.moves.then(|| self.looked_at + Self::INTERVAL)
    }

    /// Looks, where that is due. A journal that grows too long makes it seal all memtables.
    pub(super) fn look(&mut self, tables: &Tables) -> fjall::Result<Option<(u64, Backlog)>> {
        if self.looked_at.elapsed() < Self::INTERVAL {
            return Ok(None);
        }
        self.looked_at = Instant::now();
        let (journal, flushes) = (tables.db.journal_disk_space()?, tables.db.outstanding_flushes());
        if journal > JOURNAL_LONG && flushes == 0 {
            tables.seal(|size, _| size > 0)?;
        }
        self.moves = flushes > 0 || journal > JOURNAL_LONG;
        if std::mem::replace(&mut self.compactions, tables.db.compactions_completed()) != self.compactions {
            self.compacted_at = self.looked_at;
        }
        let backlog = Backlog {
            write_buffers: tables.db.write_buffer_size(),
            journal,
            flushes: flushes as u64,
            compacted_at: self.compacted_at,
        };
        Ok(Some((tables.db.disk_space()?, backlog)))
    }
}

impl Backlog {
    /// Whether the journal has grown so long that the worker can't be keeping up.
    pub(super) fn is_too_long(&self) -> bool {
        self.journal > JOURNAL_MAX
    }
}
