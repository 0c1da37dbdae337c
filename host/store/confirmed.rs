//! A store as the ledger and its key spaces speak to it: with ledger time beside it, which hears the
//! store's own time, and with writes that are read back where their result is unclear.
//!
//! A store that says [`StoreError::Indeterminate`] may have written. A record that it wrote carries an
//! execution id that is never used twice, so reading back tells: no winner is told that it lost,
//! and no settlement that stands is taken for one that came too late.

use super::clock::Clock;
use super::size::Size;
use super::verbs::{Said, Stamped, Store, StoreError, Swap, Version, Versioned};
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
    /// This store, by this clock.
    pub fn new(store: S, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Ledger time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The store itself. What is asked of it directly moves no clock, and what it writes is not read back.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The record of an operation.
    pub async fn load(&self, id: OperationId) -> Result<Option<Versioned>, StoreError> {
        self.hear(self.store.load(id).await)
    }

    /// Swaps, and where the result is unclear reads back what came of it. Every write of a record passes
    /// here: whatever is to know of all writes (a journal) belongs here.
    pub async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> Result<Swap<Versioned>, StoreError> {
        match self.hear(self.store.swap(id, expected, next.clone(), now).await) {
            Err(unclear @ StoreError::Indeterminate(_)) => {
                // As long as nobody can read, it stays unclear.
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
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<(OperationId, Versioned)>, StoreError> {
        self.hear(self.store.scan(after, limit).await)
    }

    /// A document of the ledger itself.
    pub async fn load_meta(&self, name: &'static str) -> Result<Option<(Version, Bytes)>, StoreError> {
        self.hear(self.store.load_meta(name).await)
    }

    /// Puts such a document. Whether an unclear write took effect is not read back: whoever puts a document
    /// reads it before.
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

    /// What the store says, with its time taken off it for the clock.
    fn hear<T>(&self, said: Said<T>) -> Result<T, StoreError> {
        let Stamped { value, time } = said?;
        if let Some(time) = time {
            self.clock.hear(time);
        }
        Ok(value)
    }
}

/// Whether the one is what becomes of the other in a store, which keeps times to the millisecond.
fn is_stored_as(standing: &Record, written: &Record) -> bool {
    standing.execution == written.execution && codec::encode(standing) == codec::encode(written)
}
