//! Gives disk back while nobody writes.
//!
//! The database drops what was removed as it merges, and merges only as it is written to. Its journal begins a new
//! file, and lets the old one go, only when that has 64 MB. So once nobody has written for some seconds, and what
//! lives is little beside what the folder takes, a thread [copies](super::copy) what lives. The writer then puts
//! the copy in the place of the database. A write ends that, and the copy is thrown away.

use super::ballast;
use super::copy;
use super::folder::{DATABASE, HeldLock, journals};
use super::tables::{Own, Tables};
use crate::Kind;
use fjall::{AbstractTree, Keyspace};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Nobody writes, if nobody has for so long.
const QUIET: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 5_000 });
/// The same on a full disk, where nobody can but the sweep, which comes each second.
const QUIET_WHERE_FULL: Duration = Duration::from_millis(2_000);
/// How often the writer looks whether the thread has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How soon a copy that came to nothing is tried again at first; each time after twice as long, up to the second.
const AGAIN: (Duration, Duration) = (Duration::from_millis(12 * QUIET.as_millis() as u64), AGAIN_MAX);
pub(super) const AGAIN_MAX: Duration = Duration::from_secs(3_600);
/// The same on a full disk, where everybody waits for it, and where it is small.
const AGAIN_WHERE_FULL: (Duration, Duration) = (QUIET_WHERE_FULL, Duration::from_secs(8));
/// Less than this is not worth a copy.
const GARBAGE_MIN: u64 = if cfg!(test) { 6 << 20 } else { 32 << 20 };
/// The same on a full disk.
const GARBAGE_MIN_WHERE_FULL: u64 = 2 << 20;
/// What lives is copied if it is no more than this.
const LIVE_MAX: u64 = 256 << 20;
/// What a copy takes beside what is in it, and what it leaves free.
const ROOM_BYTES: u64 = 1 << 20;
/// The thread's niceness: those who answer come first.
const NICENESS: i32 = 10;

/// What the writer knows of disk that can be given back.
pub(super) struct GivingBack {
    written_at: Instant,
    /// Something was written since the last look.
    moves: bool,
    not_before: Instant,
    /// How many copies came to nothing, and when the last one did.
    pub(super) lost: (u32, Instant),
    pub(super) work: Option<Work>,
    /// The lock of the folder: what stands at its path may be another.
    lock: HeldLock,
}

pub(super) enum Work {
    /// A thread that copies, or removes a copy.
    Runs(Thread),
    /// A whole copy, to which nothing was written since.
    Copied,
}

/// Dropped, it is told to end and waited for: it has a handle of the database.
pub(super) struct Thread {
    enough: Arc<AtomicBool>,
    handle: Option<JoinHandle<Result<bool, String>>>,
}

impl GivingBack {
    /// Nobody knows what an earlier process has left. What stands in the copy's place is removed, now that the
    /// database is open. `after`: when a copy may be made at the earliest.
    pub(super) fn new(folder: &Path, lock: HeldLock, after: Duration) -> Self {
        let now = Instant::now();
        let (not_before, lost) = (now + after, (0, now));
        let mut idle = Self { written_at: now, moves: true, not_before, lost, work: None, lock };
        idle.clear(folder);
        idle
    }

    /// A batch was written. What was copied is not all that lives any more.
    pub(super) fn written(&mut self, folder: &Path) {
        (self.written_at, self.moves) = (Instant::now(), true);
        match &self.work {
            Some(Work::Runs(thread)) => thread.enough.store(true, Ordering::Relaxed),
            Some(Work::Copied) => {
                self.work = None;
                self.clear(folder);
                self.thrown_away(folder, "somebody writes");
            }
            None => {}
        }
    }

    /// When to look again.
    pub(super) fn next(&self, has_room: bool) -> Option<Instant> {
        let quiet = if has_room { QUIET } else { QUIET_WHERE_FULL };
        match &self.work {
            Some(_) => Some(Instant::now() + LOOK),
            None if self.moves || !has_room => {
                Some((self.written_at + quiet).max(self.not_before).max(self.again(has_room)))
            }
            None => None,
        }
    }

    /// When a copy may be tried again, after those that came to nothing.
    pub(super) fn again(&self, has_room: bool) -> Instant {
        let (first, most) = if has_room { AGAIN } else { AGAIN_WHERE_FULL };
        let (count, at) = self.lost;
        let pause = first.saturating_mul(2_u32.saturating_pow(count.saturating_sub(1))).min(most);
        if count == 0 { at } else { at + pause }
    }

