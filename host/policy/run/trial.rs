//! A generation's trial: whether it fails so soon and so widely that the one before should come back.

use crate::interface::failure::Failure;
use oncegate_core::PrincipalId;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many failures end a trial badly.
const FAILURES: u32 = 10;
/// If they come from so many principals: one caller's odd requests are not the policy's fault.
const PRINCIPALS: usize = 3;

/// Runs from a generation's activation.
#[derive(Debug)]
pub(crate) struct Trial {
    until: Instant,
    count: Mutex<FailureCount>,
}

#[derive(Debug, Default)]
struct FailureCount {
    failures: u32,
    principals: Vec<PrincipalId>,
    ended_badly: bool,
}

impl Trial {
    pub(crate) fn new(length: Duration, now: Instant) -> Self {
        // One that would end past the end of time doesn't begin.
        Self { until: now.checked_add(length).unwrap_or(now), count: Mutex::default() }
    }

    /// Notes a failure. True once: the trial has ended badly.
    pub(crate) fn failed(&self, failure: &Failure, principal: &PrincipalId, now: Instant) -> bool {
        if now >= self.until || !is_the_policys(failure) {
            return false;
        }
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.failures = count.failures.saturating_add(1);
        if count.principals.len() < PRINCIPALS && !count.principals.contains(principal) {
            count.principals.push(*principal);
        }
        let badly = count.failures >= FAILURES && count.principals.len() >= PRINCIPALS;
        badly && !std::mem::replace(&mut count.ended_badly, true)
    }
}

impl Trial {
    /// Whether it has.
    pub(crate) fn has_ended_badly(&self) -> bool {
        self.count.lock().unwrap_or_else(PoisonError::into_inner).ended_badly
    }
}

/// No room on the policy threads and a thread that was lost are the host's.
fn is_the_policys(failure: &Failure) -> bool {
    match failure {
        Failure::Trap(_)
        | Failure::Deadline(_)
        | Failure::Memory(_)
        | Failure::Handed
        | Failure::Err(_)
        | Failure::Invalid(_)
        | Failure::Instantiate(_) => true,
        Failure::Busy(_) | Failure::Lost => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(600);

    /// When a trial ends badly, by the principals of the failures; none: it doesn't.
    fn badly_at(principals: &[u8], failure: &Failure, after: Duration) -> Vec<usize> {
        let start = Instant::now();
        let trial = Trial::new(LENGTH, start);
        let failed = |principal: &u8| trial.failed(failure, &PrincipalId([*principal; 32]), start + after);
        (0..principals.len()).filter(|index| failed(&principals[*index])).collect()
    }

    #[test]
    fn ten_failures_of_three_principals_end_it_once_and_in_time_only() {
        let trap = Failure::Trap("unreachable".into());
        let three = [1, 2, 3, 1, 1, 1, 1, 1, 1, 1, 2, 3];
        assert_eq!(badly_at(&three, &trap, Duration::ZERO), [9]);
        assert_eq!(badly_at(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4], &trap, Duration::ZERO), [11]);
        assert_eq!(badly_at(&[1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2], &trap, Duration::ZERO), [0_usize; 0]);
        assert_eq!(badly_at(&three, &trap, LENGTH), [0_usize; 0]);
        assert_eq!(badly_at(&three, &Failure::Busy(64), Duration::ZERO), [0_usize; 0]);
    }
}
