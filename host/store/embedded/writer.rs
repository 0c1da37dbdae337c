//! The one thread that writes. The writer takes the queued commands, decides each swap, commits all of them
//! as one batch with one sync, and only then answers. That is the group commit.
//!
//! A swap is decided against the stored record, or against the record that the same batch puts there (its
//! `Pending`). A swap that loses to the latter is answered after the commit, too: nobody is shown a record
//! that isn't durable.

use super::ballast::{self, BALLAST_BYTES};
use super::calls::{Queued, Works};
use super::idle::GivingBack;
use super::mark::MARKED;
use super::pressure::Watch;
use super::shared::{StoreState, Unclear};
use super::tables::{Head, NextRecord, Own, Tables, document_key, document_value, due_key};
use crate::{Kind, StoreError, Swap, Version, Versioned};
use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use fjall::PersistMode;
use oncegate_core::{Durability, OperationId, Timestamp};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The bounds of one batch. More would only make its first caller wait.
const BATCH_COMMANDS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How long writes that were answered without a sync may stay without one.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);
/// How often the disk's room is looked up, and after how many bytes.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);
const ROOM_BYTES: u64 = 2 << 20;
/// With less than this free on the disk, beside what waits in memory to be written into tables, no new record is
/// taken: operations under way must be settled, with their answers.
const ROOM_BYTES_MIN: u64 = 16 << 20;
/// This many versions are reserved at a time; half of them are more than there can be swaps in flight.
pub(super) const VERSIONS_RESERVED_AT_ONCE: u64 = 1 << 32;

/// A document as it stands.
type VersionedDocument = (Version, Bytes);

/// `None`: the swap is lost to the stored record, which the caller reads.
type RecordSwap = Option<Swap<Versioned>>;

pub(super) type Responder<T> = oneshot::Sender<Result<T, StoreError>>;

/// A command that the writer takes.
pub(super) enum Command {
    Record {
        id: OperationId,
        expected: Option<Version>,
        /// The version of this swap, should it win.
        version: Version,
        next: Option<NextRecord>,
        now: Timestamp,
        answer: Responder<RecordSwap>,
    },
    Document {
        name: &'static str,
        expected: Option<Version>,
        version: Version,
        next: Bytes,
        answer: Responder<Swap<VersionedDocument>>,
    },
}

impl Command {
    /// Refuses the command: nothing of it is done.
    pub(super) fn refuse(self, error: StoreError) {
        match self {
            Self::Record { answer, .. } => reply(answer, Err(error)),
            Self::Document { answer, .. } => reply(answer, Err(error)),
        }
    }
}

/// Why a writer ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The last sender is gone.
    Closed,
    /// A write or sync failed.
    Failed,
    /// A copy of what lives can take the place of the database.
    Copied(Own),
}

/// The writer's own state, for as long as nothing fails.
pub(super) struct Writer {
    pub(super) tables: Tables,
    /// The folder whose disk the writer writes to.
    pub(super) folder: PathBuf,
    pub(super) shared: Arc<StoreState>,
    pub(super) durability: Durability,
    pub(super) own: Own,
    pub(super) batch: Batch,
    /// Since when a batch is committed and not synced.
    pub(super) unsynced_since: Option<Instant>,
    pub(super) watch: Watch,
    pub(super) idle: GivingBack,
    /// The writer ends, so that a copy takes the place of the database.
    pub(super) is_copied: bool,
    /// When the disk's room was looked up, and how much was written since.
    pub(super) room_at: Option<Instant>,
    pub(super) written: u64,
}

/// The changes of one batch, and the callers that wait for it.
#[derive(Default)]
pub(super) struct Batch {
    commands: usize,
    bytes: usize,
    records: HashMap<OperationId, Pending>,
    documents: HashMap<&'static str, VersionedDocument>,
    record_answers: Vec<(Responder<RecordSwap>, Swap<Versioned>)>,
    document_answers: Vec<(Responder<Swap<VersionedDocument>>, Swap<VersionedDocument>)>,
}

/// A record that the batch changes.
struct Pending {
    stored: Option<Head>,
    next: Option<NextRecord>,
}

