#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::interface::v0_1::Part;
use crate::load::sample::Sample;
use crate::tests::guests::{self, Guest};
use crate::tests::{ENGINE, policy};
use serde_json::Value;
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
fn faults(report: &PromiseReport, name: &str) -> Vec<String> {
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

/// A report says nothing of things that were not looked at.
#[test]
fn a_setting_without_values_to_try_is_told_so() {
    let schema = json!({ "type": "object", "properties": {
        "keep": { "type": "array" }, "keys": { "type": "string", "examples": ["a"] }
    } });
    let component = with_cases(Guest::default(), &[("a key", json!({}), KEYED)]);
    let mut with_schema = component;
    guests::append_section(&mut with_schema, "oncegate:settings", schema.to_string().as_bytes());
    let report = workbench(&with_schema).report(7);
    let facts = &report.checks.iter().find(|check| check.name == "settings").unwrap().facts;
    assert!(facts.iter().any(|fact| fact.starts_with("keep: not tried")), "{facts:?}");
    assert!(facts.contains(&"keys: it changes no key".into()), "{facts:?}");
}

#[test]
fn a_key_that_is_not_ascii_can_be_another_too() {
    let request = KEYED.replace("k1", "k\u{e9}y");
    let component = with_cases(Guest::default(), &[("a key", json!({}), &request)]);
    let report = workbench(&component).report(7);
    assert_eq!(faults(&report, "another operation"), Vec::<String>::new());
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
fn large_values_are_tried() {
    // The second field lies where the first ends: a long one is cut there, and its rest is the next one's.
    let leaves_something = "(if (i32.gt_u (local.get $p2) (i32.const 1000)) (then
        (i32.store (i32.const 700) (i32.const 1))))
        (local.set $at (i32.load (i32.const 700)))
        (i32.store8 (i32.const 600) (i32.add (i32.const 65) (local.get $at))) i32.const 600 i32.const 1 call $key_of";
    let traps = |at: &str| {
        format!("(i32.gt_u {at} (i32.const 1000)) if unreachable end {}", guests::KEY_OF_FIRST_FIELD)
    };
    let field = "(if (result i32) (local.get $fields_len) (then (i32.load offset=12 (local.get $fields))) (else (i32.const 0)))";
    let text = "(i32.load offset=8 (local.get $p1))";
    for (guest, words) in [
        (
            Guest { whole: Some(1 << 20), decide: leaves_something.into(), ..Guest::default() },
            "a large body, asked after it",
        ),
        (
            Guest { whole: Some(1 << 20), decide: traps("(local.get $p2)"), ..Guest::default() },
            "a large body: trapped",
        ),
        (Guest { decide: traps(field), ..Guest::default() }, "a large field idempotency-key: trapped"),
        (
            Guest { pointers: Some(vec!["/c".into()]), decide: traps(text), ..Guest::default() },
            "a large /c in the body: trapped",
        ),
    ] {
        let request = KEYED.replace("\"b\":1", "\"b\":1,\"c\":\"x\"");
        let report = workbench(&with_cases(guest, &[("one", json!({}), &request)])).report(7);
        let found = faults(&report, "large values");
        assert!(found.iter().any(|fault| fault.contains(words)), "{words:?} is not in {found:#?}");
        assert_eq!(faults(&report, "purity"), Vec::<String>::new(), "the small ones are good");
    }
    let good = with_cases(Guest { whole: Some(1 << 20), ..Guest::default() }, &[("one", json!({}), KEYED)]);
    let report = workbench(&good).report(7);
    let check = report.checks.iter().find(|check| check.name == "large values").unwrap();
    assert!(check.faults.is_empty() && check.scope.starts_with("1 guarded"), "{check:?}");
}

