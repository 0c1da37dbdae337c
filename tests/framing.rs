//! Bodies of every framing, through and back from the record; what waits for the record and what
//! does not.

use crate::support::*;

#[test]
fn answers_without_a_body_replay_without_one() {
    let upstream = Upstream::start(|call| {
        let status = call.target.trim_start_matches('/').parse().unwrap();
        Script::answer(status, "").field("ETag", "\"v1\"")
    });
    let gateway = Setup::new(&upstream.url()).start();
    for status in [200, 201, 204, 303, 304, 404] {
        let request = Request::keyed(&format!("/{status}"), "k");
        let first = gateway.send(&request);
        first.assert_executed(status);
        let again = gateway.send(&request);
        again.assert_replay_of(&first);
        assert_eq!((again.body.len(), again.field("etag")), (0, Some("\"v1\"")), "{status}");
    }
    assert_eq!(upstream.count(), 6);
}

#[test]
fn bodies_of_any_bytes_and_framing_replay_byte_for_byte() {
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let held = body.clone();
    let upstream = Upstream::start(move |call| {
        let script = Script::answer(200, &held).field("X-N", &call.number.to_string());
        if call.target == "/chunked" { script.chunked() } else { script }
    });
    let gateway = Setup::new(&upstream.url()).start();
    for target in ["/length", "/chunked"] {
        let first = gateway.send(&Request::keyed(target, "k"));
        first.assert_executed(200);
        assert!(first.body == body, "{target}");
        let again = gateway.send(&Request::keyed(target, "k"));
        again.assert_replay_of(&first);
        assert_eq!(again.field("x-n"), first.field("x-n"));
    }
    assert_eq!(upstream.count(), 2);
}

#[test]
fn trailers_are_kept() {
    let upstream = Upstream::start(|_| Script::answer(200, "abc").trailer("X-Checksum", "900150983cd24fb0"));
    let gateway = Setup::new(&upstream.url()).start();
    let request = Request::keyed("/charges", "k").field("TE", "trailers");
    let first = gateway.send(&request);
    first.assert_executed(200);
    assert_eq!(first.trailers, [("x-checksum".to_owned(), "900150983cd24fb0".to_owned())]);
    let again = gateway.send(&request);
    again.assert_replay_of(&first);
    assert_eq!(again.trailers, first.trailers);
}

#[test]
fn request_bodies_arrive_as_sent_whatever_their_framing() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k").chunked(&[b"{\"am", b"ount\":1", b"}"]));
    first.assert_executed(201);
    // The framing belongs to the hop; the payload is the same.
    gateway.send(&Request::keyed("/charges", "k").body("{\"amount\":1}")).assert_replay_of(&first);
    assert_eq!(upstream.calls()[0].body, b"{\"amount\":1}");
    let big = vec![b'x'; 3 << 20];
    gateway.send(&Request::keyed("/charges", "big").body(&big)).assert_executed(201);
    assert!(upstream.calls()[1].body == big);
}

#[test]
fn an_expectation_is_met_before_the_body_is_sent() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let mut connection = gateway.connect();
    let head = format!(
        "POST /charges HTTP/1.1\r\nHost: {HOST}\r\nIdempotency-Key: \"k\"\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    );
    connection.0.write(head.as_bytes()).unwrap();
    connection.0.await_bytes(b"HTTP/1.1 100 ").unwrap();
    connection.0.write(b"abc").unwrap();
    connection.reply("POST").unwrap().assert_executed(201);
    assert_eq!(upstream.calls()[0].body, b"abc");
}

#[test]
fn chunked_answers_pass_at_once_and_only_their_end_waits() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Script::answer(200, "first,second").chunked().pause_at(6, &held));
    let gateway = Setup::new(&upstream.url()).start();
    for request in [Request::keyed("/charges", "k"), Request::get("/stream")] {
        let mut connection = gateway.connect();
        connection.0.write(&request.bytes()).unwrap();
        connection.0.await_bytes(b"first,").unwrap();
        gate.open();
        let reply = connection.reply("POST").unwrap();
        assert_eq!((reply.text().as_str(), reply.whole), ("first,second", true));
    }
}

#[test]
fn a_length_delimited_answer_streams_before_it_is_whole() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Script::answer(200, "first,second").pause_at(6, &held));
    let gateway = Setup::new(&upstream.url()).start();
    let mut connection = gateway.connect();
    connection.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
    connection.0.await_bytes(b"HTTP/1.1 200 ").unwrap();
    gate.open();
    let reply = connection.reply("POST").unwrap();
    assert_eq!((reply.text().as_str(), reply.whole), ("first,second", true));
    assert_eq!(reply.field("content-length"), Some("12"));
}

#[test]
fn an_http_1_0_client_gets_the_answer_whole_with_its_length() {
    let upstream = Upstream::start(|_| Script::answer(200, "abcdef").chunked().pause_at(3, &opened()));
    let gateway = Setup::new(&upstream.url()).start();
    for _ in 0..2 {
        let reply = gateway.send(&Request::keyed("/charges", "k").http_1_0());
        assert_eq!((reply.text().as_str(), reply.whole), ("abcdef", true));
        assert_eq!((reply.field("content-length"), reply.field("transfer-encoding")), (Some("6"), None));
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_client_may_pipeline() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let mut connection = gateway.connect();
    let both = [Request::keyed("/charges", "a").bytes(), Request::keyed("/charges", "b").bytes()].concat();
    connection.0.write(&both).unwrap();
    connection.reply("POST").unwrap().assert_executed(201);
    connection.reply("POST").unwrap().assert_executed(201);
    assert_eq!(upstream.count(), 2);
}

fn opened() -> Gate {
    let gate = Gate::new();
    gate.open();
    gate
}
