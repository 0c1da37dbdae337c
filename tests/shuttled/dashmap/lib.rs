//! `dashmap` for the store and the ledger where shuttle interleaves them (`tests/threads.rs`): as much of it as they
//! use. A map has two shards, and the lock of each is shuttle's.

use shuttle::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::rc::Rc;

/// The places in a map.
pub mod mapref {
    /// One place, locked.
    pub mod entry {
        pub use crate::{Entry, OccupiedEntry, VacantEntry};
    }
}

type Shard<K, V> = RwLock<BTreeMap<K, V>>;
type Reads<'a, K, V> = RwLockReadGuard<'a, BTreeMap<K, V>>;
type Writes<'a, K, V> = RwLockWriteGuard<'a, BTreeMap<K, V>>;

/// As dashmap's.
pub struct DashMap<K, V, S = std::hash::RandomState> {
    shards: [Shard<K, V>; 2],
    hasher: S,
}

impl<K, V, S> Debug for DashMap<K, V, S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("DashMap(..)")
    }
}

impl<K: Ord + Copy + Hash, V, S: BuildHasher> DashMap<K, V, S> {
    /// As dashmap's.
    pub fn with_hasher(hasher: S) -> Self {
        Self { shards: Default::default(), hasher }
    }

    /// As dashmap's, with two shards.
    pub fn with_hasher_and_shard_amount(hasher: S, _: usize) -> Self {
        Self::with_hasher(hasher)
    }

    fn shard(&self, key: &K) -> &Shard<K, V> {
        &self.shards[(self.hasher.hash_one(key) % 2) as usize]
    }

    fn reads(&self, key: &K) -> Reads<'_, K, V> {
        self.shard(key).read().expect("no thread panics with a shard locked")
    }

    fn writes(&self, key: &K) -> Writes<'_, K, V> {
        self.shard(key).write().expect("no thread panics with a shard locked")
    }

    /// As dashmap's.
    pub fn get(&self, key: &K) -> Option<Ref<'_, K, V>> {
        let shard = self.reads(key);
        shard.contains_key(key).then(|| Ref { shard: shard.into(), key: *key })
    }

    /// As dashmap's.
    pub fn contains_key(&self, key: &K) -> bool {
        self.reads(key).contains_key(key)
    }

    /// As dashmap's.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.writes(&key).insert(key, value)
    }

    /// As dashmap's.
    pub fn remove(&self, key: &K) -> Option<(K, V)> {
        self.writes(key).remove_entry(key)
    }

    /// As dashmap's.
    pub fn remove_if(&self, key: &K, condition: impl FnOnce(&K, &V) -> bool) -> Option<(K, V)> {
        let mut shard = self.writes(key);
        let goes = shard.get(key).is_some_and(|value| condition(key, value));
        goes.then(|| shard.remove_entry(key)).flatten()
    }

    /// As dashmap's: shard by shard.
    pub fn retain(&self, mut stays: impl FnMut(&K, &mut V) -> bool) {
        for shard in &self.shards {
            shard.write().expect("as in `reads`").retain(|key, value| stays(key, value));
        }
    }

    /// As dashmap's.
    pub fn entry(&self, key: K) -> Entry<'_, K, V> {
        let shard = self.writes(&key);
        match shard.contains_key(&key) {
            true => Entry::Occupied(OccupiedEntry { shard, key }),
            false => Entry::Vacant(VacantEntry { shard, key }),
        }
    }

    /// As dashmap's: a shard is locked as long as one of its places is passed.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { shards: self.shards.iter(), places: Vec::new() }
    }

    /// As dashmap's: shard by shard.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        let lengths = self.shards.iter().map(|shard| shard.read().expect("as in `reads`").len());
        lengths.sum()
    }
}

impl<'a, K: Ord + Copy + Hash, V, S: BuildHasher> IntoIterator for &'a DashMap<K, V, S> {
    type Item = Ref<'a, K, V>;
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

/// As dashmap's.
pub struct Iter<'a, K, V> {
    shards: std::slice::Iter<'a, Shard<K, V>>,
    places: Vec<Ref<'a, K, V>>,
}

impl<'a, K: Ord + Copy, V> Iterator for Iter<'a, K, V> {
    type Item = Ref<'a, K, V>;

    fn next(&mut self) -> Option<Ref<'a, K, V>> {
        while self.places.is_empty() {
            let shard = Rc::new(self.shards.next()?.read().expect("as in `reads`"));
            self.places = shard.keys().rev().map(|key| Ref { shard: shard.clone(), key: *key }).collect();
        }
        self.places.pop()
    }
}

/// As dashmap's.
pub struct Ref<'a, K, V> {
    shard: Rc<Reads<'a, K, V>>,
    key: K,
}

impl<K: Ord, V> Ref<'_, K, V> {
    /// As dashmap's.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// As dashmap's.
    pub fn value(&self) -> &V {
        &self.shard[&self.key]
    }
}

impl<K: Ord, V> Deref for Ref<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        self.value()
    }
}

/// As dashmap's.
pub enum Entry<'a, K, V> {
    /// There is a value.
    Occupied(OccupiedEntry<'a, K, V>),
    /// There is none.
    Vacant(VacantEntry<'a, K, V>),
}

/// As dashmap's.
pub struct OccupiedEntry<'a, K, V> {
    shard: Writes<'a, K, V>,
    key: K,
}

impl<K: Ord + Copy, V> OccupiedEntry<'_, K, V> {
    /// As dashmap's.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// As dashmap's.
    pub fn get(&self) -> &V {
        &self.shard[&self.key]
    }

    /// As dashmap's.
    pub fn insert(&mut self, value: V) -> V {
        self.shard.insert(self.key, value).expect("it is occupied")
    }

    /// As dashmap's.
    pub fn remove(mut self) -> V {
        self.shard.remove(&self.key).expect("it is occupied")
    }
}

/// As dashmap's.
pub struct VacantEntry<'a, K, V> {
    shard: Writes<'a, K, V>,
    key: K,
}

impl<'a, K: Ord + Copy, V> VacantEntry<'a, K, V> {
    /// As dashmap's.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// As dashmap's. The shard is locked as long as the result lives.
    pub fn insert(mut self, value: V) -> OccupiedEntry<'a, K, V> {
        self.shard.insert(self.key, value);
        OccupiedEntry { shard: self.shard, key: self.key }
    }
}
