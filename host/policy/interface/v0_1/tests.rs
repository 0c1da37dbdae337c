//! Tests that break each rule of `policy.wit` that this host checks, once: the error names the rule.

use super::bindings::{hooks, wit};
use super::lift::on_one_line;
use super::outcome::settlement;
use super::policy::{guard, plan, refusal};
use super::presentation;
use super::resolution::{finding, found_reply, outbound};
use crate::interface::failure::Broken;
use crate::interface::{FingerprintRule, RequestField};
use oncegate_config::StatusRule;
use oncegate_core::{Disposition, WhenUnknown};
use std::time::Duration;

fn good_plan() -> wit::Plan {
    wit::Plan {
        key_schema: "toy/1".into(),
        methods: vec!["POST".into()],
        request_fields: vec!["idempotency-key".into(), ":path".into()],
        request_payload: wit::PayloadWant::Pointers(vec!["/a~1b".into(), String::new()]),
        response_fields: vec!["x-result".into()],
        response_payload: wit::PayloadWant::Whole(1),
        outcomes: vec![wit::StatusRule {
            lowest: 500,
            highest: 599,
            disposition: wit::Disposition::NotApplied,
        }],
        options: vec![],
    }
}

fn good_guard() -> wit::Guard {
    wit::Guard {
        key: vec![wit::Part::Text("k".into())],
        fingerprint: wit::Fingerprint::Request,
        while_running: wit::WhileRunning::RouteDefault,
        when_unknown: wit::WhenUnknown::RouteDefault,
        retention_seconds: Some(1),
        tombstone_seconds: Some(0),
        first_sent: None,
        forward: vec![named("x-key", "k")],
        memo: Some("m".into()),
        labels: vec![named("tool", "charge")],
        options: vec![],
    }
}

fn good_refusal() -> wit::Refusal {
    wit::Refusal {
        status: 400,
        code: "key-missing".into(),
        detail: "say one".into(),
        fields: vec![named("link", "</docs>; rel=help")],
    }
}

fn named(name: &str, value: &str) -> wit::FieldResult {
    wit::FieldResult { name: name.into(), value: value.into() }
}

fn shape_of(pointers: usize) -> wit::Shape {
    wit::Shape { keep: vec!["/a".into(); pointers], drop: vec![] }
}

/// Spoils `good`, and expects a refusal whose text begins like this.
fn refused<T, U: std::fmt::Debug>(
    good: T,
    spoil: impl FnOnce(&mut T),
    check: impl FnOnce(T) -> Result<U, Broken>,
    start: &str,
) {
    let mut value = good;
    spoil(&mut value);
    match check(value) {
        Ok(value) => panic!("`{start}` expected, accepted as {value:?}"),
        Err(broken) => assert!(broken.to_string().starts_with(start), "`{start}` expected, found `{broken}`"),
    }
}

#[test]
fn a_good_plan_is_taken_pseudo_fields_first() {
    let plan = plan(good_plan()).expect("a good plan");
    assert_eq!(plan.request_fields[0], RequestField::Path);
    assert_eq!(plan.request_fields[1].name(), "idempotency-key");
    assert_eq!(plan.outcomes, [StatusRule { lowest: 500, highest: 599, means: Disposition::NotApplied }]);
}

