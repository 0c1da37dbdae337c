//! A store in a folder on this machine's disk: an embedded database with group commit. One thread writes it
//! and two read it. Acknowledged writes survive `kill -9`, and with [`Durability::Sync`] power loss.
//!
//! - `folder`: the owner of the folder, and the lock that keeps a second process out.
//! - `tables`: the database and the layout of its content.
//! - `heads`: what the writer needs to know of a record, without the record.
//! - `index`: the records of one kind, and the index of a folder that has none.
//! - `mark`: the last acknowledged change, in a file outside of the folder.
//! - `paths`: where paths lead, of files that may not be there yet.
//! - `tail`: the torn end that a power loss leaves in the database's journal.
//! - `writer`: the group commit.
//! - `pressure`: what keeps the database's own worker from falling behind.
//! - `idle`: gives disk back while nobody writes.
//! - `copy`: a copy of what lives, and its exchange with the database.
//! - `reader`: loads and scans.
//! - `reopen`: opens the database again after a write has failed.
//! - `ballast`: room that is given back when the disk is full.
//! - `calls`: how long the oldest call waits.
//! - `shared`: the state that these threads share with callers.
//!
//! The store knows of a record only when it is due and of which kind it is. So after a restart the store
//! can tell which executions nobody has ended; the ledger decides what that means.

mod ballast;
mod calls;
mod copy;
mod folder;
mod heads;
mod idle;
#[cfg(test)]
mod idle_tests;
mod index;
mod mark;
mod mark_error;
mod paths;
mod pressure;
mod reader;
mod reopen;
mod scan;
mod shared;
#[cfg(test)]
mod slowed;
#[cfg(test)]
mod soak;
mod tables;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use folder::OpenError;
pub use mark::MarkFile;
pub use mark_error::MarkError;

use super::orphans::Orphans;
use super::size::Size;
use super::verbs::{Said, ScanScope, Scanned, Store, StoreError, Swap, Version, Versioned};
use bytes::Bytes;
use calls::{Queued, READERS};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use folder::Folder;
use idle::{AGAIN_MAX, GivingBack};
use mark::{MarkWriter, Marking};
use oncegate_core::{Durability, OperationId, Record, Timestamp};
use pressure::Watch;
use reader::{Query, Reader};
use reopen::Reopening;
use shared::{StoreState, Unclear};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tables::{NextRecord, Own, Tables, panic_text};
use tokio::sync::oneshot;
use writer::{Batch, Command, End, Responder, VERSIONS_RESERVED_AT_ONCE, Writer};

/// Why nothing new is taken while a call hangs.
const HANGS: &str = "the ledger's disk does not answer";
/// The number of calls in flight, of each kind. Each is a request that waits, so far more than there can be.
const QUEUE_MAX: usize = 1 << 16;

/// An open data folder.
pub struct Embedded {
    shared: Arc<StoreState>,
    /// `None` once the store is being closed.
    queues: Option<Queues>,
    threads: Vec<JoinHandle<()>>,
    mark: Option<MarkWriter>,
    /// The folder is dropped last.
    _folder: Folder,
}

struct Queues {
    writes: Sender<Queued<Command>>,
    reads: Sender<Queued<Query>>,
}

/// The past of an opened folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Operations that were executing when the last process ended.
    pub orphans: Orphans,
    /// The latest ledger time that the folder saw. Ledger time must not start before it.
    pub last_time: Timestamp,
    /// How many records there are.
    pub records: u64,
}

impl Embedded {
    /// Looks at a folder and its mark as a start does first, and makes nothing. True: there is a whole ledger.
    /// False: one can be made there. An error where a start would be refused.
    pub fn look(path: &Path, mark: Option<&MarkFile>) -> Result<bool, OpenError> {
        let whole = folder::look(path)?;
        // It reads each folder in this one, so this one is known to be ours.
        if let Some(mark) = mark {
            mark.look(path)?;
        }
        if let Some(mark) = mark.filter(|_| !whole) {
            mark.compare_with_nothing(path)?;
        }
        Ok(whole)
    }

    /// Whether users other than the folder's owner and group can read what is in it.
    pub fn is_open_to_others(path: &Path) -> bool {
        folder::is_open_to_others(path)
    }

    /// Opens the ledger in this folder, and makes one where there is none. Blocks, longer after a crash.
    pub fn open(path: &Path, durability: Durability) -> Result<(Self, Recovered), OpenError> {
        Self::open_marked(path, durability, None)
    }

    /// The same, for a folder with a mark outside. The folder is compared with its mark first.
    pub fn open_marked(
        path: &Path,
        durability: Durability,
        mark: Option<&MarkFile>,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::try_open(path, durability, mark).map_err(OpenError::knowing_room)
    }

