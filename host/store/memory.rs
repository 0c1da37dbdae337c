//! A store in this process's memory: fast, and gone with the process.
//!
//! The store knows nothing of a record's meaning but its weight and when it is due. Every method but `scan` is
//! ready at once, and no guard outlives the call that took it.

use super::listings::{Listing, Listings};
use super::size::{Kind, Kinds, Size};
use super::verbs::{Said, ScanScope, Scanned, Store, StoreError, Swap, Version, Versioned};
use bytes::Bytes;
use dashmap::DashMap;
use dashmap::mapref::entry::{Entry, OccupiedEntry, VacantEntry};
use oncegate_core::{OperationId, Record, Timestamp, allocated};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use tokio::sync::Notify;

/// Records in a sharded map, bounded in bytes. A full store refuses new records and never drops a live one.
/// Live records may grow a quarter over the bound, by the answers of executions that were under way when the
/// store filled up. Beyond that the store refuses records that grow much.
pub struct Memory {
    records: DashMap<OperationId, Versioned, BuildHasherDefault<IdHasher>>,
    /// Striped by id. A stripe is locked under its record's shard, never the other way round.
    indexes: Box<[Mutex<Index>]>,
    documents: Mutex<BTreeMap<&'static str, (Version, Bytes)>>,
    version_next: AtomicU64,
    bytes: AtomicUsize,
    count: AtomicU64,
    /// The number of records of each of [`Kind::ALL`].
    kinds: [AtomicU64; 5],
    capacity_bytes: usize,
    watchers: Watchers,
    listings: Listings,
}

/// The callers that wait for a write of another gateway on this store. There are none where the store belongs
/// to one gateway alone, so that a write costs it one look at their number.
#[derive(Default)]
struct Watchers {
    count: AtomicUsize,
    written: Notify,
}

/// One watcher, counted while it lives.
struct Watching<'a>(&'a Watchers);

impl Watchers {
    fn join(&self) -> Watching<'_> {
        self.count.fetch_add(1, Ordering::Relaxed);
        Watching(self)
    }

    /// Wakes the watchers after a record was written and its shard is unlocked. A watcher that read the shard
    /// before is counted already, because the lock orders its count before this look.
    fn wake(&self) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.written.notify_waiters();
        }
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is found without a look at every record.
#[derive(Default)]
struct Index {
    due: BTreeSet<(Timestamp, OperationId)>,
    executing: BTreeSet<OperationId>,
    unknown: BTreeSet<OperationId>,
}

impl Index {
    /// The records of this kind, if they are found so.
    fn of(&mut self, kind: Kind) -> Option<&mut BTreeSet<OperationId>> {
        match kind {
            Kind::Executing => Some(&mut self.executing),
            Kind::Unknown => Some(&mut self.unknown),
            Kind::Completed | Kind::Consumed | Kind::Pointer => None,
        }
    }

    /// Takes in a change of one record.
    fn change(&mut self, id: OperationId, before: Option<&Record>, after: Option<&Record>) {
        let (was, is) = (before.map(Record::due_at), after.map(Record::due_at));
        if was != is {
            was.into_iter().for_each(|due| _ = self.due.remove(&(due, id)));
            is.into_iter().for_each(|due| _ = self.due.insert((due, id)));
        }
        let (was, is) = (before.map(Kind::of), after.map(Kind::of));
        if was != is {
            was.and_then(|kind| self.of(kind)).into_iter().for_each(|ids| _ = ids.remove(&id));
            is.and_then(|kind| self.of(kind)).into_iter().for_each(|ids| _ = ids.insert(id));
        }
    }
}

/// The cost of an entry beside its record: the slot in the map and the slot in the due index, both in tables
/// that are on average three quarters full or less, and what an allocation takes.
const ENTRY_BYTES: usize =
    2 * size_of::<(OperationId, Versioned)>() + 2 * size_of::<(Timestamp, OperationId)>() + allocated(0);

/// A record may always grow by this much: its times, a policy's note, the summary of an answer.
const GROWTH_ALWAYS: usize = 16 << 10;

/// With less room than this the store is full: a claim may find none.
const ROOM_MIN: usize = 4 << 10;

