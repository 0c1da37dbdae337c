//! The database: its keyspaces and the layout of keys and values in them.
//!
//! | keyspace | key | value |
//! | --- | --- | --- |
//! | `records` | operation id | head (version, due, kind) and the record's own bytes |
//! | `due` | due time, operation id | the record's version and kind; nothing from earlier versions |
//! | `running` | operation id | nothing; there while the record is executing |
//! | `unknown` | operation id | nothing; there while the record is unknown |
//! | `meta` | `doc:` and a name | version and the document |
//! | | `own` | `Own`, in every batch |
//! | | `indexed` | what tells that `unknown` is whole (`index`) |
//!
//! Numbers are big-endian, so that keys sort by them. This module knows no threads.

use super::folder::OpenError;
use super::tail;
use crate::{Kind, Kinds, StoreError, Version, Versioned};
use bytes::Bytes;
use fjall::config::FilterPolicy;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, OwnedWriteBatch, PersistMode, UserValue,
};
use oncegate_core::{Durability, OperationId, Record, Timestamp, codec};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// The size of the cache for blocks that were read lately.
const CACHE_BYTES: u64 = 32 << 20;
/// Recent writes wait in memory up to this size before the database would have them go into a table. The writer
/// sends them there earlier (`pressure`).
pub(super) const RECORDS_MEMTABLE_BYTES: u64 = 16 << 20;
pub(super) const INDEX_MEMTABLE_BYTES: u64 = 4 << 20;
/// The bound for all sealed journals. Above it the keyspaces that hold the oldest journal back are written
/// out.
pub(super) const JOURNAL_BYTES: u64 = 64 << 20;
/// Larger values are kept beside the tables, so that a body isn't copied each time they are merged.
const SEPARATE_BYTES: u32 = 4 << 10;

const OWN: &[u8] = b"own";

/// The handles of an open database.
#[derive(Clone)]
pub(super) struct Tables {
    pub(super) db: Database,
    pub(super) records: Keyspace,
    pub(super) due: Keyspace,
    pub(super) running: Keyspace,
    pub(super) unknown: Keyspace,
    pub(super) meta: Keyspace,
    /// One for each clone of these handles.
    clones: Arc<()>,
}

