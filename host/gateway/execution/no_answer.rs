//! The problems and outcomes of executions that have no answer for their client.

use crate::answer::problem::{Code, Problem};
use crate::edge::Protocol;
use oncegate_core::{Disposition, OperationId, Outcome, UnknownReason};
use oncegate_ledger::Unsettled;
use oncegate_upstream::{NoHead, NotAdmitted};

/// The gateway shuts down, and nothing was sent.
const SHUT_DOWN_UNSENT: &str = "The gateway shut down before the request was sent to the service. Asking again with the same key is safe.";

/// The problem in place of an answer, and the operation's outcome.
#[derive(Debug)]
pub struct NoAnswer {
    /// The problem that the client is told.
    pub problem: Problem,
    /// The outcome that goes on the record.
    pub outcome: Outcome,
}

/// The problem and outcome when no head of an answer came.
pub fn no_head(why: NoHead) -> NoAnswer {
    let (code, detail, outcome) = match why {
        NoHead::Unreachable => (
            Code::UpstreamUnreachable,
            "The service could not be reached, and nothing was sent to it. Asking again with the same key is safe.",
            Outcome::NotApplied,
        ),
        // The claim lapsed before the request was sent.
        NoHead::Forbidden => (
            Code::Overloaded,
            "The gateway was held up until its claim on this operation lapsed, and sent nothing. Asking again with \
             the same key is safe.",
            Outcome::NotApplied,
        ),
        // The whole request is there before it is sent, so no client can break it off.
        NoHead::Broken | NoHead::Aborted => {
            let problem = broken(
                "The connection to the service ended after the request may have been sent, and no answer came.",
            );
            return NoAnswer { problem, outcome: Outcome::Unknown(UnknownReason::Broken) };
        }
        NoHead::Unreadable => {
            let problem = broken("The service's answer says in no readable way where its body ends.");
            return NoAnswer { problem, outcome: Outcome::Unknown(UnknownReason::Broken) };
        }
        NoHead::Switched => {
            let problem = broken("The service switched to a protocol that nobody asked it for.");
            return NoAnswer { problem, outcome: Outcome::Unknown(UnknownReason::Broken) };
        }
        NoHead::TimedOut => (
            Code::UpstreamTimeout,
            "The service did not answer in time. Nobody knows whether the operation took effect. It is held and will \
             not be run again under this key.",
            Outcome::Unknown(UnknownReason::TimedOut),
        ),
    };
    NoAnswer { problem: Problem::new(code, detail), outcome }
}

/// The problem of an execution that was cut off after something may have been sent. `detail` says how.
pub fn broken(detail: &'static str) -> Problem {
    Problem::new(
        Code::UpstreamBroken,
        format!(
            "{detail} Nobody knows whether the operation took effect. It is held and will not be run again under this key."
        ),
    )
}

/// The problem when the upstream admits no execution: nothing was claimed.
pub fn not_admitted(refusal: NotAdmitted) -> Problem {
    match refusal {
        NotAdmitted::Closed => {
            Problem::new(Code::Draining, SHUT_DOWN_UNSENT).because("the gateway shut down")
        }
    }
}

/// The problem and outcome of an execution that was given up. `asked`: the execution asked whether it may
/// send, so something may have been sent.
pub fn given_up(reason: UnknownReason, asked: bool) -> NoAnswer {
    let problem = match (reason, asked) {
        (UnknownReason::ClientsGone, false) => {
            let detail = "No client was left to wait for the answer, and nothing was sent.";
            Problem::new(Code::UpstreamUnreachable, detail)
                .titled("No client waited any more; nothing was sent")
                .because(reason.word())
        }
        (_, false) => Problem::new(Code::Draining, SHUT_DOWN_UNSENT).because("the gateway shut down"),
        (UnknownReason::ClientsGone, true) => Problem::new(
            Code::UpstreamBroken,
            "No client was left to wait for the answer, so the connection to the service was closed. Nobody knows \
             whether the operation took effect. It is held and will not be run again under this key.",
        )
        .titled("No client waited for the answer any more")
        .because(reason.word()),
        (_, true) => Problem::new(
            Code::UpstreamTimeout,
            "The gateway shut down before the service answered. Nobody knows whether the operation took effect. It is \
             held and will not be run again under this key.",
        )
        .titled("The gateway shut down before the service answered")
        .because("the gateway shut down"),
    };
    let outcome = if asked { Outcome::Unknown(reason) } else { Outcome::NotApplied };
    NoAnswer { problem, outcome }
}

/// The problem when the outcome is not on the record, so that the client can't be told the outcome.
pub fn unsettled(operation: OperationId, why: &Unsettled) -> Problem {
    let problem = match why {
        Unsettled::Store(error) => {
            let outcome = Disposition::Unknown.word();
            tracing::error!(%operation, outcome, %error, "an outcome could not be made durable; it is kept and tried again");
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
    problem.of(operation).with_outcome(Disposition::Unknown)
}

/// The problem when the answer can't be shown to a client of this protocol, which does not mark the end of an
/// answer. The answer has no length that could tell a part from the whole, or is larger than what may be
/// held.
pub fn unshowable(operation: OperationId, protocol: Protocol, outcome: &Outcome) -> Problem {
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
    let name = protocol.name;
    let detail = format!("The service's answer can't be passed on whole to a client of {name}. {told}");
    let problem = Problem::new(code, detail).of(operation).with_outcome(outcome.disposition());
    match outcome {
        Outcome::Consumed(summary) => problem.with_summary(summary.clone()),
        _ => problem,
    }
}
