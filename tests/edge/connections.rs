//! Connections in time: slow heads, slow readers, clients that close one half; and where one request ends and
//! the next begins.

use crate::support::*;
use std::io::ErrorKind;
use std::net::Shutdown;

/// Lines that would be ambiguous framing in a head.
const LIKE_A_HEAD: &str = "\nContent-Length: 3\nTransfer-Encoding: chunked\n\r\n\r\n";

#[test]
fn a_refused_bodys_bytes_are_no_head() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).path("/charges").start();
    let body = [&[b'x'; 60_000][..], LIKE_A_HEAD.as_bytes(), &[b'y'; 100]].concat();
    let pieces: Vec<&[u8]> = body.chunks(20_001).collect();
    for refused in [
        Request::post("/none").body(&body),
        Request::post("/none").chunked(&pieces),
        Request::post("/none").body(LIKE_A_HEAD),
        Request::post("/none").chunked(&[LIKE_A_HEAD.as_bytes()]),
    ] {
        let mut connection = gateway.connect();
        connection.send(&refused).unwrap().assert_problem(404, "no-route");
        // The gateway may end a connection whose request it has not read, but not answer the next one wrongly.
        if let Ok(next) = connection.send(&Request::keyed("/charges", "k")) {
            assert_eq!(next.status, 201, "{next:?}");
        }
    }
}

#[test]
fn a_body_that_looks_like_a_head_is_taken() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let mut connection = gateway.connect();
    for key in ["a", "b"] {
        connection.send(&Request::keyed("/charges", key).body(LIKE_A_HEAD)).unwrap().assert_executed(201);
        let chunked = Request::new("POST", "/plain").chunked(&[b"a\r\n", LIKE_A_HEAD.as_bytes(), b"b"]);
        assert_eq!(connection.send(&chunked).unwrap().status, 201);
    }
}

/// Both lengths are refused wherever they stand, and whatever the pieces in which they come.
#[test]
fn a_head_of_two_lengths_is_refused_in_pieces() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let both = "POST /charges HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    for (first, second) in [
        (both.to_owned(), "Content-Length: 3\r\n\r\n0\r\n\r\n"),
        (format!("{both}Conte"), "nt-Length: 3\r\n\r\n0\r\n\r\n"),
        (
            format!("POST /charges HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi{both}"),
            "content-length: 0\r\n\r\n",
        ),
    ] {
        let mut connection = gateway.connect();
        connection.0.write(first.as_bytes()).unwrap();
        if first.contains("hi") {
            assert_eq!(connection.reply("POST").unwrap().status, 201);
        }
        connection.0.write(second.as_bytes()).unwrap();
        let reply = connection.reply("POST").unwrap();
        reply.assert_problem(400, "bad-request");
        assert_eq!(reply.field("connection"), Some("close"), "{first:?}");
    }
}

#[test]
fn a_second_head_has_a_time_as_the_first() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.target.as_str() {
        "/held" => Script::numbered(call).after(&held),
        _ => Script::numbered(call),
    });
    let limits = "header_timeout = \"300ms\"\nidle_timeout = \"1h\"";
    let gateway = Setup::new(&upstream.url()).limits(limits).start();
    let begun = b"GET /p HT".as_slice();
    let [get, held] = ["/now", "/held"].map(|target| Request::get(target).bytes());
    for (pieces, answers) in [
        (vec![begun], 0),
        (vec![&*[&get, begun].concat()], 1),
        (vec![&*get, begun], 1),
        (vec![&*[&*get, &*get, begun].concat()], 2),
        (vec![&*held, begun], 1),
    ] {
        let mut connection = gateway.connect();
        for piece in &pieces {
            connection.0.write(piece).unwrap();
        }
        if pieces[0] == held {
            upstream.await_calls(|calls| calls.iter().any(|call| call.target == "/held"));
            gate.open();
        }
        for _ in 0..answers {
            assert_eq!(connection.reply("GET").unwrap().status, 201);
        }
        assert_eq!(connection.0.head().unwrap_err().kind(), ErrorKind::UnexpectedEof, "{pieces:?}");
    }
}

