use super::*;
use Disposition::{Completed, NotApplied, Unknown};
use http::{HeaderName, HeaderValue, Response};

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    fields.iter().map(field).collect()
}

/// An answer as it comes: the request's fields, and the answer's head, body and trailers.
struct Case<'a> {
    asked: &'a [(&'static str, &'static str)],
    status: u16,
    fields: &'a [(&'static str, &'static str)],
    body: Vec<u8>,
    trailers: &'a [(&'static str, &'static str)],
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self { asked: &[], status: 200, fields: &[], body: Vec::new(), trailers: &[] }
    }
}

impl Case<'_> {
    /// Expects this meaning of the answer, in pieces of every size. None: the answer's HTTP status counts.
    #[track_caller]
    fn means(&self, expected: Option<Disposition>) {
        for size in [1, 3, 4, 7, 1000] {
            let (mut head, ()) = Response::new(()).into_parts();
            head.status = self.status.try_into().expect("a status");
            head.headers = map(self.fields);
            let found = OwnStatus::of(&map(self.asked), &head).and_then(|mut own| {
                self.body.chunks(size).for_each(|piece| own.take(piece));
                own.judge(&head, Some(&map(self.trailers)), || Some(Bytes::copy_from_slice(&self.body)))
            });
            assert_eq!(found, expected, "pieces of {size}");
        }
    }
}

fn frame(flags: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a short frame");
    [&[flags][..], &length.to_be_bytes(), content].concat()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes it")
}

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc+proto")];

#[test]
fn a_grpc_status_stands_in_trailers_or_in_the_header() {
    let message = frame(0, b"m");
    Case { fields: GRPC, body: message, trailers: &[("grpc-status", "0")], ..Case::default() }
        .means(Some(Completed));
    Case { fields: GRPC, trailers: &[("grpc-status", "10")], ..Case::default() }.means(Some(NotApplied));
    Case { fields: GRPC, trailers: &[("grpc-status", "14")], ..Case::default() }.means(Some(Unknown));
    let only = &[("content-type", "application/grpc"), ("grpc-status", "16")];
    Case { fields: only, ..Case::default() }.means(Some(NotApplied));
    Case { status: 503, fields: only, ..Case::default() }.means(Some(NotApplied));
    Case { fields: only, trailers: &[("grpc-status", "16")], ..Case::default() }.means(Some(NotApplied));
}

/// A status in the head of an answer of another type is nobody's, even if the gRPC service sends the answer.
#[test]
fn the_content_type_says_what_is_grpc() {
    let status = ("grpc-status", "16");
    for fields in
        [&[("content-type", "application/json"), status][..], &[("content-type", "text/html"), status]]
    {
        Case { status: 201, fields, ..Case::default() }.means(None);
        Case { status: 503, asked: GRPC, fields, ..Case::default() }.means(None);
    }
    Case { status: 201, fields: &[status], ..Case::default() }.means(None);
    // Without a type the request's counts.
    Case { status: 503, asked: GRPC, fields: &[status], ..Case::default() }.means(Some(NotApplied));
    let asked = &[("content-type", "application/grpc-web")];
    Case { status: 503, asked, fields: &[("grpc-status", "14")], ..Case::default() }.means(Some(Unknown));
}

#[test]
fn of_two_statuses_neither_decides_alone() {
    let web = &[("content-type", "application/grpc-web"), ("grpc-status", "16")];
    let (message, fine) = (frame(0, b"m"), frame(0x80, b"grpc-status: 0\r\n"));
    let answer =
        |body: &[&[u8]], trailers| Case { fields: web, body: body.concat(), trailers, ..Case::default() };
    answer(&[&message, &fine], &[]).means(Some(Unknown));
    answer(&[&fine], &[]).means(Some(Unknown));
    answer(&[], &[("grpc-status", "0")]).means(Some(Unknown));
    answer(&[&frame(0x80, b"grpc-status: 16\r\n")], &[("grpc-status", "x")]).means(Some(Unknown));
    // With a body the head's status alone says nothing.
    answer(&[&message], &[]).means(Some(Unknown));
    answer(&[&frame(0x80, b"grpc-status: 16\r\n")], &[]).means(Some(NotApplied));
    let native = &[("content-type", "application/grpc"), ("grpc-status", "16")];
    Case { fields: native, trailers: &[("grpc-status", "5")], ..Case::default() }.means(Some(Unknown));
    let native = &[("content-type", "application/grpc"), ("grpc-status", "0")];
    Case { fields: native, body: message, ..Case::default() }.means(Some(Unknown));
}

