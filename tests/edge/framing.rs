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

/// Some services want the length of every POST, and answer 411 without it.
#[test]
fn an_empty_body_keeps_its_length() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    gateway.send(&Request::new("POST", "/charges").key("a").body("")).assert_executed(201);
    gateway.send(&Request::new("POST", "/charges").key("b").chunked(&[])).assert_executed(201);
    gateway.send(&Request::new("DELETE", "/charges").key("c")).assert_executed(201);
    let calls = upstream.calls();
    let lengths: Vec<_> = calls.iter().map(|call| call.field("content-length")).collect();
    assert_eq!(lengths, [Some("0"), Some("0"), None]);
}

/// The key is made of the target's authority; the service must not act on another (RFC 9112 §3.2.2).
#[test]
fn a_targets_own_authority_goes_upstream_as_the_host() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    for (target, key) in [("http://b.example/charges", "k"), ("http://b.example/plain", "")] {
        let request = Request::new("POST", target).field("Host", "A.example:80");
        let request = if key.is_empty() { request } else { request.key(key) };
        assert_eq!(gateway.send(&request).status, 201);
    }
    gateway
        .send(&Request::new("POST", "/charges").field("Host", "A.example:80").key("k"))
        .assert_executed(201);
    let calls = upstream.calls();
    let hosts: Vec<_> = calls.iter().filter_map(|call| call.field("host")).collect();
    assert_eq!(hosts, ["b.example", "b.example", "a.example"]);
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

/// hyper's server sends announced trailers only. What is whole is announced before it is sent.
#[test]
fn trailers_that_nobody_announced_are_kept_and_announced() {
    let upstream = Upstream::start(|_| {
        // All at once, so that it is whole before it is sent on.
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-B\r\n\r\n\
                      3\r\nabc\r\n0\r\nX-A: 1\r\nX-A: 2\r\nX-B: 3\r\n\r\n";
        Script::raw(vec![Step::Write(answer.as_bytes().to_vec())])
    });
    let gateway = Setup::new(&upstream.url()).start();
    let request = Request::keyed("/charges", "k").field("TE", "trailers");
    let first = gateway.send(&request);
    first.assert_executed(200);
    let again = gateway.send(&request);
    again.assert_replay_of(&first);
    for reply in [first, again] {
        let trailers: Vec<_> = reply.trailers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(trailers, [("x-a", "1"), ("x-a", "2"), ("x-b", "3")], "{reply:?}");
    }
    let plain = gateway.send(&Request::keyed("/charges", "k"));
    assert_eq!((plain.text().as_str(), plain.trailers.len()), ("abc", 0), "who doesn't say TE gets none");
}

/// Of a streamed answer the head is gone before its trailers are known: the record has them, and so
/// has each replay; the first caller gets those that are announced, and gRPC's.
#[test]
fn trailers_of_a_streamed_answer_are_kept() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Script::answer(200, "first,second")
            .field("Content-Type", "application/grpc")
            .unannounced_trailer("Grpc-Status", "0")
            .unannounced_trailer("X-Late", "1")
            .pause_at(6, &held)
    });
    let gateway = Setup::new(&upstream.url()).start();
    let mut first = gateway.connect();
    let request = Request::keyed("/charges", "k").field("TE", "trailers");
    first.0.write(&request.bytes()).unwrap();
    first.0.await_bytes(b"first,").unwrap();
    gate.open();
    let first = first.reply("POST").unwrap();
    first.assert_executed(200);
    assert_eq!(first.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
    let again = gateway.send(&request);
    again.assert_replay_of(&first);
    let names: Vec<_> = again.trailers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["grpc-status", "x-late"]);
}

#[test]
fn a_body_that_ends_with_the_connection_replays_with_its_length() {
    let upstream = Upstream::start(|call| {
        let body = if call.target == "/empty" { "" } else { "abcdef" };
        Script::answer(200, body).until_closed()
    });
    let gateway = Setup::new(&upstream.url()).start();
    for (target, length) in [("/some", "6"), ("/empty", "0")] {
        let first = gateway.send(&Request::keyed(target, "k"));
        first.assert_executed(200);
        let again = gateway.send(&Request::keyed(target, "k"));
        again.assert_replay_of(&first);
        assert_eq!(again.field("content-length"), Some(length));
    }
}

