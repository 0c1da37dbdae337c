//! The deadline of a guest that runs for long.

use crate::engine::limits::LINGER_TICKS;
use std::time::Duration;
use wasmtime::UpdateDeadline;

/// The time that a guest may go on. A machine with too much to do would fail good policies if all passing
/// time counted. So past the first look a guest is held to the processor's time.
#[derive(Debug, Default)]
pub(crate) struct DeadlineExtension {
    /// Ticks after the first look.
    rest: u64,
    /// The thread's time on a processor at the first look.
    since: Option<Duration>,
    /// Ticks granted after the first look.
    granted: u64,
    has_lingered: bool,
}

impl DeadlineExtension {
    /// The number of times its rest that a guest which didn't get to run is given.
    const RESTS_MAX: u64 = 9;

    /// Begins a call that has so many ticks. Returns the ticks to the first look.
    pub(crate) fn begin(ticks: u64) -> (Self, u64) {
        let first = (ticks / 2).clamp(1, LINGER_TICKS);
        (Self { rest: ticks.saturating_sub(first).max(1), ..Self::default() }, first)
    }

    /// Decides at a passed deadline if the guest goes on.
    pub(crate) fn look(&mut self, on_processor: Duration) -> UpdateDeadline {
        let since = *self.since.get_or_insert(on_processor);
        // A tick is a millisecond, and the first after the first look may be over when it is set.
        let first = u64::from(self.granted > 0);
        let spent = u64::try_from((on_processor.saturating_sub(since)).as_millis()).unwrap_or(u64::MAX);
        let spent = spent.saturating_add(first);
        self.has_lingered |= spent >= LINGER_TICKS;
        if spent >= self.rest || self.granted >= self.rest * Self::RESTS_MAX {
            return UpdateDeadline::Interrupt;
        }
        // Until it is known whether the guest runs all this time, it is looked at soon again.
        let left = self.rest - spent;
        let next = if self.has_lingered { left } else { left.min(LINGER_TICKS) };
        self.granted += next;
        UpdateDeadline::Continue(next)
    }

    /// True if the guest ran for longer on a processor than a worker can spare. On a machine with too much to do a good
    /// policy takes long, too, and is no better off on another thread.
    pub(crate) fn has_lingered(&self) -> bool {
        self.has_lingered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_on(extension: &mut DeadlineExtension, on_processor: u64) -> bool {
        matches!(extension.look(Duration::from_millis(on_processor)), UpdateDeadline::Continue(_))
    }

    #[test]
    fn who_runs_all_the_time_has_the_time_and_no_more() {
        let (mut extension, first) = DeadlineExtension::begin(51);
        assert_eq!((first, extension.rest), (2, 49));
        assert!(goes_on(&mut extension, 1002));
        assert!(!extension.has_lingered(), "it may have waited for a processor");
        assert!(goes_on(&mut extension, 1004));
        assert!(extension.has_lingered());
        assert!(!goes_on(&mut extension, 1051));
    }

    #[test]
    fn who_waits_for_a_processor_has_not_lingered() {
        let (mut extension, _) = DeadlineExtension::begin(6);
        assert!((0..4).all(|_| goes_on(&mut extension, 0)));
        assert!(!extension.has_lingered());
        assert!(goes_on(&mut extension, 1) && extension.has_lingered());
    }

    #[test]
    fn who_does_not_get_to_run_has_longer_but_not_for_ever() {
        let (mut extension, _) = DeadlineExtension::begin(6);
        let looks = (0..100).take_while(|_| goes_on(&mut extension, 1)).count() as u64;
        assert!(
            (8..=4 * DeadlineExtension::RESTS_MAX).contains(&looks),
            "it ran for a millisecond of four: {looks}"
        );
    }
}
