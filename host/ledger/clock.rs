//! Ledger time. Inside a process it follows the monotonic clock that counts suspension, so that a
//! step of the wall clock neither expires nor revives anything.

use oncegate_core::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock of one ledger.
#[derive(Debug)]
pub struct Clock {
    /// What ledger time was when the monotonic clock showed `since`.
    ledger: Timestamp,
    since: Duration,
    monotonic: fn() -> Duration,
}

impl Clock {
    /// Starts at the wall clock's time, or at `floor` where that is later: across a restart,
    /// ledger time never runs backwards.
    pub fn start(floor: Timestamp) -> Self {
        Self::following(Self::wall().max(floor), Self::boot)
    }

    /// Shows `start` now, and from then on follows `monotonic`, which a simulation moves as it likes.
    pub fn following(start: Timestamp, monotonic: fn() -> Duration) -> Self {
        Self { ledger: start, since: monotonic(), monotonic }
    }

    /// Ledger time.
    pub fn now(&self) -> Timestamp {
        self.ledger.plus((self.monotonic)().saturating_sub(self.since))
    }

    /// The wall clock's time.
    pub fn wall() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::default().plus(since)
    }

    fn boot() -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_starts_before_the_floor() {
        let floor = Clock::wall().plus(Duration::from_secs(86_400));
        assert!(Clock::start(floor).now() >= floor);
        assert!(Clock::start(Timestamp::default()).now() >= Timestamp::from_secs(1_700_000_000));
    }
}
