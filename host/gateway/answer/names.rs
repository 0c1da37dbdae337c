//! The names of the gateway's own fields, and their values.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use oncegate_core::OperationId;

/// `Oncegate-Problem`: the code, whoever words the problem.
pub const PROBLEM: HeaderName = HeaderName::from_static("oncegate-problem");
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
