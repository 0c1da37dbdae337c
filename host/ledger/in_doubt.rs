//! A change of how keys are made whose document may or may not be written.
//!
//! The next change is judged by the document. So the document names the way by which operations are claimed,
//! at any moment at which one is claimed. From before a change writes it until the new routes are in force,
//! the gate is closed. A change that ends in between leaves the gate closed: its write failed, or nobody polls
//! it any more. The old way is still in force then. The keeper writes it back, and opens the gate.

use super::identity::Identity;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The change whose document is being written, if there is one.
#[derive(Debug, Default)]
pub(super) struct ChangeInDoubt {
    change: Mutex<Option<OpenChange>>,
    /// Notified when a change has broken off in doubt.
    pub(super) told: Notify,
    /// Held while the old way is written back.
    pub(super) undoing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
pub(super) struct OpenChange {
    /// The way in force.
    pub(super) before: Identity,
    /// The way that may be written.
    pub(super) next: Identity,
    broken_off: bool,
}

impl ChangeInDoubt {
    /// The document may name `next` from now on, and `before` is in force.
    pub(super) fn begin(&self, before: Identity, next: Identity) {
        *self.change() = Some(OpenChange { before, next, broken_off: false });
    }

    /// The document names what is in force.
    pub(super) fn end(&self) {
        *self.change() = None;
    }

    /// Nobody goes on with the change. True: its document may be written.
    pub(super) fn break_off(&self) -> bool {
        let mut change = self.change();
        let Some(open) = &mut *change else { return false };
        open.broken_off = true;
        self.told.notify_one();
        true
    }

    /// The change, if nobody goes on with it.
    pub(super) fn broken_off(&self) -> Option<OpenChange> {
        self.change().clone().filter(|open| open.broken_off)
    }

    fn change(&self) -> MutexGuard<'_, Option<OpenChange>> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
