//! The view that a policy has of a request or an answer: exactly the parts that its plan asked for.

use crate::interface::{Payload, PayloadWant, Plan, RequestField};
use crate::view::shown::ShownBody;
use crate::view::until::{Late, Until};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};

/// The source of a plan's fields and pseudo-fields.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The authority in lower case, without a default port; none: the request names none.
    pub authority: Option<&'a str>,
    /// The path, percent-encoded, without the query.
    pub path: &'a str,
    /// The query without the question mark.
    pub query: Option<&'a str>,
    /// The route's name.
    pub route: &'a str,
    /// The principal, opaque; none: nobody is known.
    pub principal: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// A declared field whose value is not UTF-8. The answer is 400, and the policy isn't called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of `{0}` is not UTF-8")]
pub struct NotUtf8(pub HeaderName);

/// The declared fields that the request has: in the plan's order, a repeated field in arrival order.
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

/// As much of a body as `want` asks for, content codings removed. `fields`: the fields of the body's message.
/// `limit`: the most that the route shows. No body and an empty body are the same.
pub fn payload(want: &PayloadWant, fields: &HeaderMap, body: Option<&Bytes>, limit: usize) -> Payload {
    let body = ShownBody::new(fields, body.cloned().unwrap_or_default(), limit);
    body.payload(want, Until::THE_END).unwrap_or_else(|Late| Payload::Oversize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::Found;
    use http::HeaderValue;

    fn plan(request_fields: Vec<RequestField>) -> Plan {
        Plan {
            key_schema: "toy/1".into(),
            methods: Vec::new(),
            request_fields,
            request_payload: PayloadWant::Nothing,
            response_fields: Vec::new(),
            response_payload: PayloadWant::Nothing,
            outcomes: Vec::new(),
        }
    }

    #[test]
    fn only_declared_fields_that_are_there_in_the_plans_order() {
        let header = |name: &'static str| RequestField::Header(HeaderName::from_static(name));
        let plan = plan(vec![
            RequestField::Query,
            RequestField::Principal,
            RequestField::Path,
            header("x-b"),
            header("x-none"),
            header("x-a"),
        ]);
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("x-b", "2"), ("x-a", "3"), ("x-other", "4")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let seen = Seen {
            authority: None,
            path: "/p",
            query: Some(""),
            route: "r",
            principal: None,
            headers: &headers,
        };
        assert_eq!(
            fields(&plan, &seen),
            Ok(vec![(":query", ""), (":path", "/p"), ("x-b", "2"), ("x-a", "1"), ("x-a", "3")])
        );
        let mut opaque = HeaderMap::new();
        opaque.insert("x-a", HeaderValue::from_bytes(b"\xff").expect("opaque bytes are allowed"));
        let seen = Seen { headers: &opaque, ..seen };
        assert_eq!(fields(&plan, &seen), Err(NotUtf8(HeaderName::from_static("x-a"))));
    }

    #[test]
    fn a_body_as_far_as_it_is_wanted() {
        let body = Bytes::from_static(br#"{"a":"b"}"#);
        let length = u32::try_from(body.len()).expect("a short body");
        let at = PayloadWant::Pointers(vec!["/a".into(), "/c".into()]);
        let selected = Payload::Selected(vec![Found::Text("b".into()), Found::Nothing]);
        for (want, body, limit, expected) in [
            (PayloadWant::Whole(9), None, 100, Payload::Absent),
            (PayloadWant::Whole(9), Some(Bytes::new()), 100, Payload::Absent),
            (PayloadWant::Nothing, Some(body.clone()), 1, Payload::Withheld),
            (PayloadWant::Whole(length), Some(body.clone()), 100, Payload::Whole(body.clone())),
            (PayloadWant::Whole(length - 1), Some(body.clone()), 100, Payload::Oversize),
            (PayloadWant::Whole(length), Some(body.clone()), 1, Payload::Oversize),
            (at.clone(), Some(body.clone()), 1, Payload::Oversize),
            (at.clone(), Some(body.clone()), 100, selected),
        ] {
            assert_eq!(payload(&want, &HeaderMap::new(), body.as_ref(), limit), expected, "{want:?}");
        }
        let broken = payload(&at, &HeaderMap::new(), Some(&Bytes::from_static(b"{")), 100);
        assert!(matches!(broken, Payload::Malformed(_)), "{broken:?}");
    }

    /// `{"amount":1000}`, compressed: larger than the limits below allow, or not to be read at all.
    #[test]
    fn a_coded_body_is_shown_without_its_coding() {
        let coded = Bytes::from_static(b"\x0b\x07\x80{\"amount\":1000}\x03");
        let plain = Bytes::from_static(b"{\"amount\":1000}");
        let length = u32::try_from(plain.len()).expect("a short body");
        let fields = |coding| {
            HeaderMap::from_iter([(http::header::CONTENT_ENCODING, HeaderValue::from_static(coding))])
        };
        let at = PayloadWant::Pointers(vec!["/amount".into()]);
        let shown = |want: &PayloadWant, coding, limit| payload(want, &fields(coding), Some(&coded), limit);
        assert_eq!(shown(&PayloadWant::Whole(length), "br", 100), Payload::Whole(plain.clone()));
        assert_eq!(shown(&PayloadWant::Whole(length - 1), "br", 100), Payload::Oversize);
        assert_eq!(shown(&PayloadWant::Whole(100), "br", plain.len() - 1), Payload::Oversize);
        assert_eq!(shown(&at, "br", 100), Payload::Selected(vec![Found::Json("1000".into())]));
        assert_eq!(shown(&at, "br", plain.len() - 1), Payload::Oversize);
        assert_eq!(shown(&PayloadWant::Nothing, "br", 100), Payload::Withheld);
        for want in [PayloadWant::Whole(100), at] {
            for coding in ["gzip", "x-unknown"] {
                assert!(matches!(shown(&want, coding, 100), Payload::Malformed(_)), "{want:?} {coding}");
            }
        }
    }
}
