//! Cases for the hooks beside `decide`, through the door of a load: good cases, wrong cases, and cases
//! that ask for what can't be.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::tests::guests::{self, Guest};
use crate::tests::load;
use serde_json::{Value, json};

const KEYED: &str = "POST /a HTTP/1.1\r\nHost: api\r\nIdempotency-Key: k\r\n\r\n";

/// A component, made of this one, with one case more.
fn with_case(component: &[u8], case: &Value) -> Vec<u8> {
    let mut case = case.clone();
    let defaults = json!({ "name": "c", "request": KEYED });
    for (name, value) in defaults.as_object().unwrap() {
        case.as_object_mut().unwrap().entry(name).or_insert_with(|| value.clone());
    }
    let mut component = component.to_vec();
    let vectors = json!({ "version": 1, "cases": [case] }).to_string();
    guests::append_section(&mut component, "oncegate:vectors", vectors.as_bytes());
    component
}

#[track_caller]
fn fits(component: &[u8], case: &Value) {
    let loaded = load(&with_case(component, case));
    assert_eq!(loaded.map(|policy| policy.describe().vectors).map_err(|error| error.to_string()), Ok(1));
}

#[track_caller]
fn refused(component: &[u8], case: &Value, wanted: &str) {
    let error = load(&with_case(component, case)).expect_err(wanted).to_string();
    assert!(error.contains(wanted), "{wanted:?} is not in {error:?}");
}

const LOST: &str = "HTTP/1.1 200 OK\r\n\r\n{\"outcome\":\"3\"}";

#[test]
fn settle_is_held_against_its_cases() {
    let settles = guests::settles_by_what_the_answer_says(vec![(500, 599, 0)]);
    for expect in [json!("unknown"), json!({ "disposition": "unknown", "memo": null })] {
        fits(&settles, &json!({ "answer": LOST, "expect": { "settle": expect } }));
    }
    fits(&settles, &json!({ "answer": "HTTP/1.1 200 OK\r\n\r\n", "expect": { "settle": null } }));
    let trailed =
        json!({ "text": "HTTP/1.1 200 OK\r\n\r\n", "trailers": [["x-outcome", "1"]], "complete": false });
    fits(&settles, &json!({ "answer": trailed, "expect": { "settle": "consumed" } }));
    let case = json!({ "answer": LOST, "expect": { "settle": "completed" } });
    refused(
        &settles,
        &case,
        "case `c`: expected of `settle` \"completed\", found {\"disposition\":\"unknown\"",
    );
    // `settle` is never asked about an answer that a rule of the plan settles.
    let failed = "HTTP/1.1 500 Oh\r\n\r\n";
    fits(&settles, &json!({ "answer": failed, "expect": { "outcome": "completed" } }));
    fits(&settles, &json!({ "answer": LOST, "expect": { "outcome": "unknown" } }));
    let case = json!({ "answer": failed, "expect": { "settle": "completed" } });
    refused(&settles, &case, "the plan's own rule for 500-599 settles this answer: expect its `outcome`");
    // For an answer that was cut off there is not even a broken promise: the result breaks a rule.
    let cut = json!({ "text": "HTTP/1.1 200 OK\r\n\r\n{\"outcome\":\"2\"}", "complete": false });
    refused(&settles, &json!({ "answer": cut, "expect": { "settle": "not-applied" } }), "case `c`: `settle`");
}

#[test]
fn a_question_and_its_reading_are_held_against_theirs() {
    // The policy asks GET /q, and reads every answer as the number of its finding.
    for (number, finding) in [(1, "consumed"), (2, "did-not-happen"), (3, "still-unknown")] {
        let asks = guests::asking("GET", "/q", number);
        fits(&asks, &json!({ "expect": { "question": { "method": "GET", "path": "/q" } } }));
        let read = json!({ "answer": "HTTP/1.1 404 Not Found\r\n\r\n", "expect": { "reading": finding } });
        fits(&asks, &read);
    }
    let asks = guests::asking("GET", "/q", 1);
    let case = json!({ "expect": { "question": { "path": "/p" } } });
    refused(&asks, &case, "expected of `question` {\"path\":\"/p\"}, found {");
    refused(&asks, &json!({ "expect": { "question": null } }), "found {");
    let case = json!({ "asked": "GET", "answer": LOST, "expect": { "reading": "consumed" } });
    refused(&asks, &case, "the request can't be read: asked:");
    let case = json!({ "request": "POST / HTTP/1.1\r\n\r\n", "expect": { "question": null } });
    refused(&asks, &case, "case `c` expects `question`, which is never asked here: its request is let pass");
}

