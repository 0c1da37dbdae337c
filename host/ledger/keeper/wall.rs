//! Reports when the wall clock and ledger time differ.

use oncegate_core::record::CLOCK_TOLERANCE;
use oncegate_store::Clock;

/// Reports when ledger time and wall clock differ by more than the tolerance, once for each change.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// The difference that was reported last, in seconds; 0: the clocks agree.
    told: i64,
}

impl Difference {
    pub(super) fn look(&mut self, clock: &Clock) {
        let ahead = clock.wall_ahead();
        if !self.is_news(ahead) {
            return;
        }
        if self.told == 0 {
            tracing::info!("the wall clock and ledger time agree again");
        } else {
            tracing::warn!(
                seconds = ahead,
                "the wall clock differs from ledger time (ahead of it where positive): nothing that is recorded \
                 expires by that, but what clients say of time is held against the later of both"
            );
        }
    }

    fn is_news(&mut self, ahead: i64) -> bool {
        let tolerance = CLOCK_TOLERANCE.as_secs();
        let differs = if ahead.unsigned_abs() > tolerance { ahead } else { 0 };
        let changed = match (self.told, differs) {
            (0, 0) => false,
            (0, _) | (_, 0) => true,
            (told, differs) => told.abs_diff(differs) > tolerance,
        };
        if changed {
            self.told = differs;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_the_difference_is_told_once() {
        let mut difference = Difference::default();
        let news: Vec<bool> = [0, 300, -300, 301, 302, 600, 602, -900, -901, 3, 3]
            .map(|ahead| difference.is_news(ahead))
            .into();
        assert_eq!(news, [false, false, false, true, false, false, true, true, false, true, false]);
    }
}
