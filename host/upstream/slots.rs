//! The count of executions at an upstream, and of the requests that wait for them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A candidate for admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// An execution, before its claim. It counts once its claim is won.
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

/// The slots of all upstreams, by name. Requests go on with the configuration that they began with, so the
/// slots outlive every reload.
#[derive(Debug, Default)]
pub(super) struct SlotsByName {
    is_closed: Arc<AtomicBool>,
    slots: Mutex<BTreeMap<Arc<str>, Weak<Slots>>>,
}

/// The number of executions and waiting requests at the upstreams of one name in this process.
#[derive(Debug, Default)]
pub struct Slots {
    executions: AtomicUsize,
    waiters: AtomicUsize,
    /// All upstreams are closed together.
    is_closed: Arc<AtomicBool>,
}

/// The place of one execution or waiter, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    kind: Admission,
    is_counted: bool,
}

impl SlotsByName {
    /// The slots of this name. As long as anybody has them, they stay the same.
    pub(super) fn of(&self, name: &Arc<str>) -> Arc<Slots> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slots| slots.strong_count() > 0);
        slots.get(name).and_then(Weak::upgrade).unwrap_or_else(|| {
            let fresh = Arc::new(Slots { is_closed: self.is_closed.clone(), ..Slots::default() });
            slots.insert(name.clone(), Arc::downgrade(&fresh));
            fresh
        })
    }

    /// Admits nothing from now on.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
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
        let slot = Slot { slots: slots.clone(), kind, is_counted: false };
        Ok(match kind {
            Admission::Execution => slot,
            Admission::Waiter => slot.counted(),
        })
    }
}

impl Slot {
    /// The slot of an execution whose claim is won. A claim that meets a record is no execution.
    #[must_use]
    pub fn counted(mut self) -> Self {
        if !self.is_counted {
            self.slots.count(self.kind).fetch_add(1, Ordering::Relaxed);
            self.is_counted = true;
        }
        self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_counted {
            self.slots.count(self.kind).fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_counts_until_it_is_dropped() {
        let slots = Arc::<Slots>::default();
        let admit = |kind| Slots::admit(&slots, kind).expect("it is open");
        let (claiming, waiters) = (admit(Admission::Execution), [(); 2].map(|()| admit(Admission::Waiter)));
        assert_eq!((slots.executions(), slots.waiters()), (0, 2));
        drop(admit(Admission::Execution));
        let execution = claiming.counted().counted();
        assert_eq!((slots.executions(), slots.waiters()), (1, 2));
        drop(execution);
        assert_eq!((slots.executions(), slots.waiters()), (0, 2));
        drop(waiters);
        assert_eq!((slots.executions(), slots.waiters()), (0, 0));
    }

    #[test]
    fn a_closed_upstream_keeps_what_it_admitted() {
        let all = SlotsByName::default();
        let slots = all.of(&"a".into());
        let admitted = Slots::admit(&slots, Admission::Execution).expect("it is open").counted();
        all.close();
        for slots in [&slots, &all.of(&"a".into()), &all.of(&"later".into())] {
            assert_eq!(Slots::admit(slots, Admission::Execution).err(), Some(NotAdmitted::Closed));
            assert_eq!(Slots::admit(slots, Admission::Waiter).err(), Some(NotAdmitted::Closed));
        }
        assert_eq!(slots.executions(), 1);
        drop(admitted);
        assert_eq!(slots.executions(), 0);
    }
}
