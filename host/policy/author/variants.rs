//! Guises of a retry, and alterations that make another operation.
//!
//! A client often writes a retry anew: by another library, through another proxy, with the fields in
//! another order. No such change makes it another operation.

use super::json::Json;
use crate::interface::Plan;
use crate::interface::{PayloadWant, RequestField};
use crate::load::sample::Sample;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields that differ between an operation and its retry, with two values that each may have.
const NOISE: [(&str, [&str; 2]); 9] = [
    ("user-agent", ["client/1.0", "client/2.0 (retry)"]),
    ("accept", ["*/*", "application/json"]),
    ("accept-encoding", ["gzip", "br, zstd"]),
    ("date", ["Tue, 15 Nov 1994 08:12:31 GMT", "Tue, 15 Nov 1994 08:12:39 GMT"]),
    ("via", ["1.1 a", "1.1 b, 1.1 c"]),
    ("x-forwarded-for", ["192.0.2.1", "198.51.100.7"]),
    (
        "traceparent",
        [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        ],
    ),
    ("x-stainless-retry-count", ["0", "1"]),
    ("x-oncegate-unrelated", ["1", "2"]),
];

/// The same operation in another guise.
pub(super) struct Guise {
    /// The difference, such as "the order of the header fields".
    pub(super) what: &'static str,
    /// The thing that differs, such as a field's name.
    pub(super) which: String,
    pub(super) sample: Sample,
    /// True if the bytes of the body differ, so that the fingerprint may differ, too.
    pub(super) rewrites_body: bool,
}

/// The guises that must not change the key.
pub(super) fn guises(sample: &Sample) -> Vec<Guise> {
    let guise = |what, sample| Guise { what, which: String::new(), sample, rewrites_body: false };
    let mut guises = vec![
        guise("the order of the header fields", turned(sample)),
        guise("the case of the header names", shouted(sample)),
    ];
    for (name, values) in NOISE {
        for value in values {
            let mut other = sample.clone();
            other.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            guises.push(Guise { which: name.into(), ..guise("an unrelated header field", other) });
        }
    }
    if let Some(document) = json(sample) {
        let spaced = sample.with_body(document.write(" \n").into_bytes());
        guises.push(Guise { rewrites_body: true, ..guise("the spaces in a JSON body", spaced) });
        let mut turned = document;
        if turned.turn_members() {
            let turned = sample.with_body(turned.write("").into_bytes());
            guises.push(Guise {
                rewrites_body: true,
                ..guise("the order of the members of a JSON body", turned)
            });
        }
    }
    guises
}

