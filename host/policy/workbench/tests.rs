#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::policy::tests::guests::{self, Guest};
use crate::policy::tests::{ENGINE, policy};
use serde_json::json;

/// A component with these cases: a name, settings, and a request.
fn with_cases(guest: Guest, cases: &[(&str, Value, &str)]) -> Vec<u8> {
    let case = |(name, settings, request): &(&str, Value, &str)| json!({ "name": name, "settings": settings, "request": request, "expect": { "guard": {} } });
    let cases: Vec<Value> = cases.iter().map(case).collect();
    let vectors = json!({ "version": 1, "cases": cases });
    let sections = vec![("oncegate:vectors".to_owned(), vectors.to_string().into_bytes())];
    Guest { sections, ..guest }.component()
}

const KEYED: &str = "POST /charges HTTP/1.1\r\nhost: a\r\nidempotency-key: k1\r\n\
                     content-type: application/json\r\n\r\n{\"b\":1,\"a\":[2]}";

fn workbench(component: &[u8]) -> Workbench {
    let (_folder, policy) = policy(component);
    ENGINE.workbench(&policy, None).unwrap()
}

/// The faults of the check with this name.
#[track_caller]
fn faults(report: &Report, name: &str) -> Vec<String> {
    let check = report.checks.iter().find(|check| check.name == name);
    check.unwrap_or_else(|| panic!("no check {name:?} in {report:?}")).faults.clone()
}

#[test]
fn a_good_policy_keeps_every_promise() {
    let component = with_cases(Guest::default(), &[("a key", json!({}), KEYED)]);
    let report = workbench(&component).report(7);
    assert!(report.is_fine(), "{report:#?}");
    let facts = &report.checks.iter().find(|check| check.name == "another operation").unwrap().facts;
    assert!(facts.contains(&"the field idempotency-key: another key (1)".into()), "{facts:?}");
    assert!(facts.contains(&"the path: the same key, another fingerprint (1)".into()), "{facts:?}");
}

#[test]
fn each_broken_promise_is_found_and_named() {
    let other = KEYED.replace("k1", "k2");
    for (guest, check, words) in [
        (Guest { decide: guests::COUNT_OF_CALLS.into(), ..Guest::default() }, "vectors", "not pure"),
        (Guest { decide: guests::COUNT_OF_CALLS.into(), ..Guest::default() }, "purity", "on a used instance"),
        // The field that a retry may have changed.
        (
            Guest { request_fields: vec!["user-agent".into(), "host".into()], ..Guest::default() },
            "same operation",
            "an unrelated header field `user-agent`",
        ),
        (
            Guest {
                whole: Some(1000),
                decide: "local.get $p1 local.get $p2 call $key_of".into(),
                ..Guest::default()
            },
            "same operation",
            "the order of the members of a JSON body",
        ),
        (
            Guest { decide: "i32.const 4096 i32.const 1 call $key_of".into(), ..Guest::default() },
            "another operation",
            "all requests would be one operation",
        ),
    ] {
        let component = with_cases(guest, &[("one", json!({}), KEYED), ("two", json!({}), &other)]);
        let report = workbench(&component).report(7);
        let found = faults(&report, check);
        assert!(found.iter().any(|fault| fault.contains(words)), "{words:?} is not in {found:#?}");
        assert!(!report.is_fine());
    }
}

#[test]
fn a_setting_that_changes_keys_must_be_in_the_key_schema() {
    // The key is the length of the settings, of which the key-schema says nothing.
    let guest = Guest {
        configure: "(i32.store8 (i32.const 512) (i32.add (i32.const 48) (local.get $settings_len)))".into(),
        decide: "i32.const 512 i32.const 1 call $key_of".into(),
        ..Guest::default()
    };
    let component = with_cases(guest, &[("one", json!({ "salt": "x" }), KEYED)]);
    let found = faults(&workbench(&component).report(7), "settings");
    assert!(
        found.iter().any(|fault| fault.contains("`salt` changed from") && fault.contains("`toy/1`")),
        "{found:#?}"
    );
    // A setting that changes nothing may be left out of it.
    let component = with_cases(Guest::default(), &[("one", json!({ "salt": "x" }), KEYED)]);
    assert_eq!(faults(&workbench(&component).report(7), "settings"), Vec::<String>::new());
}

