//! Maps from operations to their data in this process.

use dashmap::DashMap;
use oncegate_core::OperationId;
use oncegate_store::IdHasher;
use std::hash::BuildHasherDefault;

/// A sharded map. Its shard locks are held for single steps, never across an await.
pub(super) type IdMap<T> = DashMap<OperationId, T, BuildHasherDefault<IdHasher>>;

/// An empty map.
pub(super) fn id_map<T>() -> IdMap<T> {
    DashMap::with_hasher(BuildHasherDefault::default())
}
