//! Components that load and then misbehave: each costs its own requests and nothing else.

use crate::guests::{self, COUNT_OF_CALLS, Guest, KEY_OF_FIRST_FIELD};
use crate::policies::bad_components::put;
use crate::support::*;

/// A second route under a good policy, which must not notice anything.
const GOOD: &str = "[policies.good]\ncomponent = \"builtin:idempotency-key\"\n\
                    [[routes]]\nname = \"good\"\npath = \"/good\"\nupstream = \"origin\"\npolicy = \"good\"\n\
                    [[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"";

fn setup_with(upstream: &Upstream, component: &[u8]) -> Setup {
    let setup = Setup::new(&upstream.url()).extra(GOOD);
    let file = put(&setup, "policy.wasm", component);
    setup.component(file)
}

/// Its requests fail and say so, nothing goes up, the others go on as if it weren't there.
#[track_caller]
fn assert_costs_only_its_own(component: &[u8], kind: &str) {
    let upstream = Upstream::numbering();
    let gateway = setup_with(&upstream, component).start();
    for n in 0..4 {
        let problem = gateway.send(&Request::keyed("/charges", "k")).assert_problem(503, "policy-failed");
        assert_eq!((&problem["retryable"], problem.get("outcome")), (&true.into(), None), "{problem}");
        let first = gateway.send(&Request::keyed("/good", &format!("k{n}")));
        first.assert_executed(201);
        gateway.send(&Request::keyed("/good", &format!("k{n}"))).assert_replay_of(&first);
        assert_eq!(gateway.send(&Request::post("/plain")).status, 201);
    }
    assert_eq!(upstream.count(), 8, "what the policy failed on was never sent");
    let metrics = gateway.admin("GET", "/metrics").text();
    let series = format!("oncegate_policy_failures_total{{policy=\"keys\",kind=\"{kind}\"}}");
    assert!(metrics.contains(&series), "{series} is not in:\n{metrics}");
}

#[test]
pub(crate) fn one_that_traps_costs_only_its_own_requests() {
    assert_costs_only_its_own(&guests::traps(), "trap");
}

#[test]
pub(crate) fn one_that_loops_costs_only_its_own_requests() {
    assert_costs_only_its_own(&guests::loops(), "deadline");
}

/// Told that there is no more, this one traps; whichever it is called, it ends.
#[test]
pub(crate) fn one_that_eats_memory_costs_only_its_own_requests() {
    assert_costs_only_its_own(&guests::grows(), "memory");
}

#[test]
pub(crate) fn one_that_breaks_the_rules_costs_only_its_own_requests() {
    assert_costs_only_its_own(&guests::invalid_result(), "invalid");
}

#[test]
pub(crate) fn one_that_returns_an_err_costs_only_its_own_requests() {
    assert_costs_only_its_own(&guests::errs(), "err");
}

#[test]
fn after_a_trap_the_next_request_gets_an_instance_of_its_own() {
    let upstream = Upstream::numbering();
    let gateway = setup_with(&upstream, &guests::traps_on_empty()).start();
    let mut firsts = Vec::new();
    for n in 0..6 {
        let empty = Request::post("/charges").field("Idempotency-Key", "");
        gateway.send(&empty).assert_problem(503, "policy-failed");
        let first = gateway.send(&Request::post("/charges").field("Idempotency-Key", format!("k{n}")));
        first.assert_executed(201);
        firsts.push(first);
    }
    for (n, first) in firsts.iter().enumerate() {
        let again = Request::post("/charges").field("Idempotency-Key", format!("k{n}"));
        gateway.send(&again).assert_replay_of(first);
    }
    assert_eq!(upstream.count(), 6);
}

#[test]
fn many_looping_calls_at_once_leave_the_others_alone() {
    let upstream = Upstream::numbering();
    let gateway = setup_with(&upstream, &guests::loops()).start();
    std::thread::scope(|scope| {
        for n in 0..24 {
            let gateway = &gateway;
            scope.spawn(move || {
                let reply = gateway.send(&Request::keyed("/charges", &format!("k{n}")));
                reply.assert_problem(503, "policy-failed");
            });
        }
        for n in 0..50 {
            gateway.send(&Request::keyed("/good", &format!("k{n}"))).assert_executed(201);
        }
    });
    assert_eq!(upstream.count(), 50);
}

/// A policy that cannot even be configured: exit 1 at a start, the old one at a reload.
#[track_caller]
fn assert_refused(component: &[u8], words: &[&str]) {
    let upstream = Upstream::numbering();
    let ended = setup_with(&upstream, component).try_start().map(|_| ()).expect_err("it must not start");
    ended.assert_refused(1, &[&["policy.wasm"], words].concat());
    assert_refused_at_reload(component, words);
}

/// The old one goes on.
#[track_caller]
fn assert_refused_at_reload(component: &[u8], words: &[&str]) {
    let upstream = Upstream::numbering();
    let setup = setup_with(&upstream, &guests::keyed_by_header("idempotency-key", "toy/1"));
    let gateway = setup.start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    first.assert_executed(201);
    put(&setup, "policy.wasm", component);
    let reply = gateway.admin("POST", "/v1/policies/keys/reload");
    assert_eq!(reply.status, 422, "{}", reply.text());
    for word in words {
        assert!(reply.text().contains(word), "{word:?} is not in {}", reply.text());
    }
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
}

#[test]
pub(crate) fn one_that_traps_at_load_is_refused() {
    assert_refused(&Guest { configure: "unreachable".into(), ..Guest::default() }.component(), &["trap"]);
}

#[test]
pub(crate) fn one_that_loops_at_load_is_refused() {
    let looping = Guest { configure: "(loop $on br $on) unreachable".into(), ..Guest::default() };
    assert_refused(&looping.component(), &["not done after"]);
}

#[test]
pub(crate) fn one_that_refuses_its_settings_is_refused_in_its_own_words() {
    let refusing = Guest { refuses_settings: Some("no such purse".into()), ..Guest::default() };
    assert_refused(&refusing.component(), &["no such purse"]);
}

#[test]
fn one_that_keeps_state_is_refused() {
    assert_refused(&guests::counts(), &["is not pure: POST /v1/charges"]);
    assert_refused(&guests::counts_where_it_begins_with(b'"'), &["is not pure"]);
    assert_refused(&guests::counts_where_it_begins_with(b'0'), &["is not pure"]);
    // The host makes no request with `"k"`, and has seen one.
    let seen_only = guests::first_field_has(1, b'k');
    let counts = format!("{seen_only} if (result i32) {COUNT_OF_CALLS} else {KEY_OF_FIRST_FIELD} end");
    assert_refused_at_reload(&guests::deciding(&counts), &["is not pure: POST /charges (seen lately)"]);
}

#[test]
pub(crate) fn a_component_of_another_world_is_refused() {
    assert_refused(&guests::other_world(), &["oncegate:policy/policy"]);
    assert_refused(&guests::core_module(), &["core module"]);
    assert_refused(&guests::exporting("oncegate:policy/policies@0.1.0"), &["oncegate:policy/policies"]);
    assert_refused(&guests::importing("wasi:sockets/tcp@0.3.0"), &["wasi:sockets/tcp", "version 0.2 only"]);
}