#[test]
fn each_rule_of_a_plan() {
    let rule = |lowest, highest, disposition| vec![wit::StatusRule { lowest, highest, disposition }];
    let not_applied = wit::Disposition::NotApplied;
    #[expect(clippy::type_complexity, reason = "a table")]
    let cases: Vec<(&str, Box<dyn Fn(&mut wit::Plan)>)> = vec![
        ("plan.key-schema: 0 bytes", Box::new(|p| p.key_schema = String::new())),
        ("plan.key-schema: 257 bytes", Box::new(|p| p.key_schema = "x".repeat(257))),
        ("plan.key-schema: printable", Box::new(|p| p.key_schema = " x".into())),
        ("plan.key-schema: printable", Box::new(|p| p.key_schema = "a\nb".into())),
        ("plan.key-schema: printable", Box::new(|p| p.key_schema = "é".into())),
        ("plan.methods: 33 of them", Box::new(|p| p.methods = vec!["POST".into(); 33])),
        ("plan.methods: `PO ST` is not a token", Box::new(|p| p.methods = vec!["PO ST".into()])),
        ("plan.methods: `HEAD` is safe", Box::new(|p| p.methods = vec!["HEAD".into()])),
        ("plan.methods: `OPTIONS` is safe", Box::new(|p| p.methods = vec!["OPTIONS".into()])),
        ("plan.methods: `TRACE` is safe", Box::new(|p| p.methods = vec!["TRACE".into()])),
        ("plan.request-fields: 65 of them", Box::new(|p| p.request_fields = vec!["a".into(); 65])),
        ("plan.request-fields: `X-Key`", Box::new(|p| p.request_fields = vec!["X-Key".into()])),
        ("plan.request-fields: `:time`", Box::new(|p| p.request_fields = vec![":time".into()])),
        (
            "plan.request-fields: `cookie` is not a policy's to read",
            Box::new(|p| p.request_fields = vec!["cookie".into()]),
        ),
        (
            "plan.request-fields: `authorization` is not",
            Box::new(|p| p.request_fields = vec!["authorization".into()]),
        ),
        (
            "plan.request-fields: `proxy-authorization` is not",
            Box::new(|p| p.request_fields = vec!["proxy-authorization".into()]),
        ),
        (
            "plan.request-payload: 65 of them",
            Box::new(|p| p.request_payload = wit::PayloadWant::Pointers(vec![String::new(); 65])),
        ),
        (
            "plan.request-payload: `a` is not a JSON pointer",
            Box::new(|p| p.request_payload = wit::PayloadWant::Pointers(vec!["a".into()])),
        ),
        (
            "plan.request-payload: `/~2` is not a JSON pointer",
            Box::new(|p| p.request_payload = wit::PayloadWant::Pointers(vec!["/~2".into()])),
        ),
        ("plan.request-payload: `whole` of 0", Box::new(|p| p.request_payload = wit::PayloadWant::Whole(0))),
        ("plan.response-fields: 65 of them", Box::new(|p| p.response_fields = vec!["a".into(); 65])),
        ("plan.response-fields: `:path`", Box::new(|p| p.response_fields = vec![":path".into()])),
        (
            "plan.response-payload: `whole` of 0",
            Box::new(|p| p.response_payload = wit::PayloadWant::Whole(0)),
        ),
        ("plan.outcomes: 99-200", Box::new(move |p| p.outcomes = rule(99, 200, wit::Disposition::Unknown))),
        ("plan.outcomes: 500-600", Box::new(move |p| p.outcomes = rule(500, 600, wit::Disposition::Unknown))),
        ("plan.outcomes: 500-499", Box::new(move |p| p.outcomes = rule(500, 499, wit::Disposition::Unknown))),
        (
            "plan.outcomes: 100-200: a rule can't call a 2xx",
            Box::new(move |p| p.outcomes = rule(100, 200, not_applied)),
        ),
        ("plan.outcomes: 65 of them", Box::new(move |p| p.outcomes = rule(500, 500, not_applied).repeat(65))),
        ("plan.options: `turbo` is not an option", Box::new(|p| p.options = vec![named("turbo", "on")])),
    ];
    for (start, spoil) in cases {
        refused(good_plan(), spoil, plan, start);
    }
}

