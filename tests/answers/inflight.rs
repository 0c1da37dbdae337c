//! Duplicates of what is being executed.

use crate::support::client::Connection;
use crate::support::*;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::scope;

#[test]
fn two_hundred_concurrent_identical_requests_execute_once() {
    burst(10);
}

/// 200 at once, so many rounds; what was observed.
pub(crate) fn burst(rounds: usize) -> String {
    burst_on(|setup| setup, rounds)
}

/// The same on a gateway set up otherwise.
pub(crate) fn burst_on(set_up: fn(Setup) -> Setup, rounds: usize) -> String {
    const CLIENTS: usize = 200;
    let upstream = Upstream::numbering();
    let gateway = set_up(Setup::new(&upstream.url())).start();
    for round in 0..rounds {
        let key = format!("round-{round}");
        let start = Barrier::new(CLIENTS);
        let replies: Vec<Reply> = scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut connection = gateway.connect();
                        start.wait();
                        connection.send(&Request::keyed("/charges", &key)).expect("an answer")
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().expect("it asserts nothing")).collect()
        });
        let executed = replies.iter().filter(|reply| reply.replayed() == Some("false")).count();
        assert_eq!(executed, 1, "round {round}: so many say that they executed");
        for reply in &replies {
            assert_eq!((reply.status, reply.whole), (201, true), "{reply:?}");
            assert!(
                reply.body == replies[0].body && reply.operation() == replies[0].operation(),
                "{reply:?}"
            );
        }
    }
    let counts = upstream.count_by_key();
    assert_eq!(counts.len(), rounds);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    format!(
        "{rounds} rounds of {CLIENTS}: {} executions, {} coherent answers",
        upstream.count(),
        rounds * CLIENTS
    )
}

/// An upstream whose first execution waits for the gate.
fn held() -> (Upstream, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    (Upstream::start(move |call| Script::numbered(call).after(&held)), gate)
}

#[test]
fn a_route_may_reject_duplicates_at_once() {
    let (upstream, gate) = held();
    let gateway = Setup::new(&upstream.url()).route("while_running = \"reject\"").start();
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&Request::keyed("/charges", "k")));
        upstream.await_count(1);
        let reply = gateway.send(&Request::keyed("/charges", "k"));
        let problem = reply.assert_problem(409, "in-flight");
        assert_eq!(problem["retryable"], true, "{problem}");
        assert!(problem["operation"].is_string(), "{problem}");
        assert_eq!(reply.field("x-should-retry"), Some("true"));
        assert!(reply.field("retry-after").is_some_and(|s| s.parse::<u32>().is_ok()), "{reply:?}");
        gate.open();
        let first = first.join().unwrap();
        first.assert_executed(201);
        gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
    });
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_duplicate_that_waited_long_enough_is_told_to_come_back() {
    let (upstream, gate) = held();
    let gateway = Setup::new(&upstream.url()).ledger("wait = \"200ms\"").start();
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&Request::keyed("/charges", "k")));
        upstream.await_count(1);
        let reply = gateway.send(&Request::keyed("/charges", "k"));
        let problem = reply.assert_problem(409, "in-flight");
        assert_eq!(problem["retryable"], true, "{problem}");
        assert!(reply.field("retry-after").is_some(), "{reply:?}");
        gate.open();
        first.join().unwrap().assert_executed(201);
    });
    assert_eq!(upstream.count(), 1);
}

#[test]
fn another_payload_is_refused_while_the_first_runs() {
    let (upstream, gate) = held();
    let gateway = Setup::new(&upstream.url()).start();
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&Request::keyed("/charges", "k")));
        upstream.await_count(1);
        gateway.send(&Request::keyed("/charges", "k").body("other")).assert_problem(422, "key-reused");
        gate.open();
        first.join().unwrap().assert_executed(201);
    });
}

#[test]
fn a_client_that_leaves_cancels_nothing() {
    let (upstream, gate) = held();
    let gateway = Setup::new(&upstream.url()).start();
    let mut leaving = gateway.connect();
    leaving.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
    upstream.await_count(1);
    drop(leaving);
    gate.open();
    let reply = gateway.send(&Request::keyed("/charges", "k"));
    assert_eq!((reply.status, reply.replayed()), (201, Some("true")), "{reply:?}");
    assert!(reply.text().contains("\"execution\":0"), "{reply:?}");
    assert_eq!(upstream.count(), 1);
}

