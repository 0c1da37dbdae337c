//! The reasons why requests are refused, and whether asking again is safe and with which key
//! (`design/problems.md`).

use crate::answer::problem::{Code, Problem};
use crate::edge::HeadFault;
use oncegate_core::{Disposition, OperationId, Record, Refusal, State};
use oncegate_store::StoreError;
use std::time::Duration;

/// The longest time that a caller is told to wait for its share of the ledger.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// The problem when the ledger refuses a request. `record`: the record that stands in the way, if there is
/// one.
pub fn refusal(id: OperationId, refusal: Refusal, record: Option<&Record>) -> Problem {
    match refusal {
        Refusal::KeyReused => Problem::new(
            Code::KeyReused,
            "This key stands for a request with other content. Send the first request's content again to get its \
             answer, or this content with a new key.",
        ),
        Refusal::InFlight => Problem::new(
            Code::InFlight,
            "An execution of this operation is under way. Ask again with the same key: you will get its answer, and \
             it will not run twice.",
        ),
        Refusal::Unknown => Problem::new(
            Code::OutcomeUnknown,
            "The operation was sent to the service and nobody knows whether it took effect. It is held and will not \
             be run again under this key. Find out at the service, or have the operator resolve it; a new key would \
             run it anew.",
        )
        .with_outcome(Disposition::Unknown),
        Refusal::Consumed => {
            let problem = Problem::new(
                Code::Consumed,
                "The operation took effect and its answer is not kept. Asking again with this key runs nothing; a \
                 new key would run it anew.",
            )
            .with_outcome(Disposition::Consumed);
            match record.map(|record| &record.state) {
                Some(State::Consumed { summary, .. }) => problem.with_summary(summary.clone()),
                _ => problem,
            }
        }
        Refusal::Expired => expired(record),
        Refusal::TooLate => Problem::new(
            Code::TooLate,
            "By its own time this operation is older than what is remembered: it may have run and been forgotten, so \
             it is not run. Find out at the service; a new key would run it anew.",
        ),
        Refusal::PrincipalChanged => Problem::new(
            Code::PrincipalChanged,
            "The same request with this key was begun by a caller with another credential, and here it is not run \
             for a second one. Send it with the credential of the first attempt to get its answer; a new key would \
             run it anew. If credentials change between attempts, as tokens that are refreshed do, the operator \
             should set `principal.from` to something of the caller that stays.",
        ),
        Refusal::Ahead => Problem::new(
            Code::BadRequest,
            "By its own time this operation was first sent more than five minutes ahead of now. Set the clock that \
             made the key right, and ask again.",
        )
        .because("its own time is ahead"),
    }
    .of(id)
}

/// The problem of an expired operation. Its remaining record says that it was begun, and how it ended.
fn expired(record: Option<&Record>) -> Problem {
    const EXECUTED: &str = "The operation was executed before and its answer is no longer kept. Asking again with \
                            this key runs nothing; a new key would run it anew.";
    match record.map(|record| &record.state) {
        Some(State::Executing { .. } | State::Unknown { .. }) => Problem::new(
            Code::Expired,
            "The operation was sent to the service before, and nobody ever learned whether it took effect. Asking \
             again with this key runs nothing. Find out at the service; a new key would run it anew.",
        )
        .with_outcome(Disposition::Unknown),
        Some(State::Completed { .. }) => Problem::new(Code::Expired, EXECUTED).with_outcome(Disposition::Completed),
        Some(State::Consumed { .. }) => Problem::new(Code::Expired, EXECUTED).with_outcome(Disposition::Consumed),
        Some(State::Pointer(_)) | None => Problem::new(Code::Expired, EXECUTED),
    }
}

/// The problem when the ledger could not be asked, so that nothing was done.
pub fn ledger_unavailable(id: OperationId, error: &StoreError) -> Problem {
    let detail = match error {
        StoreError::Full(_) => {
            "The ledger has no room for a new operation, so nothing was sent. Ask again with the same key; it is safe."
        }
        StoreError::Unavailable(_) | StoreError::Corrupt(_) => {
            "The ledger can't be asked whether this operation was executed, so nothing was sent now. Ask again with \
             the same key; it is safe."
        }
        StoreError::Indeterminate(_) => {
            "The ledger did not confirm the claim of this operation, so nothing was sent now. Ask again with the \
             same key; it is safe."
        }
    };
    Problem::new(Code::LedgerUnavailable, detail).of(id)
}

/// The problem when the ledger could not be asked before the operation was identified, so that nothing was
/// done.
pub fn ledger_unavailable_now() -> Problem {
    Problem::new(Code::LedgerUnavailable, "The ledger can't be asked now, and nothing was sent. Ask again.")
}

/// The problem when unproven principals have their share of the ledger for so long.
pub fn share_of_ledger(wait: Duration) -> Problem {
    Problem::new(
        Code::Overloaded,
        "The ledger has no room now for new operations of callers like this one, of whom the service has executed none \
         with success lately, so nothing was sent. Ask again with the same key; it is safe.",
    )
    .after(wait.min(WAIT_MAX))
    .because("its caller is unproven, and such have their share of the ledger")
}

/// The problem when no route takes the request.
pub fn no_route() -> Problem {
    Problem::new(Code::NoRoute, "No route of this gateway matches the host, path and method.")
}

/// The problem when keys can't be derived in all key spaces of the route's policy.
pub fn policy_unavailable() -> Problem {
    Problem::new(
        Code::PolicyFailed,
        "What made this route's idempotency keys before can't be loaded now, so nobody can tell whether this \
         operation ran, and nothing was sent. Asking again with the same key is safe.",
    )
}

/// The problem when the policy failed before anything was sent.
pub fn policy_failed() -> Problem {
    Problem::new(
        Code::PolicyFailed,
        "The policy that makes idempotency keys here failed on this request, so nothing was sent. Asking again \
         with the same key is safe.",
    )
}

/// The problem of a head that has this fault.
pub fn head_fault(fault: HeadFault) -> Problem {
    let (cause, detail) = match fault {
        // RFC 9112 §6.1.
        HeadFault::Framing => (
            "it has two lengths",
            "The request says with both `Content-Length` and `Transfer-Encoding` where its body ends: send one of them.",
        ),
        HeadFault::Fragment => (
            "its target has a fragment",
            "A target has no fragment (RFC 9112 §3.2): leave out `#` and what is behind it.",
        ),
    };
    Problem::new(Code::BadRequest, detail).because(cause)
}

/// The problem when the client tries to switch off a field that the policy reads or that names the principal.
pub fn switched_off(field: &str) -> Problem {
    Problem::new(
        Code::BadRequest,
        format!(
            "`Connection` names the field `{field}`, which would take it away from what is judged here: leave it out of `Connection`."
        ),
    )
    .because("its `Connection` names a field that is judged here")
}

/// The refusal of a request with a field that many services read as one by which the request is judged.
pub fn twin_of(twin: &str, field: &str) -> Problem {
    Problem::new(
        Code::BadRequest,
        format!(
            "Many services read the field `{twin}` as `{field}`, which is judged here: write it `{field}`."
        ),
    )
    .because("it has a twin of a field that is judged here")
}