impl Writer {
    /// Runs until a write fails, or until the last sender is gone. In that case it syncs at the end.
    pub(super) fn run(mut self, commands: &Receiver<Queued<Command>>) -> End {
        while let Some(first) = self.wait(commands) {
            let shared = self.shared.clone();
            let _working = shared.calls.work(Works::Writer, first.at);
            self.take(first.message);
            while self.batch.has_room() {
                let Ok(command) = commands.try_recv() else { break };
                self.take(command.message);
            }
            self.commit();
            self.sync_if_late();
            self.look_up_size();
            if self.shared.has_failed() {
                return End::Failed;
            }
        }
        self.sync(PersistMode::SyncAll);
        if self.is_copied && !self.shared.has_failed() {
            return End::Copied(self.own);
        }
        // A sync can fail while the writer waits, too.
        match commands.try_recv() {
            Err(TryRecvError::Disconnected) => End::Closed,
            Err(TryRecvError::Empty) => End::Failed,
            Ok(command) => {
                command.message.refuse(self.shared.failure_error());
                End::Failed
            }
        }
    }

    /// The next command; `None` at the end. Meanwhile the writer syncs where that is due, and looks whether a
    /// disk that was full has room again: while readiness is red, there may be no request to make it look.
    fn wait(&mut self, commands: &Receiver<Queued<Command>>) -> Option<Queued<Command>> {
        while let Some(due) = self.next_care() {
            match commands.recv_deadline(due) {
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Timeout) => {
                    let shared = self.shared.clone();
                    let _working = shared.calls.work(Works::Writer, Instant::now());
                    self.sync_if_late();
                    self.look_for_room();
                    self.look_up_size();
                    self.give_back();
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            }
            if self.shared.has_failed() || self.is_copied {
                return None;
            }
        }
        commands.recv().ok()
    }

    /// When the writer has a task though nobody asks.
    fn next_care(&self) -> Option<Instant> {
        let sync = self.unsynced_since.map(|since| since + SYNC_INTERVAL);
        let look = || self.room_at.map_or_else(Instant::now, |at| at + ROOM_INTERVAL);
        let room = (!self.shared.has_room()).then(look);
        let idle = self.idle.next(self.shared.has_room());
        sync.into_iter().chain(room).chain(self.watch.next()).chain(idle).min()
    }

    /// Decides one command: into the batch, or answered at once.
    fn take(&mut self, command: Command) {
        self.batch.commands += 1;
        let refused = self.shared.refusal().err();
        match command {
            Command::Record { id, expected, version, next, now, answer } => {
                self.own.clock = self.own.clock.max(now);
                match refused.map_or_else(|| self.decide(id, expected, version, next), Err) {
                    Ok(Some(swap)) => self.batch.record_answers.push((answer, swap)),
                    Ok(None) => reply(answer, Ok(None)),
                    Err(e) => reply(answer, Err(e)),
                }
            }
            Command::Document { name, expected, version, next, answer } => {
                match refused.map_or_else(|| self.decide_document(name, expected, version, next), Err) {
                    Ok(Decided::Now(swap)) => reply(answer, Ok(swap)),
                    Ok(Decided::WithBatch(swap)) => self.batch.document_answers.push((answer, swap)),
                    Err(e) => reply(answer, Err(e)),
                }
            }
        }
    }

    /// Decides a swap. A result is, or shows, a change of the batch.
    fn decide(
        &mut self,
        id: OperationId,
        expected: Option<Version>,
        version: Version,
        next: Option<NextRecord>,
    ) -> Result<RecordSwap, StoreError> {
        if let Some(pending) = self.batch.records.get_mut(&id) {
            let current = pending.next.as_ref();
            if current.map(|next| next.head.version) != expected {
                return Ok(Some(Swap::Conflict(current.map(NextRecord::versioned))));
            }
            self.batch.bytes += next.as_ref().map_or(0, |next| next.value.len());
            pending.next = next;
            return Ok(Some(Swap::Done(version)));
        }
        let stored = match expected {
            Some(expected) => self.head(id, expected)?,
            None => None,
        };
        if stored.is_none() && (expected.is_some() || self.tables.has_record(id)?) {
            return Ok(None);
        }
        if stored.is_none() && next.is_some() {
            self.make_sure_of_room()?;
        }
        self.batch.bytes += next.as_ref().map_or(0, |next| next.value.len());
        self.batch.records.insert(id, Pending { stored, next });
        Ok(Some(Swap::Done(version)))
    }

    /// The head of the stored record, if it is of this version.
    fn head(&self, id: OperationId, version: Version) -> Result<Option<Head>, StoreError> {
        let is_it = |head: &Head| head.version == version;
        if let Some(due) = self.shared.found_due.take(id)
            && let Some(head) = self.tables.head(id, due)?.filter(is_it)
        {
            return Ok(Some(head));
        }
        Ok(self.tables.record(id)?.map(|stored| stored.head).filter(is_it))
    }

