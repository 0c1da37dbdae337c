//! A change of how keys are made, other than one of key spaces: examined first, then made while requests
//! flow.
//!
//! A live record must not lose its key. So all records are looked at before the change is made. Claims that
//! the old routes make meanwhile are noted, and looked at in a moment in which nothing that was claimed may
//! be sent. A request whose keys were derived before that moment and that isn't sent yet is never sent: it is
//! turned away, and comes again by the new routes. The gate is closed from before the change is written down
//! until the new routes are in force, so that nothing is claimed by a way that the ledger doesn't name
//! (`in_doubt`).

use super::agreed::TRIES;
use super::identity::{Identity, IdentityError};
use super::state::Ledger;
use super::survey::{Losses, count_unreadable, in_words};
use oncegate_core::{KeySpaces, LostRecords, OperationId, Record};
use oncegate_keyspaces::by_id;
use oncegate_store::{Store, StoreError, Version};
use std::collections::BTreeSet;
use std::mem::take;

/// A change that has been examined. Dropped, it is not made.
#[derive(Debug)]
pub struct Change<'a, S: Store> {
    ledger: &'a Ledger<S>,
    /// The document as it was read.
    expected: Option<Version>,
    /// The document that the change writes; `None`: the document stays.
    next: Option<Identity>,
    /// The state by which records could lose their keys; `None`: they can't.
    before: Option<(Identity, KeySpaces)>,
    given_up: Vec<String>,
    watches: bool,
}

/// A change that is written down. The caller puts the new routes in force and [completes](Self::complete) it.
/// When this value is dropped, claims go on; dropped uncompleted, the change is undone first.
#[derive(Debug)]
pub struct ChangeMade<'a, S: Store> {
    ledger: &'a Ledger<S>,
    closed: bool,
    /// The term of the lease on the list of key spaces that begins with the change, in which nothing that was
    /// derived before may be sent; `None`: keys that were derived before stay.
    pub term: Option<u64>,
}

impl<'a, S: Store> Change<'a, S> {
    pub(super) fn new(
        ledger: &'a Ledger<S>,
        expected: Option<Version>,
        next: Option<Identity>,
        before: Option<(Identity, KeySpaces)>,
    ) -> Self {
        Self { ledger, expected, next, before, given_up: Vec::new(), watches: false }
    }

    /// The losses that the change accepts, in words.
    pub fn given_up(&self) -> &[String] {
        &self.given_up
    }

    /// Looks at all records and, where nothing may be lost, has claims noted from now on.
    pub(super) async fn survey(&mut self, lost: LostRecords) -> Result<(), IdentityError> {
        if lost == LostRecords::Refuse {
            self.watch();
        }
        let mut losses = self.ledger.survey(|record| self.loss(record)).await?;
        if let (Some((before, _)), Some(next)) = (&self.before, &self.next)
            && next.is_at_odds_with(before)
            && let others = self.ledger.spaces.others_alive().await?
            && !others.is_empty()
        {
            let others = by_id(&others);
            losses.insert(
                format!(
                    "another gateway on this ledger ({others}) still makes keys as before: stop it first"
                ),
                0,
            );
        }
        match lost {
            LostRecords::Refuse if !losses.is_empty() => Err(IdentityError::Changed(in_words(&losses))),
            _ => {
                self.given_up = in_words(&losses);
                Ok(())
            }
        }
    }

    fn watch(&mut self) {
        let flights = &self.ledger.flights;
        self.ledger.gate.begin_noting(|| flights.iter().map(|flight| *flight.key()).collect());
        self.watches = true;
    }

    fn loss(&self, record: &Record) -> Option<String> {
        let (before, lists) = self.before.as_ref()?;
        self.next.as_ref()?.loss(before, lists, record)
    }

