//! Answers from records.

use crate::gateway::answer::body::AnswerBody;
use crate::gateway::answer::describe::LookUp;
use crate::gateway::answer::problem::{Code, Problem};
use crate::gateway::request::fields;
use crate::store::StoreError;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use oncegate_core::{Answer, Disposition, OperationId, Record, Refusal, State, Timestamp};

/// `Oncegate-Operation`: the id of a guarded answer's operation.
pub const OPERATION: HeaderName = HeaderName::from_static("oncegate-operation");
/// `Idempotent-Replayed`: whether the answer is another execution's.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An operation id as a field's value.
pub fn operation_value(id: OperationId) -> HeaderValue {
    HeaderValue::from_bytes(&id.digits()).expect("hexadecimal digits are a field's value")
}

/// Marks a guarded answer.
pub fn mark(fields: &mut HeaderMap, id: OperationId, replayed: bool) {
    fields.insert(REPLAYED, HeaderValue::from_static(if replayed { "true" } else { "false" }));
    fields.insert(OPERATION, operation_value(id));
}

/// A status that was checked when it was taken in.
pub fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn restored(answer: &Answer) -> Response<AnswerBody> {
    let trailers = (!answer.trailers.is_empty()).then(|| fields::restored(&answer.trailers, 0));
    let body = (!answer.body.is_empty()).then(|| answer.body.clone());
    let mut fields = fields::restored(&answer.fields, 4);
    trailers.iter().for_each(|trailers| fields::announce(&mut fields, trailers.keys()));
    let mut response = Response::new(AnswerBody::Whole(body, trailers));
    *response.status_mut() = status(answer.status);
    *response.headers_mut() = fields;
    response
}

/// The kept answer, again.
pub fn replay(id: OperationId, record: &Record) -> Response<AnswerBody> {
    let State::Completed { answer, .. } = &record.state else {
        // The core replays completed records only.
        return refusal(id, Refusal::Consumed, Some(record)).into_response();
    };
    let mut response = restored(answer);
    mark(response.headers_mut(), id, true);
    response
}

/// The answer of an execution that was waited for and proved not to be applied.
pub fn shared(id: OperationId, answer: &Answer) -> Response<AnswerBody> {
    let mut response = restored(answer);
    mark(response.headers_mut(), id, false);
    response
}

/// Why a request is turned away, and whether asking again is safe and with which key.
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
        ),
    }
    .of(id)
}

/// What remains of an operation says that it was begun, and how it ended.
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

/// The ledger could not be asked, so nothing was done.
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

/// The fields of an answer that somebody else than the upstream hands in, as any are kept.
pub fn kept_fields(fields: &HeaderMap, status: u16, strip: &[String]) -> Vec<(bytes::Bytes, bytes::Bytes)> {
    let mut fields = fields.clone();
    fields::remove_hop_by_hop(&mut fields);
    fields::remove_ours(&mut fields);
    fields::kept(&fields, status, strip)
}

/// What a look-up tells of an operation.
pub fn lookup(id: OperationId, record: &Record, now: Timestamp) -> Response<AnswerBody> {
    let document = serde_json::to_value(LookUp::new(id, record, now)).unwrap_or_default();
    let mut response = Response::new(AnswerBody::whole(document.to_string().into()));
    let fields = response.headers_mut();
    fields.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
