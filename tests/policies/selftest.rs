//! The harness on itself: an upstream that miscounts or a client that calls a cut answer whole
//! would make every other test worthless.

use crate::support::client::{Connection, send, try_send};
use crate::support::*;
use std::panic::catch_unwind;

#[test]
fn the_client_reads_each_framing_and_keeps_the_connection() {
    let upstream = Upstream::start(|call| match call.target.as_str() {
        "/length" => Script::answer(200, "abc").field("X-A", "1").field("X-A", "2"),
        "/chunks" => Script::answer(200, "abcdef").pause_at(3, &open()).trailer("X-Sum", "6"),
        "/none" => Script::answer(204, ""),
        _ => Script::answer(404, ""),
    });
    let mut connection = Connection::open(upstream.address).unwrap();
    let reply = connection.send(&Request::get("/length")).unwrap();
    assert_eq!((reply.status, reply.text().as_str(), reply.whole), (200, "abc", true));
    assert_eq!(reply.all("x-a"), ["1", "2"]);
    let reply = connection.send(&Request::get("/chunks")).unwrap();
    assert_eq!((reply.text().as_str(), reply.whole), ("abcdef", true));
    assert_eq!(reply.trailers, [("x-sum".to_owned(), "6".to_owned())]);
    let reply = connection.send(&Request::new("HEAD", "/length").body("x")).map(|reply| reply.status);
    // This upstream writes a body even for HEAD: the connection is out of step, and that shows.
    assert_eq!(reply.unwrap(), 200);
    let reply = send(upstream.address, &Request::get("/none"));
    assert_eq!((reply.status, reply.whole), (204, true));
}

#[test]
fn the_client_tells_a_cut_answer_from_a_whole_one() {
    let upstream = Upstream::start(|call| match call.target.as_str() {
        "/head" => Script::cut_in_head(),
        "/length" => Script::answer(200, "abcdef").cut_at(3),
        "/chunks" => Script::answer(200, "abcdef").chunked().cut_at(3),
        "/reset" => Script::reset(),
        _ => Script::answer(200, "").cut_at(0),
    });
    for target in ["/length", "/chunks"] {
        let reply = send(upstream.address, &Request::get(target));
        assert_eq!((reply.text().as_str(), reply.whole), ("abc", false), "{target}");
    }
    for target in ["/head", "/reset"] {
        assert!(try_send(upstream.address, &Request::get(target)).is_err(), "{target}");
    }
    assert!(send(upstream.address, &Request::get("/")).whole, "a body of no bytes can't be cut");
}

#[test]
fn the_upstream_counts_what_arrived_whole_and_nothing_else() {
    let upstream = Upstream::numbering();
    let mut cut = Connection::open(upstream.address).unwrap();
    cut.0.write(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc").unwrap();
    drop(cut);
    for key in ["a", "b", "a"] {
        assert_eq!(send(upstream.address, &Request::keyed("/", key)).status, 201);
    }
    let chunked = Request::post("/").key("c").chunked(&[b"ab", b"c"]);
    assert_eq!(send(upstream.address, &chunked).status, 201);
    let counts = upstream.count_by_key();
    assert_eq!((counts["a"], counts["b"], counts["c"], upstream.count()), (2, 1, 1, 4));
    assert_eq!(upstream.calls()[3].body, b"abc");
}

#[test]
fn a_gate_holds_an_answer_and_a_deaf_upstream_reads_nothing() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
    let address = upstream.address;
    let client = std::thread::spawn(move || send(address, &Request::keyed("/", "k")));
    upstream.await_count(1);
    assert!(!client.is_finished());
    gate.open();
    assert_eq!(client.join().unwrap().status, 201);
    upstream.go_deaf(true);
    assert!(try_send(address, &Request::keyed("/", "k")).is_err());
    assert_eq!(upstream.count(), 1);
}

fn open() -> Gate {
    let gate = Gate::new();
    gate.open();
    gate
}

#[test]
fn the_breaker_loses_the_first_answer_and_no_other() {
    let upstream = Upstream::numbering();
    let breaker = crate::support::breaker::Breaker::before(upstream.address);
    assert!(try_send(breaker.address, &Request::keyed("/", "k")).is_err());
    assert_eq!(upstream.count(), 1, "the request itself went through");
    assert!(send(breaker.address, &Request::keyed("/", "k")).text().contains("\"execution\":1"));
    assert_eq!(breaker.requests(), 2);
}

#[test]
fn the_crash_check_fails_a_ledger_that_forgets() {
    let verdict = catch_unwind(|| crate::faults::crash::kills_of(Setup::memory, 3));
    assert!(verdict.is_err(), "a memory ledger can't pass: {verdict:?}");
}

#[test]
fn the_burst_check_fails_a_gateway_that_does_not_guard() {
    let unguarded = |setup: Setup| setup.policy("settings = { from = [\"header:x-other\"] }");
    let verdict = catch_unwind(|| crate::answers::inflight::burst_on(unguarded, 1));
    assert!(verdict.is_err(), "without a guard it can't pass: {verdict:?}");
}
