//! The ledger's housekeeping: renews leases of what runs here, tries overdue settlements again,
//! and sweeps what is due, in small portions.

use super::{Flight, Ledger, NO_RULES, Overdue, Turn};
use crate::store::{Store, StoreError, Swap};
use oncegate_core::{Decision, Event, OperationId, Record, State, Timestamp, decide};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// Leases are looked at this often. The shortest lease is 100 ms; a third of it is gone by then.
const TICK: Duration = Duration::from_millis(25);
/// How many ticks lie between two sweeps.
const SWEEP_EVERY: u32 = 40;
/// How many records one sweep touches, so that no request waits long behind it.
const SWEEP_PORTION: usize = 256;

/// Keeps a ledger in order for as long as [`run`](Self::run) is polled.
#[derive(Debug)]
pub struct Keeper<S: Store> {
    ledger: Arc<Ledger<S>>,
    settlements: mpsc::UnboundedReceiver<Overdue>,
    overdue: VecDeque<Overdue>,
}

impl<S: Store> Keeper<S> {
    pub(super) fn new(ledger: Arc<Ledger<S>>, settlements: mpsc::UnboundedReceiver<Overdue>) -> Self {
        Self { ledger, settlements, overdue: VecDeque::new() }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_sweep = SWEEP_EVERY;
        loop {
            ticks.tick().await;
            self.renew().await;
            self.settle_overdue().await;
            until_sweep -= 1;
            if until_sweep == 0 {
                // A full portion means that there is more: go on at the next tick.
                let full = matches!(self.ledger.sweep(SWEEP_PORTION).await, Ok(SWEEP_PORTION));
                until_sweep = if full { 1 } else { SWEEP_EVERY };
            }
        }
    }

    async fn renew(&self) {
        let now = self.ledger.clock.now();
        let due: Vec<(OperationId, Arc<Flight>)> = self
            .ledger
            .flights
            .iter()
            .filter(|entry| {
                let running = entry.value().running();
                running.is_some_and(|record| entry.value().wants_renewal(record.times.lease, now))
            })
            .map(|entry| (*entry.key(), entry.value().clone()))
            .collect();
        // At once, so that one sync of the store makes them all durable.
        let mut renewals = JoinSet::new();
        for (id, flight) in due {
            let ledger = self.ledger.clone();
            renewals.spawn(async move {
                if let Err(error) = ledger.renew(id, &flight).await {
                    tracing::warn!(operation = %id, %error, "a lease could not be renewed");
                }
            });
        }
        renewals.join_all().await;
    }

    /// Tries each overdue settlement once; what fails is tried again at a later tick.
    async fn settle_overdue(&mut self) {
        while let Ok(overdue) = self.settlements.try_recv() {
            self.overdue.push_back(overdue);
        }
        for _ in 0..self.overdue.len() {
            let Some(overdue) = self.overdue.pop_front() else { return };
            match self.ledger.settle(overdue.id, &overdue.flight, &overdue.settlement).await {
                Ok(advance) => {
                    self.ledger.overdue_count.fetch_sub(1, Ordering::Relaxed);
                    let outcome = overdue.settlement.outcome.disposition().word();
                    tracing::info!(operation = %overdue.id, outcome, "an overdue settlement is recorded");
                    self.ledger.conclude(overdue.id, &overdue.flight, advance, overdue.shared);
                }
                Err(error) => {
                    tracing::debug!(operation = %overdue.id, %error, "a settlement is still overdue");
                    self.overdue.push_back(overdue);
                    return;
                }
            }
        }
    }
}

impl<S: Store> Ledger<S> {
    /// Renews the lease of an execution that lives here.
    async fn renew(&self, id: OperationId, flight: &Flight) -> Result<(), StoreError> {
        let Some(record) = flight.running() else { return Ok(()) };
        let now = self.clock.now();
        let Decision::Put(next) = decide(&NO_RULES, Some(&record), Event::Renew(flight.execution()), now)
        else {
            return Ok(());
        };
        let lease_until = now.plus(next.times.lease);
        let next = Arc::new(next);
        // A conflict is the execution settling at this moment, or a lease that lapsed meanwhile.
        if let Swap::Done(version) =
            self.store.swap(id, Some(flight.version()), Some(next.clone()), now).await?
        {
            flight.renewed(version, next, lease_until);
        }
        Ok(())
    }

    /// Does what is due to at most `portion` records; says how many there were.
    pub async fn sweep(&self, portion: usize) -> Result<usize, StoreError> {
        let due = self.store.due(self.clock.now(), portion).await?;
        for id in &due {
            self.sweep_one(*id).await?;
        }
        Ok(due.len())
    }

    async fn sweep_one(&self, id: OperationId) -> Result<(), StoreError> {
        let Some(current) = self.store.load(id).await? else { return Ok(()) };
        let now = self.clock.now();
        let next = match decide(&NO_RULES, Some(&current.record), Event::Sweep, now) {
            Decision::Put(record) => Some(Arc::new(record)),
            Decision::Remove => None,
            _ => return Ok(()),
        };
        if let Swap::Done(version) = self.store.swap(id, Some(current.version), next.clone(), now).await? {
            if let Some(cache) = &self.cache {
                cache.remove(id);
            }
            let next_try = |record: &Record| record.probing.and_then(|probing| probing.next);
            let held = matches!(current.record.state, State::Unknown { .. });
            if let Some(next) = next.filter(|next| held && next_try(next) > next_try(&current.record)) {
                self.hand_out(Turn::new(id, version, next, now));
            }
        }
        Ok(())
    }

    /// Whether any record would still answer a duplicate. Removes those it meets that would not.
    pub async fn has_live_records(&self) -> Result<bool, StoreError> {
        loop {
            let ids = self.store.due(Timestamp::MAX, SWEEP_PORTION).await?;
            if ids.is_empty() {
                return Ok(false);
            }
            for id in ids {
                self.sweep_one(id).await?;
                if self.store.load(id).await?.is_some() {
                    return Ok(true);
                }
            }
        }
    }
}
