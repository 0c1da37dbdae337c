//! Plans, verdicts and parts in words, for people and as JSON. The JSON of a key is that of the
//! test vectors, so that it can be copied into one.

use crate::config::Policy;
use crate::policy::{
    Attribute, Failure, FingerprintRule, Guard, Part, PayloadWant, Plan, RequestField, Shape, Verdict,
};
use oncegate_core::{WhenUnknown, WhileRunning};
use serde_json::{Value, json};

/// The lines of a plan, without its empty parts.
pub(super) fn plan(plan: &Plan) -> Vec<(&'static str, String)> {
    let mut lines = vec![("key-schema", plan.key_schema.to_string())];
    let methods =
        if plan.methods.is_empty() { "all but the safe ones".into() } else { plan.methods.join(", ") };
    lines.push(("methods", methods));
    let fields: Vec<&str> = plan.request_fields.iter().map(RequestField::name).collect();
    lines.push(("reads", if fields.is_empty() { "no field".into() } else { fields.join(", ") }));
    lines.extend(payload(&plan.request_payload).map(|wanted| ("of the body", wanted)));
    let fields: Vec<&str> = plan.response_fields.iter().map(|name| name.as_str()).collect();
    if !fields.is_empty() {
        lines.push(("of answers", fields.join(", ")));
    }
    lines.extend(payload(&plan.response_payload).map(|wanted| ("of their bodies", wanted)));
    if !plan.outcomes.is_empty() {
        let rule = |rule: &crate::config::StatusRule| {
            format!("{}-{} {}", rule.lowest, rule.highest, rule.means.word())
        };
        lines.push(("outcomes", plan.outcomes.iter().map(rule).collect::<Vec<_>>().join(", ")));
    }
    lines
}

/// The part of a body that a plan asks for, in words; none: nothing.
fn payload(want: &PayloadWant) -> Option<String> {
    let all = |pointer: &String| if pointer.is_empty() { "all of it".into() } else { pointer.clone() };
    match want {
        PayloadWant::Nothing => None,
        PayloadWant::Pointers(pointers) => Some(pointers.iter().map(all).collect::<Vec<String>>().join(", ")),
        PayloadWant::Whole(most) => Some(format!("all of it, up to {most} bytes")),
    }
}

pub(super) fn plan_json(plan: &Plan) -> Value {
    let payload = |want: &PayloadWant| match want {
        PayloadWant::Nothing => json!("nothing"),
        PayloadWant::Pointers(pointers) => json!({ "pointers": pointers }),
        PayloadWant::Whole(most) => json!({ "whole": most }),
    };
    let rule = |rule: &crate::config::StatusRule| json!({ "lowest": rule.lowest, "highest": rule.highest, "means": rule.means.word() });
    json!({
        "key_schema": &*plan.key_schema,
        "methods": plan.methods,
        "request_fields": plan.request_fields.iter().map(RequestField::name).collect::<Vec<_>>(),
        "request_payload": payload(&plan.request_payload),
        "response_fields": plan.response_fields.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        "response_payload": payload(&plan.response_payload),
        "outcomes": plan.outcomes.iter().map(rule).collect::<Vec<_>>(),
    })
}

pub(super) fn verdict_json(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Bypass(reason) => json!({ "bypass": reason }),
        Verdict::Refuse(refusal) => {
            json!({ "refuse": { "status": refusal.status, "code": refusal.code, "detail": refusal.detail } })
        }
        Verdict::Guard(guard) => json!({ "guard": guard_json(guard) }),
    }
}

fn guard_json(guard: &Guard) -> Value {
    let mut value = json!({
        "key": guard.key.iter().map(part).collect::<Vec<_>>(),
        "fingerprint": fingerprint(&guard.fingerprint),
    });
    let seconds = [("retention-seconds", guard.retention), ("tombstone-seconds", guard.tombstone)];
    for (name, time) in seconds.into_iter().filter_map(|(name, time)| Some((name, time?))) {
        value[name] = time.as_secs().into();
    }
    match guard.while_running {
        None => {}
        Some(WhileRunning::Reject) => value["while-running"] = "reject".into(),
        Some(WhileRunning::Wait) => value["while-running"] = "wait".into(),
    }
    match guard.when_unknown {
        None => {}
        Some(WhenUnknown::Hold) => value["when-unknown"] = "hold".into(),
        Some(WhenUnknown::Probe) => value["when-unknown"] = "probe".into(),
        Some(WhenUnknown::Resend) => value["when-unknown"] = "resend".into(),
    }
    if let Some(sent) = guard.first_sent {
        value["first-sent"] = sent.into();
    }
    if let Some(memo) = &guard.memo {
        value["memo"] = (**memo).into();
    }
    if !guard.forward.is_empty() {
        let pairs = guard.forward.iter();
        let pairs =
            pairs.map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]));
        value["forward"] = pairs.collect();
    }
    if !guard.labels.is_empty() {
        value["labels"] = guard.labels.iter().map(|(name, value)| json!([name, value])).collect();
    }
    if guard.unvouched {
        value["unvouched"] = true.into();
    }
    value
}

/// A part as test vectors write it.
pub(super) fn part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({ "text": text }),
        Part::Bytes(bytes) => json!({ "bytes": bytes }),
        Part::Of(attribute) => json!({ "of": attribute_name(*attribute) }),
        Part::Document(shape) => json!({ "document": shape_json(shape) }),
        Part::Missing => json!("missing"),
    }
}

pub(super) fn fingerprint(rule: &FingerprintRule) -> Value {
    match rule {
        FingerprintRule::Request => json!("request"),
        FingerprintRule::KeyOnly => json!("key-only"),
        FingerprintRule::Document(shape) => json!({ "document": shape_json(shape) }),
        FingerprintRule::Parts(parts) => json!({ "parts": parts.iter().map(part).collect::<Vec<_>>() }),
    }
}

fn shape_json(shape: &Shape) -> Value {
    json!({ "keep": shape.keep, "drop": shape.drop })
}

fn attribute_name(attribute: Attribute) -> &'static str {
    match attribute {
        Attribute::Method => "method",
        Attribute::Authority => "authority",
        Attribute::Path => "path",
        Attribute::Query => "query",
        Attribute::Body => "body",
    }
}

/// The settings in force.
pub(super) fn settings(policy: &Policy) -> Value {
    Value::Object(policy.settings.clone())
}

/// A failed call in words: its consequence, and the answer that a client would see.
pub(super) fn failure(failure: &Failure) -> String {
    format!("the policy failed: {failure} (a client gets 503 policy-failed)")
}

/// A number of bytes, for people.
pub(super) fn bytes(count: usize) -> String {
    match count {
        0..10_000 => format!("{count} bytes"),
        10_000..10_000_000 => format!("{} KB", count / 1000),
        _ => format!("{} MB", count / 1_000_000),
    }
}

/// Lines of `name  value`, one under another.
pub(super) fn columns(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    lines.iter().map(|(name, value)| format!("  {name:width$}  {value}\n")).collect()
}
