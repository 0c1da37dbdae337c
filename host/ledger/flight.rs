//! Executions under way in this process, and those who wait for them: one execution answers all of them
//! (what the field calls singleflight).

use oncegate_core::{Answer, ExecutionId, Fingerprint, OperationId, Record, State, Timestamp};
use oncegate_store::{StoreError, Version, Versioned};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// An execution under way (singleflight). The claimant that put the flight into the ledger's map owns the
/// right to claim.
#[derive(Debug)]
pub struct Flight {
    progress: Mutex<Progress>,
    /// Wakes the followers of the flight, in the order in which they came.
    changed: Notify,
    /// The latest version of the record that this process wrote.
    version: AtomicU64,
    /// The end of the lease in milliseconds of ledger time; 0 before the claim.
    lease_until: AtomicU64,
    execution: ExecutionId,
    fingerprint: Fingerprint,
    /// The key that has the record, where that isn't the key by which the execution was begun.
    kept_at: OnceLock<OperationId>,
    /// Clients that want the answer: the execution's own, and those who wait.
    clients: AtomicUsize,
    clients_gone: Notify,
    /// The outcome is on its way to the store, and may be there already.
    settles: AtomicBool,
    /// The lease is being renewed.
    renews: AtomicBool,
}

/// A client's interest in an execution's answer, for as long as it lives.
#[derive(Debug)]
pub struct Interest(Arc<Flight>);

impl Interest {
    pub(super) fn new(flight: &Arc<Flight>) -> Self {
        flight.clients.fetch_add(1, Ordering::AcqRel);
        Self(flight.clone())
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        if self.0.clients.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.clients_gone.notify_waiters();
        }
    }
}

/// The progress of an execution.
#[derive(Clone, Debug)]
pub enum Progress {
    /// The claim is not durable yet: nobody may be told of it.
    Claiming,
    /// The claim is durable, under this record.
    Running(Arc<Record>),
    /// The execution is over.
    Ended(Ending),
}

/// How an execution, or the attempt to claim one, ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// This record stands now.
    Recorded(Arc<Record>),
    /// The claim was lost to this record, which stood there when the store was asked at this time.
    Found(Arc<Record>, Timestamp),
    /// Nothing happened, and the key is free. The execution's own answer is for all who waited,
    /// where it was small enough to share.
    NotApplied(Option<Arc<Answer>>),
    /// The claim was lost or given up before anything was sent: ask again.
    Lost,
    /// The claim could not be written.
    Failed(StoreError),
}

impl Flight {
    pub(super) fn new(execution: ExecutionId, fingerprint: Fingerprint) -> Self {
        Self {
            progress: Mutex::new(Progress::Claiming),
            changed: Notify::new(),
            version: AtomicU64::new(0),
            lease_until: AtomicU64::new(0),
            execution,
            fingerprint,
            kept_at: OnceLock::new(),
            clients: AtomicUsize::new(0),
            clients_gone: Notify::new(),
            settles: AtomicBool::new(false),
            renews: AtomicBool::new(false),
        }
    }

    /// Ends when none of the flight's clients is left.
    pub(super) async fn clients_gone(&self) {
        loop {
            // The wait is registered first, so that nobody leaves unnoticed between the look and the wait.
            let left = self.clients_gone.notified();
            if !self.has_clients() {
                return;
            }
            left.await;
        }
    }

    /// Whether anybody wants the answer.
    pub(super) fn has_clients(&self) -> bool {
        self.clients.load(Ordering::Acquire) > 0
    }

    /// The id of this execution.
    pub fn execution(&self) -> ExecutionId {
        self.execution
    }

    /// Whether this fingerprint is that of the executing request.
    pub(super) fn is_of(&self, fingerprint: &Fingerprint) -> bool {
        self.fingerprint == *fingerprint
    }

    /// Sets the key that has the record, where that isn't the key by which the execution was begun. Called
    /// before the flight [holds](Self::hold), because those who wait by the other key judge the record by
    /// this one from then on.
    pub(super) fn keep_at(&self, id: OperationId) {
        let _ = self.kept_at.set(id);
    }

