//! Stores only swap. The core decides what to put; a store loads, compares and swaps, and tells
//! what is due. One conformance suite (`conformance.rs`) runs on every store.

pub mod any;
pub mod embedded;
pub mod memory;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod faulty;

pub use any::AnyStore;
pub use embedded::{Embedded, OpenError, Recovered};
pub use memory::{IdHasher, Memory};

use bytes::Bytes;
use oncegate_core::{OperationId, Record, State, Timestamp};
use std::future::Future;
use std::sync::Arc;

/// Names one write of one record. Never used twice, so it is the fencing token: who expects a
/// version that is gone has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// A record and the write that put it there.
#[derive(Clone, Debug)]
pub struct Versioned {
    /// The write.
    pub version: Version,
    /// The record.
    pub record: Arc<Record>,
}

/// How a swap ended.
#[derive(Clone, Debug)]
pub enum Swap<T> {
    /// It took effect (durably, where the store is durable and its durability is `sync`), and this
    /// is the new version. Of a removal too, though nothing stands under it.
    Done(Version),
    /// Something else stands there: this.
    Conflict(Option<T>),
}

/// What a store can't do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written.
    #[error("the ledger's store is unavailable: {0}")]
    Unavailable(Arc<str>),
    /// Nobody knows whether it was written. Reading back tells: versions are unique.
    #[error("the ledger's store may or may not have written: {0}")]
    Indeterminate(Arc<str>),
    /// There is no room for a new record. Nothing was written.
    #[error("the ledger's store is full: {0}")]
    Full(Arc<str>),
    /// What is stored there can't be read.
    #[error("the ledger's store is damaged: {0}")]
    Corrupt(Arc<str>),
}

/// A place for records.
pub trait Store: Send + Sync + 'static {
    /// The record of an operation.
    fn load(&self, id: OperationId) -> impl Future<Output = Result<Option<Versioned>, StoreError>> + Send;

    /// Puts `next` (or removes, where it is none) if the record's version is still `expected` (or
    /// there is none, where that is none). One atomic step, durable before it is done where the
    /// store is durable. `now` is ledger time, of which a durable store remembers the latest.
    fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Swap<Versioned>, StoreError>> + Send;

    /// Operations whose [`Record::due_at`] is at or before `until`, earliest first, at most
    /// `limit`.
    fn due(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<OperationId>, StoreError>> + Send;

    /// Records in the order of their ids, from the first id behind `after`, at most `limit`. A page
    /// may be shorter because its records are large; an empty one is the end. What changes while a
    /// caller goes from page to page may be met in either form. For lists, not for requests.
    fn scan(
        &self,
        after: Option<OperationId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(OperationId, Versioned)>, StoreError>> + Send;

    /// A small document of the ledger itself, such as its secret or its key spaces.
    fn load_meta(
        &self,
        name: &'static str,
    ) -> impl Future<Output = Result<Option<(Version, Bytes)>, StoreError>> + Send;

    /// Puts such a document, by the rules of [`swap`](Self::swap).
    fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> impl Future<Output = Result<Swap<(Version, Bytes)>, StoreError>> + Send;

    /// How many records there are, roughly, and their bytes in memory or on disk.
    fn size(&self) -> Size;

    /// Why it takes no new records now, if it knows that it doesn't.
    fn trouble(&self) -> Option<&'static str> {
        None
    }
}

/// How much a store holds, roughly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Records.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
    /// Records by what they were stored as.
    pub kinds: Kinds,
}

/// What a record is stored as. What lapsed or expired since, and wasn't swept yet, still counts as
/// what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the states of a record")]
pub enum Kind {
    Executing = 1,
    Completed = 2,
    Consumed = 3,
    Unknown = 4,
    Pointer = 5,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Executing, Self::Completed, Self::Consumed, Self::Unknown, Self::Pointer];

    /// What this record is stored as.
    pub fn of(record: &Record) -> Self {
        match record.state {
            State::Executing { .. } => Self::Executing,
            State::Completed { .. } => Self::Completed,
            State::Consumed { .. } => Self::Consumed,
            State::Unknown { .. } => Self::Unknown,
            State::Pointer(_) => Self::Pointer,
        }
    }

    /// The one with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The word for it in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Executing => "executing",
            Self::Completed => "completed",
            Self::Consumed => "consumed",
            Self::Unknown => "unknown",
            Self::Pointer => "pointer",
        }
    }

    fn index(self) -> usize {
        self as usize - 1
    }
}

/// How many records there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds([u64; 5]);

impl Kinds {
    /// How many of this kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.0[kind.index()]
    }

    /// How many of all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// One record more or less: it was of the one kind and is of the other.
    pub(crate) fn change(&mut self, before: Option<Kind>, after: Option<Kind>) {
        if let Some(before) = before {
            self.0[before.index()] = self.0[before.index()].saturating_sub(1);
        }
        if let Some(after) = after {
            self.0[after.index()] += 1;
        }
    }
}