impl Memory {
    /// An empty store that takes new records until they weigh `capacity_bytes`.
    pub fn new(capacity_bytes: usize) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        // More shards than threads that could meet, so that threads seldom meet.
        let shards = (cores * 8).next_power_of_two();
        Self {
            records: DashMap::with_hasher_and_shard_amount(BuildHasherDefault::default(), shards),
            indexes: (0..shards).map(|_| Mutex::default()).collect(),
            documents: Mutex::default(),
            version_next: AtomicU64::new(1),
            bytes: AtomicUsize::new(0),
            count: AtomicU64::new(0),
            kinds: Default::default(),
            capacity_bytes,
            watchers: Watchers::default(),
            listings: Listings::default(),
        }
    }

    fn of_kind(&self, record: &Record) -> &AtomicU64 {
        &self.kinds[Kind::of(record) as usize - 1]
    }

    fn version(&self) -> Version {
        Version(self.version_next.fetch_add(1, Ordering::Relaxed))
    }

    fn stripe(&self, id: OperationId) -> MutexGuard<'_, Index> {
        // The map's hash must not contain this byte, or one shard's ids would all meet in one stripe.
        locked(&self.indexes[usize::from(id.0[31]) % self.indexes.len()])
    }

    /// Ids of this kind behind `after`, in their order. Others may come meanwhile.
    fn of_kind_behind(&self, kind: Kind, after: Option<OperationId>, limit: usize) -> Vec<OperationId> {
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut found = Vec::new();
        for stripe in &self.indexes {
            let mut stripe = locked(stripe);
            found.extend(stripe.of(kind).into_iter().flat_map(|ids| ids.range(behind).take(limit)));
        }
        found.sort_unstable();
        found.truncate(limit);
        found
    }

    /// Reserves room for a new record; an error where that would be too much.
    fn reserve(&self, weight: usize) -> Result<(), StoreError> {
        let taken = self.bytes.fetch_add(weight, Ordering::Relaxed);
        if taken.saturating_add(weight) <= self.capacity_bytes {
            return Ok(());
        }
        self.bytes.fetch_sub(weight, Ordering::Relaxed);
        Err(self.full(taken))
    }

    /// The bytes that new records may take.
    fn room(&self) -> usize {
        self.capacity_bytes.saturating_sub(self.bytes.load(Ordering::Relaxed))
    }

    fn full(&self, taken: usize) -> StoreError {
        StoreError::Full(
            format!(
                "{} live records take {taken} of {} bytes, and none may be forgotten; raise ledger.memory or use \
                 the embedded store",
                self.count.load(Ordering::Relaxed),
                self.capacity_bytes
            )
            .into(),
        )
    }

    fn insert(
        &self,
        slot: VacantEntry<'_, OperationId, Versioned>,
        record: Arc<Record>,
    ) -> Result<Version, StoreError> {
        self.reserve(weight(&record))?;
        self.count.fetch_add(1, Ordering::Relaxed);
        self.of_kind(&record).fetch_add(1, Ordering::Relaxed);
        let (id, version) = (*slot.key(), self.version());
        self.stripe(id).change(id, None, Some(&record));
        drop(slot.insert(Versioned { version, record }));
        Ok(version)
    }

    /// Changes a live record also where it grows past the capacity: refusing would leave an operation that
    /// has happened without its answer. Only a record that grows much past it is refused, so that there is an
    /// end; its outcome can still be recorded without the answer.
    fn replace(
        &self,
        mut slot: OccupiedEntry<'_, OperationId, Versioned>,
        record: Arc<Record>,
    ) -> Result<Version, StoreError> {
        let growth = weight(&record).saturating_sub(weight(&slot.get().record));
        let taken = self.bytes.load(Ordering::Relaxed);
        if growth > GROWTH_ALWAYS && taken.saturating_add(growth) > self.capacity_bytes / 4 * 5 {
            return Err(self.full(taken));
        }
        let (id, version) = (*slot.key(), self.version());
        self.stripe(id).change(id, Some(&slot.get().record), Some(&record));
        self.bytes.fetch_add(weight(&record), Ordering::Relaxed);
        self.of_kind(&record).fetch_add(1, Ordering::Relaxed);
        let old = slot.insert(Versioned { version, record });
        self.bytes.fetch_sub(weight(&old.record), Ordering::Relaxed);
        self.of_kind(&old.record).fetch_sub(1, Ordering::Relaxed);
        Ok(version)
    }

    fn remove(&self, slot: OccupiedEntry<'_, OperationId, Versioned>) -> Version {
        // The version is drawn while the shard is locked, so that versions have the order of the writes.
        let (id, version) = (*slot.key(), self.version());
        self.stripe(id).change(id, Some(&slot.get().record), None);
        let old = slot.remove();
        self.bytes.fetch_sub(weight(&old.record), Ordering::Relaxed);
        self.of_kind(&old.record).fetch_sub(1, Ordering::Relaxed);
        self.count.fetch_sub(1, Ordering::Relaxed);
        version
    }
}

