//! The spaces that requests in flight keep on their lists.

use oncegate_core::SpaceNumber;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type PinKey = (Arc<str>, SpaceNumber);

/// The spaces that requests in flight pin.
#[derive(Debug, Default)]
pub(super) struct SpacePins(Mutex<BTreeMap<PinKey, Pinned>>);

#[derive(Debug, Default)]
struct Pinned {
    requests: usize,
    /// The term of the lease in which the pin was written to the list, and the version of that list.
    noted: Option<(u64, u64)>,
}

/// Keeps a space on its list for as long as the pin lives.
#[derive(Debug)]
pub struct SpacePin {
    pins: Arc<SpacePins>,
    space: PinKey,
}

impl SpacePins {
    pub(super) fn begin(self: &Arc<Self>, space: PinKey) -> SpacePin {
        self.all().entry(space.clone()).or_default().requests += 1;
        SpacePin { pins: self.clone(), space }
    }

    /// The pinned spaces of a policy.
    pub(super) fn of(&self, policy: &str) -> BTreeSet<SpaceNumber> {
        self.all().keys().filter(|(of, _)| **of == *policy).map(|(_, number)| *number).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<PinKey, Pinned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpacePin {
    /// Whether the list already has the pin, without a break. A gateway that entered since has the space
    /// among its own.
    pub(super) fn is_noted(&self, term: u64, version: u64) -> bool {
        let noted = self.pins.all().get(&self.space).and_then(|pinned| pinned.noted);
        noted.is_some_and(|(since, least)| since == term && least <= version)
    }

    pub(super) fn note(&self, term: u64, version: u64) {
        if let Some(pinned) = self.pins.all().get_mut(&self.space) {
            pinned.noted = Some((term, version));
        }
    }
}

impl Drop for SpacePin {
    fn drop(&mut self) {
        let mut all = self.pins.all();
        if let Some(pinned) = all.get_mut(&self.space) {
            pinned.requests -= 1;
            if pinned.requests == 0 {
                all.remove(&self.space);
            }
        }
    }
}
