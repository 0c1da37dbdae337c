//! Policies that keep something from one call to the next, without any test vectors: each is refused before it
//! serves.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::tests::{ENGINE, guests, load, load_with, policy};
use crate::load::sample::Sample;
use guests::{COUNT_OF_CALLS, Guest, KEY_OF_FIRST_FIELD};
use http::{HeaderMap, HeaderValue};
use oncegate_config::{self as config, Instances};
use std::time::Instant;

/// `otherwise` in place of the key from the second call of an instance on.
fn once_then(otherwise: &str) -> Vec<u8> {
    guests::deciding(&format!(
        "(i32.gt_u (global.get $calls) (i32.const 1)) if (result i32) {otherwise} else {KEY_OF_FIRST_FIELD} end"
    ))
}

/// Counts where the pointer leads to a text, whose length is at 8 of the selection's first entry.
fn counts_where_there_is(pointer: &str) -> Vec<u8> {
    let there_is = "(i32.and (i32.eq (local.get $payload) (i32.const 2)) (i32.ne (i32.const 0) (i32.load8_u (local.get $p1))))";
    let decide = format!("{there_is} if (result i32) {COUNT_OF_CALLS} else call $bypass end");
    Guest { pointers: Some(vec![pointer.into()]), decide, ..Guest::default() }.component()
}

#[test]
fn a_policy_that_keeps_state_is_refused_at_its_load() {
    for (what, component) in [
        ("another key each time", guests::counts()),
        ("only with the field in quotes", guests::counts_where_it_begins_with(b'"')),
        ("only with a bare field", guests::counts_where_it_begins_with(b'0')),
        ("a trap at the second", once_then("unreachable")),
        ("no guard from the second on", once_then("call $bypass")),
        ("only where the body has a member", counts_where_there_is("/order/client~1id")),
        ("only for another method", {
            Guest { methods: vec!["PATCH".into()], decide: COUNT_OF_CALLS.into(), ..Guest::default() }
                .component()
        }),
    ] {
        let error = load(&component).map(|_| what).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("is not pure: P") && text.contains("of the host's making"), "{what}: {text}");
        assert_eq!(error.steps.last().map(|step| (step.step, step.ok)), Some(("self-test", false)), "{what}");
        // An instance of its own for each call keeps nothing.
        load_with(&component, |policy| policy.instances = Instances::Fresh);
    }
}

#[test]
fn a_policy_is_tried_on_recent_operations() {
    let (_folder, policy) = policy(&guests::counts_where_it_begins_with(b'k'));
    let policy = config::Policy { name: "recently".into(), ..policy };
    let generation = ENGINE.load(&policy).unwrap();
    let headers = HeaderMap::from_iter([("idempotency-key".parse().unwrap(), HeaderValue::from_static("k"))]);
    let sample = Sample::of("POST", None, "/orders", None, headers, bytes::Bytes::new());
    generation.recent().offer(Instant::now(), || Some(sample));
    let error = ENGINE.load(&policy).unwrap_err().to_string();
    assert!(error.contains("is not pure: POST /orders (seen lately)"), "{error}");
}

#[test]
fn what_fails_the_same_each_time_is_pure() {
    for component in
        [guests::traps(), guests::errs(), guests::invalid_result(), guests::loops(), guests::grows()]
    {
        let warning = load(&component).unwrap().warning().unwrap();
        assert!(warning.contains("fails on each request that the gateway made"), "{warning}");
    }
    let guarding_fails = guests::deciding(
        "(i32.eqz (local.get $fields_len)) if (result i32) call $bypass else unreachable end",
    );
    assert!(load(&guarding_fails).unwrap().warning().is_some(), "what has no key is let pass");
    for answering in [guests::keyed_by_header("idempotency-key", "toy/1"), guests::traps_on_empty()] {
        assert_eq!(load(&answering).unwrap().warning(), None);
    }
}

/// It has no room for a third call, and in service an instance is made anew before that.
#[test]
fn an_instance_that_is_worn_is_not_held_against_it() {
    let grows = "(if (i32.gt_u (memory.grow (i32.const 40)) (i32.const 60)) (then unreachable))";
    load(&guests::deciding(&format!("{grows} {KEY_OF_FIRST_FIELD}"))).unwrap();
}