    /// The key that has the record, if that isn't the key by which the execution was begun.
    pub(super) fn kept_at(&self) -> Option<OperationId> {
        self.kept_at.get().copied()
    }

    /// The progress of the execution.
    pub(super) fn progress(&self) -> Progress {
        self.now().clone()
    }

    /// Ends when the progress changes. Called before a look, so that no change is missed.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Ends when the execution is over.
    pub(super) async fn over(&self) {
        loop {
            let changed = self.changed();
            if let Progress::Ended(_) = self.progress() {
                return;
            }
            changed.await;
        }
    }

    fn now(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn proceed(&self, progress: Progress) {
        *self.now() = progress;
        self.changed.notify_waiters();
    }

    /// The record under which the operation executes, if it does.
    pub(super) fn running(&self) -> Option<Arc<Record>> {
        match &*self.now() {
            Progress::Running(record) => Some(record.clone()),
            Progress::Claiming | Progress::Ended(_) => None,
        }
    }

    /// The record under which the operation executes, with its version, if it does.
    pub(super) fn known(&self) -> Option<Versioned> {
        let record = self.running()?;
        Some(Versioned { version: Version(self.version.load(Ordering::Acquire)), record })
    }

    /// Records that the claim is durable.
    pub(super) fn hold(&self, version: Version, record: Arc<Record>) {
        self.version.store(version.0, Ordering::Release);
        self.lease_until.store(lease_end(&record).as_millis(), Ordering::Release);
        self.proceed(Progress::Running(record));
    }

    /// The execution has ended and its outcome only waits for the store to take it. The outcome is known, so
    /// the operation looks executing to those who ask, however long the store takes. The lease is renewed
    /// until then.
    pub(super) fn overdue(&self) {
        if let Progress::Running(record) = &mut *self.now() {
            *record = endless(record);
        }
    }

    /// Takes in a durable renewal. Nobody is woken, and an execution that ended meanwhile stays ended.
    pub(super) fn renewed(&self, version: Version, record: Arc<Record>) {
        let until = lease_end(&record);
        if let Progress::Running(standing) = &mut *self.now()
            && self.lease_until.load(Ordering::Acquire) <= until.as_millis()
        {
            self.version.store(version.0, Ordering::Release);
            self.lease_until.store(until.as_millis(), Ordering::Release);
            let is_overdue = lease_end(standing) == Timestamp::MAX;
            *standing = if is_overdue { endless(&record) } else { record };
        }
    }

    /// Whether the lease may be renewed now: nobody else renews it.
    pub(super) fn begin_renewal(&self) -> bool {
        !self.renews.swap(true, Ordering::AcqRel)
    }

    /// The renewal is over.
    pub(super) fn end_renewal(&self) {
        self.renews.store(false, Ordering::Release);
    }

    /// Records that from here on the store may have the outcome, or no record, before anybody here is told.
    pub(super) fn settle(&self) {
        self.settles.store(true, Ordering::Release);
    }

    /// Whether the outcome is on its way to the store, or there already.
    pub(super) fn settles(&self) -> bool {
        self.settles.load(Ordering::Acquire)
    }

    pub(super) fn end(&self, ending: Ending) {
        self.proceed(Progress::Ended(ending));
    }

    /// How much of the lease is left.
    pub(super) fn lease_left(&self, now: Timestamp) -> Duration {
        Timestamp::from_millis(self.lease_until.load(Ordering::Acquire)).since(now)
    }

    /// When a third of the lease will be over, and the lease is to be renewed.
    pub(super) fn renewal_due(&self, lease: Duration) -> Timestamp {
        Timestamp::from_millis(self.lease_until.load(Ordering::Acquire)).minus(lease * 2 / 3)
    }
}

/// The record as if its lease never ended.
fn endless(record: &Record) -> Arc<Record> {
    let state = State::Executing { lease_until: Timestamp::MAX };
    Arc::new(Record { state, ..record.clone() })
}

fn lease_end(record: &Record) -> Timestamp {
    match record.state {
        State::Executing { lease_until } => lease_until,
        State::Completed { .. } | State::Consumed { .. } | State::Unknown { .. } | State::Pointer(_) => {
            Timestamp::default()
        }
    }
}