/// Whoever has sent a message has done something.
#[test]
fn nothing_is_free_after_a_message() {
    for code in ["7", "10", "12", "16"] {
        let trailers = [("grpc-status", code)];
        Case { fields: GRPC, body: frame(0, b""), trailers: &trailers, ..Case::default() }
            .means(Some(Unknown));
        Case { fields: GRPC, trailers: &trailers, ..Case::default() }.means(Some(NotApplied));
        let last = frame(0x80, format!("grpc-status: {code}\r\n").as_bytes());
        let fields = &[("content-type", "application/grpc-web")];
        let body = [&frame(0, b"")[..], &last].concat();
        Case { fields, body: body.clone(), ..Case::default() }.means(Some(Unknown));
        let coded = &[("content-type", "application/grpc-web"), ("content-encoding", "gzip")];
        Case { fields: coded, body: gzip(&body), ..Case::default() }.means(Some(Unknown));
        Case { fields, body: last, ..Case::default() }.means(Some(NotApplied));
    }
    let fields = &[("content-type", "application/connect+json")];
    let end = frame(2, br#"{"error":{"code":"aborted"}}"#);
    Case { fields, body: [&frame(0, b"{}")[..], &end].concat(), ..Case::default() }.means(Some(Unknown));
    Case { fields, body: end, ..Case::default() }.means(Some(NotApplied));
}

#[test]
fn no_grpc_status_or_one_that_cannot_be_read_is_unknown() {
    Case { fields: GRPC, ..Case::default() }.means(Some(Unknown));
    for status in ["", "x", "-1", "+0", "256", "99"] {
        Case { fields: GRPC, trailers: &[("grpc-status", status)], ..Case::default() }.means(Some(Unknown));
        let lines = format!("grpc-status: {status}\r\n");
        let fields = &[("content-type", "application/grpc-web+proto")];
        Case { fields, body: frame(0x80, lines.as_bytes()), ..Case::default() }.means(Some(Unknown));
    }
    let two = &[("grpc-status", "0"), ("grpc-status", "14")];
    Case { fields: GRPC, trailers: two, ..Case::default() }.means(Some(Unknown));
    // A 200 that isn't gRPC, to a request in gRPC.
    let html = &[("content-type", "text/html")];
    Case { asked: GRPC, fields: html, ..Case::default() }.means(Some(Unknown));
    Case { asked: GRPC, status: 502, fields: html, ..Case::default() }.means(None);
}

#[test]
fn a_grpc_web_status_stands_in_a_frame_of_the_body() {
    let fields = &[("content-type", "application/grpc-web+proto"), ("grpc-encoding", "gzip")];
    let message = frame(0, b"\x08\x01 grpc-status: 0");
    let lines = b"Grpc-Status: 5\r\ngrpc-message: no\r\n";
    let whole = [&message[..], &frame(0x80, lines)].concat();
    Case { fields, body: whole.clone(), ..Case::default() }.means(Some(Completed));
    let packed = [&message[..], &frame(0x81, &gzip(lines))].concat();
    Case { fields, body: packed, ..Case::default() }.means(Some(Completed));
    let fine = [&message[..], &message, &frame(0x80, b"grpc-status:0\r\n")].concat();
    Case { fields, body: fine.clone(), ..Case::default() }.means(Some(Completed));
    // No frame with a status, half of such a frame, something behind such a frame.
    Case { fields, body: message.clone(), ..Case::default() }.means(Some(Unknown));
    Case { fields, body: whole[..whole.len() - 1].to_vec(), ..Case::default() }.means(Some(Unknown));
    Case { fields, body: [&fine[..], b"\0"].concat(), ..Case::default() }.means(Some(Unknown));
    // An answer of trailers only.
    let only = &[("content-type", "application/grpc-web"), ("grpc-status", "12")];
    Case { fields: only, ..Case::default() }.means(Some(NotApplied));
    // An answer under a content coding.
    let coded = &[("content-type", "application/grpc-web"), ("content-encoding", "gzip")];
    Case { fields: coded, body: gzip(&fine), ..Case::default() }.means(Some(Completed));
    Case { fields: coded, body: fine, ..Case::default() }.means(Some(Unknown));
}

#[test]
fn grpc_web_text_is_base64_piece_by_piece() {
    let fields = &[("content-type", "application/grpc-web-text+proto")];
    let (message, last) = (frame(0, b"abcde"), frame(0x80, b"grpc-status: 3\r\n"));
    let joined = STANDARD.encode([&message[..], &last].concat());
    let padded = STANDARD.encode(&message) + &STANDARD.encode(&last);
    assert!(padded[..padded.len() - 2].contains('='), "{padded}");
    for body in [joined, padded] {
        Case { fields, body: body.clone().into_bytes(), ..Case::default() }.means(Some(Completed));
        Case { fields, body: body.as_bytes()[..body.len() - 2].to_vec(), ..Case::default() }
            .means(Some(Unknown));
    }
    Case { fields, body: b"!!!!".to_vec(), ..Case::default() }.means(Some(Unknown));
}

const UNARY: &[(&str, &str)] = &[("content-type", "application/json"), ("connect-protocol-version", "1")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[test]
fn a_connect_call_fails_with_a_code_in_json() {
    let answer = |status, body: &str| Case {
        asked: UNARY,
        status,
        fields: JSON,
        body: body.as_bytes().to_vec(),
        ..Case::default()
    };
    answer(200, "{}").means(Some(Completed));
    answer(409, r#"{"code":"aborted","message":"again"}"#).means(Some(NotApplied));
    answer(503, r#"{"code":"unavailable"}"#).means(Some(Unknown));
    answer(404, r#"{"code":"not_found"}"#).means(Some(Completed));
    answer(500, r#"{"code":"made_up"}"#).means(Some(Unknown));
    // The service did not give this answer, so its HTTP status counts.
    answer(503, "upstream connect error").means(None);
    answer(503, r#"{"message":"busy"}"#).means(None);
    Case { asked: UNARY, status: 502, fields: &[("content-type", "text/html")], ..Case::default() }
        .means(None);
    // The request is not in Connect: any JSON API may say `code`.
    Case { status: 503, fields: JSON, body: br#"{"code":"aborted"}"#.to_vec(), ..Case::default() }
        .means(None);
    // Connect's errors have the status of their code, and none has a status below 400.
    for (status, code) in [(500, "aborted"), (200, "aborted"), (201, "aborted"), (302, "unauthenticated")] {
        let expected = (status == 200).then_some(Completed);
        answer(status, &format!(r#"{{"code":"{code}"}}"#)).means(expected);
    }
    // No request of Connect is a form.
    let form = &[("content-type", "application/x-www-form-urlencoded"), ("connect-protocol-version", "1")];
    Case {
        asked: form,
        status: 409,
        fields: JSON,
        body: br#"{"code":"aborted"}"#.to_vec(),
        ..Case::default()
    }
    .means(None);
    let coded = &[("content-type", "application/json"), ("content-encoding", "gzip")];
    let body = gzip(br#"{"code":"unimplemented"}"#);
    Case { asked: UNARY, status: 501, fields: coded, body, ..Case::default() }.means(Some(NotApplied));
}

#[test]
fn a_status_in_another_protocols_answer_frees_nothing() {
    let asked = &[("content-type", "application/grpc")];
    for (status, fields) in [
        (200, &[("content-type", "application/json"), ("grpc-status", "16")]),
        (200, &[("content-type", "text/html"), ("grpc-status", "16")]),
        (201, &[("content-type", "application/grpc"), ("grpc-status", "16")]),
    ] {
        Case { asked, status, fields, ..Case::default() }.means(Some(Unknown));
    }
    let own = &[("content-type", "application/grpc"), ("grpc-status", "16")];
    Case { asked, fields: own, ..Case::default() }.means(Some(NotApplied));
}

#[test]
fn a_connect_stream_ends_with_an_envelope() {
    let fields = &[("content-type", "application/connect+json"), ("connect-content-encoding", "gzip")];
    let message = frame(0, br#"{"n":1}"#);
    let ending = |flags, end: &[u8]| [&message[..], &frame(flags, end)].concat();
    let answer = |body| Case { fields, body, ..Case::default() };
    answer(ending(2, b"{}")).means(Some(Completed));
    answer(ending(2, br#"{"metadata":{},"error":{"code":"not_found"}}"#)).means(Some(Completed));
    answer(ending(3, &gzip(br#"{"error":{"code":"internal"}}"#))).means(Some(Unknown));
    answer(ending(2, b"no JSON")).means(Some(Unknown));
    answer(message.clone()).means(Some(Unknown));
    answer(Vec::new()).means(Some(Unknown));
}