impl Tables {
    /// Opens the database in `path`. Where `whole`, all of the database must be there already. `folder` is
    /// for the message. `durability`: the setting of the process that wrote it last, as far as we know.
    pub(super) fn open(
        path: &Path,
        whole: bool,
        folder: &Path,
        durability: Durability,
    ) -> Result<Self, OpenError> {
        let damaged = |detail: String| OpenError::Damaged { path: folder.into(), detail };
        // Without the marker the database would take the folder for a new one and write into it.
        if whole && !path.join("version").exists() {
            return Err(damaged("the database's version marker is missing".into()));
        }
        if whole && durability == Durability::Sync {
            match tail::damage(path) {
                Ok(None) => {}
                Ok(Some(where_it_is)) => return Err(damaged(where_it_is)),
                Err(source) => return Err(OpenError::Io { path: folder.into(), source }),
            }
        }
        // The database asserts some of the data that it reads. A damaged database gives an error like any
        // other.
        let open = || catch_unwind(AssertUnwindSafe(|| Self::try_open(path, whole)));
        let mut opened = open();
        if matches!(opened, Ok(Err(fjall::Error::JournalRecovery(_))))
            && let Ok(Some(bytes)) = tail::cut(path, durability)
        {
            tracing::warn!(
                bytes,
                "the journal ended in a batch that was torn by a crash; nobody was told of it"
            );
            opened = open();
        }
        match opened {
            Ok(Ok(Some(tables))) => Ok(tables),
            Ok(Ok(None)) => Err(damaged("a keyspace is missing".into())),
            Ok(Err(fjall::Error::Locked)) => Err(OpenError::Locked { path: folder.into(), holder: None }),
            Ok(Err(fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source))))
                if !tells_of_damage(&source, whole) =>
            {
                Err(OpenError::Io { path: folder.into(), source })
            }
            Ok(Err(e)) => Err(damaged(e.to_string())),
            Err(panic) => Err(damaged(panic_text(&*panic))),
        }
    }

    /// Opens a database that is there, all of it, and on the disk. `folder` is for the message.
    pub(super) fn open_whole(path: &Path, folder: &Path) -> Result<Self, String> {
        Self::open(path, true, folder, Durability::Sync).map_err(|error| error.to_string())
    }

    fn try_open(path: &Path, whole: bool) -> fjall::Result<Option<Self>> {
        let builder = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .max_cached_files(Some(256))
            // With more worker threads, one of them spins while another merges.
            .worker_threads(1);
        #[cfg(test)]
        let builder = builder.with_compaction_filter_factories(super::slowed::filters());
        let db = builder.open()?;
        if whole && !["records", "due", "running", "meta"].iter().all(|name| db.keyspace_exists(name)) {
            return Ok(None);
        }
        let index = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(INDEX_MEMTABLE_BYTES)
                .filter_policy(FilterPolicy::disabled())
        };
        let records = db.keyspace("records", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(RECORDS_MEMTABLE_BYTES)
                .with_kv_separation(Some(KvSeparationOptions::default().separation_threshold(SEPARATE_BYTES)))
        })?;
        let due = db.keyspace("due", index)?;
        let running = db.keyspace("running", index)?;
        let meta = db.keyspace("meta", index)?;
        // An earlier version made none.
        let has_index = db.keyspace_exists("unknown");
        let unknown = db.keyspace("unknown", index)?;
        let tables = Self { db, records, due, running, unknown, meta, clones: Arc::default() };
        if !has_index {
            tables.forget_index()?;
        }
        Ok(Some(tables))
    }

    /// Whether nobody has these handles but the writer and its [state](super::shared), and the database is at rest.
    pub(super) fn are_nobody_elses(&self) -> bool {
        let works = self.db.outstanding_flushes() > 0 || self.db.active_compactions() > 0;
        !works && Arc::strong_count(&self.clones) == 2
    }

    /// A batch that is durable, if `mode` says so, before anybody can read its records: the database syncs
    /// its journal first and applies the batch after.
    pub(super) fn batch(&self, items: usize, mode: PersistMode) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.db.clone(), items).durability(Some(mode))
    }

    /// The record under an id.
    pub(super) fn record(&self, id: OperationId) -> Result<Option<StoredRecord>, StoreError> {
        let found = self.records.get(id.0).map_err(read_error)?;
        found.map(StoredRecord::try_new).transpose()
    }

    /// Operations due from `from` until `until`, earliest first.
    pub(super) fn due(
        &self,
        from: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, OperationId)>, StoreError> {
        let first = due_key(from, OperationId([0; 32]));
        let last = due_key(until, OperationId([0xff; 32]));
        if first > last {
            return Ok(Vec::new());
        }
        let key = |guard: fjall::Guard| {
            let key = guard.key().map_err(read_error)?;
            let (time, id) = key.split_first_chunk().ok_or_else(|| corrupt("a due time is too short"))?;
            let id = id.try_into().map_err(|_| corrupt("a due entry names no operation"))?;
            Ok((Timestamp::from_millis(u64::from_be_bytes(*time)), OperationId(id)))
        };
        self.due.range(first..=last).take(limit).map(key).collect()
    }

    /// The index of the records of this kind, if it has one.
    pub(super) fn index(&self, kind: Kind) -> Option<&Keyspace> {
        match kind {
            Kind::Executing => Some(&self.running),
            Kind::Unknown => Some(&self.unknown),
            Kind::Completed | Kind::Consumed | Kind::Pointer => None,
        }
    }

    /// Operations that were executing at the last write.
    pub(super) fn running(&self) -> Result<Vec<OperationId>, StoreError> {
        let id = |guard: fjall::Guard| operation_of(&guard.key().map_err(read_error)?);
        self.running.iter().map(id).collect()
    }

    /// A document of the ledger.
    pub(super) fn document(&self, name: &str) -> Result<Option<(Version, Bytes)>, StoreError> {
        let Some(value) = self.meta.get(document_key(name)).map_err(read_error)? else { return Ok(None) };
        let (version, document) =
            value.split_first_chunk().ok_or_else(|| corrupt("a document has no version"))?;
        Ok(Some((Version(u64::from_be_bytes(*version)), Bytes::copy_from_slice(document))))
    }

    /// The store's own document.
    pub(super) fn own(&self) -> Result<Option<Own>, StoreError> {
        let Some(value) = self.meta.get(OWN).map_err(read_error)? else { return Ok(None) };
        Own::from_bytes(&value).map(Some).ok_or_else(|| corrupt("the store's own document has another size"))
    }

    /// A value among the documents that is none.
    pub(super) fn meta_value(&self, key: &[u8]) -> Result<Option<UserValue>, StoreError> {
        self.meta.get(key).map_err(read_error)
    }

    /// Puts such a value, and syncs it.
    pub(super) fn put_now(&self, key: &'static [u8], value: &[u8]) -> fjall::Result<()> {
        let mut batch = self.batch(1, PersistMode::SyncAll);
        batch.insert(&self.meta, key, value);
        batch.commit()
    }

    /// Puts the store's own document.
    pub(super) fn put_own(&self, batch: &mut OwnedWriteBatch, own: Own) {
        batch.insert(&self.meta, OWN, own.to_bytes());
    }
}

/// The store's own data, in every batch, so that it agrees with the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// The latest ledger time that was seen. Ledger time must not run behind it after a restart.
    pub(super) clock: Timestamp,
    /// How many records there are.
    pub(super) records: u64,
    /// How many records there are of each kind.
    pub(super) kinds: Kinds,
    /// No version from this number on was ever handed out.
    pub(super) versions_reserved: u64,
    /// The index of unknown records is whole. This is kept elsewhere (`index`).
    pub(super) indexed: bool,
    /// The number of the last change of records, if they are counted. This is kept elsewhere (`mark`).
    pub(super) changes: u64,
}

