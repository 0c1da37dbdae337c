//! What a client is told of an execution that has no answer for it.

use crate::gateway::answer::problem::{Code, Problem};
use crate::gateway::execution::execute::Execution;
use crate::ledger::Unsettled;
use oncegate_core::{Disposition, Outcome, UnknownReason};

/// Why there is none, and what that says of the operation.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub(super) problem: Problem,
    pub(super) outcome: Outcome,
}

/// No connection came about.
pub(super) fn unreachable() -> NoAnswer {
    NoAnswer {
        problem: Problem::new(
            Code::UpstreamUnreachable,
            "The service could not be reached, and nothing was sent to it. Asking again with the same key is safe.",
        ),
        outcome: Outcome::NotApplied,
    }
}

/// The claim no longer held when it was to be sent.
pub(super) fn lapsed() -> NoAnswer {
    NoAnswer {
        problem: Problem::new(
            Code::Overloaded,
            "The gateway was held up until its claim on this operation lapsed, and sent nothing. Asking again with \
             the same key is safe.",
        ),
        outcome: Outcome::NotApplied,
    }
}

/// It was cut off after something may have been sent; `detail` says how.
pub(super) fn broken(detail: &'static str) -> Problem {
    Problem::new(
        Code::UpstreamBroken,
        format!(
            "{detail} Nobody knows whether the operation took effect. It is held and will not be run again under this key."
        ),
    )
}

/// It took too long.
pub(super) fn timed_out() -> NoAnswer {
    NoAnswer {
        problem: Problem::new(
            Code::UpstreamTimeout,
            "The service did not answer in time. Nobody knows whether the operation took effect. It is held and will \
             not be run again under this key.",
        ),
        outcome: Outcome::Unknown(UnknownReason::TimedOut),
    }
}

/// It was given up. `asked`: whether something may be sent, so that it may have been.
pub(super) fn given_up(reason: UnknownReason, asked: bool) -> NoAnswer {
    let (code, detail) = match (reason, asked) {
        (UnknownReason::Deserted, false) => {
            (Code::UpstreamUnreachable, "No client was left to wait for the answer, and nothing was sent.")
        }
        (_, false) => (
            Code::Draining,
            "The gateway shut down before the request was sent to the service. Asking again with the same key is safe.",
        ),
        (UnknownReason::Deserted, true) => (
            Code::UpstreamBroken,
            "No client was left to wait for the answer, so the connection to the service was closed. Nobody knows \
             whether the operation took effect. It is held and will not be run again under this key.",
        ),
        (_, true) => (
            Code::UpstreamTimeout,
            "The gateway shut down before the service answered. Nobody knows whether the operation took effect. It is \
             held and will not be run again under this key.",
        ),
    };
    let outcome = if asked { Outcome::Unknown(reason) } else { Outcome::NotApplied };
    NoAnswer { problem: Problem::new(code, detail), outcome }
}

impl Execution {
    /// The outcome isn't on the record, so the client can't be told it.
    pub(super) fn unsettled(&self, why: &Unsettled) -> Problem {
        let problem = match why {
            Unsettled::Store(error) => {
                tracing::error!(operation = %self.id.get(), %error, "an outcome could not be made durable; it is kept and tried again");
                Problem::new(
                    Code::LedgerUnavailable,
                    "The operation was sent to the service, and its outcome could not be recorded yet. Ask again with \
                     the same key: it will not run twice.",
                )
            }
            Unsettled::Overtaken => Problem::new(
                Code::InFlight,
                "This execution was held up until its claim lapsed, and the operation has gone on without it. Ask \
                 again with the same key for what came of it.",
            ),
        };
        problem.of(self.id.get()).with_outcome(Disposition::Unknown)
    }

    /// An answer that can't be shown to an HTTP/1.0 client: it has no length that could tell a part
    /// from the whole, or is larger than what may be held.
    pub(super) fn unshowable(&self, outcome: &Outcome) -> Problem {
        let (code, told) = match outcome {
            Outcome::Completed(_) => {
                (Code::UpstreamBroken, "What came of it is kept: ask again with the same key to get it.")
            }
            Outcome::Consumed(_) => {
                (Code::Consumed, "The operation took effect. Asking again with this key runs nothing.")
            }
            Outcome::NotApplied => {
                (Code::Overloaded, "Nothing happened; asking again with the same key is safe.")
            }
            Outcome::Unknown(_) => (
                Code::UpstreamBroken,
                "Nobody knows whether the operation took effect. It is held and will not be run again under this key.",
            ),
        };
        let detail = format!("The service's answer can't be passed on whole to a client of HTTP/1.0. {told}");
        let problem = Problem::new(code, detail).of(self.id.get()).with_outcome(outcome.disposition());
        match outcome {
            Outcome::Consumed(summary) => problem.with_summary(summary.clone()),
            _ => problem,
        }
    }
}