#[test]
fn each_rule_of_a_guard() {
    let key = |part| vec![part];
    #[expect(clippy::type_complexity, reason = "a table")]
    let cases: Vec<(&str, Box<dyn Fn(&mut wit::Guard)>)> = vec![
        ("guard.key: 0 parts", Box::new(|g| g.key = vec![])),
        ("guard.key: 65 parts", Box::new(|g| g.key = vec![wit::Part::Text("k".into()); 65])),
        ("guard.key: every part is missing or empty", Box::new(move |g| g.key = key(wit::Part::Missing))),
        (
            "guard.key: every part is missing or empty",
            Box::new(|g| g.key = vec![wit::Part::Text(String::new()), wit::Part::Bytes(vec![])]),
        ),
        ("guard.key: 65 of them", Box::new(|g| g.key = vec![wit::Part::Document(shape_of(65))])),
        (
            "guard.fingerprint: 65 of them",
            Box::new(|g| g.fingerprint = wit::Fingerprint::Document(shape_of(65))),
        ),
        (
            "guard.fingerprint: 65 of them",
            Box::new(|g| g.fingerprint = wit::Fingerprint::Parts(vec![wit::Part::Missing; 65])),
        ),
        (
            "guard.fingerprint: `key-only` needs",
            Box::new(|g| {
                g.key = vec![wit::Part::Of(wit::Attribute::Path), wit::Part::Text(String::new())];
                g.fingerprint = wit::Fingerprint::KeyOnly;
            }),
        ),
        (
            "guard.fingerprint: `key-only` needs",
            Box::new(|g| {
                g.key = vec![wit::Part::Of(wit::Attribute::Path)];
                g.fingerprint = wit::Fingerprint::Parts(vec![]);
            }),
        ),
        ("guard.when-unknown: `probe` needs", Box::new(|g| g.when_unknown = wit::WhenUnknown::Probe)),
        ("guard.retention-seconds: 0 seconds", Box::new(|g| g.retention_seconds = Some(0))),
        ("guard.forward: 17 of them", Box::new(|g| g.forward = vec![named("x-a", "1"); 17])),
        ("guard.forward: `a b` is not a token", Box::new(|g| g.forward = vec![named("a b", "1")])),
        ("guard.forward: `:path` is not a token", Box::new(|g| g.forward = vec![named(":path", "/")])),
        ("guard.forward: the value of `x-a`", Box::new(|g| g.forward = vec![named("x-a", "1\r\nx-b: 2")])),
        ("guard.memo: 4097 bytes", Box::new(|g| g.memo = Some("m".repeat(4097)))),
        ("guard.labels: 9 of them", Box::new(|g| g.labels = vec![named("a", "1"); 9])),
        ("guard.labels: `a` is there twice", Box::new(|g| g.labels = vec![named("a", "1"); 2])),
        ("guard.labels: `A` is not", Box::new(|g| g.labels = vec![named("A", "1")])),
        ("guard.labels: `1a` is not", Box::new(|g| g.labels = vec![named("1a", "1")])),
        ("guard.labels: `route` is the gateway's own", Box::new(|g| g.labels = vec![named("route", "1")])),
        ("guard.labels: 129 bytes", Box::new(|g| g.labels = vec![named("a", &"x".repeat(129))])),
        ("guard.labels: the value of `a`", Box::new(|g| g.labels = vec![named("a", "\n")])),
        ("guard.options: `turbo` is not an option", Box::new(|g| g.options = vec![named("turbo", "")])),
        (
            "guard.options: `turbo` is not an option",
            Box::new(|g| g.options = vec![named("unvouched", ""), named("turbo", "")]),
        ),
        ("guard.options: `unvouched` has no value", Box::new(|g| g.options = vec![named("unvouched", "no")])),
    ];
    for (start, spoil) in cases {
        refused(good_guard(), spoil, |lifted| guard(lifted, false), start);
    }
    for name in ["Host", "content-length", "te", "authorization", "cookie", "Oncegate-Operation"] {
        let start = format!("guard.forward: `{}` is not a policy's to set", name.to_lowercase());
        refused(good_guard(), |g| g.forward = vec![named(name, "1")], |lifted| guard(lifted, false), &start);
    }
}

#[test]
fn a_good_guard_is_taken() {
    let mut lifted = good_guard();
    lifted.when_unknown = wit::WhenUnknown::Probe;
    lifted.fingerprint = wit::Fingerprint::Parts(vec![]);
    let guard = guard(lifted, true).expect("a good guard");
    assert_eq!(guard.fingerprint, FingerprintRule::KeyOnly);
    assert_eq!(guard.when_unknown, Some(WhenUnknown::Probe));
    assert_eq!(guard.retention, Some(Duration::from_secs(1)));
    assert_eq!(guard.tombstone, Some(Duration::ZERO));
    assert_eq!(guard.forward[0].0, "x-key");
}

#[test]
fn each_rule_of_a_refusal() {
    #[expect(clippy::type_complexity, reason = "a table")]
    let cases: Vec<(&str, Box<dyn Fn(&mut wit::Refusal)>)> = vec![
        ("refusal.status: 399", Box::new(|r| r.status = 399)),
        ("refusal.status: 600", Box::new(|r| r.status = 600)),
        ("refusal.code: `` is not", Box::new(|r| r.code = String::new())),
        ("refusal.code: `Bad` is not", Box::new(|r| r.code = "Bad".into())),
        (
            "refusal.code: `in-flight` is a code of the gateway's own",
            Box::new(|r| r.code = "in-flight".into()),
        ),
        ("refusal.detail: 1025 bytes", Box::new(|r| r.detail = "d".repeat(1025))),
        ("refusal.fields: 17 of them", Box::new(|r| r.fields = vec![named("x-a", "1"); 17])),
        (
            "refusal.fields: `set-cookie` is not a policy's to set",
            Box::new(|r| r.fields = vec![named("set-cookie", "a=b")]),
        ),
        (
            "refusal.fields: `content-type` is not a policy's to set",
            Box::new(|r| r.fields = vec![named("Content-Type", "text/html")]),
        ),
        (
            "refusal.fields: `connection` is not a policy's to set",
            Box::new(|r| r.fields = vec![named("connection", "close")]),
        ),
    ];
    for (start, spoil) in cases {
        refused(good_refusal(), spoil, refusal, start);
    }
    assert_eq!(refusal(good_refusal()).expect("a good refusal").status, 400);
}