/// A connection is idle once its client has taken what was written.
#[test]
fn a_slow_reader_is_not_idle() {
    let body = vec![b'x'; 24 << 20];
    let sent = body.clone();
    let upstream = Upstream::start(move |_| Script::answer(200, &sent));
    let gateway =
        Setup::new(&upstream.url()).ledger("body_kept = \"32MiB\"").limits("idle_timeout = \"300ms\"");
    let gateway = gateway.start();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(200);
    let mut slow = gateway.connect();
    slow.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
    slow.0.await_bytes(b"HTTP/1.1 200").unwrap();
    // The gateway closes what is idle meanwhile.
    for _ in 0..2 {
        let mut idle = gateway.connect();
        assert_eq!(idle.0.head().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
    let reply = slow.reply("POST").unwrap();
    assert!(reply.whole && reply.body == body, "{} bytes came", reply.body.len());
}

#[test]
fn who_takes_nothing_is_cut_off() {
    let upstream = Upstream::start(|_| Script::answer(200, vec![b'x'; 24 << 20]));
    let gateway = Setup::new(&upstream.url())
        .ledger("body_kept = \"32MiB\"")
        .limits("write_timeout = \"300ms\"\nidle_timeout = \"1h\"")
        .start();
    let mut first = gateway.connect();
    first.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
    let closed =
        || gateway.admin("GET", "/metrics").text().contains("oncegate_connections 0\n").then_some(());
    upstream.await_count(1);
    eventually("its connection is closed", closed);
    assert!(!first.reply("POST").unwrap().whole);
    let settled = eventually("the outcome is known", || {
        let reply = gateway.send(&Request::keyed("/charges", "k"));
        (reply.status == 200).then_some(reply)
    });
    assert_eq!(settled.replayed(), Some("true"));
}

/// A client that says that it sends no more may still read.
#[test]
fn a_client_that_closes_one_half_is_answered() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.target.as_str() {
        "/held" => Script::numbered(call).after(&held),
        "/large" => Script::answer(201, vec![b'x'; 8 << 20]),
        _ => Script::numbered(call),
    });
    let gateway = Setup::new(&upstream.url()).limits("idle_timeout = \"1h\"").start();
    for (number, request) in [
        Request::keyed("/charges", "a"),
        Request::keyed("/large", "b"),
        Request::get("/plain"),
        Request::new("POST", "/plain").chunked(&[b"abc"]),
        Request::keyed("/held", "c"),
        Request::get("/held"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = gateway.connect();
        connection.0.write(&request.bytes()).unwrap();
        connection.0.stream.shutdown(Shutdown::Write).unwrap();
        upstream.await_count(number + 1);
        if number == 4 {
            gate.open();
        }
        let reply = connection.reply("POST").unwrap();
        assert_eq!((reply.status, reply.whole), (201, true), "{request:?}");
        assert_eq!(connection.0.head().unwrap_err().kind(), ErrorKind::UnexpectedEof, "the connection ends");
    }
}

/// hyper reads no `Connection` that has a byte which is not ASCII.
#[test]
fn a_client_that_ends_its_connection_is_believed() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    for (value, is_last) in
        [(&b"close"[..], true), (b"close, \xe9", true), (b"\xc3\xa9,Close", true), (b"\xff , x-a", false)]
    {
        for request in [Request::get("/a"), Request::post("/a"), Request::keyed("/a", "k")] {
            let mut connection = gateway.connect();
            let reply = connection.send(&request.field("Connection", value)).unwrap();
            assert_eq!(reply.field("connection"), is_last.then_some("close"), "{value:?}: {reply:?}");
        }
    }
}

#[test]
fn a_target_is_a_path_or_a_url() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    for method in ["POST", "GET", "DELETE", "OPTIONS"] {
        for target in ["h.example", "h.example:80", "charges", "127.0.0.1:80"] {
            gateway.send(&Request::new(method, target).key("k")).assert_problem(400, "bad-request");
        }
    }
    gateway.send(&Request::keyed("*", "k")).assert_problem(400, "bad-request");
    assert_eq!(upstream.count(), 0);
    gateway.send(&Request::keyed("http://h.example/charges", "k")).assert_executed(201);
}

#[test]
fn admin_pages_answer_head_and_say_what_they_allow() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    for target in ["/livez", "/readyz", "/metrics", "/v1/status", "/v1/operations", "/v1/policies"] {
        let head = gateway.admin("HEAD", target);
        let get = gateway.admin("GET", target);
        assert_eq!((head.status, head.field("content-type")), (200, get.field("content-type")), "{target}");
        let refused = gateway.admin("PUT", target);
        assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD")), "{target}");
    }
    let operation = format!("/v1/operations/{}", "0".repeat(64));
    for (method, target, allow) in [
        ("POST", operation.clone(), "GET, HEAD, DELETE"),
        ("GET", format!("{operation}/resolve"), "POST"),
        ("HEAD", "/v1/reload".to_owned(), "POST"),
        ("DELETE", "/v1/policies/keys/rollback".to_owned(), "POST"),
    ] {
        let refused = gateway.admin(method, &target);
        assert_eq!((refused.status, refused.field("allow")), (405, Some(allow)), "{method} {target}");
    }
}