    /// Takes a step, where that is due. True: there is a copy to take the place of the database.
    pub(super) fn look(&mut self, tables: &Tables, own: &Own, folder: &Path, has_room: bool) -> bool {
        match self.work.take() {
            Some(Work::Runs(mut thread)) if thread.has_ended() => match thread.result() {
                Ok(is_copied) if is_copied && !thread.enough.load(Ordering::Relaxed) => {
                    self.work = Some(Work::Copied);
                }
                Ok(true) => {
                    self.clear(folder);
                    self.thrown_away(folder, "somebody writes");
                }
                Ok(false) => {}
                Err(reason) => self.thrown_away(folder, &reason),
            },
            None if self.next(has_room).is_some_and(|due| due <= Instant::now()) => {
                self.moves = false;
                self.not_before = Instant::now() + QUIET;
                let can_be_replaced = || copy::can_be_replaced(folder, &folder.join(DATABASE));
                if let Some(limit) = tables.worth_a_copy(own, folder, has_room)
                    && self.is_ours(folder)
                    && can_be_replaced()
                {
                    self.copy(tables, folder, limit);
                }
            }
            work => self.work = work,
        }
        matches!(self.work, Some(Work::Copied)) && tables.are_nobody_elses() && self.is_ours(folder)
    }

    fn is_ours(&self, folder: &Path) -> bool {
        matches!(self.lock.is_in(folder), Ok(true))
    }

    fn copy(&mut self, tables: &Tables, folder: &Path, limit: u64) {
        let (tables, at) = (tables.clone(), folder.to_owned());
        self.run(move |enough| copy::make(&tables, &at, limit, enough).map(|()| true));
    }

    fn clear(&mut self, folder: &Path) {
        if folder.join(copy::COPY).exists() && self.is_ours(folder) {
            let folder = folder.to_owned();
            self.run(move |_| copy::clear(&folder).map(|_| false).map_err(|error| error.to_string()));
        }
    }

    /// Without a thread it is tried at the next look.
    fn run(&mut self, work: impl FnOnce(&AtomicBool) -> Result<bool, String> + Send + 'static) {
        let enough = Arc::new(AtomicBool::new(false));
        let is_enough = enough.clone();
        let work = move || {
            // The niceness is this thread's alone, on Linux.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            work(&is_enough)
        };
        let handle = Builder::new().name("store-idle".into()).spawn(work).ok();
        self.work = handle.map(|handle| Work::Runs(Thread { enough, handle: Some(handle) }));
    }

    /// A copy came to nothing. The next one is tried later.
    pub(super) fn thrown_away(&mut self, folder: &Path, reason: &str) {
        tracing::debug!(folder = %folder.display(), reason, "disk can't be given back now");
        self.moves = true;
        self.lost = (self.lost.0.saturating_add(1), Instant::now());
    }
}

impl Thread {
    fn has_ended(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// True: it has made a copy.
    fn result(&mut self) -> Result<bool, String> {
        let result = self.handle.take().map(JoinHandle::join);
        result.unwrap_or(Ok(Ok(false))).unwrap_or_else(|_| Err("its thread panicked".into()))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
        let _ = self.result();
    }
}

impl Tables {
    /// Whether a copy of what lives gives much disk back, and if so, how large it may become.
    pub(super) fn worth_a_copy(&self, own: &Own, folder: &Path, has_room: bool) -> Option<u64> {
        let kinds = |kind| own.kinds.count(kind);
        let counts = [
            (&self.records, own.records),
            (&self.due, own.records),
            (&self.running, kinds(Kind::Executing)),
            (&self.unknown, kinds(Kind::Unknown)),
        ];
        let lives: u64 = counts.into_iter().map(|(keyspace, count)| living_bytes(keyspace, count)).sum();
        let taken = self.table_bytes();
        let garbage = (taken + journal_bytes(folder)).saturating_sub(lives);
        let least = if has_room { GARBAGE_MIN } else { GARBAGE_MIN_WHERE_FULL };
        let limit = LIVE_MAX.min(garbage / 2);
        if garbage < least || lives > limit {
            return None;
        }
        let free = ballast::free_bytes(folder).unwrap_or(u64::MAX);
        // What is copied is in the copy's journal, in its tables, and may be merged there.
        let within = |free: u64| limit.min(free.saturating_sub(ROOM_BYTES) / 4);
        let fits = |free: u64| (free >= 2 * ROOM_BYTES && lives <= within(free)).then(|| within(free));
        // The ballast is held for what is under way.
        let may_have_more = !has_room && kinds(Kind::Executing) == 0;
        fits(free).or_else(|| {
            let limit = fits(free.saturating_add(ballast::held(folder))).filter(|_| may_have_more)?;
            ballast::give_all_back(folder).then_some(limit)
        })
    }

    /// What the tables take on the disk, as the database knows it.
    pub(super) fn table_bytes(&self) -> u64 {
        self.memtables().iter().map(|(keyspace, _)| keyspace.disk_space()).sum()
    }
}

/// What the journals take on the disk. A new one is as long as it may become, and takes less.
fn journal_bytes(folder: &Path) -> u64 {
    let journals = journals(&folder.join(DATABASE)).unwrap_or_default();
    journals.iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.blocks() * 512).sum()
}

/// About how many bytes the living entries of a keyspace take in its tables.
fn living_bytes(keyspace: &Keyspace, count: u64) -> u64 {
    let bytes = keyspace.disk_space().saturating_sub(keyspace.fragmented_blob_bytes());
    let entries = (keyspace.tree.approximate_len() as u64).max(1);
    (u128::from(bytes) * u128::from(count.min(entries)) / u128::from(entries)) as u64
}
