#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::interface::Found;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::time::Duration;

const LIMIT: usize = 10 << 20;

fn shown(content_type: &'static str, coding: Option<&'static str>, bytes: impl Into<Bytes>) -> ShownBody {
    let mut fields = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    fields.extend(coding.map(|coding| (CONTENT_ENCODING, HeaderValue::from_static(coding))));
    ShownBody::new(&fields, bytes.into(), LIMIT)
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn json(bytes: impl Into<Bytes>) -> ShownBody {
    shown("application/json", None, bytes)
}

/// The payload of a policy that wants the document's member `k`, or why there is no document.
fn member(body: &ShownBody, until: Until) -> Result<Result<Found, String>, Late> {
    Ok(match body.payload(&PayloadWant::Pointers(vec!["/k".into()]), until)? {
        Payload::Selected(mut found) => Ok(found.remove(0)),
        Payload::Malformed(why) => Err(why),
        other => Err(format!("{other:?}")),
    })
}

fn ones(count: usize) -> Vec<u8> {
    format!("[{}1]", "1,".repeat(count - 1)).into_bytes()
}

fn parts(count: usize) -> ShownBody {
    let part = "--b\r\ncontent-disposition: form-data; name=k\r\n\r\n1\r\n";
    shown("multipart/form-data; boundary=b", None, part.repeat(count) + "--b--")
}

fn form(pairs: usize) -> ShownBody {
    shown("application/x-www-form-urlencoded", None, "k=1&".repeat(pairs))
}

/// Without its type a form was read as JSON, which it is not.
#[test]
fn a_parameter_of_any_bytes_hides_no_type() {
    for parameter in [&b""[..], b"; charset=\xe9", b"; x=caf\xc3\xa9", b";\xff"] {
        let content_type = [b"application/x-www-form-urlencoded", parameter].concat();
        let content_type = HeaderValue::from_bytes(&content_type).unwrap();
        let fields = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
        let body = ShownBody::new(&fields, Bytes::from_static(b"k=1"), LIMIT);
        assert_eq!(member(&body, Until::THE_END), Ok(Ok(Found::Text("1".into()))), "{fields:?}");
    }
}

#[test]
fn a_document_has_so_many_values_and_no_more() {
    let object = |names: usize| {
        let members: Vec<String> = (0..names).map(|name| format!("\"{name}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    let nested = |count: usize| format!("[{}1]", "[],".repeat(count - 1));
    for (what, most, body) in [
        ("1,1,…", "more than 1000000 names and values", json(ones(1_000_000))),
        (
            "the same, compressed",
            "names and values",
            shown("application/json", Some("gzip"), gzip(&ones(4_900_000))),
        ),
        ("members", "names and values", json(object(500_000))),
        ("arrays", "names and values", json(nested(1_000_000))),
        ("a=1&…", "a form of more than 10000 fields", form(10_001)),
        ("2.6 million of them", "a form of more than 10000 fields", form(2_600_000)),
        ("parts", "multipart/form-data of more than 10000 parts", parts(10_001)),
    ] {
        let why = member(&body, Until::THE_END).unwrap().expect_err(what);
        assert!(why.contains(most), "{what}: {why}");
        assert_eq!(body.forms(vec![Shape::default()], Until::THE_END), Ok(None), "{what}");
    }
    for (what, body) in [
        ("1,1,…", json(ones(999_999))),
        ("members", json(object(499_999))),
        ("a=1&…", form(10_000)),
        ("parts", parts(10_000)),
    ] {
        assert!(member(&body, Until::THE_END).unwrap().is_ok(), "{what}");
    }
}

#[test]
fn what_is_large_with_or_without_its_codings_is_not_read_on_a_worker() {
    let text = |bytes: usize| format!("{{\"k\":\"{}\"}}", "a".repeat(bytes - 8));
    let gzipped = |plain: String| shown("application/json", Some("gzip"), gzip(plain.as_bytes()));
    let twice = gzip(&gzip(text(SMALL + 1).as_bytes()));
    for (small, body) in [
        (true, json(text(SMALL))),
        (false, json(text(SMALL + 1))),
        (true, gzipped(text(SMALL))),
        (false, gzipped(text(SMALL + 1))),
        (false, shown("application/json", Some("gzip, gzip"), twice)),
        // Nothing is left of it.
        (false, shown("application/json", Some("gzip"), gzip(b"").repeat(SMALL / 20 + 1))),
        (true, shown("application/json", Some("x-unknown"), text(SMALL))),
        (true, json("")),
    ] {
        assert_eq!(body.is_small(), small, "{} bytes", body.bytes.len());
        let before = member(&body, Until::THE_END);
        assert_eq!(body.is_small(), small, "once it is read, too");
        assert_eq!(member(&body, Until::THE_END), before);
    }
    // What a policy may not see is small: nothing of it is read.
    let fields = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    let body = ShownBody::new(&fields, gzip(text(2000).as_bytes()).into(), 1000);
    assert!(body.is_small());
    assert_eq!(member(&body, Until::THE_END), Ok(Err("Oversize".into())));
}

#[test]
fn a_body_is_given_up_when_the_time_is_up() {
    let at_once = || Until::spent(Duration::ZERO);
    for body in [json(ones(100)), form(100), parts(100), shown("a/b", Some("gzip"), gzip(b"{\"k\":1}"))] {
        assert_eq!(member(&body, at_once()), Err(Late));
        assert_eq!(body.forms(vec![Shape::default()], at_once()), Err(Late));
        // Another has more time.
        assert!(member(&body, Until::THE_END).unwrap().is_ok());
        assert_eq!(member(&body, at_once()), Err(Late), "each pointer takes time, too");
        assert_eq!(body.forms(vec![Shape::default()], Until::THE_END).unwrap().unwrap().len(), 1);
    }
}

/// Many may wait for a policy thread at once, and what is read of a body can be a thousand times as large.
#[test]
fn nothing_is_kept_of_a_large_body() {
    let zeros = "0,".repeat(SMALL);
    let large = format!("{{\"k\":1,\"x\":[{zeros}0]}}");
    for (is_kept, body) in [
        (true, json("{\"k\":1}")),
        (true, shown("application/json", Some("gzip"), gzip(b"{\"k\":1}"))),
        (false, json(large.clone())),
        (false, shown("application/json", Some("gzip"), gzip(large.as_bytes()))),
    ] {
        for _ in 0..2 {
            assert_eq!(member(&body, Until::THE_END), Ok(Ok(Found::Json("1".into()))));
            let made = body.forms(vec![Shape::default()], Until::THE_END).unwrap().unwrap().remove(0);
            assert_eq!(body.form(&made.shape), Some((made.format, made.canonical)));
            assert_eq!(body.document.get().is_some(), is_kept);
        }
    }
}