/// Nothing is claimed before the body is whole.
#[test]
fn a_client_that_leaves_during_its_upload_cancels_it() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut leaving = gateway.connect();
        let head = format!(
            "POST /charges HTTP/1.1\r\nHost: {HOST}\r\nIdempotency-Key: \"k\"\r\n{framing}\r\n\r\n3\r\nabc\r\n"
        );
        leaving.0.write(head.as_bytes()).unwrap();
        drop(leaving);
    }
    // Nothing stands in the way of another content.
    gateway.send(&Request::keyed("/charges", "k").body("whole")).assert_executed(201);
    assert_eq!(upstream.calls().iter().map(|call| call.body.as_slice()).collect::<Vec<_>>(), [b"whole"]);
}

#[test]
fn an_upstream_counts_executions_and_who_waits_for_them() {
    let (upstream, gate) = held();
    let gateway = Setup::new(&upstream.url()).start();
    let under_way = || {
        let upstreams = gateway.admin("GET", "/v1/upstreams").json();
        let upstream = &upstreams["upstreams"][0];
        (upstream["executions"].as_u64().unwrap(), upstream["waiters"].as_u64().unwrap())
    };
    scope(|scope| {
        let asking: Vec<_> =
            (0..3).map(|_| scope.spawn(|| gateway.send(&Request::keyed("/charges", "k")))).collect();
        eventually("two wait", || (under_way() == (1, 2)).then_some(()));
        let reload = gateway.admin("POST", "/v1/reload");
        assert_eq!((reload.status, under_way()), (200, (1, 2)), "{reload:?}");
        gate.open();
        asking.into_iter().for_each(|one| assert_eq!(one.join().unwrap().status, 201));
        eventually("all is over", || (under_way() == (0, 0)).then_some(()));
        // An answer that is kept is replayed without a slot; so is what nothing guards.
        gateway.send(&Request::keyed("/charges", "k"));
        assert_eq!(under_way(), (0, 0));
    });
    assert_eq!(upstream.count(), 1);
}

/// The upstream holds each answer where the target says, and tells when the gateway left.
fn leavable(gone: &Gate) -> Upstream {
    let gone = gone.clone();
    Upstream::start(move |call| {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst,\r\n";
        match call.target.as_str() {
            "/before-the-head" => Script::raw(vec![Step::Left(gone.clone())]),
            "/in-the-body" => Script::raw(vec![Step::Write(chunked.into()), Step::Left(gone.clone())]),
            _ => Script::numbered(call),
        }
    })
}

#[test]
fn a_route_may_end_what_no_client_waits_for_and_it_is_unknown() {
    for target in ["/before-the-head", "/in-the-body"] {
        let gone = Gate::new();
        let upstream = leavable(&gone);
        let gateway = Setup::new(&upstream.url()).route("client_gone = \"close\"").start();
        let mut leaving = gateway.connect();
        leaving.0.write(&Request::keyed(target, "k").bytes()).unwrap();
        upstream.await_count(1);
        if target == "/in-the-body" {
            leaving.0.await_bytes(b"first,").unwrap();
        }
        drop(leaving);
        gone.pass();
        let settled = eventually("the outcome is recorded", || {
            let reply = gateway.send(&Request::keyed(target, "k"));
            (reply.field("oncegate-problem") != Some("in-flight")).then_some(reply)
        });
        let problem = settled.assert_problem(409, "outcome-unknown");
        let id = problem["operation"].as_str().unwrap();
        let told = gateway.send(&Request::get(&format!("/.oncegate/operations/{id}"))).json();
        assert_eq!(told["reason"], "clients-gone", "{told}");
        // An answer that was complete stands, whoever left.
        let first = gateway.send(&Request::keyed("/whole", "k"));
        gateway.send(&Request::keyed("/whole", "k")).assert_replay_of(&first);
        assert_eq!(upstream.count(), 2);
    }
}

