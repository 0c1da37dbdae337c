//! What a key space needs to leave its policy's list: that nothing but records holds it open, and none of
//! them is left.

use super::{Ledger, SpacesError};
use crate::store::{Store, StoreError, Swap, Versioned};
use oncegate_core::keyspace_list::{Listed, SpaceList};
use oncegate_core::{OperationId, SpaceNumber, State, Timestamp, View};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many records a look for what holds a space open reads at once.
const SCAN_PORTION: usize = 256;

/// How far each look has come, by policy and space.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<BTreeMap<(Arc<str>, SpaceNumber), Look>>);

/// A look through all records for those that hold a space open. What was passed doesn't come back:
/// nothing is claimed any more before the moment that it asks about.
#[derive(Clone, Copy, Debug)]
struct Look {
    since: Timestamp,
    /// The last record that it passed.
    passed: Option<OperationId>,
}

impl Looks {
    fn all(&self) -> MutexGuard<'_, BTreeMap<(Arc<str>, SpaceNumber), Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Store> Ledger<S> {
    /// Takes a space off the list by which no gateway derives keys, if it has no records; they were
    /// claimed before `since`. Says whether it did.
    pub async fn leave_if_empty(
        &self,
        policy: &Arc<str>,
        space: &Listed,
        since: Timestamp,
    ) -> Result<bool, SpacesError> {
        let spaces = self.read_spaces().await?;
        let now = self.clock.now();
        let mut live = spaces.gateways.iter().filter(|live| now < live.lease_until);
        if live.any(|live| live.stands.contains_key(policy))
            || !self.is_empty_before(policy, space, since).await?
        {
            return Ok(false);
        }
        self.abandon_space(policy, space.number).await?;
        Ok(true)
    }

    /// The spaces that nothing but records holds open.
    pub(super) fn closing(&self) -> Vec<(Arc<str>, Listed)> {
        let spaces = self.spaces();
        let closing = |(policy, list): (&Arc<str>, &SpaceList)| {
            let closing = list.spaces.iter().filter(|space| space.closing_since.is_some());
            closing.map(|space| (policy.clone(), space.clone())).collect::<Vec<_>>()
        };
        spaces.policies.iter().flat_map(closing).collect()
    }

    /// Whether no record of the space that was claimed before `since` is left.
    pub(super) async fn is_empty_before(
        &self,
        policy: &Arc<str>,
        space: &Listed,
        since: Timestamp,
    ) -> Result<bool, StoreError> {
        let place = (policy.clone(), space.number);
        let known = self.spaces.looks.all().get(&place).copied().filter(|look| look.since == since);
        let mut look = known.unwrap_or(Look { since, passed: None });
        let done = loop {
            let page = self.store.scan(look.passed, SCAN_PORTION).await?;
            let Some((last, _)) = page.last() else { break true };
            let last = *last;
            let mut held = false;
            for (id, versioned) in page {
                if self.holds_space(policy, space, since, id, versioned).await? {
                    held = true;
                    break;
                }
                look.passed = Some(id);
            }
            if held {
                break false;
            }
            look.passed = Some(last);
        };
        if done {
            self.spaces.looks.all().remove(&place);
        } else {
            self.spaces.looks.all().insert(place, look);
        }
        Ok(done)
    }

    async fn holds_space(
        &self,
        policy: &Arc<str>,
        space: &Listed,
        since: Timestamp,
        id: OperationId,
        versioned: Versioned,
    ) -> Result<bool, StoreError> {
        let record = &versioned.record;
        let origin = &record.origin;
        let of_space = origin.policy == *policy
            && origin.key_schema == space.maker.key_schema
            && origin.key_epoch == space.maker.key_epoch;
        if !of_space || record.first_attempt > since {
            return Ok(false);
        }
        let now = self.clock.now();
        if record.view(now) == View::Absent {
            // By this clock, which may be ahead of the one after the next start: what is removed stays so.
            let removed = self.swap(id, Some(versioned.version), None, now).await?;
            return Ok(!matches!(removed, Swap::Done(_)));
        }
        match record.state {
            State::Pointer(_) => Ok(!self.sweep_pointer(id, &versioned).await?),
            _ => Ok(true),
        }
    }
}