#[test]
fn what_the_engine_does_not_run_is_told() {
    let module = |text: &str| wat::parse_str(text).unwrap();
    let component = |text: &str| module(&format!("(component (core module {text}))"));
    for text in [
        "(tag $t) (func try throw $t catch_all end)",
        "(func (param v128) (result v128) local.get 0 i32x4.relaxed_trunc_f32x4_s)",
        "(type $s (struct (field i32))) (func (result (ref null $s)) ref.null $s)",
        "(memory 1 1 shared)",
    ] {
        assert!(takes(&module(&format!("(module {text})"))).is_err(), "{text}");
        assert!(takes(&component(text)).is_err(), "{text}");
    }
    let usual = "(memory 1) (func (result v128) (v128.const i32x4 1 2 3 4)) (func (result i32 i32) i32.const 1 i32.const 2)";
    assert_eq!(takes(&module(&format!("(module {usual})"))), Ok(()));
    assert_eq!(takes(&component(usual)), Ok(()));
    assert_eq!(takes(&Guest::default().component()), Ok(()));
    // Others say that it is no WebAssembly.
    assert_eq!(takes(b"hello"), Ok(()));
}

#[test]
fn a_policy_that_never_answers_is_said_to_be_one() {
    for (decide, words) in [
        ("unreachable", "every call of `decide` fails, 2 of 2: trapped"),
        ("(i32.store8 (i32.const 1024) (i32.const 1)) i32.const 1024", "2 of 2: returned an err"),
    ] {
        let guest = Guest { decide: decide.into(), ..Guest::default() };
        let component = with_cases(guest, &[("one", json!({}), KEYED), ("two", json!({}), KEYED)]);
        let report = workbench(&component).report(7);
        let names: Vec<&str> = report.checks.iter().map(|check| check.name).collect();
        assert_eq!(names, ["calls"], "{report:#?}");
        assert!(report.checks[0].faults[0].contains(words), "{report:#?}");
    }
    // A policy that answers now and then is tried all the same.
    let traps = guests::traps_on_empty();
    let mut component = traps;
    let empty = KEYED.replace("k1", "");
    let cases = json!([{ "name": "one", "request": KEYED, "expect": { "guard": {} } },
                       { "name": "none", "request": empty, "expect": { "guard": {} } }]);
    let vectors = json!({ "version": 1, "cases": cases }).to_string();
    guests::append_section(&mut component, "oncegate:vectors", vectors.as_bytes());
    let report = workbench(&component).report(7);
    assert!(faults(&report, "vectors")[0].contains("case `none`: trapped"), "{report:#?}");
    assert_eq!(faults(&report, "purity"), Vec::<String>::new());
}

/// A component whose `settle` is this, with a case about it.
fn settling(code: &str) -> Vec<u8> {
    let guest = Guest { settle: Some(code.into()), ..Guest::default() };
    let case = json!({ "name": "one", "request": KEYED, "answer": "HTTP/1.1 200 OK\r\n\r\n", "expect": { "settle": null } });
    let mut component = guest.component();
    let vectors = json!({ "version": 1, "cases": [case] }).to_string();
    guests::append_section(&mut component, "oncegate:vectors", vectors.as_bytes());
    component
}

#[test]
fn other_hooks_are_held_against_purity_and_counted() {
    let report = workbench(&settling("unreachable")).report(7);
    assert!(faults(&report, "calls")[0].contains("every call of `settle` fails, 1 of 1"), "{report:#?}");
    // The policy's `settle` says nothing on its first call, and something on each later call.
    let counts =
        "(i32.store8 offset=4 (i32.const 1024) (i32.gt_u (global.get $calls) (i32.const 1))) i32.const 1024";
    let report = workbench(&settling(counts)).report(7);
    assert!(
        faults(&report, "purity").iter().any(|fault| fault.contains("`one` (`settle`), asked after")),
        "{report:#?}"
    );
    let anatomy = {
        let (_folder, policy) = policy(&settling("i32.const 1024"));
        anatomy(&policy.component).unwrap()
    };
    assert_eq!(anatomy.hooks, [("decide", 0), ("settle", 1)]);
}

