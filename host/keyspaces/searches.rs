//! The progress of searches through all records, so that the next search goes on there.

use oncegate_core::{OperationId, SpaceNumber, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The progress of each search, by policy and space.
#[derive(Debug, Default)]
pub(super) struct Searches(Mutex<BTreeMap<(Arc<str>, SpaceNumber), Search>>);

/// A search through all records for those that block a space. A record that the search passed doesn't come
/// back: nothing is claimed any more before the moment that the search asks about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub(super) since: Timestamp,
    /// The last record that the search passed.
    pub(super) passed: Option<OperationId>,
}

impl Searches {
    pub(super) fn all(&self) -> MutexGuard<'_, BTreeMap<(Arc<str>, SpaceNumber), Search>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
