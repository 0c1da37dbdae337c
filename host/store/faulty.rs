//! A store that fails on order, around a real one.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::size::Size;
use super::verbs::{Said, ScanScope, Scanned, Stamped, Store, StoreError, Swap, Version, Versioned};
use bytes::Bytes;
use oncegate_core::{OperationId, Record, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::task::yield_now;

/// What happens to one swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// The swap is done as it should be.
    None,
    /// The swap is done once all other tasks had a turn.
    Late,
    /// The swap is done, and nobody is told.
    Written,
    /// The swap is not done, and nobody is told.
    Unwritten,
    /// The swap is done, and the call never ends.
    WrittenForEver,
    /// The swap is not done, and the call never ends.
    UnwrittenForEver,
    /// The swap is refused.
    Unavailable,
    /// The swap is refused for want of room.
    Full,
}

/// A store that fails as it is told to, and tells any time.
pub struct Faulty<S> {
    /// The real store.
    pub inner: Arc<S>,
    /// The faults of the next swaps, in order; later swaps are done as they should be.
    faults: Mutex<VecDeque<StoreFault>>,
    /// The same for swaps of documents.
    document_faults: Mutex<VecDeque<StoreFault>>,
    unreadable: AtomicBool,
    /// The records that can't be read, and why.
    damaged: Mutex<HashMap<OperationId, StoreError>>,
    /// The store's own time in milliseconds, which its answers bring; 0: it has no clock.
    time: AtomicU64,
}

impl<S> std::fmt::Debug for Faulty<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty(..)")
    }
}

impl<S> Faulty<S> {
    /// A store that does as it should until it is told otherwise.
    pub fn new(inner: S) -> Self {
        Self::sharing(Arc::new(inner))
    }

    /// One of several stores around the same inner one, each with faults of its own.
    pub fn sharing(inner: Arc<S>) -> Self {
        let (faults, document_faults) = (Mutex::default(), Mutex::default());
        let (unreadable, time) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { inner, faults, document_faults, unreadable, damaged: Mutex::default(), time }
    }

    /// Sets the faults of the next swaps.
    pub fn next(&self, faults: &[StoreFault]) {
        *self.faults.lock().unwrap() = faults.iter().copied().collect();
    }

    /// Sets the faults of the next swaps of documents.
    pub fn next_documents(&self, faults: &[StoreFault]) {
        *self.document_faults.lock().unwrap() = faults.iter().copied().collect();
    }

    /// Makes the store unreadable, or readable again.
    pub fn unreadable(&self, unreadable: bool) {
        self.unreadable.store(unreadable, Ordering::Relaxed);
    }

    /// Damages these records, and no others.
    pub fn damage(&self, records: &[OperationId]) {
        self.damage_by(records, &StoreError::Corrupt("its bytes are rotten".into()));
    }

    /// Makes reads of these records fail so, and of no others.
    pub fn damage_by(&self, records: &[OperationId], error: &StoreError) {
        *self.damaged.lock().unwrap() = records.iter().map(|id| (*id, error.clone())).collect();
    }

    /// Makes the store's answers bring this time.
    pub fn says_it_is(&self, time: Timestamp) {
        self.time.store(time.as_millis(), Ordering::Relaxed);
    }

    fn stamped<T>(&self, said: Stamped<T>) -> Stamped<T> {
        let time =
            Some(self.time.load(Ordering::Relaxed)).filter(|time| *time > 0).map(Timestamp::from_millis);
        Stamped { time, ..said }
    }

    /// How many faults are still to come.
    pub fn to_come(&self) -> usize {
        self.faults.lock().unwrap().len()
    }

    fn read(&self) -> Result<(), StoreError> {
        match self.unreadable.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("it can't be read".into())),
            false => Ok(()),
        }
    }
}

/// Does a swap, or what `fault` makes of it.
async fn faulted<T>(fault: Option<StoreFault>, swap: impl Future<Output = Said<T>>) -> Said<T> {
    let unclear = || StoreError::Indeterminate("the answer was lost".into());
    match fault.unwrap_or(StoreFault::None) {
        StoreFault::None => swap.await,
        StoreFault::Late => {
            yield_now().await;
            swap.await
        }
        StoreFault::Written => {
            swap.await?;
            Err(unclear())
        }
        StoreFault::Unwritten => Err(unclear()),
        StoreFault::WrittenForEver => {
            swap.await?;
            pending().await
        }
        StoreFault::UnwrittenForEver => pending().await,
        StoreFault::Unavailable => Err(StoreError::Unavailable("it is gone".into())),
        StoreFault::Full => Err(StoreError::Full("it is full".into())),
    }
}

impl<S: Store> Store for Faulty<S> {
    async fn load(&self, id: OperationId) -> Said<Option<Versioned>> {
        self.read()?;
        if let Some(error) = self.damaged.lock().unwrap().get(&id) {
            return Err(error.clone());
        }
        self.inner.load(id).await.map(|said| self.stamped(said))
    }

    async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> Said<Swap<Versioned>> {
        let fault = self.faults.lock().unwrap().pop_front();
        let said = faulted(fault, self.inner.swap(id, expected, next, now)).await;
        said.map(|said| self.stamped(said))
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Said<Vec<OperationId>> {
        self.read()?;
        self.inner.due(until, limit).await.map(|said| self.stamped(said))
    }

    async fn scan(&self, of: ScanScope, after: Option<OperationId>, limit: usize) -> Said<Vec<Scanned>> {
        self.read()?;
        let mut said = self.inner.scan(of, after, limit).await?;
        let damaged = self.damaged.lock().unwrap();
        for (id, met) in &mut said.value {
            if let Some(error) = damaged.get(id) {
                *met = Err(error.clone());
            }
        }
        Ok(self.stamped(said))
    }

    async fn load_meta(&self, name: &'static str) -> Said<Option<(Version, Bytes)>> {
        self.inner.load_meta(name).await.map(|said| self.stamped(said))
    }

    async fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> Said<Swap<(Version, Bytes)>> {
        let fault = self.document_faults.lock().unwrap().pop_front();
        let said = faulted(fault, self.inner.swap_meta(name, expected, next)).await;
        said.map(|said| self.stamped(said))
    }

    async fn changed(&self, id: OperationId, since: Option<Version>) {
        self.inner.changed(id, since).await;
    }

    fn size(&self) -> Size {
        self.inner.size()
    }
}
