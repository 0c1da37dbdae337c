//! A generation's trial: notices failures so soon and so widespread that the generation before should come
//! back.

use crate::interface::failure::Failure;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The number of failures that ends a trial badly.
const FAILURES: u32 = 10;
/// The number of callers that these failures must come from: one caller's odd requests are not the policy's fault.
const CALLERS: usize = 3;

/// A caller, who may have several principals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller(pub u64);

/// The trial of a generation, which runs from its activation.
#[derive(Debug)]
pub(crate) struct Trial {
    until: Instant,
    count: Mutex<FailureCount>,
}

#[derive(Debug, Default)]
struct FailureCount {
    failures: u32,
    callers: Vec<Caller>,
    ended_badly: bool,
}

impl Trial {
    pub(crate) fn new(length: Duration, now: Instant) -> Self {
        // A trial that would end past the end of time doesn't begin.
        Self { until: now.checked_add(length).unwrap_or(now), count: Mutex::default() }
    }

    /// Notes a failure. True once: the trial has ended badly.
    pub(crate) fn failed(&self, failure: &Failure, caller: Caller, now: Instant) -> bool {
        if now >= self.until || !is_the_policys(failure) {
            return false;
        }
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.failures = count.failures.saturating_add(1);
        if count.callers.len() < CALLERS && !count.callers.contains(&caller) {
            count.callers.push(caller);
        }
        let badly = count.failures >= FAILURES && count.callers.len() >= CALLERS;
        badly && !std::mem::replace(&mut count.ended_badly, true)
    }
}

impl Trial {
    /// True if the trial has ended badly.
    pub(crate) fn has_ended_badly(&self) -> bool {
        self.count.lock().unwrap_or_else(PoisonError::into_inner).ended_badly
    }
}

/// True if the failure is the policy's own. A lack of room on the policy threads is the host's failure, and
/// so is a lost thread.
fn is_the_policys(failure: &Failure) -> bool {
    match failure {
        Failure::Trap(_)
        | Failure::Deadline(_)
        | Failure::Memory(_)
        | Failure::Handed
        | Failure::Err(_)
        | Failure::Invalid(_)
        | Failure::Instantiate(_) => true,
        Failure::Body(_) | Failure::Busy(_) | Failure::Lost => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(600);

    /// The failures at which a trial ends badly, by their callers; none: it doesn't end badly.
    fn badly_at(callers: &[u64], failure: &Failure, after: Duration) -> Vec<usize> {
        let start = Instant::now();
        let trial = Trial::new(LENGTH, start);
        let failed = |caller: u64| trial.failed(failure, Caller(caller), start + after);
        (0..callers.len()).filter(|index| failed(callers[*index])).collect()
    }

    #[test]
    fn ten_failures_of_three_callers_end_it_once_and_in_time_only() {
        let trap = Failure::Trap("unreachable".into());
        let three = [1, 2, 3, 1, 1, 1, 1, 1, 1, 1, 2, 3];
        assert_eq!(badly_at(&three, &trap, Duration::ZERO), [9]);
        assert_eq!(badly_at(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4], &trap, Duration::ZERO), [11]);
        assert_eq!(badly_at(&[1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2], &trap, Duration::ZERO), [0_usize; 0]);
        assert_eq!(badly_at(&three, &trap, LENGTH), [0_usize; 0]);
        assert_eq!(badly_at(&three, &Failure::Busy(64), Duration::ZERO), [0_usize; 0]);
    }
}