impl Store for Memory {
    async fn load(&self, id: OperationId) -> Said<Option<Versioned>> {
        Ok(self.records.get(&id).map(|slot| slot.clone()).into())
    }

    async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        _now: Timestamp,
    ) -> Said<Swap<Versioned>> {
        let swapped = match (self.records.entry(id), expected, next) {
            (Entry::Occupied(slot), expected, _) if expected != Some(slot.get().version) => {
                Ok(Swap::Conflict(Some(slot.get().clone())))
            }
            (Entry::Vacant(_), Some(_), _) => Ok(Swap::Conflict(None)),
            (Entry::Occupied(slot), _, Some(record)) => self.replace(slot, record).map(Swap::Done),
            (Entry::Occupied(slot), _, None) => Ok(Swap::Done(self.remove(slot))),
            (Entry::Vacant(slot), None, Some(record)) => self.insert(slot, record).map(Swap::Done),
            (Entry::Vacant(_), None, None) => Ok(Swap::Done(self.version())),
        }?;
        if matches!(swapped, Swap::Done(_)) {
            self.watchers.wake();
        }
        Ok(swapped.into())
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Said<Vec<OperationId>> {
        let mut found = Vec::new();
        for stripe in &self.indexes {
            let stripe = locked(stripe);
            found.extend(stripe.due.iter().take_while(|(due, _)| *due <= until).take(limit).copied());
        }
        found.sort_unstable();
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, id)| id).collect::<Vec<_>>().into())
    }

    /// Passes the whole map once for many pages. An order of ids beside the map would cost every operation for
    /// the sake of a list that few ask for.
    async fn scan(&self, of: ScanScope, mut after: Option<OperationId>, limit: usize) -> Said<Vec<Scanned>> {
        // A caller that goes from page to page lets others have their turn.
        tokio::task::yield_now().await;
        let mut page = Vec::new();
        if let Some(kind) = of.kind() {
            while page.is_empty() {
                let ids = self.of_kind_behind(kind, after, limit);
                let Some(last) = ids.last() else { break };
                after = Some(*last);
                let records = ids.iter().filter_map(|id| self.records.get(id));
                let of_kind = records.filter(|slot| Kind::of(&slot.record) == kind);
                page.extend(of_kind.map(|slot| (*slot.key(), Ok(slot.clone()))));
            }
            return Ok(page.into());
        }
        let mut listing = self.listings.go_on(after).unwrap_or_else(|| Listing::behind(&self.records, after));
        while page.len() < limit {
            match listing.next() {
                Some(id) => page.extend(self.records.get(&id).map(|slot| (id, Ok(slot.clone())))),
                None if listing.is_last => break,
                None => {
                    tokio::task::yield_now().await;
                    listing = Listing::behind(&self.records, listing.passed);
                }
            }
        }
        self.listings.keep(listing);
        Ok(page.into())
    }

    async fn load_meta(&self, name: &'static str) -> Said<Option<(Version, Bytes)>> {
        Ok(locked(&self.documents).get(name).cloned().into())
    }

    async fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> Said<Swap<(Version, Bytes)>> {
        let mut documents = locked(&self.documents);
        let current = documents.get(name);
        if current.map(|(version, _)| *version) != expected {
            return Ok(Swap::Conflict(current.cloned()).into());
        }
        let version = self.version();
        documents.insert(name, (version, next));
        Ok(Swap::Done(version).into())
    }

    async fn changed(&self, id: OperationId, since: Option<Version>) {
        let _watching = self.watchers.join();
        loop {
            // The watcher registers first, so that no write goes unnoticed between the look and the wait.
            let written = self.watchers.written.notified();
            let version = self.records.get(&id).map(|slot| slot.version);
            if version != since {
                return;
            }
            written.await;
        }
    }

    fn size(&self) -> Size {
        Size {
            records: self.count.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed) as u64,
            kinds: Kinds(std::array::from_fn(|i| self.kinds[i].load(Ordering::Relaxed))),
            backlog: None,
            unmarked: 0,
            room: Some(self.room() as u64),
        }
    }

    fn trouble(&self) -> Option<&'static str> {
        (self.room() < ROOM_MIN).then_some("the ledger's memory is full")
    }
}