/// The request with its names in the opposite order. The values of one name keep their order, which has a
/// meaning.
fn turned(sample: &Sample) -> Sample {
    let mut names: Vec<_> = sample.headers.keys().collect();
    names.reverse();
    let mut headers = HeaderMap::new();
    for name in names {
        for value in sample.headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    Sample { headers, ..sample.clone() }
}

/// The request read again from a text whose header names are in capitals.
fn shouted(sample: &Sample) -> Sample {
    let query = sample.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let mut text = format!("{} {}{query} HTTP/1.1\r\n", sample.method, sample.path).into_bytes();
    for (name, value) in &sample.headers {
        text.extend_from_slice(name.as_str().to_ascii_uppercase().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&sample.body);
    match Sample::parse(&text) {
        Ok(again) => Sample {
            route: sample.route.clone(),
            principal: sample.principal.clone(),
            authority: sample.authority.clone(),
            ..again
        },
        // A request that was read once can be read again, unless it has more fields than the reader takes.
        Err(_) => sample.clone(),
    }
}

/// The alterations that may make another operation: each thing that the policy can see, changed.
pub(super) fn alterations(plan: &Plan, sample: &Sample) -> Vec<(String, Sample)> {
    let mut altered = vec![
        ("the path".to_owned(), Sample { path: format!("{}/other", sample.path), ..sample.clone() }),
        ("the authority".to_owned(), Sample { authority: Some("other.example".into()), ..sample.clone() }),
        ("the query".to_owned(), Sample { query: Some("other=1".into()), ..sample.clone() }),
        ("the body".to_owned(), another_body(sample)),
    ];
    for field in &plan.request_fields {
        match field {
            RequestField::Header(name) => altered.extend(another_field(sample, name)),
            RequestField::Route => {
                altered.push((":route".into(), Sample { route: "other".into(), ..sample.clone() }));
            }
            RequestField::Query => altered.extend(another_query(sample)),
            RequestField::Authority | RequestField::Path | RequestField::Principal => {}
        }
    }
    if let PayloadWant::Pointers(pointers) = &plan.request_payload {
        altered.extend(pointers.iter().filter_map(|pointer| another_value(sample, pointer)));
    }
    altered
}

fn another_body(sample: &Sample) -> Sample {
    match json(sample) {
        Some(Json::Object(mut members)) => {
            members.push(("oncegate-other".into(), Json::Scalar("1".into())));
            sample.with_body(Json::Object(members).write("").into_bytes())
        }
        Some(_) => sample.with_body("[1,2,3]"),
        None => sample.with_body([&sample.body[..], b"x"].concat()),
    }
}

fn another_field(sample: &Sample, name: &HeaderName) -> Option<(String, Sample)> {
    let mut other = sample.clone();
    let first = other.headers.get_mut(name)?;
    let text = another_text(std::str::from_utf8(first.as_bytes()).ok()?)?;
    *first = HeaderValue::from_bytes(text.as_bytes()).ok()?;
    Some((format!("the field {name}"), other))
}

/// The request with each value in the query changed.
fn another_query(sample: &Sample) -> Option<(String, Sample)> {
    let query = another_text(sample.query.as_deref()?)?;
    Some(("a value in the query".into(), Sample { query: Some(query), ..sample.clone() }))
}

fn another_value(sample: &Sample, pointer: &str) -> Option<(String, Sample)> {
    let mut document = json(sample)?;
    let Json::Scalar(text) = document.at(pointer)? else { return None };
    *text = another_text(text)?;
    Some((format!("{pointer} of the body"), sample.with_body(document.write("").into_bytes())))
}

/// The text with its last letter or digit changed, so that quotes or frames around it stay.
fn another_text(text: &str) -> Option<String> {
    let at = text.rfind(|c: char| c.is_ascii_alphanumeric())?;
    let next = match text.as_bytes().get(at)? {
        b'9' => '8',
        b'z' => 'y',
        b'Z' => 'Y',
        byte => char::from(byte + 1),
    };
    Some(format!("{}{next}{}", &text[..at], &text[at + 1..]))
}

fn json(sample: &Sample) -> Option<Json> {
    let says_so = sample.content_type().is_none_or(|text| {
        text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().ends_with("json")
    });
    if says_so { Json::parse(&sample.body) } else { None }
}

/// Letters that are added to a field.
const FIELD_LETTERS: usize = 4000;
/// Letters that are added to a body.
const BODY_LETTERS: usize = 100_000;

/// The request with more in each thing that the policy can see.
pub(super) fn enlarged(plan: &Plan, sample: &Sample) -> Vec<(String, Sample)> {
    let mut enlarged = Vec::new();
    for field in &plan.request_fields {
        if let RequestField::Header(name) = field {
            enlarged.extend(larger_field(sample, name));
        }
    }
    match &plan.request_payload {
        PayloadWant::Nothing => {}
        PayloadWant::Whole(_) => enlarged.push(("a large body".to_owned(), larger_body(sample))),
        PayloadWant::Pointers(pointers) => {
            enlarged.extend(pointers.iter().filter_map(|pointer| larger_value(sample, pointer)));
        }
    }
    enlarged
}

fn larger_field(sample: &Sample, name: &HeaderName) -> Option<(String, Sample)> {
    let mut other = sample.clone();
    let first = other.headers.get_mut(name)?;
    let text = larger_text(std::str::from_utf8(first.as_bytes()).ok()?, FIELD_LETTERS)?;
    *first = HeaderValue::from_bytes(text.as_bytes()).ok()?;
    Some((format!("a large field {name}"), other))
}

fn larger_body(sample: &Sample) -> Sample {
    let letters = "a".repeat(BODY_LETTERS);
    match json(sample) {
        Some(Json::Object(mut members)) => {
            members.insert(0, ("oncegate-large".into(), Json::Scalar(format!("\"{letters}\""))));
            sample.with_body(Json::Object(members).write("").into_bytes())
        }
        _ => sample.with_body([&sample.body[..], letters.as_bytes()].concat()),
    }
}

/// The request with a text of the body enlarged.
fn larger_value(sample: &Sample, pointer: &str) -> Option<(String, Sample)> {
    let mut document = json(sample)?;
    let Json::Scalar(text) = document.at(pointer)? else { return None };
    if !text.starts_with('"') {
        return None;
    }
    *text = larger_text(text, BODY_LETTERS)?;
    Some((format!("a large {pointer} in the body"), sample.with_body(document.write("").into_bytes())))
}

/// The text with letters before its last letter or digit, so that quotes or frames around it stay.
fn larger_text(text: &str, letters: usize) -> Option<String> {
    let at = text.rfind(|c: char| c.is_ascii_alphanumeric())?;
    // Not in the middle of an escape.
    let at = text[..at].rfind('\\').map_or(at, |escape| escape.min(at));
    Some(format!("{}{}{}", &text[..at], "a".repeat(letters), &text[at..]))
}
