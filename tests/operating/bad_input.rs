//! Requests that are wrong: each is refused in words, and nothing is left behind.

use crate::support::client::send_raw;
use crate::support::*;

fn guarded() -> (Upstream, Gateway) {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    (upstream, gateway)
}

#[test]
pub(crate) fn malformed_keys_are_refused() {
    let (upstream, gateway) = guarded();
    let long = format!("\"{}\"", "k".repeat(256));
    let fine = format!("\"{}\"", "k".repeat(255));
    for key in ["", "\"\"", "   ", "\"a\", \"b\"", "(\"a\" \"b\")", "\"open", "\"a\"b", "\"tab\tbed\"", &long]
    {
        let reply = gateway.send(&Request::post("/charges").field("Idempotency-Key", key));
        let problem = reply.assert_problem(400, "key-malformed");
        assert_eq!(problem["retryable"], false, "{key:?}: {problem}");
    }
    let twice = Request::keyed("/charges", "a").key("a");
    gateway.send(&twice).assert_problem(400, "key-malformed");
    assert_eq!(upstream.count(), 0);
    gateway.send(&Request::post("/charges").field("Idempotency-Key", fine)).assert_executed(201);
}

#[test]
fn a_bare_key_is_refused_where_the_policy_is_strict() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).policy("settings = { strict = true }").start();
    let bare = Request::post("/charges").field("Idempotency-Key", "k");
    gateway.send(&bare).assert_problem(400, "key-malformed");
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    assert_eq!(upstream.count(), 1);
}

#[test]
pub(crate) fn a_missing_key_is_refused_where_one_is_required() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).policy("settings = { required = true }").start();
    let problem = gateway.send(&Request::post("/charges")).assert_problem(400, "key-missing");
    assert!(problem["detail"].as_str().unwrap().contains("idempotency-key"), "{problem}");
    assert_eq!(gateway.send(&Request::get("/charges")).status, 201, "reading needs none");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_key_that_is_not_utf_8_is_refused_before_the_policy_sees_it() {
    let (upstream, gateway) = guarded();
    let request = Request::post("/charges").field("Idempotency-Key", b"\"k\xff\"");
    gateway.send(&request).assert_problem(400, "bad-request");
    assert_eq!(upstream.count(), 0);
}

#[test]
pub(crate) fn an_oversize_body_is_refused_and_leaves_nothing_behind() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).limits("body_bytes = \"1KiB\"").start();
    let big = vec![b'x'; 1025];
    for request in [
        Request::keyed("/charges", "k").body(&big),
        Request::keyed("/charges", "k").chunked(&[&big[..1000], &big[1000..]]),
    ] {
        gateway.send(&request).assert_problem(413, "body-too-large");
    }
    assert_eq!(upstream.count(), 0);
    gateway.send(&Request::keyed("/charges", "k").body(&big[..1024])).assert_executed(201);
    let reply = gateway.send(&Request::post("/unguarded").body(vec![b'x'; 1 << 20]));
    assert_eq!(reply.status, 201, "what isn't guarded streams");
    assert_eq!(upstream.count(), 2);
}

#[test]
pub(crate) fn a_cut_upload_leaves_nothing_behind() {
    let (upstream, gateway) = guarded();
    let head = format!("POST /charges HTTP/1.1\r\nHost: {HOST}\r\nIdempotency-Key: \"k\"\r\n");
    for start in
        ["Content-Length: 100\r\n\r\n{\"amou", "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"amo\r\n9\r\nunt"]
    {
        let mut connection = gateway.connect();
        connection.0.write(format!("{head}{start}").as_bytes()).unwrap();
        connection.0.stream.shutdown(std::net::Shutdown::Both).unwrap();
    }
    // One that can still read is told that it may send it again.
    let mut connection = gateway.connect();
    connection.0.write(format!("{head}Content-Length: 100\r\n\r\n{{").as_bytes()).unwrap();
    connection.0.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let problem = connection.reply("POST").unwrap().assert_problem(400, "bad-request");
    assert_eq!(problem["retryable"], true, "{problem}");
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    assert_eq!(upstream.count(), 1);
    assert_eq!(upstream.calls()[0].body, b"{\"amount\":1000}");
}

#[test]
fn a_head_over_its_limit_is_refused_in_words() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).limits("header_bytes = \"2KiB\"").start();
    let with = |bytes| Request::keyed("/charges", "k").field("X-Big", "x".repeat(bytes));
    let problem = gateway.send(&with(2048)).assert_problem(431, "bad-request");
    assert!(problem["detail"].as_str().unwrap().contains("header_bytes"), "{problem}");
    gateway.send(&with(1800)).assert_executed(201);
    assert_eq!(upstream.count(), 1);
}

/// Many clients send the body after the head. They would lose the connection, or even the answer, over a
/// refusal that came first.
#[test]
fn a_refusal_leaves_no_unread_body_on_its_connection() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).policy("settings = { required = true }").start();
    let head = |length| format!("POST /charges HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n");
    let mut connection = gateway.connect();
    for length in [10, 300_000] {
        connection.0.write(head(length).as_bytes()).unwrap();
        let refused = connection.reply("POST").unwrap();
        refused.assert_problem(400, "key-missing");
        assert_eq!(refused.field("connection"), None, "{length}");
        connection.0.write(&vec![b'x'; length]).unwrap();
        let key = length.to_string();
        connection.send(&Request::keyed("/charges", &key)).unwrap().assert_executed(201);
    }
    // One that may be long is not read for the connection's sake, and its client is told so.
    connection.0.write(head(100 << 20).as_bytes()).unwrap();
    let refused = connection.reply("POST").unwrap();
    refused.assert_problem(400, "key-missing");
    assert_eq!(refused.field("connection"), Some("close"));
    assert_eq!(upstream.count(), 2);
}

