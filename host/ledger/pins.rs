//! What a policy doesn't guard any more and an older generation does: kept guarded while that is needed, and
//! its key space kept on the list meanwhile (DESIGN §6, "Changing the keys").
//!
//! Such a request has no key in the space by which its gateway decides, which is the one that every gateway
//! has in common with it. So the space by whose key it is claimed must not leave before it has: others could
//! enter without it, and claim the operation under keys of which this one knows nothing.

use super::identity::IdentityError;
use super::spaces::{SpacesError, list_lapsed};
use super::state::Ledger;
use crate::store::{DocumentError, Store, StoreError};
use oncegate_core::{OperationId, SpaceNumber};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Place = (Arc<str>, SpaceNumber);

/// The spaces that requests in flight keep.
#[derive(Debug, Default)]
pub(super) struct SpacePins(Mutex<BTreeMap<Place, Pinned>>);

#[derive(Debug, Default)]
struct Pinned {
    requests: usize,
    /// In which term of the lease on the list that was written there, and by which version of the list.
    noted: Option<(u64, u64)>,
}

/// Keeps a space on the list, for as long as it lives.
#[derive(Debug)]
pub struct SpacePin {
    pins: Arc<SpacePins>,
    place: Place,
}

impl SpacePins {
    fn begin(self: &Arc<Self>, place: Place) -> SpacePin {
        self.all().entry(place.clone()).or_default().requests += 1;
        SpacePin { pins: self.clone(), place }
    }

    /// Those of a policy.
    pub(super) fn of(&self, policy: &str) -> BTreeSet<SpaceNumber> {
        self.all().keys().filter(|(of, _)| **of == *policy).map(|(_, number)| *number).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Place, Pinned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpacePin {
    /// Whether the list says so already, without a break: who came since has the space among its own.
    fn is_noted(&self, term: u64, version: u64) -> bool {
        let noted = self.pins.all().get(&self.place).and_then(|pinned| pinned.noted);
        noted.is_some_and(|(since, least)| since == term && least <= version)
    }

    fn note(&self, term: u64, version: u64) {
        if let Some(pinned) = self.pins.all().get_mut(&self.place) {
            pinned.noted = Some((term, version));
        }
    }
}

impl Drop for SpacePin {
    fn drop(&mut self) {
        let mut all = self.pins.all();
        if let Some(pinned) = all.get_mut(&self.place) {
            pinned.requests -= 1;
            if pinned.requests == 0 {
                all.remove(&self.place);
            }
        }
    }
}

impl<S: Store> Ledger<S> {
    /// Whether an operation that the active generation of its policy doesn't guard stays guarded by its key
    /// in an older space: while another gateway or request still decides by that; and as long as there is a
    /// record of it, so that nothing which ran runs again because it is no longer guarded. Then it keeps the
    /// space on the list until it is over. `version`: of the list by which its keys were derived; where the
    /// list is another by now, nobody can tell, and asking again a little later helps.
    pub async fn stays_guarded(
        &self,
        policy: &Arc<str>,
        (space, version): (SpaceNumber, u64),
        id: OperationId,
    ) -> Result<Option<SpacePin>, StoreError> {
        if !self.decides_somebody_by(policy, space) && !self.knows(id).await? {
            return Ok(None);
        }
        // First, so that whatever is written to the list from here on says it, too.
        let pin = self.spaces.pins.begin((policy.clone(), space));
        let term = self.list_term();
        if pin.is_noted(term, version) && self.list_holds(term) {
            return Ok(Some(pin));
        }
        let (gateway, place) = (self.gateway(), (space, version));
        let noted =
            self.change_spaces(false, |spaces, now| Ok(spaces.pin(gateway, policy, place, now))).await;
        match noted {
            Ok((true, term)) => {
                pin.note(term, version);
                Ok(Some(pin))
            }
            Ok((false, _)) => Err(list_lapsed()),
            Err(SpacesError::Ledger(IdentityError::Document(DocumentError::Store(error)))) => Err(error),
            Err(error) => Err(StoreError::Unavailable(error.to_string().into())),
        }
    }
}
