//! A store that fails on order, around a real one.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::{Size, Store, StoreError, Swap, Version, Versioned};
use bytes::Bytes;
use oncegate_core::{OperationId, Record, Timestamp};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of one swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is done as it should be.
    None,
    /// It is done, and nobody is told.
    Written,
    /// It is not done, and nobody is told.
    Unwritten,
    /// It is refused.
    Unavailable,
    /// It is refused for want of room.
    Full,
}

/// See the module.
pub(crate) struct Faulty<S> {
    pub(crate) inner: Arc<S>,
    /// Of the next swaps, in order; those after them are done as they should be.
    faults: Mutex<VecDeque<Fault>>,
    unreadable: AtomicBool,
}

impl<S> std::fmt::Debug for Faulty<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty(..)")
    }
}

impl<S> Faulty<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self::sharing(Arc::new(inner))
    }

    /// One of several around the same store, each with faults of its own.
    pub(crate) fn sharing(inner: Arc<S>) -> Self {
        Self { inner, faults: Mutex::default(), unreadable: AtomicBool::new(false) }
    }

    /// The next swaps end so.
    pub(crate) fn next(&self, faults: &[Fault]) {
        *self.faults.lock().unwrap() = faults.iter().copied().collect();
    }

    /// From now on nothing can be read, or it can again.
    pub(crate) fn unreadable(&self, unreadable: bool) {
        self.unreadable.store(unreadable, Ordering::Relaxed);
    }

    /// How many faults are still to come.
    pub(crate) fn to_come(&self) -> usize {
        self.faults.lock().unwrap().len()
    }

    fn read(&self) -> Result<(), StoreError> {
        match self.unreadable.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("it can't be read".into())),
            false => Ok(()),
        }
    }
}

impl<S: Store> Store for Faulty<S> {
    async fn load(&self, id: OperationId) -> Result<Option<Versioned>, StoreError> {
        self.read()?;
        self.inner.load(id).await
    }

    async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> Result<Swap<Versioned>, StoreError> {
        let fault = self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        let unclear = || StoreError::Indeterminate("the answer was lost".into());
        match fault {
            Fault::None => self.inner.swap(id, expected, next, now).await,
            Fault::Written => {
                self.inner.swap(id, expected, next, now).await?;
                Err(unclear())
            }
            Fault::Unwritten => Err(unclear()),
            Fault::Unavailable => Err(StoreError::Unavailable("it is gone".into())),
            Fault::Full => Err(StoreError::Full("it is full".into())),
        }
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<OperationId>, StoreError> {
        self.read()?;
        self.inner.due(until, limit).await
    }

    async fn scan(
        &self,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<(OperationId, Versioned)>, StoreError> {
        self.read()?;
        self.inner.scan(after, limit).await
    }

    async fn load_meta(&self, name: &'static str) -> Result<Option<(Version, Bytes)>, StoreError> {
        self.inner.load_meta(name).await
    }

    async fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> Result<Swap<(Version, Bytes)>, StoreError> {
        self.inner.swap_meta(name, expected, next).await
    }

    fn size(&self) -> Size {
        self.inner.size()
    }
}
