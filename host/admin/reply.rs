//! The answers of the admin interface: JSON, text and problem documents.

use super::api::ADMIN_FIELD;
use crate::gateway::answer::problem_document;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use oncegate_core::problem::Code;
use serde::Serialize;
use serde_json::{Map, Value};

pub(super) type AdminReply = Response<Full<Bytes>>;

/// A document. Its members stand in the order in which its type declares them.
pub(super) fn json(document: &impl Serialize) -> AdminReply {
    let mut body = serde_json::to_vec_pretty(document).unwrap_or_default();
    body.push(b'\n');
    reply(StatusCode::OK, "application/json", body.into())
}

/// A document with its members in alphabetical order.
pub(super) fn sorted_json(document: &impl Serialize) -> AdminReply {
    json(&serde_json::to_value(document).unwrap_or_default())
}

/// A problem with the status of its code.
pub(super) fn problem(code: Code, detail: &str) -> AdminReply {
    problem_with(status_of(code), code, detail, Map::new())
}

/// A problem for which HTTP has a status of its own, and that has further members.
pub(super) fn problem_with(
    status: StatusCode,
    code: Code,
    detail: &str,
    more: Map<String, Value>,
) -> AdminReply {
    let mut document = problem_document(code.name(), code.title(), status, detail);
    document.extend(more);
    reply(status, "application/problem+json", Value::Object(document).to_string().into())
}

pub(super) fn status_of(code: Code) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn text(status: StatusCode, body: &str) -> AdminReply {
    reply(status, "text/plain; charset=utf-8", body.to_owned().into())
}

pub(super) fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> AdminReply {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ADMIN_FIELD, HeaderValue::from_static("1"));
    response
}
