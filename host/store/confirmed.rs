//! The store interface of the ledger and its key spaces. Ledger time stands beside the store and hears the
//! store's own time. A write whose result is unclear is read back.
//!
//! What the last process left executing is read as unknown from the first read on, at its own version. The
//! ledger's keeper [records](Confirmed::recover) that.
//!
//! A store that says [`StoreError::Indeterminate`] may have written. The written record carries an execution
//! id that is never used twice, so reading back tells. No winner is told that it lost, and no settlement that
//! stands is taken for a late one.

use super::clock::Clock;
use super::size::Size;
use super::verbs::{Said, ScanScope, Scanned, Stamped, Store, StoreError, Swap, Version, Versioned};
use bytes::Bytes;
use oncegate_core::{Decision, Event, NO_RULES, OperationId, Record, State, Timestamp, codec, decide};
use std::sync::Arc;

/// A store and the clock of the ledger on it.
#[derive(Debug)]
pub struct Confirmed<S> {
    store: S,
    clock: Clock,
    /// This process's first version.
    first: Version,
    /// When this process opened the store.
    opened: Timestamp,
}

impl<S: Store> Confirmed<S> {
    /// This store with this clock. `first`: this process's first version, where no other process has the store.
    pub fn new(store: S, clock: Clock, first: Version) -> Self {
        let opened = clock.now();
        Self { store, clock, first, opened }
    }

    /// Ledger time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The store itself. Direct calls to it move no clock, direct reads show what was left executing as it is
    /// stored, and direct writes are not read back.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The record of an operation.
    pub async fn load(&self, id: OperationId) -> Result<Option<Versioned>, StoreError> {
        Ok(self.stored(id).await?.map(|stored| self.meant(stored)))
    }

    /// Records as unknown an operation that the last process left executing. Whatever this process wrote
    /// stands: its versions are later ones. An unclear write is not read back: the caller calls again.
    pub async fn recover(&self, id: OperationId) -> Result<(), StoreError> {
        if let Some(stored) = self.stored(id).await?
            && let Some(unknown) = self.orphaned(&stored)
        {
            let swap = self.store.swap(id, Some(stored.version), Some(unknown.into()), self.clock.now());
            // Where the record has another version by now, somebody has gone on from this unknown outcome.
            self.hear(swap.await)?;
        }
        Ok(())
    }

    /// Swaps, and reads the record back where the result is unclear. Every write of a record passes here, or
    /// by [`recover`](Self::recover). So code that must see all writes (a journal) belongs here.
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
                let Ok(standing) = self.stored(id).await else { return Err(unclear) };
                Ok(match (standing, next) {
                    (Some(standing), Some(next)) if is_stored_as(&standing.record, &next) => {
                        Swap::Done(standing.version)
                    }
                    // Nothing stands under the version of a removal.
                    (None, None) => Swap::Done(Version(0)),
                    (standing, _) => Swap::Conflict(standing.map(|stored| self.meant(stored))),
                })
            }
            Ok(Swap::Conflict(standing)) => Ok(Swap::Conflict(standing.map(|stored| self.meant(stored)))),
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
        let page = self.hear(self.store.scan(of, after, limit).await)?;
        Ok(page.into_iter().map(|(id, met)| (id, met.map(|stored| self.meant(stored)))).collect())
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

    /// The record as the store has it.
    async fn stored(&self, id: OperationId) -> Result<Option<Versioned>, StoreError> {
        self.hear(self.store.load(id).await)
    }

    /// The record as it is to be read.
    fn meant(&self, stored: Versioned) -> Versioned {
        match self.orphaned(&stored) {
            Some(unknown) => Versioned { record: unknown.into(), ..stored },
            None => stored,
        }
    }

    /// What the record of an operation says that the last process left executing.
    fn orphaned(&self, stored: &Versioned) -> Option<Record> {
        if stored.version >= self.first || !matches!(stored.record.state, State::Executing { .. }) {
            return None;
        }
        match decide(&NO_RULES, Some(&stored.record), Event::Restart, self.opened) {
            Decision::Put(unknown) => Some(unknown),
            // It is over by its own times.
            _ => None,
        }
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
