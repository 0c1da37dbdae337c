//! `policy` of version 0.1: plans and verdicts, checked against the rules of `policy.wit`.

use super::bindings::hooks::policy::Guest;
use super::bindings::{Part, Shape, wit};
use super::lift::{disposition, pairs, retention, returned};
use super::lower::{self, field, selection};
use crate::engine::state::InstanceState;
use crate::interface::failure::{Broken, Failure};
use crate::interface::rules::{self, LIST_MAX, broken};
use crate::interface::{
    FingerprintRule, Guard, Operation, PayloadWant, Plan, PolicyRefusal, RequestField, Verdict,
};
use oncegate_config::StatusRule;
use oncegate_core::{Disposition, WhenUnknown, WhileRunning};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Store;

/// Calls `configure`.
pub(super) fn configure(
    guest: &Guest,
    store: &mut Store<InstanceState>,
    settings: &str,
    time: Duration,
) -> Result<Plan, Failure> {
    Ok(plan(returned(guest.call_configure(store, settings), time)?)?)
}

/// Calls `decide`. `probes`: the component exports `resolution`.
pub(super) fn decide(
    guest: &Guest,
    store: &mut Store<InstanceState>,
    operation: &Operation<'_>,
    probes: bool,
    time: Duration,
) -> Result<Verdict, Failure> {
    // A plan declares few fields as a rule: these need no allocation.
    let mut few: [_; 4] = std::array::from_fn(|_| wit::FieldParam { name: "", value: "" });
    let many: Vec<wit::FieldParam<'_>>;
    let fields = match few.get_mut(..operation.fields.len()) {
        Some(few) => {
            few.iter_mut().zip(&operation.fields).for_each(|(place, pair)| *place = field(pair));
            &*few
        }
        None => {
            many = operation.fields.iter().map(field).collect();
            &many
        }
    };
    let selected = selection(&operation.payload);
    let argument = lower::operation(operation, fields, &selected);
    Ok(verdict(returned(guest.call_decide(store, argument), time)?, probes)?)
}

pub(super) fn plan(lifted: wit::Plan) -> Result<Plan, Broken> {
    rules::no_options("plan.options", lifted.options.first().map(|option| option.name.as_str()))?;
    rules::at_most("plan.request-fields", lifted.request_fields.len(), LIST_MAX)?;
    rules::at_most("plan.response-fields", lifted.response_fields.len(), LIST_MAX)?;
    let mut request_fields = Vec::with_capacity(lifted.request_fields.len());
    for name in &lifted.request_fields {
        let field = request_field(name)?;
        if !request_fields.contains(&field) {
            request_fields.push(field);
        }
    }
    // Pseudo-fields come before the headers; each kind stays in the plan's order.
    request_fields.sort_by_key(|field| matches!(field, RequestField::Header(_)));
    let mut response_fields = Vec::with_capacity(lifted.response_fields.len());
    for name in &lifted.response_fields {
        let name = rules::lower_name("plan.response-fields", name)?;
        if !response_fields.contains(&name) {
            response_fields.push(name);
        }
    }
    Ok(Plan {
        key_schema: key_schema(&lifted.key_schema)?,
        methods: methods(lifted.methods)?,
        request_fields,
        request_payload: payload_want("plan.request-payload", lifted.request_payload)?,
        response_fields,
        response_payload: payload_want("plan.response-payload", lifted.response_payload)?,
        outcomes: outcomes(&lifted.outcomes)?,
    })
}