/// Whether a duplicate had begun to wait before the first client left, nobody outside can see: it is
/// tried until one had.
#[test]
fn a_duplicate_that_waits_keeps_the_execution_when_the_first_client_leaves() {
    let gates = Gates::default();
    let seen = gates.clone();
    let upstream = Upstream::start(move |call| match call.key() {
        "" => Script::answer(204, ""),
        key => Script::numbered(call).after(seen.lock().unwrap().entry(key.to_owned()).or_default()),
    });
    let gateway = Setup::new(&upstream.url()).route("client_gone = \"close\"").start();
    let round_trips = || (0..8).for_each(|_| drop(gateway.send(&Request::get("/ping"))));
    for trial in 0..50 {
        let key = format!("k{trial}");
        let (mut first, mut duplicate) = (gateway.connect(), gateway.connect());
        first.0.write(&Request::keyed("/charges", &key).bytes()).unwrap();
        upstream.await_calls(|calls| calls.iter().any(|call| call.key() == key));
        duplicate.0.write(&Request::keyed("/charges", &key).bytes()).unwrap();
        round_trips();
        drop(first);
        round_trips();
        eventually("the gate is there", || gates.lock().unwrap().get(&key).cloned()).open();
        let reply = duplicate.reply("POST").unwrap();
        assert_eq!(upstream.count_by_key()[&key], 1);
        if reply.status == 201 {
            assert_eq!(reply.replayed(), Some("true"), "{reply:?}");
            return;
        }
        reply.assert_problem(409, "outcome-unknown");
    }
    panic!("no duplicate ever kept the execution");
}

#[test]
fn a_client_that_leaves_in_mid_answer_cancels_nothing() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Script::answer(200, "first,second").chunked().pause_at(6, &held));
    let gateway = Setup::new(&upstream.url()).start();
    let mut leaving = gateway.connect();
    leaving.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
    leaving.0.await_bytes(b"first,").unwrap();
    drop(leaving);
    gate.open();
    let reply = gateway.send(&Request::keyed("/charges", "k"));
    assert_eq!((reply.text().as_str(), reply.replayed()), ("first,second", Some("true")), "{reply:?}");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_client_that_does_not_read_holds_up_only_itself() {
    let body = vec![b'x'; 900_000];
    let held = body.clone();
    let upstream = Upstream::start(move |_| Script::answer(200, &held));
    let gateway = Setup::new(&upstream.url()).start();
    let mut idle = gateway.connect();
    idle.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
    upstream.await_count(1);
    let reply = gateway.send(&Request::keyed("/charges", "k"));
    assert!(reply.body == body && reply.replayed() == Some("true"), "{} {:?}", reply.status, reply.fields);
    let late = idle.reply("POST").unwrap();
    assert!(late.body == body && late.whole);
}

/// Whether a duplicate had begun to wait when the first execution ended, nobody outside can see.
/// So it is tried until one had; whatever happened must be one of the two things that may.
#[test]
fn those_who_wait_for_what_was_not_applied_get_its_answer_and_the_next_runs() {
    let (gates, upstream) = busy_first();
    let gateway = Setup::new(&upstream.url()).start();
    for trial in 0..50 {
        let key = format!("k{trial}");
        let replies: Vec<Reply> = scope(|scope| {
            let first = scope.spawn(|| gateway.send(&Request::keyed("/charges", &key)));
            upstream.await_calls(|calls| calls.iter().any(|call| call.key() == key));
            let mut waiting: Vec<Connection> = (0..8).map(|_| gateway.connect()).collect();
            for connection in &mut waiting {
                connection.0.write(&Request::keyed("/charges", &key).bytes()).unwrap();
            }
            // A round trip on each worker: what was written before it has most likely been read.
            for _ in 0..8 {
                gateway.send(&Request::get("/ping"));
            }
            eventually("the gate is there", || gates.lock().unwrap().get(&key).cloned()).open();
            let first = first.join().unwrap();
            first.assert_executed(429);
            waiting.iter_mut().map(|connection| connection.reply("POST").unwrap()).collect()
        });
        let (shared, later): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 429);
        assert!(shared.iter().all(|r| r.replayed() == Some("false") && r.text() == "busy"), "{shared:?}");
        assert!(later.iter().all(|r| r.status == 200), "{later:?}");
        let next = gateway.send(&Request::keyed("/charges", &key));
        assert_eq!((next.status, next.text().as_str()), (200, "done"));
        assert_eq!(upstream.count_by_key()[&key], 2, "the one that wasn't applied and the next");
        if !shared.is_empty() {
            return;
        }
    }
    panic!("no duplicate ever got the answer it waited for");
}

/// A gate for each key that was seen.
type Gates = Arc<Mutex<HashMap<String, Gate>>>;

/// 429 to the first request with a key, held by a gate of its own; 200 to all others.
fn busy_first() -> (Gates, Upstream) {
    let gates = Gates::default();
    let seen = gates.clone();
    let upstream = Upstream::start(move |call| match seen.lock().unwrap().entry(call.key().to_owned()) {
        _ if call.key().is_empty() => Script::answer(204, ""),
        Entry::Vacant(first) => Script::answer(429, "busy").after(first.insert(Gate::new())),
        Entry::Occupied(_) => Script::answer(200, "done"),
    });
    (gates, upstream)
}