#[test]
fn present_and_explain_are_held_against_theirs() {
    let speaks = Guest {
        present: Some(guests::fitting("{\"id\":2}")),
        explain: Some(guests::wording(418, "tea")),
        ..Guest::default()
    };
    let speaks = speaks.component();
    let changes = json!({ "set": [["x-fitted", "1"]], "remove": [], "body": { "id": 2 } });
    fits(&speaks, &json!({ "answer": LOST, "expect": { "present": changes } }));
    let case = json!({ "answer": LOST, "expect": { "present": null } });
    refused(&speaks, &case, "expected of `present` null, found {");
    for problem in [json!("in-flight"), json!({ "code": "consumed", "first-status": 201 })] {
        fits(
            &speaks,
            &json!({ "problem": problem, "expect": { "explain": { "status": 418, "body": "tea" } } }),
        );
    }
    let case = json!({ "problem": "in-flight", "expect": { "explain": { "body": "coffee" } } });
    refused(&speaks, &case, "expected of `explain` {\"body\":\"coffee\"}, found {");
    let case = json!({ "problem": "tired", "expect": { "explain": null } });
    refused(&speaks, &case, "\"tired\" is no problem of the gateway's; there are: key-reused, in-flight");
}

#[test]
fn a_case_about_a_hook_that_is_not_there_says_so() {
    let plain = guests::keyed_by_header("idempotency-key", "toy/1");
    for (case, interface) in [
        (json!({ "answer": LOST, "expect": { "settle": null } }), "outcome"),
        (json!({ "expect": { "question": null } }), "resolution"),
        (json!({ "answer": LOST, "expect": { "reading": "consumed" } }), "resolution"),
        (json!({ "answer": LOST, "expect": { "present": null } }), "presentation"),
        (json!({ "problem": "expired", "expect": { "explain": null } }), "presentation"),
    ] {
        let wanted = format!("and the component doesn't export `oncegate:policy/{interface}`");
        refused(&plain, &case, &wanted);
    }
    // Without `settle` and rules the gateway's own table decides.
    fits(&plain, &json!({ "answer": LOST, "expect": { "outcome": null } }));
}

#[test]
fn a_case_has_what_it_needs_and_nothing_else() {
    let plain = guests::keyed_by_header("idempotency-key", "toy/1");
    for (case, wanted) in [
        (json!({ "expect": { "settle": null } }), "a case that expects `settle` needs `answer`"),
        (json!({ "expect": { "explain": null } }), "a case that expects `explain` needs `problem`"),
        (
            json!({ "answer": LOST, "expect": { "guard": {} } }),
            "`answer` says nothing to a case that expects `guard`",
        ),
        (json!({ "asked": KEYED, "expect": { "bypass": null } }), "`asked` says nothing"),
        (json!({ "receipt": { "memo": "m" }, "expect": { "guard": {} } }), "`receipt` says nothing"),
        (
            json!({ "answer": { "text": LOST, "complete": false }, "expect": { "present": null } }),
            "`complete` says nothing to a case that expects `present`",
        ),
        (json!({ "answer": "GET / HTTP/1.1", "expect": { "outcome": null } }), "the answer can't be read"),
        (json!({ "expect": { "guess": null } }), "unknown variant `guess`"),
    ] {
        refused(&plain, &case, wanted);
    }
}

#[test]
fn a_hook_that_keeps_state_is_found() {
    // The first call of an instance is completed, all later ones are consumed.
    let count = "(i32.store8 offset=4 (i32.const 1024) (i32.const 1))
        (i32.store8 offset=8 (i32.const 1024) (i32.gt_u (global.get $calls) (i32.const 1))) i32.const 1024";
    let counts = Guest { settle: Some(count.into()), ..Guest::default() }.component();
    let case = json!({ "answer": LOST, "expect": { "outcome": "completed" } });
    refused(
        &counts,
        &case,
        "a used instance answers `settle` with \"consumed\", a fresh one with \"completed\"",
    );
}

/// A policy that does this with settings other than none.
fn with_settings(instructions: &str) -> Vec<u8> {
    let configure = format!("(if (i32.gt_u (local.get $settings_len) (i32.const 2)) (then {instructions}))");
    Guest { configure, ..Guest::default() }.component()
}

#[test]
fn settings_that_cannot_be_are_held_against_configure() {
    let refuses = with_settings(
        "call $clear
        (i32.store (i32.const 1024) (i32.const 1))
        (i32.store offset=4 (i32.const 1024) (local.get $settings))
        (i32.store offset=8 (i32.const 1024) (local.get $settings_len))
        (return (i32.const 1024))",
    );
    let case = |words| json!({ "request": "", "settings": { "salt": "x" }, "expect": { "no-plan": words } });
    fits(&refuses, &case(json!(null)));
    fits(&refuses, &case(json!("salt")));
    refused(&refuses, &case(json!("pepper")), "found returned an err");
    refused(&Guest::default().component(), &case(json!(null)), "found a plan with the key-schema");
    refused(&with_settings("unreachable"), &case(json!(null)), "case `c`: trapped");
    let asks = json!({ "expect": { "no-plan": null } });
    refused(&refuses, &asks, "`request` says nothing to a case that expects `no-plan`");
    let silent = json!({ "request": "", "expect": { "bypass": null } });
    refused(&refuses, &silent, "a case that expects `bypass` needs `request`");
}
