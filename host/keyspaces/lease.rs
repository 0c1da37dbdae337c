//! This gateway's lease on the lists, as every claim reads it: without a lock.

use oncegate_core::Timestamp;
use oncegate_core::keyspaces::list::ListLease;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The lease. Its term counts how often the lease was taken anew after a break.
#[derive(Debug)]
pub(super) struct Lease {
    term: AtomicU64,
    /// When the lease ends, in milliseconds of ledger time.
    until: AtomicU64,
    /// A change of how keys are made takes effect just now: no derived key may be sent.
    suspended: AtomicBool,
}

impl Lease {
    /// A lease in its first term that never ends.
    pub(super) fn new() -> Self {
        Self { term: AtomicU64::new(0), until: AtomicU64::new(u64::MAX), suspended: AtomicBool::new(false) }
    }

    pub(super) fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    pub(super) fn until(&self) -> Timestamp {
        Timestamp::from_millis(self.until.load(Ordering::Acquire))
    }

    /// Begins a new term, in which nothing that was derived before may be sent. Returns the term.
    pub(super) fn begin_term(&self) -> u64 {
        self.term.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Sets when the lease ends. After a break the new term must have begun before.
    pub(super) fn extend(&self, until: Timestamp) {
        self.until.store(until.as_millis(), Ordering::Release);
    }

    pub(super) fn suspend(&self) {
        self.suspended.store(true, Ordering::SeqCst);
    }

    pub(super) fn resume(&self) {
        self.suspended.store(false, Ordering::SeqCst);
    }

    /// Whether the lease has held without a break since this term began. `now` is asked last.
    pub(super) fn holds_since(&self, term: u64, now: impl FnOnce() -> Timestamp) -> bool {
        // `suspended` is read first: the lease is resumed after a new term has begun.
        if self.suspended.load(Ordering::SeqCst) {
            return false;
        }
        // The end is read before the term, because the lease is extended after the term has begun. A reader
        // that sees the end of a later term sees that term, too.
        let until = self.until();
        ListLease { term: self.term(), until }.is_unbroken_since(term, now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_holds_in_its_term_until_its_end() {
        let (lease, at) = (Lease::new(), Timestamp::from_secs);
        assert!(lease.holds_since(0, || at(1_000_000)));
        lease.extend(at(10));
        assert!(lease.holds_since(0, || at(9)) && !lease.holds_since(0, || at(10)));
        let term = lease.begin_term();
        lease.extend(at(20));
        assert!(!lease.holds_since(0, || at(11)) && lease.holds_since(term, || at(11)));
        lease.suspend();
        assert!(!lease.holds_since(term, || at(11)));
        lease.resume();
        assert!(lease.holds_since(term, || at(11)));
    }
}
