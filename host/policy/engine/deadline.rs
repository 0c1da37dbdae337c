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
    extensions: u32,
}

impl DeadlineExtension {
    /// The number of times that a guest which didn't get to run is given its rest again.
    const EXTENSIONS_MAX: u32 = 8;

    /// Begins a call that has so many ticks. Returns the ticks to the first look.
    pub(crate) fn begin(ticks: u64) -> (Self, u64) {
        let first = (ticks / 2).clamp(1, LINGER_TICKS);
        (Self { rest: ticks.saturating_sub(first).max(1), since: None, extensions: 0 }, first)
    }

    /// Decides at a passed deadline if the guest goes on.
    pub(crate) fn look(&mut self, on_processor: Duration) -> UpdateDeadline {
        let Some(since) = self.since else {
            self.since = Some(on_processor);
            return UpdateDeadline::Continue(self.rest);
        };
        // A tick is a millisecond, and the first may be over when it is set.
        let spent = on_processor.saturating_sub(since) + Duration::from_millis(1);
        if self.extensions >= Self::EXTENSIONS_MAX || spent >= Duration::from_millis(self.rest) {
            return UpdateDeadline::Interrupt;
        }
        self.extensions += 1;
        UpdateDeadline::Continue(self.rest)
    }

    /// True if the first look has come.
    pub(crate) fn has_lingered(&self) -> bool {
        self.since.is_some()
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
        assert!(!goes_on(&mut extension, 1051));
    }

    #[test]
    fn who_does_not_get_to_run_has_longer_but_not_for_ever() {
        let (mut extension, _) = DeadlineExtension::begin(6);
        assert!(goes_on(&mut extension, 0), "the first look");
        for _ in 0..DeadlineExtension::EXTENSIONS_MAX {
            assert!(goes_on(&mut extension, 1), "it ran for a millisecond of four");
        }
        assert!(!goes_on(&mut extension, 1));
    }
}
