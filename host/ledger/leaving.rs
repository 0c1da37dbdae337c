//! What a key space needs to leave its policy's list: that nothing but records holds it open, and none of
//! them is left.

use super::spaces::SpacesError;
use super::state::Ledger;
use crate::store::{Store, StoreError, Swap, Versioned};
use oncegate_core::keyspaces::list::{Space, SpaceList};
use oncegate_core::{GatewayId, OperationId, SpaceNumber, State, Timestamp, View};
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
    /// Takes a space off the list though records of it may be left: their operations may run again. Not
    /// while other gateways derive keys in it, which go on executing by it: these.
    pub async fn abandon_space(
        &self,
        policy: &str,
        number: SpaceNumber,
    ) -> Result<Vec<GatewayId>, SpacesError> {
        let own = self.gateway();
        let (others, _) = self
            .change_spaces(false, |spaces, now| {
                let others = spaces.others_deriving(own, policy, number, now);
                if others.is_empty()
                    && let Some(list) = spaces.policies.get_mut(policy)
                {
                    list.spaces.retain(|space| space.number != number);
                    list.version += 1;
                }
                Ok(others)
            })
            .await?;
        Ok(others)
    }

    /// Takes a space off the list if nothing but records held it open, and none of those is left. Says
    /// whether it is off.
    pub async fn leave_if_empty(&self, policy: &Arc<str>, number: SpaceNumber) -> Result<bool, SpacesError> {
        // So that the list says whether anybody decides by it now, and if not since when.
        self.change_spaces(false, |_, _| Ok(())).await?;
        match self.spaces().list(policy).and_then(|list| list.find(number)) {
            Some(space) => self.leave(policy, space).await,
            None => Ok(true),
        }
    }

    /// Takes off the lists what nothing holds open any more.
    pub(super) async fn leave_all(&self) -> Result<(), SpacesError> {
        for (policy, space) in self.closing() {
            self.leave(&policy, &space).await?;
        }
        Ok(())
    }

    async fn leave(&self, policy: &Arc<str>, space: &Space) -> Result<bool, SpacesError> {
        let Some(since) = space.closing_since else { return Ok(false) };
        if !self.is_empty_before(policy, space, since).await? {
            return Ok(false);
        }
        let (left, _) = self
            .change_spaces(false, |spaces, now| Ok(spaces.remove_space(policy, space.number, since, now)))
            .await?;
        if left {
            tracing::info!(
                %policy,
                space = space.number.0,
                key_schema = %space.deriver.key_schema,
                key_epoch = space.deriver.key_epoch,
                "a key space has left: no record needs it any more"
            );
        }
        Ok(left)
    }

    /// The spaces that nothing but records holds open.
    fn closing(&self) -> Vec<(Arc<str>, Space)> {
        let spaces = self.spaces();
        let closing = |(policy, list): (&Arc<str>, &SpaceList)| {
            let closing = list.spaces.iter().filter(|space| space.closing_since.is_some());
            closing.map(|space| (policy.clone(), space.clone())).collect::<Vec<_>>()
        };
        spaces.policies.iter().flat_map(closing).collect()
    }

    /// Whether no record of the space that was claimed before `since` is left.
    async fn is_empty_before(
        &self,
        policy: &Arc<str>,
        space: &Space,
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
        space: &Space,
        since: Timestamp,
        id: OperationId,
        versioned: Versioned,
    ) -> Result<bool, StoreError> {
        let record = &versioned.record;
        let origin = &record.origin;
        let of_space = origin.policy == *policy
            && origin.key_schema == space.deriver.key_schema
            && origin.key_epoch == space.deriver.key_epoch;
        if !of_space || record.first_attempt > since {
            return Ok(false);
        }
        let now = self.clock().now();
        if record.view(now) == View::Absent {
            // By this clock, which may be ahead of the one after the next start: what is removed stays so.
            let removed = self.store.swap(id, Some(versioned.version), None, now).await?;
            return Ok(!matches!(removed, Swap::Done(_)));
        }
        match record.state {
            State::Pointer(_) => Ok(!self.sweep_pointer(id, &versioned).await?),
            _ => Ok(true),
        }
    }
}
