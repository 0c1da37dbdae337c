//! The ledger's housekeeping: renews leases of what runs here, tries overdue settlements again,
//! and sweeps what is due, in small portions. Where nothing of that is there it sleeps.

use super::advance::Advanced;
use super::clock::Difference;
use super::{Flight, Ledger, NO_RULES, Overdue, Turn};
use crate::store::{Store, StoreError, Swap, Versioned};
use oncegate_core::{Decision, Event, OperationId, Record, State, Timestamp, decide};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Two looks at the leases lie at least so far apart. The shortest lease is 100 ms; a third of it is
/// over by then.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(25);
/// A renewal that failed is tried again after so long.
const RENEW_AGAIN: Duration = Duration::from_millis(100);
/// While there are records, they are swept so often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Where there are none, it looks after the clocks so often.
const IDLE: Duration = Duration::from_secs(60);
/// How many records one sweep touches, so that no request waits long behind it.
const SWEEP_PORTION: usize = 256;
/// Between two portions where there is more to sweep.
const SWEEP_PAUSE: Duration = Duration::from_millis(25);
/// Overdue settlements are tried again after so long, then after twice that, and so on.
const RETRY: Duration = Duration::from_millis(25);
/// But no later than after this.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Keeps a ledger in order for as long as [`run`](Self::run) is polled.
#[derive(Debug)]
pub struct Keeper<S: Store> {
    ledger: Arc<Ledger<S>>,
    settlements: mpsc::UnboundedReceiver<Overdue>,
    overdue: VecDeque<Overdue>,
    /// When the overdue are tried next, and how long after that should they fail again.
    retry_at: Instant,
    retry: Duration,
    sweep_at: Instant,
    /// Leases could not be renewed at the last look: told once.
    failing: bool,
    difference: Difference,
}

