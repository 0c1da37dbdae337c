//! Ledger time. Inside a process ledger time follows the monotonic clock that counts suspension, so that a
//! step of the wall clock neither expires nor revives anything. The same is true from one process to the
//! next, as long as the machine stays up.

use super::verbs::{Stamped, Store, StoreError, Swap};
use oncegate_core::Timestamp;
use oncegate_core::time::millis;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The document that has the ledger time of the last process on this store.
const CLOCK: &str = "clock";

/// The clock of one ledger.
#[derive(Debug)]
pub struct Clock {
    /// Ledger time when the monotonic clock showed `since`.
    ledger: Timestamp,
    since: Duration,
    monotonic: fn() -> Duration,
    /// By how many milliseconds the store's time is ahead of this process's own ledger time.
    ahead: AtomicU64,
}

/// Ledger time and the boot clock at one moment, and the start of the machine that the moment belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ClockReading {
    boot_id: String,
    boot_millis: u64,
    ledger_millis: u64,
}

impl Clock {
    /// Starts at the wall clock's time, or at `floor` where that is later: across a restart,
    /// ledger time never runs backwards.
    pub fn start(floor: Timestamp) -> Self {
        Self::following(Self::wall().max(floor), Self::boot)
    }

    /// The clock of a store that belongs to this machine. Ledger time goes on from the last process's time if
    /// the machine was not started anew since, whatever happened to the wall clock. Otherwise the clock is
    /// that of [`start`](Self::start).
    pub async fn resume<S: Store>(store: &S, floor: Timestamp) -> Result<Self, StoreError> {
        let Stamped { value: stored, .. } = store.load_meta(CLOCK).await?;
        let last = stored.as_ref().and_then(|(_, bytes)| serde_json::from_slice::<ClockReading>(bytes).ok());
        // Without a boot id from the system, nothing is known of the time between.
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot_id = boot_id.trim().to_owned();
        let boot = Self::boot();
        let start = resumed(last.as_ref(), &boot_id, boot, Self::wall(), floor);
        let clock = Self { ledger: start, since: boot, monotonic: Self::boot, ahead: AtomicU64::new(0) };
        let next = ClockReading { boot_id, boot_millis: millis(boot), ledger_millis: start.as_millis() };
        let bytes = serde_json::to_vec(&next).unwrap_or_default();
        match store.swap_meta(CLOCK, stored.map(|(version, _)| version), bytes.into()).await?.value {
            // One process has the store open; a process that lost this swap has no use for the clock.
            Swap::Done(_) | Swap::Conflict(_) => Ok(clock),
        }
    }

    /// A clock that shows `start` now and then follows `monotonic`, which a simulation moves as it likes.
    pub fn following(start: Timestamp, monotonic: fn() -> Duration) -> Self {
        Self { ledger: start, since: monotonic(), monotonic, ahead: AtomicU64::new(0) }
    }

    /// Ledger time.
    pub fn now(&self) -> Timestamp {
        self.own().plus(Duration::from_millis(self.ahead.load(Ordering::Relaxed)))
    }

    /// Takes in the store's own time of a moment ago. Ledger time is put forward to that time, never back:
    /// gateways that share a store agree on the latest time that it told any of them.
    pub fn hear(&self, time: Timestamp) {
        let ahead = time.since(self.own());
        if !ahead.is_zero() {
            self.ahead.fetch_max(millis(ahead), Ordering::Relaxed);
        }
    }

    /// Ledger time by this process's monotonic clock alone.
    fn own(&self) -> Timestamp {
        self.ledger.plus((self.monotonic)().saturating_sub(self.since))
    }

    /// The wall clock's time.
    pub fn wall() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::default().plus(since)
    }

    /// The later of ledger time and wall clock, with which a client's time is compared.
    pub fn latest(&self) -> Timestamp {
        self.now().max(Self::wall())
    }

    /// By how many seconds the wall clock is ahead of ledger time; behind it where negative.
    pub fn wall_ahead(&self) -> i64 {
        ahead(Self::wall(), self.now())
    }

    fn boot() -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
    }
}

fn resumed(
    last: Option<&ClockReading>,
    boot_id: &str,
    boot: Duration,
    wall: Timestamp,
    floor: Timestamp,
) -> Timestamp {
    let gone_on = last.filter(|last| !boot_id.is_empty() && last.boot_id == boot_id).and_then(|last| {
        let passed = boot.checked_sub(Duration::from_millis(last.boot_millis))?;
        Some(Timestamp::from_millis(last.ledger_millis).plus(passed))
    });
    gone_on.unwrap_or(wall).max(floor)
}

fn ahead(wall: Timestamp, ledger: Timestamp) -> i64 {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    seconds(wall.since(ledger)) - seconds(ledger.since(wall))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::Memory;
    use crate::conformance::on_a_runtime;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn time_never_starts_before_the_floor() {
        let floor = Clock::wall().plus(DAY);
        assert!(Clock::start(floor).now() >= floor);
        assert!(Clock::start(Timestamp::default()).now() >= Timestamp::from_secs(1_700_000_000));
    }

    #[test]
    fn a_step_of_the_wall_clock_across_a_restart_changes_nothing_while_the_machine_is_up() {
        let (at, second) = (Timestamp::from_secs, Duration::from_secs);
        let last = ClockReading { boot_id: "a".into(), boot_millis: 5_000, ledger_millis: 1_000_000_000 };
        let expected = at(1_000_007);
        for wall in [at(1), expected, expected.plus(DAY * 400)] {
            let resumed = |boot_id, boot, floor| resumed(Some(&last), boot_id, boot, wall, floor);
            assert_eq!(resumed("a", second(12), at(1_000_003)), expected, "wall clock {wall}");
            // A machine that was started anew has nothing better than its wall clock.
            assert_eq!(resumed("b", second(12), at(1_000_003)), wall.max(at(1_000_003)));
            assert_eq!(resumed("", second(12), at(1_000_003)), wall.max(at(1_000_003)));
            // The boot clock is another one, such as a container's own.
            assert_eq!(resumed("a", second(2), at(1_000_003)), wall.max(at(1_000_003)));
            assert_eq!(resumed("a", second(6), at(1_000_003)), at(1_000_003), "never backwards");
        }
        assert_eq!(super::resumed(None, "a", second(1), at(7), at(3)), at(7));
    }

    #[test]
    fn a_second_process_goes_on_where_the_first_was() {
        on_a_runtime(async {
            let store = Memory::new(1 << 20);
            // Ledger time begins as if the wall clock had been a day ahead when the first process started.
            let floor = Clock::wall().plus(DAY);
            let first = Clock::resume(&store, floor).await.unwrap();
            let before = first.now();
            let second = Clock::resume(&store, Timestamp::default()).await.unwrap();
            assert!(second.now() >= before, "{} {before}", second.now());
            assert!(second.wall_ahead() < -86_300, "{}", second.wall_ahead());
        });
    }

    #[test]
    fn a_stores_time_moves_the_clock_forward_only() {
        let clock = Clock::following(Timestamp::from_secs(1_000), || Duration::ZERO);
        for (said, expected) in [(999, 1_000), (1_060, 1_060), (1_030, 1_060), (1_061, 1_061)] {
            clock.hear(Timestamp::from_secs(said));
            assert_eq!(clock.now(), Timestamp::from_secs(expected), "it said {said}");
        }
    }
}