#[test]
fn each_rule_of_a_settlement() {
    let good = || hooks::outcome::Settlement {
        disposition: wit::Disposition::NotApplied,
        memo: None,
        retention_seconds: None,
    };
    let whole = |lifted| settlement(lifted, true);
    refused(
        good(),
        |_| {},
        |lifted| settlement(lifted, false),
        "settlement.disposition: an incomplete answer",
    );
    refused(good(), |s| s.memo = Some("m".repeat(4097)), whole, "settlement.memo: 4097 bytes");
    refused(good(), |s| s.retention_seconds = Some(0), whole, "settlement.retention-seconds: 0 seconds");
    assert_eq!(whole(good()).expect("a good settlement").disposition, Disposition::NotApplied);
}

fn good_outbound() -> wit::OutboundResult {
    wit::OutboundResult {
        method: "GET".into(),
        path: "/payments?reference=a%20b".into(),
        fields: vec![named("accept", "application/json")],
        body: None,
    }
}

#[test]
fn each_rule_of_a_question() {
    #[expect(clippy::type_complexity, reason = "a table")]
    let cases: Vec<(&str, Box<dyn Fn(&mut wit::OutboundResult)>)> = vec![
        ("question: `a b` is not a token", Box::new(|o| o.method = "a b".into())),
        ("question: 8193 bytes", Box::new(|o| o.path = format!("/{}", "p".repeat(8192)))),
        ("question: the path `payments` is not", Box::new(|o| o.path = "payments".into())),
        ("question: the path `` is not", Box::new(|o| o.path = String::new())),
        ("question: the path `/a b` is not", Box::new(|o| o.path = "/a b".into())),
        ("question: the path `/a#b` is not", Box::new(|o| o.path = "/a#b".into())),
        ("question: the path `http://evil/` is not", Box::new(|o| o.path = "http://evil/".into())),
        ("question: the path `/\\r\\nx: y` is not", Box::new(|o| o.path = "/\r\nx: y".into())),
        ("question: 17 of them", Box::new(|o| o.fields = vec![named("x-a", "1"); 17])),
        (
            "question: `authorization` is not a policy's to set",
            Box::new(|o| o.fields = vec![named("Authorization", "mine")]),
        ),
        ("question: `host` is not a policy's to set", Box::new(|o| o.fields = vec![named("host", "evil")])),
        (
            "question: the value of `x-a` has a control character",
            Box::new(|o| o.fields = vec![named("x-a", "a\r\nb")]),
        ),
    ];
    for (start, spoil) in cases {
        refused(good_outbound(), spoil, |lifted| outbound("question", lifted), start);
    }
    let taken = outbound("question", good_outbound()).expect("a good question");
    assert_eq!((taken.method, taken.path.as_str()), (http::Method::GET, "/payments?reference=a%20b"));
    // Two slashes are a path here and name no host.
    let twice = wit::OutboundResult { path: "//evil/x".into(), ..good_outbound() };
    assert_eq!(outbound("question", twice).expect("a path").path.as_str(), "//evil/x");
}

