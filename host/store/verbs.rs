//! What a store is: the six verbs, what they say, and what can go wrong with them.

use super::size::Size;
use bytes::Bytes;
use oncegate_core::{OperationId, Record, Timestamp};
use std::future::{Future, pending};
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
    /// The swap took effect (durably, where the store is durable and its durability is `sync`), and this
    /// is the new version. A removal has one, too, though nothing stands under it.
    Done(Version),
    /// Something else stands there: this.
    Conflict(Option<T>),
}

/// What a store says, with the time at which it said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped<T> {
    /// What it says.
    pub value: T,
    /// The store's own time, at some moment of the call; none: the store has no clock, and whoever asks
    /// it goes by a clock of their own.
    pub time: Option<Timestamp>,
}

impl<T> From<T> for Stamped<T> {
    /// Of a store without a clock.
    fn from(value: T) -> Self {
        Self { value, time: None }
    }
}

/// What a store answers to a call.
pub type Said<T> = Result<Stamped<T>, StoreError>;

/// Why a store does not do what it is asked.
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
    fn load(&self, id: OperationId) -> impl Future<Output = Said<Option<Versioned>>> + Send;

    /// Puts `next` (or removes, where `next` is none) if the record's version is still `expected` (or
    /// there is no record, where `expected` is none). One atomic step, durable before it is done where the
    /// store is durable. `now` is ledger time, of which a durable store remembers the latest.
    fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> impl Future<Output = Said<Swap<Versioned>>> + Send;

    /// Operations whose [`Record::due_at`] is at or before `until`, earliest first, at most
    /// `limit`.
    fn due(&self, until: Timestamp, limit: usize) -> impl Future<Output = Said<Vec<OperationId>>> + Send;

    /// Records in the order of their ids, from the first id behind `after`, at most `limit`. A page
    /// may be shorter because its records are large; an empty one is the end. A record that changes while a
    /// caller goes from page to page may be met in either form. For lists, not for requests.
    fn scan(
        &self,
        after: Option<OperationId>,
        limit: usize,
    ) -> impl Future<Output = Said<Vec<(OperationId, Versioned)>>> + Send;

    /// A small document of the ledger itself, such as its secret or its key spaces.
    fn load_meta(&self, name: &'static str) -> impl Future<Output = Said<Option<(Version, Bytes)>>> + Send;

    /// Puts such a document, by the rules of [`swap`](Self::swap).
    fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> impl Future<Output = Said<Swap<(Version, Bytes)>>> + Send;

    /// Comes back when the record of an operation has another version than `since` (none: when there is a
    /// record), whoever wrote it. It may come back without that, too. A store that isn't told of other
    /// gateways' writes never comes back, so whoever waits also looks again after a while.
    fn changed(&self, id: OperationId, since: Option<Version>) -> impl Future<Output = ()> + Send {
        let _ = (id, since);
        pending()
    }

    /// How many records there are, roughly, and their bytes in memory or on disk.
    fn size(&self) -> Size;

    /// Why the store takes no new records now, if it knows that it doesn't.
    fn trouble(&self) -> Option<&'static str> {
        None
    }
}