fn weight(record: &Record) -> usize {
    let is_indexed = matches!(Kind::of(record), Kind::Executing | Kind::Unknown);
    let index = if is_indexed { 2 * size_of::<OperationId>() } else { 0 };
    ENTRY_BYTES + index + record.weight()
}

/// Locks. Every critical section here leaves its data whole at each step, so a panic in one of them harms no
/// other caller.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A hasher for ids. Ids are uniform hashes already: eight of their bytes are as good as a hash of them. The
/// map takes the topmost seven bits to tell slots apart, those below them for the shard and the lowest for
/// the slot; all are uniform.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length before an array's bytes adds nothing to the hash.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
#[path = "weight_tests.rs"]
mod weight_tests;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::Stamped;
    use crate::conformance::{self, NOW, completed, executing, id, on_a_runtime, put};

    #[test]
    fn conforms() {
        on_a_runtime(conformance::all(&Arc::new(Memory::new(64 << 20))));
    }

    #[test]
    fn a_full_store_takes_nothing_new_and_lets_what_lives_grow() {
        on_a_runtime(async {
            let store = Memory::new(10 * weight(&executing(0)));
            let mut versions = Vec::new();
            for n in 0..10 {
                versions.push(put(&store, id(n), None, Some(executing(3_000))).await);
            }
            let full = store.swap(id(10), None, Some(executing(3_000)), NOW).await;
            assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
            assert!(store.load(id(10)).await.unwrap().value.is_none());
            assert_eq!(store.due(Timestamp::MAX, 100).await.unwrap().value.len(), 10);
            // Settling always works, and it takes two removals to make room again.
            versions[0] = put(&store, id(0), Some(versions[0]), Some(completed(2_000, 100))).await;
            put(&store, id(1), Some(versions[1]), None).await;
            let full = store.swap(id(10), None, Some(executing(3_000)), NOW).await;
            assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
            put(&store, id(2), Some(versions[2]), None).await;
            put(&store, id(10), None, Some(executing(3_000))).await;
        });
    }

    #[test]
    fn what_lives_grows_no_further_than_a_quarter_over_the_bound() {
        on_a_runtime(async {
            let store = Memory::new(1 << 20);
            let mut versions = Vec::new();
            for n in 0..8 {
                versions.push(put(&store, id(n), None, Some(executing(3_000))).await);
            }
            let settle = async |n: usize, body| {
                store.swap(id(n as u64), Some(versions[n]), Some(completed(2_000, body)), NOW).await
            };
            for n in 0..4 {
                assert!(
                    matches!(settle(n, 300_000).await, Ok(Stamped { value: Swap::Done(_), .. })),
                    "answer {n}"
                );
            }
            let full = settle(4, 300_000).await;
            assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
            assert_eq!(store.load(id(4)).await.unwrap().value.unwrap().version, versions[4], "as it was");
            // A consumed outcome can be recorded however full the store is.
            assert!(matches!(settle(4, 100).await, Ok(Stamped { value: Swap::Done(_), .. })));
        });
    }

    #[test]
    fn an_emptied_store_weighs_nothing() {
        on_a_runtime(async {
            let store = Memory::new(64 << 20);
            for n in 0..1_000 {
                let version = put(&store, id(n), None, Some(executing(3_000))).await;
                let version = put(&store, id(n), Some(version), Some(completed(2_000, n as usize))).await;
                put(&store, id(n), Some(version), None).await;
            }
            let Size { records, bytes, kinds, .. } = store.size();
            assert_eq!((records, bytes, kinds), (0, 0, Kinds::default()));
            let empty = |index: &Index| index.due.is_empty() && index.executing.is_empty();
            assert!(store.indexes.iter().all(|stripe| empty(&locked(stripe))));
        });
    }

    #[test]
    fn ids_spread_over_shards() {
        let store = Memory::new(64 << 20);
        let shards = store.indexes.len();
        let mut counts = vec![0; shards];
        // Dashmap picks a shard like this.
        let shard = |id| (store.records.hash_usize(&id) << 7) >> (usize::BITS - shards.ilog2());
        (0..10_000).map(|n| shard(id(n))).for_each(|shard| counts[shard] += 1);
        assert!(counts.iter().all(|count| *count > 10_000 / counts.len() / 2), "{counts:?}");
    }
}