    fn decide_document(
        &mut self,
        name: &'static str,
        expected: Option<Version>,
        version: Version,
        next: Bytes,
    ) -> Result<Decided<VersionedDocument>, StoreError> {
        let pending = self.batch.documents.get(name).cloned();
        let is_pending = pending.is_some();
        let current = pending.map_or_else(|| self.tables.document(name), |pending| Ok(Some(pending)))?;
        if current.as_ref().map(|(version, _)| *version) == expected {
            self.batch.bytes += next.len();
            self.batch.documents.insert(name, (version, next));
            return Ok(Decided::WithBatch(Swap::Done(version)));
        }
        let conflict = Swap::Conflict(current);
        Ok(if is_pending { Decided::WithBatch(conflict) } else { Decided::Now(conflict) })
    }

    /// Commits the batch and answers everybody who waits for it.
    fn commit(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let result = if batch.changes_nothing() { Ok(()) } else { self.write(&batch) };
        for (answer, swap) in batch.record_answers {
            reply(answer, result.clone().map(|()| Some(swap)));
        }
        for (answer, swap) in batch.document_answers {
            reply(answer, result.clone().map(|()| swap));
        }
    }

    fn write(&mut self, changes: &Batch) -> Result<(), StoreError> {
        let mode = match self.durability {
            Durability::Sync => PersistMode::SyncData,
            Durability::Async => PersistMode::Buffer,
        };
        let mut batch = self.tables.batch(changes.records.len() * 4 + changes.documents.len() + 2, mode);
        let mut own = self.own;
        if self.shared.versions_taken() + VERSIONS_RESERVED_AT_ONCE / 2 > own.versions_reserved {
            own.versions_reserved += VERSIONS_RESERVED_AT_ONCE;
            self.tables.put_indexed(&mut batch, own);
        }
        for (id, Pending { stored, next }) in &changes.records {
            let (before, after) = (stored.as_ref(), next.as_ref().map(|next| &next.head));
            match next {
                Some(next) => batch.insert(&self.tables.records, id.0, next.value.as_slice()),
                None if before.is_some() => batch.remove(&self.tables.records, id.0),
                None => {}
            }
            let (due_before, due_after) = (before.map(|head| head.due), after.map(|head| head.due));
            if let Some(due) = due_before.filter(|_| due_before != due_after) {
                batch.remove(&self.tables.due, due_key(due, *id));
            }
            if let Some(head) = after {
                batch.insert(&self.tables.due, due_key(head.due, *id), head.due_value());
            }
            let (was, is) = (before.map(|head| head.kind), after.map(|head| head.kind));
            own.kinds.change(was, is);
            if was != is {
                let index = |kind: Option<Kind>| kind.and_then(|kind| self.tables.index(kind));
                index(was).into_iter().for_each(|index| batch.remove(index, id.0));
                index(is).into_iter().for_each(|index| batch.insert(index, id.0, []));
            }
            own.records =
                (own.records + u64::from(after.is_some())).saturating_sub(u64::from(before.is_some()));
        }
        for (name, (version, document)) in &changes.documents {
            batch.insert(&self.tables.meta, document_key(name), document_value(*version, document));
        }
        if let Some(marking) = self.shared.marking.get().filter(|_| !changes.records.is_empty()) {
            own.changes += 1;
            batch.insert(&self.tables.meta, MARKED, marking.value(own.changes));
        }
        self.tables.put_own(&mut batch, own);
        self.keep_back()?;
        batch.commit().map_err(|e| self.failed(&e, changes.unclear()))?;
        self.own = own;
        self.written += changes.bytes as u64;
        self.shared.committed(&own, changes.dues());
        match self.durability {
            Durability::Sync => self.kept(),
            Durability::Async => _ = self.unsynced_since.get_or_insert_with(Instant::now),
        }
        self.watch.written();
        self.idle.written(&self.folder);
        if let Err(e) = self.tables.seal_full() {
            // What is committed stands.
            self.failed(&e, Unclear::nothing());
        }
        Ok(())
    }

    /// Waits while the database's worker is behind. An error: it has died, and nothing of this batch is
    /// written.
    fn keep_back(&mut self) -> Result<(), StoreError> {
        let tables = self.tables.clone();
        tables.keep_back(|| self.look_up_size()).map_err(|e| {
            self.failed(&e, Unclear::nothing());
            self.shared.failure_error()
        })
    }