#[test]
fn without_vectors_it_says_that_they_may_have_been_stripped() {
    let report = workbench(&guests::keyed_by_header("idempotency-key", "toy/1")).report(7);
    assert!(report.checks[0].warnings[0].contains("strip"), "{report:?}");
}

#[test]
fn a_run_says_what_the_gateway_would_make_of_it() {
    let workbench = workbench(&guests::keyed_by_header("idempotency-key", "toy/1"));
    let answer = workbench.run(&Sample::parse(KEYED.as_bytes()).unwrap()).unwrap();
    assert_eq!(answer.key, [(Part::Text("k1".into()), None)]);
    let again = workbench.run(&Sample::parse(KEYED.as_bytes()).unwrap()).unwrap();
    assert_eq!(answer.operation, again.operation);
    let by_another = Sample::parse(KEYED.as_bytes()).unwrap().by(Some("bob".into()), "vectors".into());
    assert_ne!(workbench.run(&by_another).unwrap().operation, answer.operation);
    let unasked = workbench.run(&Sample::parse(b"GET / HTTP/1.1\r\n\r\n").unwrap()).unwrap();
    assert!(unasked.verdict.is_none() && unasked.operation.is_none());
}

#[test]
fn what_a_policy_logs_is_told() {
    let guest = Guest {
        imports: r#"(import "oncegate:policy/log@0.1.0" "emit" (func $emit (param i32 i32 i32)))"#.into(),
        decide: format!("i32.const 2 i32.const 4096 i32.const 5 call $emit {}", guests::KEY_OF_FIRST_FIELD),
        ..Guest::default()
    };
    let answer = workbench(&guest.component()).run(&Sample::parse(KEYED.as_bytes()).unwrap()).unwrap();
    assert_eq!(answer.log, ["warn: toy/1"]);
}

#[test]
fn the_anatomy_names_permissions_and_sections() {
    let (_folder, policy) = policy(&with_cases(Guest::default(), &[("one", json!({}), KEYED)]));
    let anatomy = anatomy(&policy.component).unwrap();
    assert_eq!(anatomy.exports, ["oncegate:policy/policy@0.1.0"]);
    assert_eq!(anatomy.imports, ["oncegate:policy/types@0.1.0"]);
    assert_eq!(anatomy.vectors, Some(Ok(1)));
    assert_eq!(anatomy.settings_schema, None);
}

#[test]
fn json_is_written_anew_without_changing_what_it_says() {
    let text = r#"{"a":[1.50,"x\u0041\n",{"c":null,"d":true}],"b":1e400}"#;
    let mut document = json::Json::parse(text.as_bytes()).unwrap();
    assert_eq!(document.write(""), r#"{"a":[1.50,"xA\n",{"c":null,"d":true}],"b":1e400}"#);
    assert!(document.turn_members());
    assert_eq!(document.write(""), r#"{"b":1e400,"a":[1.50,"xA\n",{"d":true,"c":null}]}"#);
    assert_eq!(json::Json::parse(document.write(" \n").as_bytes()), Some(document.clone()));
    assert_eq!(document.at("/a/2/d"), Some(&mut json::Json::Scalar("true".into())));
    assert_eq!(document.at("/a/9"), None);
    for broken in ["", "{", "[1] x", "{\"a\":}"] {
        assert_eq!(json::Json::parse(broken.as_bytes()), None, "{broken:?}");
    }
    assert_eq!(json::Json::parse("[".repeat(1 << 20).as_bytes()), None);
}