#[test]
fn hooks_see_what_they_are_shown() {
    let asks = workbench(&guests::asking("GET", "/q", 2));
    let answer = |text: &str| crate::sample_answer::SampleAnswer::parse(text.as_bytes()).unwrap();
    let found = answer("HTTP/1.1 200 OK\r\n\r\n");
    let call_hooks = |workbench: &Workbench, request: &str, shown: &HookInputs| {
        let sample = Sample::parse(request.as_bytes()).unwrap();
        let decided = workbench.run(&sample).unwrap();
        let reports = workbench.call_hooks(&sample, &decided, shown).unwrap();
        let word = |HookReport { hook, outcome, .. }: &HookReport| match outcome {
            HookOutcome::NotCalled(why) => format!("{} not asked: {why}", hook.name()),
            HookOutcome::Called(result) => {
                format!("{} {}", hook.name(), result.as_ref().map(|result| result.json()).unwrap())
            }
        };
        reports.iter().map(word).collect::<Vec<_>>()
    };
    let said =
        call_hooks(&asks, KEYED, &HookInputs { found: vec![found.clone(), found], ..HookInputs::default() });
    assert_eq!(said[1..], ["reading \"did-not-happen\"", "reading not asked: nothing was asked"]);
    assert!(said[0].starts_with("question {") && said[0].contains("\"path\":\"/q\""), "{said:?}");
    let said = call_hooks(&asks, "POST / HTTP/1.1\r\n\r\n", &HookInputs::default());
    assert_eq!(said, ["question not asked: the request is not guarded"]);
    let settles = workbench(&guests::settles_by_what_the_answer_says(vec![(500, 599, 0)]));
    let shown = |text: &str| HookInputs { answer: Some(answer(text)), ..HookInputs::default() };
    let said = call_hooks(&settles, KEYED, &shown("HTTP/1.1 200 OK\r\n\r\n{\"outcome\":\"3\"}"));
    assert!(said[0].starts_with("settle {\"disposition\":\"unknown\""), "{said:?}");
    assert_eq!(said[1], "present not asked: the component doesn't export `oncegate:policy/presentation`");
    let said = call_hooks(&settles, KEYED, &shown("HTTP/1.1 500 Oh\r\n\r\n"));
    assert_eq!(said[0], "settle not asked: the plan's rule for 500-599 says already: completed");
    let explains = Guest { explain: Some(guests::wording(418, "tea")), ..Guest::default() };
    let shown = HookInputs { problem: Some("expired".into()), ..HookInputs::default() };
    let said = call_hooks(&workbench(&explains.component()), KEYED, &shown);
    assert!(said[0].starts_with("explain {") && said[0].contains("418"), "{said:?}");
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
    // A setting that changes nothing may be left out of the key-schema.
    let component = with_cases(Guest::default(), &[("one", json!({ "salt": "x" }), KEYED)]);
    assert_eq!(faults(&workbench(&component).report(7), "settings"), Vec::<String>::new());
}

#[test]
fn without_vectors_it_says_that_they_may_have_been_stripped() {
    let report = workbench(&guests::keyed_by_header("idempotency-key", "toy/1")).report(7);
    assert!(report.checks[0].warnings[0].contains("strip"), "{report:?}");
}

/// The gateway refuses the one and warns of the others; the author is told as much.
#[test]
fn without_vectors_the_gateways_self_test_is_made() {
    let report = workbench(&guests::counts()).report(7);
    assert!(faults(&report, "self-test")[0].contains("the gateway refuses it: it is not pure"), "{report:?}");
    for always in [guests::traps(), guests::invalid_result()] {
        let report = workbench(&always).report(7);
        assert!(faults(&report, "self-test")[0].contains("it fails on each of them"), "{report:?}");
    }
    let report = workbench(&guests::keyed_by_header("idempotency-key", "toy/1")).report(7);
    assert!(report.is_fine() && !report.is_tested, "{report:?}");
    let none = with_cases(Guest { decide: guests::COUNT_OF_CALLS.into(), ..Guest::default() }, &[]);
    let report = workbench(&none).report(7);
    assert!(!report.is_fine() && !report.is_tested, "{report:?}");
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
