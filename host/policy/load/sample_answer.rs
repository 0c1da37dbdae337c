//! An answer of an upstream as text, as test vectors have it and an author tries it. A hook sees it as it
//! sees one at the gateway.

use crate::interface::{Payload, PayloadWant, Plan, Reply};
use crate::view::seen;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The most bytes of a body that a hook is shown: a route's default.
const BODY_BYTES_MAX: usize = 1 << 20;

/// An answer.
#[derive(Clone, Debug)]
pub struct SampleAnswer {
    /// The answer's status.
    pub status: u16,
    /// The answer's fields.
    pub headers: HeaderMap,
    /// The trailers after its body.
    pub trailers: HeaderMap,
    /// The answer's body; empty if there is none.
    pub body: Bytes,
    /// True if the answer arrived to its end.
    pub complete: bool,
}

impl SampleAnswer {
    /// Reads HTTP/1.1 text, whose body is all that follows the empty line. It is complete and has no
    /// trailers. An error is for the author to read.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        const HEADERS_MAX: usize = 128;
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut slots);
        let parsed = head.parse(text).map_err(|error| error.to_string())?;
        let httparse::Status::Complete(length) = parsed else {
            return Err("the head has no end: an empty line is missing".into());
        };
        let status = head.code.unwrap_or_default();
        if !(200..=599).contains(&status) {
            return Err(format!("status {status}: an answer has one from 200 to 599"));
        }
        Ok(Self {
            status,
            headers: crate::load::sample::fields(head.headers)?,
            trailers: HeaderMap::new(),
            body: Bytes::copy_from_slice(&text[length..]),
            complete: true,
        })
    }

    /// The answer as `settle` sees it: the fields that the plan declares, and as much of the body as it asks
    /// for.
    pub(crate) fn declared(&self, plan: &Plan) -> Reply {
        let of = |map: &HeaderMap| {
            let all = plan.response_fields.iter();
            all.flat_map(|name| map.get_all(name).iter().filter_map(|value| pair(name, value))).collect()
        };
        Reply {
            status: self.status,
            fields: of(&self.headers),
            trailers: of(&self.trailers),
            payload: self.payload(&plan.response_payload),
            complete: self.complete,
        }
    }

    /// The answer as `reading` and `present` see it: all of it.
    pub(crate) fn whole(&self) -> Reply {
        let of = |map: &HeaderMap| map.iter().filter_map(|(name, value)| pair(name, value)).collect();
        Reply {
            status: self.status,
            fields: of(&self.headers),
            trailers: of(&self.trailers),
            payload: self.payload(&PayloadWant::Whole(u32::MAX)),
            complete: self.complete,
        }
    }

    fn payload(&self, want: &PayloadWant) -> Payload {
        seen::payload(want, &self.headers, Some(&self.body), BODY_BYTES_MAX)
    }
}

/// The interface has text only: a value that isn't text is left out.
fn pair(name: &HeaderName, value: &HeaderValue) -> Option<(String, String)> {
    Some((name.to_string(), std::str::from_utf8(value.as_bytes()).ok()?.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::interface::Found;

    #[test]
    fn each_hook_sees_of_an_answer_what_is_its_to_see() {
        let text = b"HTTP/1.1 200 OK\r\nx-a: 1\r\nX-B: 2\r\nx-a: 3\r\ncontent-type: application/json\r\n\r\n{\"s\":\"x\"}";
        let answer = SampleAnswer::parse(text).unwrap();
        let plan = Plan {
            key_schema: "toy/1".into(),
            methods: Vec::new(),
            request_fields: Vec::new(),
            request_payload: PayloadWant::Nothing,
            response_fields: vec![HeaderName::from_static("x-a")],
            response_payload: PayloadWant::Pointers(vec!["/s".into(), "/t".into()]),
            outcomes: Vec::new(),
        };
        let declared = answer.declared(&plan);
        assert_eq!(declared.fields, [("x-a".into(), "1".into()), ("x-a".into(), "3".into())]);
        assert_eq!(declared.payload, Payload::Selected(vec![Found::Text("x".into()), Found::Nothing]));
        let whole = answer.whole();
        assert_eq!((whole.fields.len(), whole.complete), (4, true));
        assert_eq!(whole.payload, Payload::Whole(Bytes::from_static(b"{\"s\":\"x\"}")));
        assert_eq!(
            SampleAnswer::parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().whole().payload,
            Payload::Absent
        );
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (text, word) in [
            ("HTTP/1.1 200 OK\r\n", "empty line"),
            ("GET / HTTP/1.1\r\n\r\n", ""),
            ("HTTP/1.1 100 Continue\r\n\r\n", "100"),
        ] {
            let why = SampleAnswer::parse(text.as_bytes()).unwrap_err();
            assert!(why.contains(word), "{text:?}: {why}");
        }
    }
}