    fn try_open(
        path: &Path,
        durability: Durability,
        mark: Option<&MarkFile>,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::look(path, mark)?;
        let (folder, whole) = Folder::take(path)?;
        reopen::clear(path, &folder.database());
        copy::settle(path).map_err(|source| OpenError::Io { path: path.into(), source })?;
        ballast::give_back_to_start(path);
        let open = || Tables::open(&folder.database(), whole, path, durability);
        let tables = match open() {
            // A quota, say, is told only by what fails for want of it.
            Err(OpenError::Io { source, .. })
                if ballast::is_want_of_room(&source)
                    && (copy::clear(path).unwrap_or(false) | ballast::give_all_back(path)) =>
            {
                open()
            }
            opened => opened,
        }?;
        let damaged = |e: StoreError| OpenError::Damaged { path: path.into(), detail: e.to_string() };
        let io = |source| OpenError::Io { path: path.into(), source };
        if whole && tables.own().map_err(damaged)?.is_none() {
            return Err(damaged(StoreError::Corrupt("its own document is missing".into())));
        }
        let time = tables.own().map_err(damaged)?.map_or_else(Timestamp::default, |own| own.clock);
        let marking = match mark {
            Some(mark) => Some(Marking::begin(&tables, time, path, mark)?),
            None => Marking::without_a_file(&tables, time).map_err(damaged)?,
        };
        // Every version of the last process is below the number that it had reserved.
        let own = reopen::begin(&tables, 1).map_err(|e| match e {
            StoreError::Corrupt(_) => damaged(e),
            e => io(io::Error::other(e)),
        })?;
        let version_next = own.versions_reserved - VERSIONS_RESERVED_AT_ONCE;
        if !whole {
            folder.vouch().map_err(io)?;
        }
        let orphans = Orphans { ids: tables.running().map_err(damaged)?, before: Version(version_next) };
        let recovered = Recovered { orphans, last_time: own.clock, records: own.records };
        let bytes = tables.db.disk_space().unwrap_or(0);
        let shared = Arc::new(StoreState::new(version_next, &own, bytes, tables.clone()));
        let marking = marking.map(|marking| Arc::clone(shared.marking.get_or_init(|| Arc::new(marking))));
        let mut store = Self::start(folder, path, tables, shared, durability, own).map_err(io)?;
        if let (Some(marking), Some(mark)) = (marking, mark.filter(|mark| !mark.is_only_read)) {
            store.mark = Some(MarkWriter::start(marking, mark.path.clone()).map_err(io)?);
        }
        Ok((store, recovered))
    }

    /// Starts the threads.
    fn start(
        folder: Folder,
        path: &Path,
        tables: Tables,
        shared: Arc<StoreState>,
        durability: Durability,
        own: Own,
    ) -> io::Result<Self> {
        let (writes, commands) = bounded(QUEUE_MAX);
        let (reads, queries) = bounded(QUEUE_MAX);
        let (database, lock) = (folder.database(), folder.lock());
        let reopening = Reopening { folder: path.into(), database, lock, shared: shared.clone() };
        let mut store = Self {
            shared: shared.clone(),
            queues: Some(Queues { writes, reads }),
            threads: Vec::new(),
            mark: None,
            _folder: folder,
        };
        for number in 0..READERS {
            let (reader, queries) = (Reader { shared: shared.clone(), number }, queries.clone());
            store.threads.push(spawn("store-reader", move || reader.run(&queries))?);
        }
        let write = move || keep_writing(tables, own, durability, &reopening, &commands);
        store.threads.push(spawn("store-writer", write)?);
        Ok(store)
    }

    /// Whether a write has failed, so that nothing is written until the database is open again.
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed()
    }

    /// Ends the queued calls, syncs and closes. Blocks. Dropping the store does the same and reports nothing.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.end();
        self.shared.refusal()
    }

    fn end(&mut self) {
        self.queues = None;
        for thread in self.threads.drain(..) {
            // The thread's panic, if there was one, has been reported already.
            let _ = thread.join();
        }
        // Written a last time, behind the writer's last sync.
        self.mark = None;
    }

    /// Asks the writer. Once the writer has the command, no answer means that it may have written.
    async fn write<T>(
        &self,
        command: impl FnOnce(Version, Responder<T>) -> Command,
    ) -> Result<T, StoreError> {
        self.shared.refusal()?;
        let (answer, answered) = oneshot::channel();
        let command = command(self.shared.version(), answer);
        send(self.queues.as_ref().map(|queues| &queues.writes), command)?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Indeterminate(self.shared.failure_text())))
    }

    /// Asks a reader.
    async fn read<T>(&self, query: impl FnOnce(Responder<T>) -> Query) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        send(self.queues.as_ref().map(|queues| &queues.reads), query(answer))?;
        answered.await.unwrap_or_else(|_| Err(self.shared.failure_error()))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.end();
    }
}

