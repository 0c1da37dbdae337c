//! Maps from operations to what is known of them here.

use crate::store::IdHasher;
use dashmap::DashMap;
use oncegate_core::OperationId;
use std::hash::BuildHasherDefault;

/// A sharded map. Its shard locks are held for single steps, never across an await.
pub(super) type IdMap<T> = DashMap<OperationId, T, BuildHasherDefault<IdHasher>>;

/// An empty one.
pub(super) fn id_map<T>() -> IdMap<T> {
    DashMap::with_hasher(BuildHasherDefault::default())
}
