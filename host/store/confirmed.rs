//! The store interface of the ledger and its key spaces. Ledger time stands beside the store and hears the
//! store's own time. A write whose result is unclear is read back.
//!
//! A store that says [`StoreError::Indeterminate`] may have written. The written record carries an execution
//! id that is never used twice, so reading back tells. No winner is told that it lost, and no settlement that
//! stands is taken for a late one.

use super::clock::Clock;
use super::size::Size;
use super::verbs::{Said, ScanScope, Scanned, Stamped, Store, StoreError, Swap, Version, Versioned};
use bytes::Bytes;
use oncegate_core::{OperationId, Record, Timestamp, codec};
use std::sync::Arc;

/// A store and the clock of the ledger on it.
#[derive(Debug)]
pub struct Confirmed<S> {
    store: S,
    clock: Clock,
}

impl<S: Store> Confirmed<S> {
    /// This store with this clock.
    pub fn new(store: S, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Ledger time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The store itself. Direct calls to it move no clock, and direct writes are not read back.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The record of an operation.
    pub async fn load(&self, id: OperationId) -> Result<Option<Versioned>, StoreError> {
        self.hear(self.store.load(id).await)
    }

    /// Swaps, and reads the record back where the result is unclear. Every write of a record passes here. So
    /// code that must see all writes (a journal) belongs here.
    pub async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> Result<Swap<Versioned>, StoreError> {
        match self.hear(self.store.swap(id, expected, next.clone(), now).await) {
            Err(unclear @ StoreError::Indeterminate(_)) => {
                // The result stays unclear as long as nobody can read.
                let Ok(standing) = self.load(id).await else { return Err(unclear) };
                Ok(match (standing, next) {
                    (Some(standing), Some(next)) if is_stored_as(&standing.record, &next) => {
                        Swap::Done(standing.version)
                    }
                    // Nothing stands under the version of a removal.
                    (None, None) => Swap::Done(Version(0)),
                    (standing, _) => Swap::Conflict(standing),
                })
            }
            result => result,
        }
    }

    /// As [`Store::due`].
    pub async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<OperationId>, StoreError> {
        self.hear(self.store.due(until, limit).await)
    }

    /// As [`Store::scan`].
    pub async fn scan(
        &self,
        of: ScanScope,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        self.hear(self.store.scan(of, after, limit).await)
    }

    /// A document of the ledger itself.
    pub async fn load_meta(&self, name: &'static str) -> Result<Option<(Version, Bytes)>, StoreError> {
        self.hear(self.store.load_meta(name).await)
    }

    /// Puts a document of the ledger itself. An unclear write is not read back: the caller reads the document
    /// before it puts one.
    pub async fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> Result<Swap<(Version, Bytes)>, StoreError> {
        self.hear(self.store.swap_meta(name, expected, next).await)
    }

    /// As [`Store::changed`].
    pub async fn changed(&self, id: OperationId, since: Option<Version>) {
        self.store.changed(id, since).await;
    }

    /// As [`Store::size`].
    pub fn size(&self) -> Size {
        self.store.size()
    }

    /// The value of the store's answer. The clock takes the answer's time.
    fn hear<T>(&self, said: Said<T>) -> Result<T, StoreError> {
        let Stamped { value, time } = said?;
        if let Some(time) = time {
            self.clock.hear(time);
        }
        Ok(value)
    }
}

/// Whether `standing` is `written` as a store holds it, with times to the millisecond.
fn is_stored_as(standing: &Record, written: &Record) -> bool {
    standing.execution == written.execution && codec::encode(standing) == codec::encode(written)
}
