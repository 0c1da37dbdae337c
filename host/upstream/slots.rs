//! The count of executions at an upstream, and of the requests that wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A candidate for admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// An execution, before its claim.
    Execution,
    /// A request that is about to wait for an execution.
    Waiter,
}

/// The reason why an upstream admits nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The gateway shuts down, and its grace is over.
    Closed,
}

/// The number of executions and waiting requests of an upstream in this process.
#[derive(Debug, Default)]
pub struct Slots {
    executions: AtomicUsize,
    waiters: AtomicUsize,
    is_closed: AtomicBool,
}

/// The counted place of one execution or waiter, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    kind: Admission,
}

impl Slots {
    /// Executions under way.
    pub fn executions(&self) -> usize {
        self.executions.load(Ordering::Relaxed)
    }

    /// Requests that wait for an execution.
    pub fn waiters(&self) -> usize {
        self.waiters.load(Ordering::Relaxed)
    }

    fn count(&self, kind: Admission) -> &AtomicUsize {
        match kind {
            Admission::Execution => &self.executions,
            Admission::Waiter => &self.waiters,
        }
    }

    pub(super) fn admit(slots: &Arc<Self>, kind: Admission) -> Result<Slot, NotAdmitted> {
        if slots.is_closed.load(Ordering::Relaxed) {
            return Err(NotAdmitted::Closed);
        }
        slots.count(kind).fetch_add(1, Ordering::Relaxed);
        Ok(Slot { slots: slots.clone(), kind })
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.count(self.kind).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_counts_until_it_is_dropped() {
        let slots = Arc::<Slots>::default();
        let admit = |kind| Slots::admit(&slots, kind).expect("it is open");
        let (execution, waiters) = (admit(Admission::Execution), [(); 2].map(|()| admit(Admission::Waiter)));
        assert_eq!((slots.executions(), slots.waiters()), (1, 2));
        drop(execution);
        assert_eq!((slots.executions(), slots.waiters()), (0, 2));
        drop(waiters);
        assert_eq!((slots.executions(), slots.waiters()), (0, 0));
    }

    #[test]
    fn a_closed_upstream_keeps_what_it_admitted() {
        let slots = Arc::<Slots>::default();
        let admitted = Slots::admit(&slots, Admission::Execution).expect("it is open");
        slots.close();
        assert_eq!(Slots::admit(&slots, Admission::Execution).err(), Some(NotAdmitted::Closed));
        assert_eq!(Slots::admit(&slots, Admission::Waiter).err(), Some(NotAdmitted::Closed));
        assert_eq!(slots.executions(), 1);
        drop(admitted);
        assert_eq!(slots.executions(), 0);
    }
}
