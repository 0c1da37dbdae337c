//! The store that the configuration names, as one type.

use super::{Embedded, Memory, Size, Store, StoreError, Swap, Version, Versioned};
use crate::observe::metrics::{STORE_CALLS, timed};
use bytes::Bytes;
use oncegate_core::{OperationId, Record, Timestamp};
use std::sync::Arc;

/// One of the stores there are.
pub enum AnyStore {
    /// Lost with the process.
    Memory(Arc<Memory>),
    /// In a folder.
    Embedded(Embedded),
}

impl std::fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory(_) => "Memory(..)",
            Self::Embedded(_) => "Embedded(..)",
        })
    }
}

impl Store for AnyStore {
    async fn load(&self, id: OperationId) -> Result<Option<Versioned>, StoreError> {
        match self {
            Self::Memory(store) => timed(&STORE_CALLS.load, store.load(id)).await,
            Self::Embedded(store) => timed(&STORE_CALLS.load, store.load(id)).await,
        }
    }

    async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> Result<Swap<Versioned>, StoreError> {
        match self {
            Self::Memory(store) => timed(&STORE_CALLS.swap, store.swap(id, expected, next, now)).await,
            Self::Embedded(store) => timed(&STORE_CALLS.swap, store.swap(id, expected, next, now)).await,
        }
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<OperationId>, StoreError> {
        match self {
            Self::Memory(store) => timed(&STORE_CALLS.due, store.due(until, limit)).await,
            Self::Embedded(store) => timed(&STORE_CALLS.due, store.due(until, limit)).await,
        }
    }

    async fn scan(
        &self,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<(OperationId, Versioned)>, StoreError> {
        match self {
            Self::Memory(store) => timed(&STORE_CALLS.scan, store.scan(after, limit)).await,
            Self::Embedded(store) => timed(&STORE_CALLS.scan, store.scan(after, limit)).await,
        }
    }

    async fn load_meta(&self, name: &'static str) -> Result<Option<(Version, Bytes)>, StoreError> {
        match self {
            Self::Memory(store) => store.load_meta(name).await,
            Self::Embedded(store) => store.load_meta(name).await,
        }
    }

    async fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> Result<Swap<(Version, Bytes)>, StoreError> {
        match self {
            Self::Memory(store) => store.swap_meta(name, expected, next).await,
            Self::Embedded(store) => store.swap_meta(name, expected, next).await,
        }
    }

    fn size(&self) -> Size {
        match self {
            Self::Memory(store) => store.size(),
            Self::Embedded(store) => store.size(),
        }
    }

    fn trouble(&self) -> Option<&'static str> {
        match self {
            Self::Memory(store) => store.trouble(),
            Self::Embedded(store) => store.trouble(),
        }
    }
}