impl Store for Embedded {
    async fn load(&self, id: OperationId) -> Said<Option<Versioned>> {
        Ok(self.read(|answer| Query::Record(id, answer)).await?.into())
    }

    async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> Said<Swap<Versioned>> {
        let is_claim = expected.is_none() && next.is_some();
        let swap = self.write(|version, answer| {
            let next = next.map(|record| NextRecord::new(version, record));
            Command::Record { id, expected, version, next, now, answer }
        });
        if is_claim && self.shared.calls.hang() {
            return Err(StoreError::Unavailable(HANGS.into()));
        }
        match swap.await? {
            Some(swap) => Ok(swap.into()),
            // The writer reads no record that others would have to wait for.
            None => Ok(Swap::Conflict(self.load(id).await?.value).into()),
        }
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Said<Vec<OperationId>> {
        Ok(self.read(|answer| Query::Due(until, limit, answer)).await?.into())
    }

    async fn scan(&self, of: ScanScope, after: Option<OperationId>, limit: usize) -> Said<Vec<Scanned>> {
        Ok(self.read(|answer| Query::Scan(of, after, limit, answer)).await?.into())
    }

    async fn load_meta(&self, name: &'static str) -> Said<Option<(Version, Bytes)>> {
        Ok(self.read(|answer| Query::Document(name, answer)).await?.into())
    }

    async fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> Said<Swap<(Version, Bytes)>> {
        let swap = self.write(|version, answer| Command::Document { name, expected, version, next, answer });
        Ok(swap.await?.into())
    }

    fn size(&self) -> Size {
        self.shared.size()
    }

    fn trouble(&self) -> Option<&'static str> {
        let troubles = [
            (self.shared.has_failed(), "the ledger's store failed and is not open again yet"),
            (self.shared.calls.hang(), HANGS),
            (!self.shared.has_room(), "the ledger's disk is full"),
            (!self.shared.keeps_up(), "the ledger's store does not keep up with its journal"),
        ];
        troubles.into_iter().find(|(is, _)| *is).map(|(_, words)| words)
    }
}

/// Writes, and opens the database again after each failed write, until the last sender is gone.
fn keep_writing(
    mut tables: Tables,
    mut own: Own,
    durability: Durability,
    reopening: &Reopening,
    commands: &Receiver<Queued<Command>>,
) {
    let shared = &reopening.shared;
    let mut after = Duration::ZERO;
    loop {
        let writer = Writer {
            tables,
            folder: reopening.folder.clone(),
            shared: shared.clone(),
            durability,
            own,
            batch: Batch::default(),
            unsynced_since: None,
            watch: Watch::new(),
            idle: GivingBack::new(&reopening.folder, reopening.lock.clone(), after),
            is_copied: false,
            room_at: None,
            written: 0,
        };
        // The database handle goes with the writer.
        let end = catch_unwind(AssertUnwindSafe(|| writer.run(commands))).unwrap_or_else(|panic| {
            shared.fail(&panic_text(&*panic), Unclear::All);
            End::Failed
        });
        let reopened = match end {
            End::Closed => None,
            End::Failed => reopening.run(commands),
            End::Copied(own) => match exchanged(reopening, &own) {
                Ok((tables, is_given_back)) => {
                    after = if is_given_back { Duration::ZERO } else { AGAIN_MAX };
                    Some((tables, own))
                }
                Err(reason) => {
                    shared.fail(&reason, Unclear::nothing());
                    reopening.run(commands)
                }
            },
        };
        match reopened {
            Some(opened) => (tables, own) = opened,
            None => return,
        }
    }
}

/// The database asserts some of what it reads and writes: a panic must not end the writer.
fn exchanged(reopening: &Reopening, own: &Own) -> Result<(Tables, bool), String> {
    catch_unwind(AssertUnwindSafe(|| reopening.exchange(own)))
        .unwrap_or_else(|panic| Err(panic_text(&*panic)))
}

/// Puts a message into a queue. A message that can't go in was surely not written.
fn send<T>(queue: Option<&Sender<Queued<T>>>, message: T) -> Result<(), StoreError> {
    let unavailable = |why: &str| StoreError::Unavailable(why.into());
    match queue.map(|queue| queue.try_send(Queued { at: Instant::now(), message })) {
        Some(Ok(())) => Ok(()),
        Some(Err(TrySendError::Full(_))) => Err(unavailable("its queue is full")),
        Some(Err(TrySendError::Disconnected(_))) => Err(unavailable("its thread has ended")),
        None => Err(unavailable("it is being closed")),
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}