impl<S: Store> Keeper<S> {
    pub(super) fn new(ledger: Arc<Ledger<S>>, settlements: mpsc::UnboundedReceiver<Overdue>) -> Self {
        Self {
            ledger,
            settlements,
            overdue: VecDeque::new(),
            retry_at: Instant::now(),
            retry: RETRY,
            sweep_at: Instant::now() + SWEEP_EVERY,
            failing: false,
            difference: Difference::default(),
        }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        loop {
            let looked = Instant::now();
            // Whoever claims while it looks wakes it again: it may have passed that one already.
            self.ledger.keeper_wakes.store(u64::MAX, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let renewal = self.renew().await;
            self.settle_overdue().await;
            self.sweep().await;
            self.difference.look(&self.ledger.clock);
            let pause = self.pause(renewal);
            let now = self.ledger.clock.now();
            self.ledger.keeper_wakes.store(now.plus(pause).as_millis(), Ordering::Relaxed);
            tokio::select! {
                // In one order, so that a simulated run repeats itself.
                biased;
                Some(overdue) = self.settlements.recv() => self.overdue.push_back(overdue),
                // A lease that wants renewal before that.
                () = self.ledger.keeper.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            tokio::time::sleep_until(looked + LOOK_AGAIN_MIN).await;
        }
    }

    /// How long there is nothing to do. `renewal`: when a lease next wants to be renewed.
    fn pause(&self, renewal: Timestamp) -> Duration {
        let mut pause = match self.ledger.store.size().records {
            0 => IDLE,
            _ => self.sweep_at.saturating_duration_since(Instant::now()),
        };
        if !self.overdue.is_empty() {
            pause = pause.min(self.retry_at.saturating_duration_since(Instant::now()));
        }
        pause.min(renewal.since(self.ledger.clock.now()))
    }

    /// Renews what wants it; says when the next will.
    async fn renew(&mut self) -> Timestamp {
        let now = self.ledger.clock.now();
        let mut next = Timestamp::MAX;
        let mut due: Vec<(OperationId, Arc<Flight>)> = Vec::new();
        for entry in &self.ledger.flights {
            let Some(record) = entry.value().running() else { continue };
            match entry.value().renewal_due(record.times.lease) {
                at if at <= now => due.push((*entry.key(), entry.value().clone())),
                at => next = next.min(at),
            }
        }
        // At once, so that one sync of the store makes them all durable.
        let mut renewals = JoinSet::new();
        for (id, flight) in due {
            let ledger = self.ledger.clone();
            renewals.spawn(async move { (id, ledger.renew(id, &flight).await) });
        }
        let mut failed = None;
        for (id, renewed) in renewals.join_all().await {
            match renewed {
                Ok(until) => next = next.min(until),
                Err(error) => {
                    next = next.min(now.plus(RENEW_AGAIN));
                    failed = Some((id, error));
                }
            }
        }
        match failed {
            Some((operation, error)) if !self.failing => {
                tracing::warn!(%operation, %error, "leases can't be renewed; what lapses is unknown until it settles");
                self.failing = true;
            }
            Some(_) => {}
            None => self.failing = false,
        }
        next
    }

    /// Tries each overdue settlement once; from the first that fails on they are tried again later.
    async fn settle_overdue(&mut self) {
        while let Ok(overdue) = self.settlements.try_recv() {
            self.overdue.push_back(overdue);
        }
        if Instant::now() < self.retry_at {
            return;
        }
        for _ in 0..self.overdue.len() {
            let Some(overdue) = self.overdue.pop_front() else { return };
            let known = overdue.known.clone();
            match self.ledger.settle(overdue.id, overdue.execution, known, &overdue.settlement).await {
                Ok(advance) => self.recorded(overdue, advance),
                Err(error) => {
                    tracing::debug!(operation = %overdue.id, %error, "a settlement is still overdue");
                    self.overdue.push_back(overdue);
                    self.retry_at = Instant::now() + self.retry;
                    self.retry = (self.retry * 2).min(RETRY_MAX);
                    return;
                }
            }
        }
        self.retry = RETRY;
    }

    fn recorded(&self, overdue: Overdue, advance: Advanced) {
        self.ledger.overdue_count.fetch_sub(1, Ordering::Relaxed);
        let Overdue { id, settlement, waiting, .. } = overdue;
        let outcome = settlement.outcome.disposition().word();
        match waiting {
            Some((flight, shared)) => {
                tracing::info!(operation = %id, outcome, "an overdue settlement is recorded");
                self.ledger.conclude(id, &flight, &settlement, advance, shared);
            }
            // Where it does not stand there is nothing to tell.
            None if matches!(advance, Advanced::Done(_)) => {
                tracing::info!(operation = %id, "a claim that the store did not confirm, and under which nothing was sent, is undone");
            }
            None => {}
        }
    }

    async fn sweep(&mut self) {
        if Instant::now() < self.sweep_at {
            return;
        }
        // A full portion means that there is more.
        let full = matches!(self.ledger.sweep(SWEEP_PORTION).await, Ok(SWEEP_PORTION));
        self.sweep_at = Instant::now() + if full { SWEEP_PAUSE } else { SWEEP_EVERY };
    }
}

impl<S: Store> Ledger<S> {
    /// Sees to it that the keeper looks at the leases by then.
    pub(super) fn expect_keeper(&self, by: Timestamp) {
        // With the one in `run`: either it sees the lease, or this sees that it looks.
        fence(Ordering::SeqCst);
        if by.as_millis() < self.keeper_wakes.load(Ordering::Relaxed) {
            self.keeper.notify_one();
        }
    }

    /// Renews the lease of an execution that lives here; says when it wants that next.
    pub(super) async fn renew(&self, id: OperationId, flight: &Flight) -> Result<Timestamp, StoreError> {
        // Whether it ended meanwhile, lapsed or was taken over: nothing is left to renew.
        const NEVER: Timestamp = Timestamp::MAX;
        let Some(known) = flight.known() else { return Ok(NEVER) };
        let now = self.clock.now();
        let Decision::Put(next) =
            decide(&NO_RULES, Some(&known.record), Event::Renew(flight.execution()), now)
        else {
            return Ok(NEVER);
        };
        let (lease, next) = (next.times.lease, Arc::new(next));
        match self.swap(id, Some(known.version), Some(next.clone()), now).await? {
            Swap::Done(version) => flight.renewed(version, next),
            // An earlier renewal of unclear result took effect, or the execution settles just now.
            Swap::Conflict(Some(standing)) if standing.record.execution == flight.execution() => {
                flight.renewed(standing.version, standing.record);
            }
            Swap::Conflict(_) => return Ok(NEVER),
        }
        Ok(flight.renewal_due(lease))
    }

    /// Does what is due to at most `portion` records; says how many there were.
    pub async fn sweep(self: &Arc<Self>, portion: usize) -> Result<usize, StoreError> {
        let due = self.store.due(self.clock.now(), portion).await?;
        let count = due.len();
        // At once, so that one sync of the store makes all of it durable.
        let mut sweeps = JoinSet::new();
        for id in due {
            let ledger = self.clone();
            sweeps.spawn(async move { ledger.sweep_one(id).await });
        }
        sweeps.join_all().await.into_iter().collect::<Result<(), _>>()?;
        Ok(count)
    }

    async fn sweep_one(&self, id: OperationId) -> Result<(), StoreError> {
        let Some(current) = self.store.load(id).await? else { return Ok(()) };
        if let State::Pointer(_) = current.record.state {
            return self.sweep_pointer(id, &current).await.map(|_| ());
        }
        let before = current.record.clone();
        let now = self.clock.now();
        let Advanced::Done(swept) = self.advance(id, Some(current), &Event::Sweep).await? else {
            return Ok(());
        };
        if let Some(cache) = &self.cache {
            cache.remove(id);
        }
        let next_try = |record: &Record| record.probing.and_then(|probing| probing.next);
        let held = matches!(before.state, State::Unknown { .. });
        if let Some(Versioned { version, record }) = swept
            && held
            && next_try(&record) > next_try(&before)
        {
            self.hand_out(Turn::new(id, version, record, now));
        }
        Ok(())
    }
}
