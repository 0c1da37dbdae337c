//! A store that tells how long each call of it takes.

use super::size::Size;
use super::verbs::{Said, Store, Swap, Version, Versioned};
use bytes::Bytes;
use oncegate_core::{OperationId, Record, Timestamp};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A call that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreCall {
    /// A record is looked up.
    Load,
    /// A record is put in another's place: with `sync` until it is durable.
    Swap,
    /// What is due is looked for.
    Due,
    /// Records are listed.
    Scan,
}

/// Hears how long calls took.
pub trait CallTimes: Debug + Send + Sync {
    /// A call took so long.
    fn took(&self, call: StoreCall, time: Duration);
}

/// A store whose calls are timed.
#[derive(Debug)]
pub struct Timed<S> {
    store: S,
    /// None: nobody hears.
    times: Option<Arc<dyn CallTimes>>,
}

impl<S: Store> Timed<S> {
    /// Tells `times` of each call.
    pub fn new(store: S, times: Arc<dyn CallTimes>) -> Self {
        Self { store, times: Some(times) }
    }

    /// Tells nobody.
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

    async fn scan(&self, after: Option<OperationId>, limit: usize) -> Said<Vec<(OperationId, Versioned)>> {
        self.timed(StoreCall::Scan, self.store.scan(after, limit)).await
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