    /// Looks at the claims since the last look, and at `more`. Returns those that have no live record yet: a
    /// record that is over, or a pointer, may be claimed over after the look.
    async fn look(&self, mut more: BTreeSet<OperationId>) -> Result<BTreeSet<OperationId>, IdentityError> {
        let mut losses = Losses::new();
        more.append(&mut self.ledger.gate.take_noted());
        let mut without = BTreeSet::new();
        for id in more {
            match self.ledger.store.load(id).await {
                Ok(Some(found)) if self.ledger.lives(&found.record) => {
                    self.ledger.count(&found.record, &mut losses, |record| self.loss(record));
                }
                Ok(Some(_) | None) => _ = without.insert(id),
                Err(error @ StoreError::Corrupt(_)) => count_unreadable(id, &error, &mut losses),
                Err(error) => return Err(error.into()),
            }
        }
        if losses.is_empty() { Ok(without) } else { Err(IdentityError::Changed(in_words(&losses))) }
    }

    /// Writes the change down, unless an operation claimed meanwhile would lose its key.
    pub async fn take_effect(mut self) -> Result<ChangeMade<'a, S>, IdentityError> {
        let mut taken = ChangeMade { ledger: self.ledger, closed: false, term: None };
        // The claims of the long look are examined first, so that the gate isn't closed for long.
        let early = if self.watches { self.look(BTreeSet::new()).await? } else { BTreeSet::new() };
        if self.before.is_some() {
            self.ledger.spaces.suspend();
            taken.closed = true;
        }
        if self.watches {
            self.look(early).await?;
        }
        if let Some(next) = take(&mut self.next) {
            self.write(&next).await?;
        }
        taken.term = taken.closed.then(|| self.ledger.spaces.begin_term());
        Ok(taken)
    }

    async fn write(&self, next: &Identity) -> Result<(), IdentityError> {
        let in_doubt = &self.ledger.in_doubt;
        // Where no record can lose its key, both ways make the same keys of every operation that has one.
        if let Some((before, _)) = &self.before {
            in_doubt.begin(before.clone(), next.clone());
        }
        let written = self.ledger.write_identity(self.expected, next).await;
        if matches!(written, Err(IdentityError::Overtaken)) {
            in_doubt.end();
        }
        written
    }
}

impl<S: Store> Drop for Change<'_, S> {
    fn drop(&mut self) {
        if self.watches {
            self.ledger.gate.end_noting();
        }
    }
}

impl<S: Store> ChangeMade<'_, S> {
    /// The new routes are in force.
    pub fn complete(&mut self) {
        self.ledger.in_doubt.end();
    }
}

impl<S: Store> Drop for ChangeMade<'_, S> {
    fn drop(&mut self) {
        if self.closed && !self.ledger.in_doubt.break_off() {
            self.ledger.spaces.resume();
        }
    }
}

impl<S: Store> Ledger<S> {
    /// Makes `identity` the ledger's, unless live records would lose their keys. Where these may be given up,
    /// they are, and the result tells them.
    pub async fn agree(&self, identity: &Identity, lost: LostRecords) -> Result<Vec<String>, IdentityError> {
        for _ in 0..TRIES {
            let change = self.examine(identity, lost).await?;
            let given_up = change.given_up().to_vec();
            match change.take_effect().await {
                Err(IdentityError::Overtaken) => {}
                done => {
                    done?.complete();
                    return Ok(given_up);
                }
            }
        }
        Err(IdentityError::Overtaken)
    }

    /// Finds the records that would lose their keys if `identity` became the ledger's. Claims go on
    /// meanwhile; those that come and could be lost are looked at when the change [takes
    /// effect](Change::take_effect).
    pub async fn examine(
        &self,
        identity: &Identity,
        lost: LostRecords,
    ) -> Result<Change<'_, S>, IdentityError> {
        self.undo_change().await?;
        let Some((version, before)) = self.identity().await? else {
            return Ok(Change::new(self, None, Some(identity.clone()), None));
        };
        let lists = self.spaces.stored().await?;
        let next = identity.merged(&before);
        let may_lose = identity.may_lose(&before, &lists);
        let next = (next != before).then_some(next);
        let mut change = Change::new(self, Some(version), next, may_lose.then_some((before, lists)));
        if may_lose {
            change.survey(lost).await?;
        }
        Ok(change)
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
