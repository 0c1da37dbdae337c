//! How far searches through all records have come, so that the next one goes on there.

use oncegate_core::{OperationId, SpaceNumber, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How far each search has come, by policy and space.
#[derive(Debug, Default)]
pub(super) struct Searches(Mutex<BTreeMap<(Arc<str>, SpaceNumber), Search>>);

/// A search through all records for those that block a space. What it passed doesn't come back: nothing is
/// claimed any more before the moment that it asks about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub(super) since: Timestamp,
    /// The last record that it passed.
    pub(super) passed: Option<OperationId>,
}

impl Searches {
    pub(super) fn all(&self) -> MutexGuard<'_, BTreeMap<(Arc<str>, SpaceNumber), Search>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