    /// Records a failed write or sync. From then on nothing that the handle says is believed: after a failed
    /// fsync the system may drop the data that it held and call the next fsync a success (Rebello et al.,
    /// "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    fn failed(&self, error: &fjall::Error, unclear: Unclear) -> StoreError {
        // If one of the database's own threads failed before, this batch never reached the journal.
        if matches!(error, fjall::Error::Poisoned) {
            self.shared.fail("one of the database's own", Unclear::nothing());
            return self.shared.failure_error();
        }
        self.shared.fail(&error.to_string(), unclear);
        StoreError::Indeterminate(self.shared.failure_text())
    }

    /// Refuses a new record while the disk has no room for the answer and the removal that follow it.
    fn make_sure_of_room(&mut self) -> Result<(), StoreError> {
        self.look_for_room();
        if self.shared.has_room() {
            return Ok(());
        }
        Err(StoreError::Full(
            format!(
                "less than {} MiB are free on the disk of {}, beside what is to be written there yet",
                ROOM_BYTES_MIN >> 20,
                self.folder.display()
            )
            .into(),
        ))
    }

    /// Looks up the disk's room, once in a while.
    fn look_for_room(&mut self) {
        if self.written < ROOM_BYTES && self.room_at.is_some_and(|at| at.elapsed() < ROOM_INTERVAL) {
            return;
        }
        (self.room_at, self.written) = (Some(Instant::now()), 0);
        // If the system doesn't tell the room, a write will.
        let free = ballast::free_bytes(&self.folder).unwrap_or(u64::MAX);
        let room = free.saturating_sub(self.tables.db.write_buffer_size()) >= ROOM_BYTES_MIN;
        match (self.shared.set_room(free, room), room) {
            (true, false) => {
                tracing::error!(folder = %self.folder.display(), free_bytes = free, "the ledger's disk is full: nothing new is executed, what is under way is recorded")
            }
            (true, true) => {
                tracing::info!(folder = %self.folder.display(), free_bytes = free, "the ledger's disk has room again")
            }
            (false, _) => {}
        }
        // Without ballast, a disk that is full once more is over only when somebody makes room.
        if free >= ROOM_BYTES_MIN + 2 * BALLAST_BYTES {
            let _ = ballast::take(&self.folder);
        }
    }

    fn sync_if_late(&mut self) {
        if self.unsynced_since.is_some_and(|since| since.elapsed() >= SYNC_INTERVAL) {
            self.sync(PersistMode::SyncData);
        }
    }

    fn sync(&mut self, mode: PersistMode) {
        self.unsynced_since = None;
        if self.shared.refusal().is_err() {
            return;
        }
        match self.tables.db.persist(mode) {
            Ok(()) => self.kept(),
            Err(e) => drop(self.failed(&e, Unclear::nothing())),
        }
    }

    /// Gives disk back, where nobody writes.
    fn give_back(&mut self) {
        let has_room = self.shared.has_room();
        let is_quiet = self.unsynced_since.is_none() && !self.shared.has_failed();
        self.is_copied = is_quiet && self.idle.look(&self.tables, &self.own, &self.folder, has_room);
    }

    /// All that is committed is on disk.
    fn kept(&self) {
        self.shared.kept();
        if let Some(marking) = self.shared.marking.get() {
            marking.keep(self.own.changes, self.own.clock);
        }
    }

    fn look_up_size(&mut self) {
        match self.watch.look(&self.tables) {
            Ok(Some((bytes, backlog))) => self.shared.sized(bytes, backlog),
            Ok(None) => {}
            Err(e) => drop(self.failed(&e, Unclear::nothing())),
        }
    }
}

impl Batch {
    fn has_room(&self) -> bool {
        self.commands < BATCH_COMMANDS_MAX && self.bytes < BATCH_BYTES_MAX
    }

    fn changes_nothing(&self) -> bool {
        let records = self.records.values().all(|record| record.stored.is_none() && record.next.is_none());
        records && self.documents.is_empty()
    }

    fn unclear(&self) -> Unclear {
        Unclear::Of(self.records.keys().copied().collect(), self.documents.keys().copied().collect())
    }

    fn dues(&self) -> impl Iterator<Item = Timestamp> {
        self.records.values().filter_map(|record| record.next.as_ref().map(|next| next.head.due))
    }
}

impl NextRecord {
    fn versioned(&self) -> Versioned {
        Versioned { version: self.head.version, record: self.record.clone() }
    }
}

/// When a swap is answered.
enum Decided<T> {
    /// At once: its result shows only stored data.
    Now(Swap<T>),
    /// With the batch: its result is, or shows, a change of the batch.
    WithBatch(Swap<T>),
}

/// Answers a caller. A caller that no longer waits need not be told.
fn reply<T>(answer: Responder<T>, result: Result<T, StoreError>) {
    let _ = answer.send(result);
}
