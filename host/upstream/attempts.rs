//! The attempts of one execution. No I/O, no clock: the gateway attempts on sockets, the simulation on
//! its own upstream, and both use this loop.

use oncegate_core::Disposition;

/// The rule for when another attempt follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The most attempts. There is always a first attempt.
    pub attempts: u32,
    /// Whether a request that may have taken effect may be sent again.
    pub repeats: bool,
}

impl Retry {
    /// One attempt, whatever its outcome.
    pub const NONE: Self = Self { attempts: 1, repeats: false };

    /// Whether another attempt may follow after attempts with this joined outcome.
    const fn goes_on(self, joined: Disposition) -> bool {
        match joined {
            Disposition::NotApplied => true,
            Disposition::Unknown => self.repeats,
            Disposition::Consumed | Disposition::Completed => false,
        }
    }
}

/// The result of the attempts of one execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempted<T> {
    /// The outcome of the execution: the join over all attempts ([`Disposition::join`]).
    pub joined: Disposition,
    /// The result of the last attempt that ended as the join says. The client is told this result: once an
    /// attempt may have taken effect, a later attempt that was not applied has nothing to tell.
    pub last: T,
}

/// Makes attempts until one is final, none may follow, or `may_send` says no. `attempt` gets its number,
/// counted from 0, and returns its outcome and result. `attempt` itself asks `may_send` right before its
/// first byte.
pub async fn attempts<T>(
    retry: Retry,
    may_send: impl Fn() -> bool,
    mut attempt: impl AsyncFnMut(u32) -> (Disposition, T),
) -> Attempted<T> {
    let (joined, last) = attempt(0).await;
    let mut attempted = Attempted { joined, last };
    for number in 1..retry.attempts {
        if !retry.goes_on(attempted.joined) || !may_send() {
            break;
        }
        let (disposition, brought) = attempt(number).await;
        attempted.joined = attempted.joined.join(disposition);
        if attempted.joined == disposition {
            attempted.last = brought;
        }
    }
    attempted
}

#[cfg(test)]
mod tests {
    use super::*;
    use Disposition::{Completed, Consumed, NotApplied, Unknown};
    use std::cell::Cell;

    const THREE: Retry = Retry { attempts: 3, repeats: false };
    const REPEATED: Retry = Retry { attempts: 3, repeats: true };

    async fn over(retry: Retry, script: &[Disposition], held: u32) -> (Attempted<u32>, u32) {
        let made = Cell::new(0);
        let attempt = async |number: u32| {
            assert_eq!(number, made.replace(number + 1));
            (script[number as usize], number)
        };
        let attempted = attempts(retry, || made.get() < held, attempt).await;
        (attempted, made.get())
    }

    #[tokio::test]
    async fn a_later_not_applied_changes_nothing() {
        for (script, joined, last, made) in [
            ([NotApplied, NotApplied, NotApplied], NotApplied, 2, 3),
            ([Unknown, NotApplied, NotApplied], Unknown, 0, 3),
            ([NotApplied, Unknown, NotApplied], Unknown, 1, 3),
            ([Unknown, Unknown, NotApplied], Unknown, 1, 3),
            ([Unknown, NotApplied, Completed], Completed, 2, 3),
            ([NotApplied, Consumed, Completed], Consumed, 1, 2),
            ([Completed, NotApplied, NotApplied], Completed, 0, 1),
        ] {
            assert_eq!(over(REPEATED, &script, 9).await, (Attempted { joined, last }, made), "{script:?}");
        }
    }

    #[tokio::test]
    async fn only_a_repeatable_request_follows_an_unknown_one() {
        let script = [Unknown, Completed, Completed];
        assert_eq!(over(THREE, &script, 9).await, (Attempted { joined: Unknown, last: 0 }, 1));
        assert_eq!(over(REPEATED, &script, 9).await, (Attempted { joined: Completed, last: 1 }, 2));
    }

    #[tokio::test]
    async fn none_follows_once_nothing_may_be_sent() {
        let script = [NotApplied, NotApplied, Completed];
        assert_eq!(over(THREE, &script, 2).await, (Attempted { joined: NotApplied, last: 1 }, 2));
        assert_eq!(over(Retry::NONE, &script, 9).await, (Attempted { joined: NotApplied, last: 0 }, 1));
    }
}
