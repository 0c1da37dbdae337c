//! Who words an answer: the route's `answers`, the policy's `present` and `explain` (design/problems.md).

use crate::guests::{self, Guest};
use crate::policies::bad_components::put;
use crate::support::*;
use std::thread::scope;

/// A gateway whose policy is this guest.
fn gateway(upstream: &Upstream, guest: &Guest, lines: &[&str]) -> Gateway {
    let setup = Setup::new(&upstream.url());
    let file = put(&setup, "policy.wasm", &guest.component());
    lines.iter().fold(setup.component(file), |setup, line| setup.route(line)).start()
}

fn fitting() -> Guest {
    Guest { present: Some(guests::fitting("{\"id\":2}")), ..Guest::default() }
}

fn etagged() -> Upstream {
    Upstream::start(|call| {
        Script::numbered(call)
            .field("etag", "\"1\"")
            .field("content-digest", "sha-256=:AA==:")
            .field("x-own", "1")
    })
}

#[test]
fn a_replay_is_fitted_to_its_caller_and_the_first_answer_is_not() {
    let upstream = etagged();
    let gateway = gateway(&upstream, &fitting(), &[]);
    let first = gateway.send(&Request::keyed("/charges", "k"));
    first.assert_executed(201);
    assert_eq!((first.field("x-fitted"), first.field("etag")), (None, Some("\"1\"")));
    let again = gateway.send(&Request::keyed("/charges", "k"));
    assert_eq!((again.status, again.replayed(), again.text().as_str()), (201, Some("true"), "{\"id\":2}"));
    assert_eq!((again.field("x-fitted"), again.field("x-own")), (Some("1"), Some("1")));
    // What spoke of the kept body is gone with it, and nobody keeps what is one caller's.
    assert_eq!((again.field("etag"), again.field("content-digest")), (None, None));
    assert_eq!((again.field("content-length"), again.field("cache-control")), (Some("8"), Some("no-store")));
    assert_eq!(upstream.count(), 1);
    let metrics = gateway.admin("GET", "/metrics").text();
    let calls = |hook: &str, count| {
        let series =
            format!("oncegate_policy_call_seconds_count{{policy=\"keys\",hook=\"{hook}\"}} {count}\n");
        assert!(metrics.contains(&series), "{series} is not in:\n{metrics}");
    };
    calls("decide", 2);
    calls("present", 1);
}

#[test]
fn one_that_waited_is_presented_too() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
    let gateway = gateway(&upstream, &fitting(), &[]);
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&Request::keyed("/charges", "k")));
        upstream.await_count(1);
        let second = scope.spawn(|| gateway.send(&Request::keyed("/charges", "k")));
        gate.open();
        first.join().unwrap().assert_executed(201);
        let second = second.join().unwrap();
        assert_eq!((second.status, second.text().as_str()), (201, "{\"id\":2}"));
    });
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_presentation_that_fails_shows_nothing_and_the_record_stays() {
    let upstream = Upstream::numbering();
    let guest = Guest { present: Some("unreachable".into()), ..Guest::default() };
    let gateway = gateway(&upstream, &guest, &[]);
    let first = gateway.send(&Request::keyed("/charges", "k"));
    first.assert_executed(201);
    for _ in 0..2 {
        let again = gateway.send(&Request::keyed("/charges", "k"));
        let problem = again.assert_problem(503, "policy-failed");
        assert_eq!(problem["retryable"], true, "{problem}");
    }
    let lookup = gateway.send(&Request::get(&format!("/.oncegate/operations/{}", first.operation())));
    assert_eq!(lookup.json()["state"], "completed");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_presentation_that_fails_claims_no_record() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Script::answer(429, "busy").after(&held));
    let guest = Guest { present: Some("unreachable".into()), ..Guest::default() };
    let gateway = gateway(&upstream, &guest, &[]);
    let mut waiting = gateway.connect();
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&Request::keyed("/charges", "k")));
        upstream.await_count(1);
        waiting.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
        let waiters = || gateway.admin("GET", "/v1/upstreams").json()["upstreams"][0]["waiters"] == 1;
        eventually("it waits", || waiters().then_some(()));
        gate.open();
        assert_eq!(first.join().unwrap().status, 429);
    });
    let problem = waiting.reply("POST").unwrap().assert_problem(503, "policy-failed");
    assert!(problem["detail"].to_string().contains("is not kept"), "{problem}");
}

#[test]
fn a_problem_is_explained_in_the_callers_protocol() {
    let upstream = Upstream::numbering();
    let guest = Guest { explain: Some(guests::wording(200, "{\"error\":7}")), ..Guest::default() };
    let gateway = gateway(&upstream, &guest, &[]);
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    let other = gateway.send(&Request::keyed("/charges", "k").body("other"));
    assert_eq!((other.status, other.text().as_str()), (200, "{\"error\":7}"));
    // The code is readable, whoever words the problem.
    assert_eq!(
        (other.field("oncegate-problem"), other.field("content-type")),
        (Some("key-reused"), Some("1"))
    );
    assert_eq!((other.field("cache-control"), other.replayed()), (Some("no-store"), None));
    assert_eq!(upstream.count(), 1);
}

#[test]
fn an_explanation_that_fails_leaves_the_problem_document() {
    let upstream = Upstream::numbering();
    for explain in ["unreachable".to_owned(), guests::wording(302, "x")] {
        let guest = Guest { explain: Some(explain), ..Guest::default() };
        let gateway = gateway(&upstream, &guest, &[]);
        gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
        gateway.send(&Request::keyed("/charges", "k").body("other")).assert_problem(422, "key-reused");
    }
}

/// The first caller and the one that waited are told of the same failure, each in its protocol.
#[test]
fn a_failed_execution_is_explained_to_all_who_wait() {
    let upstream = Upstream::start(|_| Script::reset());
    let guest = Guest { explain: Some(guests::wording(400, "no")), ..Guest::default() };
    let gateway = gateway(&upstream, &guest, &[]);
    let broken = gateway.send(&Request::keyed("/charges", "k"));
    assert_eq!((broken.status, broken.field("oncegate-problem")), (400, Some("upstream-broken")));
    let unknown = gateway.send(&Request::keyed("/charges", "k"));
    assert_eq!((unknown.status, unknown.field("oncegate-problem")), (400, Some("outcome-unknown")));
}

#[test]
fn a_route_gives_problems_other_statuses() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url()).route("answers = { key-reused = 409, expired = 204 }");
    let gateway = setup.route("retention = \"0.1s\"").start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    first.assert_executed(201);
    let reused = gateway.send(&Request::keyed("/charges", "k").body("other"));
    assert_eq!(reused.assert_problem(409, "key-reused")["status"], 409);
    let expired = eventually("the answer to expire", || {
        let again = gateway.send(&Request::keyed("/charges", "k"));
        (again.replayed().is_none()).then_some(again)
    });
    assert_eq!((expired.status, expired.text().as_str()), (204, ""));
    assert_eq!(expired.field("oncegate-problem"), Some("expired"));
    assert_eq!(upstream.count(), 1);
}