impl Own {
    fn to_bytes(self) -> Vec<u8> {
        let kinds = Kind::ALL.map(|kind| self.kinds.count(kind));
        let numbers = [&[self.clock.as_millis(), self.records, self.versions_reserved], &kinds[..]].concat();
        numbers.into_iter().flat_map(u64::to_be_bytes).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 64] = bytes.try_into().ok()?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let number = |i: usize| u64::from_be_bytes(numbers[i]);
        Some(Self {
            clock: Timestamp::from_millis(number(0)),
            records: number(1),
            versions_reserved: number(2),
            kinds: Kinds(std::array::from_fn(|i| number(3 + i))),
            indexed: false,
            changes: 0,
        })
    }
}

/// The head of a stored record: everything that a swap needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) version: Version,
    pub(super) due: Timestamp,
    pub(super) kind: Kind,
}

impl Head {
    const BYTES: usize = 17;

    fn of(version: Version, record: &Record) -> Self {
        Self { version, due: record.due_at(), kind: Kind::of(record) }
    }
}

/// A record as it is stored.
pub(super) struct StoredRecord {
    pub(super) head: Head,
    pub(super) value: UserValue,
}

impl StoredRecord {
    pub(super) fn try_new(value: UserValue) -> Result<Self, StoreError> {
        let short = || corrupt("a stored record is too short");
        let (version, rest) = value.split_first_chunk().ok_or_else(short)?;
        let (due, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let head = Head {
            version: Version(u64::from_be_bytes(*version)),
            due: Timestamp::from_millis(u64::from_be_bytes(*due)),
            kind: Kind::from_number(*rest.first().ok_or_else(short)?)
                .ok_or_else(|| corrupt("a stored record is of no known kind"))?,
        };
        Ok(Self { head, value })
    }

    /// The record itself, copied once into memory of its own: the stored value is part of a larger
    /// block.
    pub(super) fn read(&self) -> Result<Versioned, StoreError> {
        let bytes = Bytes::copy_from_slice(&self.value[Head::BYTES..]);
        let record = codec::decode(&bytes).map_err(|e| StoreError::Corrupt(e.to_string().into()))?;
        Ok(Versioned { version: self.head.version, record: Arc::new(record) })
    }
}

/// A record that is to be stored.
pub(super) struct NextRecord {
    pub(super) head: Head,
    pub(super) record: Arc<Record>,
    pub(super) value: Vec<u8>,
}

impl NextRecord {
    /// Encodes the record on the caller's thread, as the writer has enough to do.
    pub(super) fn new(version: Version, record: Arc<Record>) -> Self {
        let head = Head::of(version, &record);
        let mut value = Vec::with_capacity(Head::BYTES + record.weight());
        value.extend_from_slice(&head.version.0.to_be_bytes());
        value.extend_from_slice(&head.due.as_millis().to_be_bytes());
        value.push(head.kind as u8);
        codec::encode_into(&record, &mut value);
        Self { head, record, value }
    }
}

/// The operation that is named by a key of the records or of an index.
pub(super) fn operation_of(key: &[u8]) -> Result<OperationId, StoreError> {
    key.try_into()
        .map(OperationId)
        .map_err(|_| corrupt("a record or an entry of an index is of no operation"))
}

/// The key of a `due` entry.
pub(super) fn due_key(due: Timestamp, id: OperationId) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&due.as_millis().to_be_bytes());
    key[8..].copy_from_slice(&id.0);
    key
}

/// The key of a document.
pub(super) fn document_key(name: &str) -> Vec<u8> {
    [b"doc:", name.as_bytes()].concat()
}

/// A document as it is stored.
pub(super) fn document_value(version: Version, document: &[u8]) -> Vec<u8> {
    [&version.0.to_be_bytes(), document].concat()
}

/// A read that failed.
pub(super) fn read_error(error: fjall::Error) -> StoreError {
    let text = Arc::from(error.to_string());
    let of_the_system = matches!(
        error,
        fjall::Error::Io(_) | fjall::Error::Poisoned | fjall::Error::Storage(fjall::LsmError::Io(_))
    );
    if of_the_system { StoreError::Unavailable(text) } else { StoreError::Corrupt(text) }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.into())
}

/// Whether a failed open speaks of the files' content rather than of the system.
fn tells_of_damage(error: &std::io::Error, whole: bool) -> bool {
    use std::io::ErrorKind as Kind;
    let by_content = [
        Kind::AlreadyExists,
        Kind::InvalidData,
        // A garbled place in a file can be before its beginning.
        Kind::InvalidInput,
        Kind::IsADirectory,
        Kind::NotADirectory,
        Kind::NotFound,
        Kind::UnexpectedEof,
    ];
    whole && by_content.contains(&error.kind())
}

/// Reads, and survives it: the database asserts some facts of its tables, and damaged ones break them.
pub(super) fn unbroken<T>(read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|panic| Err(StoreError::Corrupt(panic_text(&*panic).into())))
}

/// The text of a panic.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
        .to_owned()
}
