//! The gate between claims and a change of how keys are made. The gate notes claims while a change is looked
//! at. While the change is made, the lease on the lists of key spaces is suspended: nothing that was claimed
//! may be sent.

use oncegate_core::OperationId;
use std::collections::BTreeSet;
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps claims and changes apart.
#[derive(Debug, Default)]
pub(super) struct ClaimGate {
    notes: AtomicBool,
    noted: Mutex<BTreeSet<OperationId>>,
}

impl ClaimGate {
    /// Notes a won right to claim this operation; its flight is in the map already.
    pub(super) fn pass(&self, id: OperationId) {
        // Store-load fence (Dekker): pairs with the fence in `begin_noting`. Either this claim is noted, or
        // its flight is found there.
        fence(Ordering::SeqCst);
        if self.notes.load(Ordering::SeqCst) {
            self.noted().insert(id);
        }
    }

    /// Notes claims from now on. `in_flight`: the operations whose flights are in the map, asked for after
    /// noting began.
    pub(super) fn begin_noting(&self, in_flight: impl FnOnce() -> Vec<OperationId>) {
        self.noted().clear();
        self.notes.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let in_flight = in_flight();
        self.noted().extend(in_flight);
    }

    /// The operations noted since the last call.
    pub(super) fn take_noted(&self) -> BTreeSet<OperationId> {
        take(&mut *self.noted())
    }

    /// Ends noting.
    pub(super) fn end_noting(&self) {
        self.notes.store(false, Ordering::SeqCst);
        self.noted().clear();
    }

    fn noted(&self) -> MutexGuard<'_, BTreeSet<OperationId>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
