//! The names of the gateway's own fields, and their values.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use oncegate_core::OperationId;

/// `Oncegate-Problem`: the problem's code, whoever words the problem.
pub const PROBLEM: HeaderName = HeaderName::from_static("oncegate-problem");
/// `Oncegate-Operation`: the id of a guarded answer's operation.
pub const OPERATION: HeaderName = HeaderName::from_static("oncegate-operation");
/// `Idempotent-Replayed`: whether the answer is a kept one, sent again.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An operation id as a field's value.
pub fn operation_value(id: OperationId) -> HeaderValue {
    HeaderValue::from_bytes(&id.digits()).expect("hexadecimal digits are a field's value")
}

/// Whether an answer is a kept one, sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The answer is of an execution that this request caused or waited for.
    No,
    /// The answer was kept.
    Yes,
}

/// Marks a guarded answer.
pub fn mark(fields: &mut HeaderMap, id: OperationId, replayed: Replayed) {
    let replayed = match replayed {
        Replayed::No => "false",
        Replayed::Yes => "true",
    };
    fields.insert(REPLAYED, HeaderValue::from_static(replayed));
    fields.insert(OPERATION, operation_value(id));
}

/// A status as a number, which was checked when it was read.
pub fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