#[test]
fn each_rule_of_an_answer_that_was_found() {
    let good = || wit::ReplyResult {
        status: 201,
        fields: vec![named("content-type", "application/json"), named("Link", "a"), named("link", "b")],
        trailers: vec![],
        payload: wit::PayloadResult::Whole(b"{}".to_vec()),
        complete: true,
    };
    #[expect(clippy::type_complexity, reason = "a table")]
    let cases: Vec<(&str, Box<dyn Fn(&mut wit::ReplyResult)>)> = vec![
        ("finding.happened: status 199", Box::new(|r| r.status = 199)),
        ("finding.happened: status 600", Box::new(|r| r.status = 600)),
        ("finding.happened: a payload that", Box::new(|r| r.payload = wit::PayloadResult::Withheld)),
        ("finding.happened: a body, and an answer with status 204", Box::new(|r| r.status = 204)),
        ("finding.happened: `a b` is not a token", Box::new(|r| r.fields = vec![named("a b", "1")])),
        (
            "finding.happened: the value of `x-a` has a control character",
            Box::new(|r| r.trailers = vec![named("x-a", "\u{7f}")]),
        ),
    ];
    for (start, spoil) in cases {
        refused(good(), spoil, found_reply, start);
    }
    let taken = found_reply(good()).expect("a good answer");
    assert_eq!(taken.fields.get_all("link").iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(taken.body, "{}");
    let ask = hooks::resolution::Finding::Ask(wit::OutboundResult { path: "x".into(), ..good_outbound() });
    refused(ask, |_| {}, finding, "finding.ask: the path `x`");
}

fn good_changes() -> hooks::presentation::Changes {
    hooks::presentation::Changes {
        set: vec![named("x-fitted", "1")],
        remove: vec!["x-old".into()],
        body: Some(b"{}".to_vec()),
    }
}

#[test]
fn each_rule_of_changes() {
    type Spoil = fn(&mut hooks::presentation::Changes);
    let cases: [(&str, Spoil); 9] = [
        ("changes.set: 17 of them", |c| c.set = vec![named("a", "1"); 17]),
        ("changes.set: `set-cookie` is not a policy's", |c| c.set = vec![named("Set-Cookie", "a=1")]),
        ("changes.set: `idempotent-replayed` is not", |c| {
            c.set = vec![named("idempotent-replayed", "false")]
        }),
        ("changes.set: `oncegate-operation` is not", |c| c.set = vec![named("oncegate-operation", "1")]),
        ("changes.set: `content-length` is not", |c| c.set = vec![named("content-length", "1")]),
        ("changes.set: `transfer-encoding` is not", |c| c.set = vec![named("transfer-encoding", "chunked")]),
        ("changes.remove: 17 of them", |c| c.remove = vec!["a".into(); 17]),
        ("changes.remove: `idempotent-replayed` is not", |c| c.remove = vec!["idempotent-replayed".into()]),
        ("changes.remove: `a b` is not a token", |c| c.remove = vec!["a b".into()]),
    ];
    for (start, spoil) in cases {
        refused(good_changes(), spoil, |changes| presentation::changes(changes, 200), start);
    }
    let bodiless = |changes| presentation::changes(changes, 204);
    refused(good_changes(), |_| {}, bodiless, "changes.body: an answer with the status 204 has no body");
    let taken = presentation::changes(good_changes(), 200).expect("good changes");
    assert_eq!((taken.set.len(), taken.remove.len(), taken.body.as_deref()), (1, 1, Some(&b"{}"[..])));
}

#[test]
fn each_rule_of_a_wording() {
    let good = || hooks::presentation::Wording {
        status: 200,
        fields: vec![named("content-type", "application/json")],
        body: b"{}".to_vec(),
    };
    type Spoil = fn(&mut hooks::presentation::Wording);
    let cases: [(&str, Spoil); 9] = [
        ("wording.status: 199", |w| w.status = 199),
        ("wording.status: 302", |w| w.status = 302),
        ("wording.status: 600", |w| w.status = 600),
        ("wording.body: an answer with the status 204", |w| w.status = 204),
        ("wording.fields: 17 of them", |w| w.fields = vec![named("a", "1"); 17]),
        ("wording.fields: `content-encoding` is not", |w| w.fields = vec![named("content-encoding", "br")]),
        ("wording.fields: `set-cookie` is not", |w| w.fields = vec![named("set-cookie", "a=1")]),
        ("wording.fields: `connection` is not", |w| w.fields = vec![named("connection", "close")]),
        ("wording.fields: the value of `a` has", |w| w.fields = vec![named("a", "1\r\nb: 2")]),
    ];
    for (start, spoil) in cases {
        refused(good(), spoil, presentation::wording, start);
    }
    assert_eq!(presentation::wording(good()).expect("a good wording").status, 200);
}

#[test]
fn a_policys_words_stay_on_one_line_and_keep_their_quotes() {
    let line = on_one_line("no setting \"a\", it's\nnot\u{1b}[31m there: C:\\x\u{e9}");
    assert_eq!(line, "no setting \"a\", it's\\nnot\\u{1b}[31m there: C:\\x\u{e9}");
}
