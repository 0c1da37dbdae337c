//! What a policy sees of a request or an answer: exactly what its plan asked for.

use super::document::Document;
use super::{Payload, PayloadWant, Plan, RequestField};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};

/// What the fields and pseudo-fields of a plan are taken from.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// In lower case, without a default port; none: the request says none.
    pub authority: Option<&'a str>,
    /// Percent-encoded, without the query.
    pub path: &'a str,
    /// Without the question mark.
    pub query: Option<&'a str>,
    /// The route's name.
    pub route: &'a str,
    /// Who asks, opaque; none: nobody is known.
    pub principal: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// A declared field whose value is not UTF-8: 400, and the policy isn't called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of `{0}` is not UTF-8")]
pub struct NotUtf8(pub HeaderName);

/// The declared fields that are there: in the plan's order, a repeated one in arrival order.
pub fn fields<'a>(plan: &'a Plan, seen: &Seen<'a>) -> Result<Vec<(&'a str, &'a str)>, NotUtf8> {
    let mut fields = Vec::with_capacity(plan.request_fields.len());
    for field in &plan.request_fields {
        let value = match field {
            RequestField::Authority => seen.authority,
            RequestField::Path => Some(seen.path),
            RequestField::Query => seen.query,
            RequestField::Route => Some(seen.route),
            RequestField::Principal => seen.principal,
            RequestField::Header(name) => {
                for value in seen.headers.get_all(name) {
                    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| NotUtf8(name.clone()))?;
                    fields.push((name.as_str(), text));
                }
                continue;
            }
        };
        fields.extend(value.map(|value| (field.name(), value)));
    }
    Ok(fields)
}

/// As much of a body as `want` asks for. `limit` is what the route shows at most; no body and an
/// empty one are the same.
pub fn payload(
    want: &PayloadWant,
    content_type: Option<&str>,
    body: Option<&Bytes>,
    limit: usize,
) -> Payload {
    let Some(body) = body.filter(|body| !body.is_empty()) else { return Payload::Absent };
    match want {
        PayloadWant::Nothing => Payload::Withheld,
        PayloadWant::Whole(most) if body.len() > limit.min(*most as usize) => Payload::Oversize,
        PayloadWant::Whole(_) => Payload::Whole(body.clone()),
        PayloadWant::Pointers(_) if body.len() > limit => Payload::Oversize,
        PayloadWant::Pointers(pointers) => match Document::parse(content_type, body) {
            Ok(document) => Payload::Selected(document.select(pointers)),
            Err(why) => Payload::Malformed(why),
        },
    }
}