#[test]
fn coded_bodies_replay_as_they_came() {
    let coded: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03KLJNIM\x03\x00\xef\x39\x8e\x4b\x06\x00\x00\x00";
    let upstream = Upstream::start(move |call| {
        let script =
            Script::answer(200, coded).field("Content-Encoding", "gzip").field("Vary", "Accept-Encoding");
        if call.target == "/chunked" { script.chunked() } else { script }
    });
    let gateway = Setup::new(&upstream.url()).start();
    for target in ["/length", "/chunked"] {
        let first = gateway.send(&Request::keyed(target, "k"));
        first.assert_executed(200);
        let again = gateway.send(&Request::keyed(target, "k").field("Accept-Encoding", "identity"));
        again.assert_replay_of(&first);
        assert_eq!(
            (again.body.as_slice(), again.field("content-encoding")),
            (coded, Some("gzip")),
            "{target}"
        );
    }
}

/// RFC 9110: they ask for a part, or set a condition, of what the first request already did.
#[test]
fn ranges_and_conditions_are_ignored_on_replay() {
    let upstream = Upstream::start(|call| {
        Script::numbered(call).field("ETag", "\"v1\"").field("Accept-Ranges", "bytes")
    });
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    for (name, value) in [
        ("Range", "bytes=0-3"),
        ("If-Match", "\"v2\""),
        ("If-None-Match", "\"v1\""),
        ("If-None-Match", "*"),
        ("If-Modified-Since", "Tue, 24 Nov 2026 09:00:00 GMT"),
        ("If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT"),
    ] {
        let again = gateway.send(&Request::keyed("/charges", "k").field(name, value));
        again.assert_replay_of(&first);
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn every_event_of_a_stream_passes_at_once_and_a_duplicate_replays_all() {
    const EVENTS: usize = 5;
    let gates: Vec<Gate> = (0..EVENTS).map(|_| Gate::new()).collect();
    let held = gates.clone();
    let event = |n: usize| format!("id: {n}\ndata: {{\"n\":{n}}}\n\n");
    let upstream = Upstream::start(move |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut steps = vec![Step::Write(head.as_bytes().to_vec())];
        for (n, gate) in held.iter().enumerate() {
            steps.push(Step::Pass(gate.clone()));
            steps.push(Step::Write(format!("{:x}\r\n{}\r\n", event(n).len(), event(n)).into_bytes()));
        }
        steps.push(Step::Write(b"0\r\n\r\n".to_vec()));
        Script::raw(steps)
    });
    let gateway = Setup::new(&upstream.url()).ledger("wait = \"60s\"").start();
    let mut first = gateway.connect();
    first.0.write(&Request::keyed("/v1/messages", "k").bytes()).unwrap();
    first.0.await_bytes(b"text/event-stream").unwrap();
    let mut duplicate = gateway.connect();
    duplicate.0.write(&Request::keyed("/v1/messages", "k").bytes()).unwrap();
    for (n, gate) in gates.iter().enumerate() {
        gate.open();
        first.0.await_bytes(event(n).as_bytes()).unwrap();
    }
    let first = first.reply("POST").unwrap();
    first.assert_executed(200);
    assert_eq!(first.text(), (0..EVENTS).map(event).collect::<String>());
    let duplicate = duplicate.reply("POST").unwrap();
    duplicate.assert_replay_of(&first);
    assert_eq!(duplicate.field("content-type"), Some("text/event-stream"));
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_large_answer_passes_before_it_has_ended_and_is_consumed_with_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let body = [&[b'x'; 100_000][..], b"here", &[b'x'; 2 << 20]].concat();
    let sent = body.clone();
    let upstream = Upstream::start(move |call| {
        let script = Script::answer(201, &sent)
            .field("Location", "/big")
            .field("ETag", "\"v1\"")
            .pause_at(1 << 20, &held);
        if call.target == "/chunked" { script.chunked() } else { script }
    });
    let gateway = Setup::new(&upstream.url()).route("while_running = \"reject\"").start();
    for target in ["/length", "/chunked"] {
        let mut first = gateway.connect();
        first.0.write(&Request::keyed(target, "k").bytes()).unwrap();
        first.0.await_bytes(b"here").unwrap();
        if target == "/length" {
            gateway.send(&Request::keyed(target, "k")).assert_problem(409, "in-flight");
            gate.open();
        }
        let first = first.reply("POST").unwrap();
        first.assert_executed(201);
        assert!(first.body == body, "{target}");
        let problem = gateway.send(&Request::keyed(target, "k")).assert_problem(409, "consumed");
        assert_eq!(
            problem["first"],
            serde_json::json!({"status": 201, "location": "/big", "etag": "\"v1\""})
        );
    }
}

/// What is not kept may not pile up, and a client that takes nothing may not hold up the outcome.
#[test]
fn a_client_that_takes_nothing_of_a_large_answer_is_cut_off_and_the_outcome_recorded() {
    // More than the kernel holds for it.
    let upstream = Upstream::start(|_| Script::answer(200, vec![b'x'; 96 << 20]));
    let gateway = Setup::new(&upstream.url()).origin("body_idle_timeout = \"300ms\"").start();
    let mut idle = gateway.connect();
    idle.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
    upstream.await_count(1);
    let settled = eventually("the outcome is recorded", || {
        let reply = gateway.send(&Request::keyed("/charges", "k"));
        (reply.field("oncegate-problem") != Some("in-flight")).then_some(reply)
    });
    settled.assert_problem(409, "consumed");
    let late = idle.reply("POST").unwrap();
    assert!(!late.whole, "it must not look whole: {} bytes", late.body.len());
    assert_eq!(upstream.count(), 1);
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

/// To such a client the end of the connection is the end of the answer: it must never get a part of
/// one that has no length.
#[test]
fn an_http_1_0_client_never_takes_a_part_for_the_whole() {
    let upstream = Upstream::start(|call| {
        let script = Script::answer(200, "x".repeat(5000));
        match call.target.as_str() {
            "/cut-length" => script.cut_at(3000),
            "/cut-chunked" => script.chunked().cut_at(3000),
            "/trailers" => script.trailer("X-Checksum", "1"),
            "/chunked" => script.chunked(),
            _ => script,
        }
    });
    let gateway = Setup::new(&upstream.url()).ledger("body_kept = \"4KiB\"").start();
    for target in ["/trailers", "/chunked", "/length"] {
        let first = gateway.send(&Request::keyed(target, "k").http_1_0());
        first.assert_executed(200);
        assert_eq!((first.body.len(), first.field("content-length")), (5000, Some("5000")), "{target}");
        gateway.send(&Request::keyed(target, "k")).assert_problem(409, "consumed");
    }
    let cut = gateway.send(&Request::keyed("/cut-length", "k").http_1_0());
    assert_eq!((cut.field("content-length"), cut.whole), (Some("5000"), false), "{cut:?}");
    let told = gateway.send(&Request::keyed("/cut-chunked", "k").http_1_0());
    assert_eq!(told.assert_problem(502, "upstream-broken")["outcome"], "unknown");
    for target in ["/cut-length", "/cut-chunked"] {
        gateway.send(&Request::keyed(target, "k")).assert_problem(409, "outcome-unknown");
    }
}

/// An answer that nobody guards passes as it comes. Its client is told by a reset that a part of it is none
/// (RFC 9112 §8).
#[test]
fn an_http_1_0_client_sees_that_an_answer_was_cut() {
    let upstream = Upstream::start(|call| {
        let script = Script::answer(200, "abcdef");
        match call.target.as_str() {
            "/chunked" => script.chunked(),
            "/trailers" => script.trailer("X-Checksum", "1"),
            "/closed" => script.until_closed(),
            "/cut" => script.chunked().cut_at(3),
            "/cut-at-once" => script.chunked().cut_at(0),
            "/reset" => script.until_closed().reset_at(3),
            "/stalls" => script.chunked().pause_at(3, &Gate::new()),
            _ => script,
        }
    });
    let gateway = Setup::new(&upstream.url()).origin("body_idle_timeout = \"1s\"").start();
    for target in ["/length", "/chunked", "/trailers", "/closed"] {
        let reply = gateway.send(&Request::get(target).http_1_0());
        assert_eq!((reply.text().as_str(), reply.whole), ("abcdef", true), "{target}");
        let head = gateway.send(&Request::new("HEAD", target).http_1_0());
        assert_eq!((head.status, head.whole), (200, true), "{target}");
    }
    for target in ["/cut", "/cut-at-once", "/reset", "/stalls"] {
        match client::try_send(gateway.address, &Request::get(target).http_1_0()) {
            Ok(reply) => assert!(!reply.whole, "{target}: {reply:?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{target}"),
        }
    }
}

#[test]
fn an_http_1_0_client_gets_a_replay_with_trailers_as_one_with_a_length() {
    let upstream = Upstream::start(|_| Script::answer(200, "abcdef").trailer("X-Checksum", "1"));
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    let again = gateway.send(&Request::keyed("/charges", "k").http_1_0());
    again.assert_replay_of(&first);
    assert_eq!((again.field("content-length"), again.field("transfer-encoding")), (Some("6"), None));
}

#[test]
fn what_is_too_large_to_hold_for_an_http_1_0_client_is_told_and_settled() {
    let upstream = Upstream::start(|_| Script::answer(200, vec![b'x'; 6 << 20]).chunked());
    let gateway = Setup::new(&upstream.url()).limits("buffers = \"4MiB\"\nbody_bytes = \"1MiB\"").start();
    let told = gateway.send(&Request::keyed("/charges", "k").http_1_0());
    assert_eq!(told.assert_problem(409, "consumed")["first"]["status"], 200);
    gateway.send(&Request::keyed("/charges", "k")).assert_problem(409, "consumed");
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