#[test]
pub(crate) fn fields_that_decide_cannot_be_switched_off_by_connection() {
    let (upstream, gateway) = guarded();
    for name in [
        &b"idempotency-key"[..],
        b"close, Idempotency-Key",
        b"authorization",
        b"x-api-key",
        b"idempotency-key, \xe9",
        b"\xc3\xa9,Authorization",
        b"\xff\t, content-type",
    ] {
        let request = Request::keyed("/charges", "k")
            .field("Authorization", "Bearer a")
            .field("X-API-Key", "b")
            .field("Connection", name);
        gateway.send(&request).assert_problem(400, "bad-request");
    }
    assert_eq!(upstream.count(), 0);
}

/// CGI, WSGI and PHP read `_` as `-`: a field that decides would be there for the service alone.
#[test]
fn a_twin_of_a_field_that_decides_is_refused() {
    let upstream = Upstream::numbering();
    let webhook = "[policies.hooks]\ncomponent = \"builtin:webhook\"\n[[routes]]\nname = \"hooks\"\npath = \"/hooks\"\n\
                   upstream = \"origin\"\npolicy = \"hooks\"";
    let gateway = Setup::new(&upstream.url()).extra(webhook).start();
    for (path, names) in [
        ("/charges", &["Idempotency_Key", "Content_Type", "content_encoding"][..]),
        ("/hooks", &["Stripe_Signature", "webhook_id", "webhook_signature", "ce_id", "X-GitHub_Delivery"]),
        ("/hooks", &["x_shopify-webhook_id", "X_Hub_Signature_256"]),
    ] {
        for name in names {
            let twin = Request::post(path).field(name, "1");
            let keyed = twin.clone().key("k").field("Webhook-Id", "1");
            for request in [twin, keyed] {
                let problem = gateway.send(&request).assert_problem(400, "bad-request");
                assert!(problem["detail"].as_str().unwrap().contains("Many services"), "{problem}");
            }
        }
    }
    assert_eq!(upstream.count(), 0);
    // What nobody judges by is the service's own affair.
    gateway.send(&Request::keyed("/charges", "k").field("X_Other", "1")).assert_executed(201);
    assert_eq!(gateway.send(&Request::get("/charges").field("Idempotency_Key", "1")).status, 201);
}

#[test]
pub(crate) fn ambiguous_framing_is_refused() {
    let (upstream, gateway) = guarded();
    let head = format!("POST /charges HTTP/1.1\r\nHost: {HOST}\r\nIdempotency-Key: \"k\"\r\n");
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "Content-Length: 5, 6\r\n\r\nabcdef",
        "Content-Length: +5\r\n\r\nabcde",
        "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Content-Length : 5\r\n\r\nabcde",
        "X-A: 1\r\n folded: 2\r\nContent-Length: 5\r\n\r\nabcde",
    ] {
        // A refusal, or the end of the connection without a word.
        if let Ok(reply) = send_raw(gateway.address, format!("{head}{framing}").as_bytes()) {
            assert!(matches!(reply.status, 400 | 501), "{framing:?}: {reply:?}");
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn broken_requests_are_refused_and_the_gateway_goes_on() {
    let (upstream, gateway) = guarded();
    let huge = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Big: {}\r\n\r\n", "x".repeat(200 << 10));
    for bytes in [
        "nonsense\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST http://[::bad/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\r\n\r\n",
        &huge,
    ] {
        if let Ok(reply) = send_raw(gateway.address, bytes.as_bytes()) {
            assert!((400..=505).contains(&reply.status), "{:.60?}: {reply:?}", bytes);
        }
    }
    assert_eq!(upstream.count(), 0);
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
}

#[test]
pub(crate) fn connect_is_refused() {
    let (upstream, gateway) = guarded();
    let reply =
        send_raw(gateway.address, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");
    assert_eq!(reply.unwrap().status, 405);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn what_no_route_takes_is_told_so() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).path("/v1/charges").start();
    for path in ["/", "/v1", "/v1/chargesx", "/v2/charges"] {
        gateway.send(&Request::keyed(path, "k")).assert_problem(404, "no-route");
    }
    gateway.send(&Request::keyed("/v1/charges", "k")).assert_executed(201);
    gateway.send(&Request::keyed("/v1/charges/7", "k")).assert_executed(201);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn an_unfinished_head_is_not_waited_for_for_ever() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).limits("header_timeout = \"300ms\"").start();
    let mut connection = gateway.connect();
    connection.0.write(b"POST /charges HTTP/1.1\r\nHost: a\r\n").unwrap();
    // A 408 or nothing; what counts is that the connection ends.
    if let Ok(reply) = connection.reply("POST") {
        assert_eq!(reply.status, 408, "{reply:?}");
    }
}
