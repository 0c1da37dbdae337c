//! Final records kept in memory, so that a replay asks no store.

use super::id_map::{IdMap, id_map};
use dashmap::mapref::entry::Entry;
use oncegate_core::{OperationId, Origin, Record, allocated};
use oncegate_store::{Version, Versioned};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A bounded cache of final records. A full cache drops the oldest record that nobody asked for since it was
/// last passed over (SIEVE's idea on a plain queue).
#[derive(Debug)]
pub(super) struct Cache {
    records: IdMap<Cached>,
    /// Every cached id once, oldest in front; ids of records removed since are dropped when met.
    order: Mutex<VecDeque<OperationId>>,
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Versions that an operator made untrue lately: a reader may still hold one and put it here.
    forgotten: IdMap<Version>,
    /// The ids of `forgotten`, oldest in front.
    forgettings: Mutex<VecDeque<OperationId>>,
}

/// More reads than this can't be under way for one forgetting to be forgotten too early.
const FORGOTTEN_MAX: usize = 1024;

/// So many records that somebody asked for are passed over for one that is put, at most: no request waits for a
/// walk through all of them.
const PASSED_MAX: usize = 16;

/// The cost of an entry beside its record: the slot in the map, and two places in the queue, both on average three
/// quarters full or less.
const ENTRY_BYTES: usize =
    2 * size_of::<(OperationId, Cached)>() + 4 * size_of::<OperationId>() + allocated(0);

/// How much memory a cached record takes. A record that was read from a store shares no text with others.
fn weight(record: &Record) -> usize {
    let Origin { route, policy, key_schema, .. } = &record.origin;
    let texts = [route, policy, key_schema].into_iter().map(|text| allocated(text.len()));
    ENTRY_BYTES + record.weight() + texts.sum::<usize>()
}

#[derive(Debug)]
struct Cached {
    versioned: Versioned,
    asked: AtomicBool,
    weight: usize,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            records: id_map(),
            order: Mutex::default(),
            bytes: AtomicUsize::new(0),
            bytes_max,
            forgotten: id_map(),
            forgettings: Mutex::default(),
        }
    }

    pub(super) fn find(&self, id: OperationId) -> Option<Versioned> {
        let cached = self.records.get(&id)?;
        if !cached.asked.load(Ordering::Relaxed) {
            cached.asked.store(true, Ordering::Relaxed);
        }
        Some(cached.versioned.clone())
    }

    pub(super) fn put(&self, id: OperationId, versioned: Versioned) {
        let (version, weight) = (versioned.version, weight(&versioned.record));
        let cached = Cached { versioned, asked: AtomicBool::new(false), weight };
        let place = self.records.entry(id);
        // It is asked with the place locked: nobody finds here what was forgotten before, and a later forgetting
        // finds the record.
        if self.is_forgotten(id, version) {
            return;
        }
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        let old = match place {
            Entry::Occupied(mut place) => Some(place.insert(cached)),
            Entry::Vacant(place) => {
                drop(place.insert(cached));
                None
            }
        };
        match old {
            Some(old) => _ = self.bytes.fetch_sub(old.weight, Ordering::Relaxed),
            None => self.enqueue(id),
        }
        self.make_room();
    }

    /// Removes the record under the id, and from now on refuses this version and earlier ones.
    pub(super) fn forget(&self, id: OperationId, version: Version) {
        let mut order = self.forgettings.lock().unwrap_or_else(PoisonError::into_inner);
        if order.len() >= FORGOTTEN_MAX
            && let Some(oldest) = order.pop_front()
        {
            self.forgotten.remove(&oldest);
        }
        order.push_back(id);
        self.forgotten.insert(id, version);
        drop(order);
        self.remove(id);
    }

    fn is_forgotten(&self, id: OperationId, version: Version) -> bool {
        self.forgotten.get(&id).is_some_and(|until| version <= *until)
    }

    pub(super) fn remove(&self, id: OperationId) {
        if let Some((_, old)) = self.records.remove(&id) {
            self.bytes.fetch_sub(old.weight, Ordering::Relaxed);
            // The id's place in the queue goes when it is met. A later `put` would give it a second one,
            // which costs no more than an earlier turn.
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    fn enqueue(&self, id: OperationId) {
        let mut order = self.order();
        order.push_back(id);
        // These are places of records that were removed. Left alone, they would pile up in a cache that never
        // gets full.
        if order.len() > 2 * self.records.len() + 1024 {
            order.retain(|id| self.records.contains_key(id));
        }
    }

    fn make_room(&self) {
        if self.bytes.load(Ordering::Relaxed) <= self.bytes_max {
            return;
        }
        let mut order = self.order();
        let mut passed = 0;
        while self.bytes.load(Ordering::Relaxed) > self.bytes_max {
            let Some(id) = order.pop_front() else { return };
            let Some(cached) = self.records.get(&id) else { continue };
            let asked = cached.asked.swap(false, Ordering::Relaxed);
            drop(cached);
            if asked && passed < PASSED_MAX {
                passed += 1;
                order.push_back(id);
            } else {
                self.remove(id);
            }
        }
    }

    fn order(&self) -> std::sync::MutexGuard<'_, VecDeque<OperationId>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oncegate_store::conformance::{completed, id};

    fn versioned(number: u64) -> Versioned {
        Versioned { version: Version(number + 1), record: completed(2_000, 100) }
    }

    /// A full cache in which everybody asked for everything.
    fn asked_for(records: u64) -> Cache {
        let mut cache = Cache::new(usize::MAX);
        for n in 0..records {
            cache.put(id(n), versioned(n));
            assert!(cache.find(id(n)).is_some());
        }
        cache.bytes_max = cache.bytes.load(Ordering::Relaxed);
        cache
    }

    #[test]
    fn room_for_one_record_is_made_in_few_steps() {
        for records in [1, 10, 100, 5_000] {
            let cache = asked_for(records);
            cache.put(id(records), versioned(records));
            let marks = cache.records.iter().filter(|cached| cached.asked.load(Ordering::Relaxed)).count();
            assert!(marks as u64 + PASSED_MAX as u64 + 1 >= records, "{records}: {marks}");
            assert!(cache.bytes.load(Ordering::Relaxed) <= cache.bytes_max);
            assert_eq!(cache.len() as u64, records);
        }
    }
}
