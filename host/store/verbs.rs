//! The store interface: its six verbs, their answers, and their errors.

use super::size::{Kind, Size};
use bytes::Bytes;
use oncegate_core::{OperationId, Record, Timestamp};
use std::future::{Future, pending};
use std::sync::Arc;

/// The name of one write of one record. Versions are never used twice, so a version is the fencing token: a
/// swap that expects an old version has lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// A record and the write that put it there.
#[derive(Clone, Debug)]
pub struct Versioned {
    /// The write.
    pub version: Version,
    /// The record.
    pub record: Arc<Record>,
}

/// The records that a scan goes through. A store finds those of one kind in time proportional to their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanScope {
    /// All records.
    All,
    /// Those that are stored as executing; their leases may have lapsed.
    Executing,
    /// Those that are stored as unknown.
    Unknown,
}

impl ScanScope {
    /// The one kind of its records; `None`: all kinds.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::All => None,
            Self::Executing => Some(Kind::Executing),
            Self::Unknown => Some(Kind::Unknown),
        }
    }
}

/// How a swap ended.
#[derive(Clone, Debug)]
pub enum Swap<T> {
    /// The swap took effect (durably, where the store is durable and its durability is `sync`), and this is
    /// the new version. A removal has a version, too, though no record stands under it.
    Done(Version),
    /// The present record is not the expected one; this is the present one.
    Conflict(Option<T>),
}

/// An answer of a store, with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped<T> {
    /// The answer.
    pub value: T,
    /// The store's own time, at some moment of the call; `None`: the store has no clock, and its callers use
    /// a clock of their own.
    pub time: Option<Timestamp>,
}

impl<T> From<T> for Stamped<T> {
    /// The answer of a store without a clock.
    fn from(value: T) -> Self {
        Self { value, time: None }
    }
}

/// What a scan met under an id: the record, or why it can't be read.
pub type Scanned = (OperationId, Result<Versioned, StoreError>);

/// A store's answer to a call.
pub type Said<T> = Result<Stamped<T>, StoreError>;

/// Why a store does not do a call.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written.
    #[error("the ledger's store is unavailable: {0}")]
    Unavailable(Arc<str>),
    /// Nobody knows whether the store wrote. Reading back tells: versions are unique.
    #[error("the ledger's store may or may not have written: {0}")]
    Indeterminate(Arc<str>),
    /// There is no room for a new record. Nothing was written.
    #[error("the ledger's store is full: {0}")]
    Full(Arc<str>),
    /// The stored data can't be read.
    #[error("the ledger's store is damaged: {0}")]
    Corrupt(Arc<str>),
}

/// A place for records.
pub trait Store: Send + Sync + 'static {
    /// The record of an operation.
    fn load(&self, id: OperationId) -> impl Future<Output = Said<Option<Versioned>>> + Send;

    /// Puts `next` (or removes, where `next` is `None`) if the record's version is still `expected` (or there
    /// is no record, where `expected` is `None`). This is one atomic step, durable before it is done where
    /// the store is durable. `now` is ledger time, of which a durable store remembers the latest.
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

    /// Records of a scope in the order of their ids, from the first id behind `after`, at most `limit`. A page
    /// may be shorter because its records are large; an empty page is the end. A record that changes while a
    /// caller goes from page to page may be met in either form. A record that can't be read ends no scan, unless
    /// nothing can. For lists, not for requests.
    fn scan(
        &self,
        of: ScanScope,
        after: Option<OperationId>,
        limit: usize,
    ) -> impl Future<Output = Said<Vec<Scanned>>> + Send;

    /// A small document of the ledger itself, such as its secret or its key spaces.
    fn load_meta(&self, name: &'static str) -> impl Future<Output = Said<Option<(Version, Bytes)>>> + Send;

    /// Puts a document of the ledger, by the rules of [`swap`](Self::swap).
    fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> impl Future<Output = Said<Swap<(Version, Bytes)>>> + Send;

    /// Ends when the record of an operation has another version than `since` (`None`: when there is a
    /// record), whoever wrote it. The future may end without that, too. A store that isn't told of other
    /// gateways' writes never ends it, so a waiter also looks again after a while.
    fn changed(&self, id: OperationId, since: Option<Version>) -> impl Future<Output = ()> + Send {
        let _ = (id, since);
        pending()
    }

    /// How many records there are, roughly, and their bytes in memory or on disk.
    fn size(&self) -> Size;

    /// Why the store takes no new records now, if the store knows that it doesn't.
    fn trouble(&self) -> Option<&'static str> {
        None
    }
}
