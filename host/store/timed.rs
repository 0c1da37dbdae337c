//! A store that reports how long each of its calls takes.

use super::size::Size;
use super::verbs::{Said, ScanScope, Scanned, Store, Swap, Version, Versioned};
use bytes::Bytes;
use oncegate_core::{OperationId, Record, Timestamp};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A call that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreCall {
    /// A load of a record.
    Load,
    /// A swap of a record: with `sync` until it is durable.
    Swap,
    /// A search for due operations.
    Due,
    /// A list of records.
    Scan,
}

/// A listener for the times of calls.
pub trait CallTimes: Debug + Send + Sync {
    /// Reports that a call took this long.
    fn took(&self, call: StoreCall, time: Duration);
}

/// A store whose calls are timed.
#[derive(Debug)]
pub struct Timed<S> {
    store: S,
    /// `None`: nobody listens.
    times: Option<Arc<dyn CallTimes>>,
}

impl<S: Store> Timed<S> {
    /// A store that tells `times` of each call.
    pub fn new(store: S, times: Arc<dyn CallTimes>) -> Self {
        Self { store, times: Some(times) }
    }

    /// A store that tells nobody.
    pub fn untimed(store: S) -> Self {
        Self { store, times: None }
    }

    async fn timed<T>(&self, call: StoreCall, answer: impl Future<Output = T>) -> T {
        let Some(times) = &self.times else { return answer.await };
        let begun = Instant::now();
        let answer = answer.await;
        times.took(call, begun.elapsed());
        answer
    }
}

impl<S: Store> Store for Timed<S> {
    async fn load(&self, id: OperationId) -> Said<Option<Versioned>> {
        self.timed(StoreCall::Load, self.store.load(id)).await
    }

    async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> Said<Swap<Versioned>> {
        self.timed(StoreCall::Swap, self.store.swap(id, expected, next, now)).await
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Said<Vec<OperationId>> {
        self.timed(StoreCall::Due, self.store.due(until, limit)).await
    }

    async fn scan(&self, of: ScanScope, after: Option<OperationId>, limit: usize) -> Said<Vec<Scanned>> {
        self.timed(StoreCall::Scan, self.store.scan(of, after, limit)).await
    }

    async fn load_meta(&self, name: &'static str) -> Said<Option<(Version, Bytes)>> {
        self.store.load_meta(name).await
    }

    async fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> Said<Swap<(Version, Bytes)>> {
        self.store.swap_meta(name, expected, next).await
    }

    fn changed(&self, id: OperationId, since: Option<Version>) -> impl Future<Output = ()> + Send {
        self.store.changed(id, since)
    }

    fn size(&self) -> Size {
        self.store.size()
    }

    fn trouble(&self) -> Option<&'static str> {
        self.store.trouble()
    }
}
