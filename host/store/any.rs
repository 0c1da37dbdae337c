//! The store that the configuration names, as one type.

#[cfg(feature = "embedded")]
use super::embedded::Embedded;
use super::memory::Memory;
use super::size::Size;
use super::timed::Timed;
use super::verbs::{Said, ScanScope, Scanned, Store, Swap, Version, Versioned};
use bytes::Bytes;
use oncegate_core::{OperationId, Record, Timestamp};
use std::sync::Arc;

/// One of the existing stores.
pub enum AnyStore {
    /// The store in memory, lost with the process.
    Memory(Arc<Memory>),
    /// The store in a folder.
    #[cfg(feature = "embedded")]
    Embedded(Embedded),
}

/// The store of a gateway's ledger.
pub type ConfiguredStore = Timed<AnyStore>;

impl AnyStore {
    /// The store of a gateway without a listener for the times of calls.
    pub fn untimed(self) -> ConfiguredStore {
        Timed::untimed(self)
    }
}

impl std::fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory(_) => "Memory(..)",
            #[cfg(feature = "embedded")]
            Self::Embedded(_) => "Embedded(..)",
        })
    }
}

/// Calls `$call` on the store inside. A new store is one more line here.
macro_rules! on_each {
    ($any:expr, $store:ident => $call:expr) => {
        match $any {
            Self::Memory($store) => $call,
            #[cfg(feature = "embedded")]
            Self::Embedded($store) => $call,
        }
    };
}

impl Store for AnyStore {
    async fn load(&self, id: OperationId) -> Said<Option<Versioned>> {
        on_each!(self, store => store.load(id).await)
    }

    async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> Said<Swap<Versioned>> {
        on_each!(self, store => store.swap(id, expected, next, now).await)
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Said<Vec<OperationId>> {
        on_each!(self, store => store.due(until, limit).await)
    }

    async fn scan(&self, of: ScanScope, after: Option<OperationId>, limit: usize) -> Said<Vec<Scanned>> {
        on_each!(self, store => store.scan(of, after, limit).await)
    }

    async fn load_meta(&self, name: &'static str) -> Said<Option<(Version, Bytes)>> {
        on_each!(self, store => store.load_meta(name).await)
    }

    async fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> Said<Swap<(Version, Bytes)>> {
        on_each!(self, store => store.swap_meta(name, expected, next).await)
    }

    async fn changed(&self, id: OperationId, since: Option<Version>) {
        on_each!(self, store => store.changed(id, since).await);
    }

    fn size(&self) -> Size {
        on_each!(self, store => store.size())
    }

    fn trouble(&self) -> Option<&'static str> {
        on_each!(self, store => store.trouble())
    }
}
