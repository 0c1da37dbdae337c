//! A change of how keys are made, other than one of key spaces: looked at, and made while requests flow.
//!
//! A record that lives must not lose its key. So all are looked at before the change is made; and
//! what is claimed meanwhile by the old routes is noted, and looked at in a moment in which nothing
//! that was claimed may be sent. What was derived before that moment and isn't sent yet never is: it is
//! turned away, and comes again by the new routes.

use super::identity::{Identity, IdentityError, Losses, by_id, in_words};
use super::{Ledger, Request};
use crate::store::{Store, StoreError, Version};
use oncegate_core::{KeySpaces, OperationId, Record, State, View};
use std::collections::BTreeSet;
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many records a look at all of them reads at once.
const SCAN_PORTION: usize = 256;

/// What keeps claims and changes apart.
#[derive(Debug, Default)]
pub(super) struct Turnstile {
    /// Claims are noted.
    noting: AtomicBool,
    /// Nothing that was claimed may be sent.
    closed: AtomicBool,
    begun: Mutex<BTreeSet<OperationId>>,
}

impl Turnstile {
    /// Somebody got the right to claim this operation; its flight stands already.
    pub(super) fn pass(&self, request: &Request) {
        // With the one in `Change::watch`: either this claim is noted, or its flight is found there.
        fence(Ordering::SeqCst);
        if self.noting.load(Ordering::SeqCst) {
            self.begun().insert(request.id);
        }
    }

    /// Whether nothing may be sent now.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn begun(&self) -> MutexGuard<'_, BTreeSet<OperationId>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A change that has been looked at. Dropped, it is not made.
#[derive(Debug)]
pub struct Change<'a, S: Store> {
    ledger: &'a Ledger<S>,
    /// The document as it was read.
    expected: Option<Version>,
    /// What it becomes; none: it stays.
    next: Option<Identity>,
    /// What records could lose their keys by; none: they can't.
    before: Option<(Identity, KeySpaces)>,
    given_up: Vec<String>,
    watches: bool,
}

/// A change that is made. When this goes, claims go on.
#[derive(Debug)]
pub struct Taken<'a, S: Store> {
    ledger: &'a Ledger<S>,
    closed: bool,
    /// The term of the lease on the list of key spaces that begins with it, in which nothing that was
    /// derived before may be sent; none: what was derived before keeps its keys.
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

    /// What is given up by it, in words.
    pub fn given_up(&self) -> &[String] {
        &self.given_up
    }

    /// Looks at all records, and has what is claimed from now on noted, where nothing may be lost.
    pub(super) async fn survey(&mut self, accept_duplicates: bool) -> Result<(), IdentityError> {
        if !accept_duplicates {
            self.watch();
        }
        let mut losses = self.ledger.survey(|record| self.loss(record)).await?;
        if let (Some((before, _)), Some(next)) = (&self.before, &self.next)
            && next.is_at_odds_with(before)
            && let others = self.ledger.others_alive().await?
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
        match accept_duplicates {
            false if !losses.is_empty() => Err(IdentityError::Changed(in_words(&losses))),
            _ => {
                self.given_up = in_words(&losses);
                Ok(())
            }
        }
    }

    fn watch(&mut self) {
        let turnstile = &self.ledger.turnstile;
        turnstile.begun().clear();
        turnstile.noting.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let in_flight: Vec<_> = self.ledger.flights.iter().map(|flight| *flight.key()).collect();
        turnstile.begun().extend(in_flight);
        self.watches = true;
    }

    fn loss(&self, record: &Record) -> Option<String> {
        let (before, lists) = self.before.as_ref()?;
        self.next.as_ref()?.loss(before, lists, record)
    }

    /// Looks at what was claimed since the last look, and at `more`; what of it has no record yet.
    async fn look(&self, mut more: BTreeSet<OperationId>) -> Result<BTreeSet<OperationId>, IdentityError> {
        let mut losses = Losses::new();
        more.append(&mut self.ledger.turnstile.begun());
        let mut without = BTreeSet::new();
        for id in more {
            match self.ledger.store.load(id).await? {
                Some(found) => self.ledger.count(&found.record, &mut losses, |record| self.loss(record)),
                None => _ = without.insert(id),
            }
        }
        if losses.is_empty() { Ok(without) } else { Err(IdentityError::Changed(in_words(&losses))) }
    }

    /// Makes the change, unless what was claimed meanwhile would lose its key by it. The caller puts in
    /// force what goes by it, and then drops what this returns.
    pub async fn take_effect(mut self) -> Result<Taken<'a, S>, IdentityError> {
        let mut taken = Taken { ledger: self.ledger, closed: false, term: None };
        if self.watches {
            // First what came while all were looked at, so that it isn't long closed.
            let early = self.look(BTreeSet::new()).await?;
            self.ledger.turnstile.closed.store(true, Ordering::SeqCst);
            taken.closed = true;
            self.look(early).await?;
        }
        if let Some(next) = take(&mut self.next) {
            self.ledger.write_identity(self.expected, &next).await?;
        }
        taken.term = taken.closed.then(|| self.ledger.begin_term());
        Ok(taken)
    }
}

impl<S: Store> Drop for Change<'_, S> {
    fn drop(&mut self) {
        if self.watches {
            self.ledger.turnstile.noting.store(false, Ordering::SeqCst);
            self.ledger.turnstile.begun().clear();
        }
    }
}

impl<S: Store> Drop for Taken<'_, S> {
    fn drop(&mut self) {
        if self.closed {
            self.ledger.turnstile.closed.store(false, Ordering::SeqCst);
        }
    }
}

impl<S: Store> Ledger<S> {
    /// Looks at all records that live: how many `judge` has the same word for.
    pub(super) async fn survey(
        &self,
        judge: impl Fn(&Record) -> Option<String>,
    ) -> Result<Losses, StoreError> {
        let mut found = Losses::new();
        let mut passed = None;
        loop {
            let page = self.store.scan(passed, SCAN_PORTION).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            passed = Some(*last);
            for (_, versioned) in &page {
                self.count(&versioned.record, &mut found, &judge);
            }
        }
    }

    /// A pointer counts with what it leads to.
    fn count(&self, record: &Record, found: &mut Losses, judge: impl Fn(&Record) -> Option<String>) {
        let lives =
            !matches!(record.state, State::Pointer(_)) && record.view(self.clock.now()) != View::Absent;
        if let Some(word) = lives.then(|| judge(record)).flatten() {
            *found.entry(word).or_default() += 1;
        }
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