pub(super) fn key_schema(text: &str) -> Result<Arc<str>, Broken> {
    let place = "plan.key-schema";
    if !(1..=256).contains(&text.len()) {
        return broken(place, format!("{} bytes, 1 to 256 are allowed", text.len()));
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.trim() != text {
        return broken(place, "printable ASCII with no space at its ends is allowed");
    }
    Ok(text.into())
}

pub(super) fn methods(methods: Vec<String>) -> Result<Vec<String>, Broken> {
    let place = "plan.methods";
    rules::at_most(place, methods.len(), 32)?;
    for method in &methods {
        rules::method(place, method)?;
        if matches!(method.as_str(), "HEAD" | "OPTIONS" | "TRACE") {
            return broken(place, format!("`{method}` is safe and never guarded"));
        }
    }
    Ok(methods)
}

pub(super) fn request_field(name: &str) -> Result<RequestField, Broken> {
    let place = "plan.request-fields";
    match name {
        ":authority" => Ok(RequestField::Authority),
        ":path" => Ok(RequestField::Path),
        ":query" => Ok(RequestField::Query),
        ":route" => Ok(RequestField::Route),
        ":principal" => Ok(RequestField::Principal),
        "authorization" | "proxy-authorization" | "cookie" => {
            broken(place, format!("`{name}` is not a policy's to read: `:principal` says who asks"))
        }
        _ if name.starts_with(':') => {
            broken(place, format!("`{}` is not a pseudo-field that this gateway knows", name.escape_debug()))
        }
        _ => rules::lower_name(place, name).map(RequestField::Header),
    }
}

pub(super) fn payload_want(place: &'static str, want: wit::PayloadWant) -> Result<PayloadWant, Broken> {
    match want {
        wit::PayloadWant::Nothing => Ok(PayloadWant::Nothing),
        wit::PayloadWant::Pointers(pointers) => {
            rules::pointers(place, &[&pointers])?;
            Ok(PayloadWant::Pointers(pointers))
        }
        wit::PayloadWant::Whole(0) => broken(place, "`whole` of 0 bytes: more than 0 is allowed"),
        wit::PayloadWant::Whole(most) => Ok(PayloadWant::Whole(most)),
    }
}

pub(super) fn outcomes(lifted: &[wit::StatusRule]) -> Result<Vec<StatusRule>, Broken> {
    let place = "plan.outcomes";
    rules::at_most(place, lifted.len(), LIST_MAX)?;
    let mut outcomes = Vec::with_capacity(lifted.len());
    for &wit::StatusRule { lowest, highest, disposition: means } in lifted {
        if !(100 <= lowest && lowest <= highest && highest <= 599) {
            return broken(place, format!("{lowest}-{highest}: 100 <= lowest <= highest <= 599 is allowed"));
        }
        let means = disposition(means);
        if means == Disposition::NotApplied && lowest <= 299 && highest >= 200 {
            return broken(place, format!("{lowest}-{highest}: a rule can't call a 2xx `not-applied`"));
        }
        outcomes.push(StatusRule { lowest, highest, means });
    }
    Ok(outcomes)
}

pub(super) fn verdict(lifted: wit::Verdict, probes: bool) -> Result<Verdict, Broken> {
    match lifted {
        wit::Verdict::Bypass(reason) => Ok(Verdict::Bypass(reason)),
        wit::Verdict::Guard(lifted) => Ok(Verdict::Guard(Box::new(guard(lifted, probes)?))),
        wit::Verdict::Refuse(lifted) => Ok(Verdict::Refuse(refusal(lifted)?)),
    }
}

pub(super) fn guard(lifted: wit::Guard, probes: bool) -> Result<Guard, Broken> {
    let unvouched = unvouched(&lifted.options)?;
    check_key(&lifted.key)?;
    let fingerprint = fingerprint(lifted.fingerprint, &lifted.key)?;
    let labels = pairs(lifted.labels);
    rules::labels("guard.labels", &labels)?;
    rules::memo("guard.memo", lifted.memo.as_deref())?;
    Ok(Guard {
        key: lifted.key,
        fingerprint,
        while_running: match lifted.while_running {
            wit::WhileRunning::RouteDefault => None,
            wit::WhileRunning::Reject => Some(WhileRunning::Reject),
            wit::WhileRunning::Wait => Some(WhileRunning::Wait),
        },
        when_unknown: when_unknown(lifted.when_unknown, probes)?,
        retention: retention("guard.retention-seconds", lifted.retention_seconds)?,
        tombstone: lifted.tombstone_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        first_sent: lifted.first_sent,
        forward: rules::fields("guard.forward", pairs(lifted.forward), |_| false)?,
        memo: lifted.memo.map(Arc::from),
        labels,
        unvouched,
    })
}

/// True if the options have `unvouched`, which is the only one that a guard may have.
fn unvouched(options: &[wit::FieldResult]) -> Result<bool, Broken> {
    const NAME: &str = "unvouched";
    let place = "guard.options";
    rules::no_options(place, options.iter().map(|option| option.name.as_str()).find(|name| *name != NAME))?;
    if options.iter().any(|option| !option.value.is_empty()) {
        return broken(place, format!("`{NAME}` has no value"));
    }
    Ok(!options.is_empty())
}

pub(super) fn check_key(key: &[Part]) -> Result<(), Broken> {
    let place = "guard.key";
    if !(1..=LIST_MAX).contains(&key.len()) {
        return broken(place, format!("{} parts, 1 to {LIST_MAX} are allowed", key.len()));
    }
    check_parts(place, key)?;
    if key.iter().all(|part| is_empty(part) || matches!(part, Part::Missing)) {
        return broken(place, "every part is missing or empty: at least one must say something");
    }
    Ok(())
}

/// True if the part is empty whatever the request.
pub(super) fn is_empty(part: &Part) -> bool {
    match part {
        Part::Text(text) => text.is_empty(),
        Part::Bytes(bytes) => bytes.is_empty(),
        Part::Of(_) | Part::Document(_) | Part::Missing => false,
    }
}

pub(super) fn check_parts(place: &'static str, parts: &[Part]) -> Result<(), Broken> {
    parts.iter().try_for_each(|part| match part {
        Part::Document(shape) => check_shape(place, shape),
        Part::Text(_) | Part::Bytes(_) | Part::Of(_) | Part::Missing => Ok(()),
    })
}

pub(super) fn check_shape(place: &'static str, shape: &Shape) -> Result<(), Broken> {
    rules::pointers(place, &[&shape.keep, &shape.drop])
}

pub(super) fn fingerprint(lifted: wit::Fingerprint, key: &[Part]) -> Result<FingerprintRule, Broken> {
    let place = "guard.fingerprint";
    match lifted {
        wit::Fingerprint::Request => return Ok(FingerprintRule::Request),
        wit::Fingerprint::Document(shape) => {
            check_shape(place, &shape)?;
            return Ok(FingerprintRule::Document(shape));
        }
        wit::Fingerprint::Parts(lifted) if !lifted.is_empty() => {
            rules::at_most(place, lifted.len(), LIST_MAX)?;
            check_parts(place, &lifted)?;
            return Ok(FingerprintRule::Parts(lifted));
        }
        wit::Fingerprint::Parts(_) | wit::Fingerprint::KeyOnly => {}
    }
    let says_more = |part: &Part| !matches!(part, Part::Of(_) | Part::Missing) && !is_empty(part);
    if !key.iter().any(says_more) {
        return broken(place, "`key-only` needs a part of the key other than `of` and `missing`, not empty");
    }
    Ok(FingerprintRule::KeyOnly)
}

pub(super) fn when_unknown(lifted: wit::WhenUnknown, probes: bool) -> Result<Option<WhenUnknown>, Broken> {
    match lifted {
        wit::WhenUnknown::RouteDefault => Ok(None),
        wit::WhenUnknown::Hold => Ok(Some(WhenUnknown::Hold)),
        wit::WhenUnknown::Probe if probes => Ok(Some(WhenUnknown::Probe)),
        wit::WhenUnknown::Probe => {
            broken("guard.when-unknown", "`probe` needs the interface `resolution`, which is not exported")
        }
        wit::WhenUnknown::Resend => Ok(Some(WhenUnknown::Resend)),
    }
}

pub(super) fn refusal(lifted: wit::Refusal) -> Result<PolicyRefusal, Broken> {
    const DETAIL_BYTES_MAX: usize = 1 << 10;
    if !(400..=599).contains(&lifted.status) {
        return broken("refusal.status", format!("{}: 400 to 599 is allowed", lifted.status));
    }
    rules::refusal_code("refusal.code", &lifted.code)?;
    rules::bytes_at_most("refusal.detail", &lifted.detail, DETAIL_BYTES_MAX)?;
    let more = |name: &str| name == "set-cookie" || name.starts_with("content-");
    Ok(PolicyRefusal {
        status: lifted.status,
        code: lifted.code,
        detail: lifted.detail,
        fields: rules::fields("refusal.fields", pairs(lifted.fields), more)?,
    })
}
