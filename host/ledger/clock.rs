//! Ledger time. Inside a process it follows the monotonic clock that counts suspension, so that a
//! step of the wall clock neither expires nor revives anything.

use oncegate_core::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock of one ledger.
#[derive(Debug)]
pub struct Clock {
    /// What ledger time was when the boot clock showed `boot`.
    ledger: Timestamp,
    boot: Duration,
}

impl Clock {
    /// Starts at the wall clock's time, or at `floor` where that is later: across a restart,
    /// ledger time never runs backwards.
    pub fn start(floor: Timestamp) -> Self {
        Self { ledger: Self::wall().max(floor), boot: Self::boot() }
    }

    /// Ledger time.
    pub fn now(&self) -> Timestamp {
        self.ledger.plus(Self::boot().saturating_sub(self.boot))
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
