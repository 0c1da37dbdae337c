//! The ledger's housekeeping: renews leases of what runs here, tries overdue settlements again,
//! and sweeps what is due, in small portions. Where nothing of that is there it sleeps.
//!
//! Each goes its own way, so that a store that is long about one call lets no lease lapse for it.

use super::advance::Advanced;
use super::clock::Difference;
use super::{Flight, Ledger, NO_RULES, Overdue, Turn};
use crate::store::{Store, StoreError, Swap, Versioned};
use oncegate_core::{Decision, Event, OperationId, Record, State, Timestamp, decide};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

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
}

impl<S: Store> Keeper<S> {
    pub(super) fn new(ledger: Arc<Ledger<S>>, settlements: mpsc::UnboundedReceiver<Overdue>) -> Self {
        Self { ledger, settlements }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let Self { ledger, settlements } = self;
        // Somebody claimed: there may be something to sweep.
        let claimed = Notify::new();
        tokio::join!(
            Leases::of(&ledger).keep(&claimed),
            ledger.settle_overdue(settlements),
            ledger.keep_swept(&claimed)
        );
    }
}

/// The leases of what runs here.
#[derive(Debug)]
struct Leases<'a, S: Store> {
    ledger: &'a Arc<Ledger<S>>,
    /// Each on its own, because one that hangs says nothing of the others, and all at once, so that one
    /// sync of the store makes them durable.
    renewals: JoinSet<Renewal>,
    /// One failed since the last look.
    failed: bool,
    /// That leases can't be renewed is told, once.
    told: bool,
}

/// A renewal that is over; when the next is wanted, or why it failed.
type Renewal = (OperationId, Arc<Flight>, Result<Timestamp, StoreError>);

impl<'a, S: Store> Leases<'a, S> {
    fn of(ledger: &'a Arc<Ledger<S>>) -> Self {
        Self { ledger, renewals: JoinSet::new(), failed: false, told: false }
    }

