//! How a key space leaves its policy's list: when nothing but records blocks it, and none of them is left.

use super::pointers;
use super::registry::{SpaceRegistry, SpacesError};
use super::searches::Search;
use oncegate_core::keyspaces::list::{Space, SpaceList};
use oncegate_core::{GatewayId, OperationId, Record, SpaceNumber, State, Timestamp, View};
use oncegate_store::{ScanScope, Store, StoreError, Swap, Versioned};
use std::sync::Arc;

/// How many records a search reads at once.
const SCAN_PORTION: usize = 256;

impl<S: Store> SpaceRegistry<S> {
    /// Removes a space from the list though records of it may be left: their operations may run again. The
    /// space stays while other gateways derive keys in it, because they go on executing by it. Returns these
    /// gateways.
    pub async fn abandon(&self, policy: &str, number: SpaceNumber) -> Result<Vec<GatewayId>, SpacesError> {
        let own = self.gateway();
        let (others, _) = self
            .change_as_member(|spaces, now| {
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

    /// Removes a space from the list if nothing but records blocked it, and no such record is left. True: the
    /// space is off the list.
    pub async fn remove_if_empty(&self, policy: &Arc<str>, number: SpaceNumber) -> Result<bool, SpacesError> {
        // The change makes the list say whether anybody decides by the space now, and if not since when.
        self.change_as_member(|_, _| Ok(())).await?;
        match self.lists().list(policy).and_then(|list| list.find(number)) {
            Some(space) => self.remove(policy, space).await,
            None => Ok(true),
        }
    }

    /// Removes the spaces from the lists that nothing blocks any more, as of now.
    pub(super) async fn clear(&self) -> Result<(), SpacesError> {
        // The change makes the lists say which spaces are closing now.
        self.change_as_member(|_, _| Ok(())).await?;
        self.remove_closing().await
    }

    /// Whether a live record of a space of this policy is left. Nothing is written.
    pub async fn has_records(&self, policy: &Arc<str>, space: &Space) -> Result<bool, StoreError> {
        let mut passed = None;
        loop {
            let page = self.store.scan(ScanScope::All, passed, SCAN_PORTION).await?;
            let Some((last, _)) = page.last() else { return Ok(false) };
            passed = Some(*last);
            let now = self.now();
            let lives = |record: &Record| is_of(policy, space, record) && record.view(now) != View::Absent;
            // What can't be read may be of any space.
            if page.iter().any(|(_, met)| met.as_ref().map_or(true, |versioned| lives(&versioned.record))) {
                return Ok(true);
            }
        }
    }

    /// Removes the spaces from the lists that nothing blocks any more.
    pub(super) async fn remove_closing(&self) -> Result<(), SpacesError> {
        for (policy, space) in self.closing() {
            self.remove(&policy, &space).await?;
        }
        Ok(())
    }

    async fn remove(&self, policy: &Arc<str>, space: &Space) -> Result<bool, SpacesError> {
        let Some(since) = space.closing_since else { return Ok(false) };
        if !self.is_empty_before(policy, space, since).await? {
            return Ok(false);
        }
        let (removed, _) = self
            .change_as_member(|spaces, now| Ok(spaces.remove_space(policy, space.number, since, now)))
            .await?;
        if removed {
            tracing::info!(
                %policy,
                space = space.number.0,
                key_schema = %space.deriver.key_schema,
                key_epoch = space.deriver.key_epoch,
                "a key space has left: no record needs it any more"
            );
        }
        Ok(removed)
    }

    /// The spaces that nothing but records blocks.
    fn closing(&self) -> Vec<(Arc<str>, Space)> {
        let spaces = self.lists();
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
        let begun = self.searches.all().get(&place).copied().filter(|search| search.since == since);
        let mut search = begun.unwrap_or(Search { since, passed: None });
        let is_empty = loop {
            let page = self.store.scan(ScanScope::All, search.passed, SCAN_PORTION).await?;
            let Some((last, _)) = page.last() else { break true };
            let last = *last;
            let mut blocked = false;
            for (id, met) in page {
                let Ok(versioned) = met else {
                    tell_unreadable(policy, space, id);
                    blocked = true;
                    break;
                };
                if self.blocks(policy, space, since, id, versioned).await? {
                    blocked = true;
                    break;
                }
                search.passed = Some(id);
            }
            if blocked {
                break false;
            }
            search.passed = Some(last);
        };
        if is_empty {
            self.searches.all().remove(&place);
        } else {
            self.searches.all().insert(place, search);
        }
        Ok(is_empty)
    }

    /// Whether a record blocks the space.
    async fn blocks(
        &self,
        policy: &Arc<str>,
        space: &Space,
        since: Timestamp,
        id: OperationId,
        versioned: Versioned,
    ) -> Result<bool, StoreError> {
        let record = &versioned.record;
        if !is_of(policy, space, record) || record.first_attempt > since {
            return Ok(false);
        }
        let now = self.now();
        if record.view(now) == View::Absent {
            // The record is absent by ledger time, which may be earlier after the next start. A removed
            // record stays removed.
            let removed = self.store.swap(id, Some(versioned.version), None, now).await?;
            return Ok(!matches!(removed, Swap::Done(_)));
        }
        match record.state {
            State::Pointer(_) => Ok(!pointers::sweep(&self.store, id, &versioned).await?),
            _ => Ok(true),
        }
    }
}

/// It may be of the space, and nobody can tell.
fn tell_unreadable(policy: &str, space: &Space, operation: OperationId) {
    tracing::error!(
        %policy,
        %operation,
        key_schema = %space.deriver.key_schema,
        key_epoch = space.deriver.key_epoch,
        "a record can't be read, so nobody knows if this key space has records: it stays on its list"
    );
}

fn is_of(policy: &Arc<str>, space: &Space, record: &Record) -> bool {
    let origin = &record.origin;
    origin.policy == *policy
        && origin.key_schema == space.deriver.key_schema
        && origin.key_epoch == space.deriver.key_epoch
}