    /// Renews them, for as long as it is polled. `claimed` is told when somebody has claimed.
    async fn keep(mut self, claimed: &Notify) {
        loop {
            let looked = Instant::now();
            // Whoever claims while it looks wakes it again: it may have passed that one already.
            self.ledger.keeper_wakes.store(u64::MAX, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let mut next = self.look();
            loop {
                self.ledger.keeper_wakes.store(next.as_millis(), Ordering::Relaxed);
                let pause = next.since(self.ledger.clock.now()).min(IDLE);
                tokio::select! {
                    // In one order, so that a simulated run repeats itself.
                    biased;
                    Some(renewal) = self.renewals.join_next() => next = next.min(self.renewed(renewal)),
                    // A lease that wants renewal before that.
                    () = self.ledger.keeper.notified() => break claimed.notify_one(),
                    () = sleep(pause) => break,
                }
            }
            sleep_until(looked + LOOK_AGAIN_MIN).await;
        }
    }

    /// Begins to renew what wants it; says when the next will.
    fn look(&mut self) -> Timestamp {
        if self.renewals.is_empty() && !self.failed {
            self.told = false;
        }
        self.failed = false;
        let now = self.ledger.clock.now();
        let mut next = Timestamp::MAX;
        for entry in &self.ledger.flights {
            let (id, flight) = (*entry.key(), entry.value());
            let Some(record) = flight.running() else { continue };
            match flight.renewal_due(record.times.lease) {
                at if at > now => next = next.min(at),
                _ if flight.begin_renewal() => {
                    let (ledger, flight) = (self.ledger.clone(), flight.clone());
                    self.renewals.spawn(async move {
                        let renewed = ledger.renew(id, &flight).await;
                        (id, flight, renewed)
                    });
                }
                // It is being renewed.
                _ => {}
            }
        }
        next
    }

    /// When what is renewed now wants that again.
    fn renewed(&mut self, renewal: Result<Renewal, JoinError>) -> Timestamp {
        let (operation, flight, renewed) = renewal.expect("a renewal neither panics nor is cancelled");
        flight.end_renewal();
        renewed.unwrap_or_else(|error| {
            self.failed = true;
            if !std::mem::replace(&mut self.told, true) {
                tracing::warn!(%operation, %error, "leases can't be renewed; what lapses is unknown until it settles");
            }
            self.ledger.clock.now().plus(RENEW_AGAIN)
        })
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
        // What waits for the store is shown as if it never lapsed.
        if flight.lease_left(now).is_zero() {
            return Ok(NEVER);
        }
        let Decision::Put(next) =
            decide(&NO_RULES, Some(&known.record), Event::Renew(flight.execution()), now)
        else {
            return Ok(NEVER);
        };
        let (lease, next) = (next.times.lease, Arc::new(next));
        match self.swap(id, Some(known.version), Some(next.clone()), now).await? {
            Swap::Done(version) => flight.renewed(version, next),
            // An earlier renewal of unclear result took effect.
            Swap::Conflict(Some(Versioned { version, record }))
                if record.execution == flight.execution()
                    && matches!(record.state, State::Executing { .. }) =>
            {
                flight.renewed(version, record);
            }
            // It settles just now, or somebody else has gone on.
            Swap::Conflict(_) => return Ok(NEVER),
        }
        Ok(flight.renewal_due(lease))
    }

    /// Sweeps, for as long as it is polled. `claimed`: somebody has.
    async fn keep_swept(self: &Arc<Self>, claimed: &Notify) {
        let mut difference = Difference::default();
        let mut pause = SWEEP_EVERY;
        loop {
            sleep(pause).await;
            self.wait_for_records(claimed).await;
            difference.look(&self.clock);
            // A full portion means that there is more.
            let full = matches!(self.sweep(SWEEP_PORTION).await, Ok(SWEEP_PORTION));
            pause = if full { SWEEP_PAUSE } else { SWEEP_EVERY };
        }
    }

    /// Comes back when there are records, or after [`IDLE`].
    async fn wait_for_records(&self, claimed: &Notify) {
        let is_empty = || self.store.size().records == 0;
        if is_empty() {
            // Whoever claims from now on wakes the keeper; one that did before has its record there.
            self.keeper_wakes.store(u64::MAX, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if is_empty() {
                let _ = timeout(IDLE, claimed.notified()).await;
            }
        }
    }

    /// Tries overdue settlements again, for as long as it is polled: each once, and from the first that fails
    /// on later.
    async fn settle_overdue(&self, mut settlements: mpsc::UnboundedReceiver<Overdue>) {
        let mut overdue = VecDeque::new();
        let mut retry = RETRY;
        loop {
            if overdue.is_empty() {
                // The ledger has a sender itself.
                overdue.extend(settlements.recv().await);
            }
            while let Ok(more) = settlements.try_recv() {
                overdue.push_back(more);
            }
            match self.settle_each(&mut overdue).await {
                Ok(()) => retry = RETRY,
                Err(error) => {
                    tracing::debug!(overdue = overdue.len(), %error, "settlements are still overdue");
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    async fn settle_each(&self, overdue: &mut VecDeque<Overdue>) -> Result<(), StoreError> {
        for _ in 0..overdue.len() {
            let Some(one) = overdue.pop_front() else { break };
            match self.settle(one.id, one.execution, one.known.clone(), &one.settlement).await {
                Ok(advance) => self.recorded(one, advance),
                Err(error) => {
                    overdue.push_back(one);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn recorded(&self, overdue: Overdue, advance: Advanced) {
        self.overdue_count.fetch_sub(1, Ordering::Relaxed);
        let Overdue { id, settlement, waiting, .. } = overdue;
        let outcome = settlement.outcome.disposition().word();
        match waiting {
            Some((flight, shared)) => {
                tracing::info!(operation = %id, outcome, "an overdue settlement is recorded");
                self.conclude(id, &flight, &settlement, advance, shared);
            }
            // Where it does not stand there is nothing to tell.
            None if matches!(advance, Advanced::Done(_)) => {
                tracing::info!(operation = %id, "a claim that the store did not confirm, and under which nothing was sent, is undone");
            }
            None => {}
        }
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
