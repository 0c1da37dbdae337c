//! Version 0.1 of the interface: the only file with generated bindings.
//!
//! What goes in is borrowed from the host's own types; what comes out is converted into them and
//! checked against the rules in the comments of `policy.wit` on the way. The parts of a key are the
//! interface's own type throughout: moving each into another one costs a twentieth of a call. A second
//! version of the interface will have a file of its own beside this one.

use crate::config::StatusRule;
use crate::policy::engine::state::InstanceState;
use crate::policy::interface::failure::{Broken, Failure};
use crate::policy::interface::rules::{self, LIST_MAX, broken};
use crate::policy::interface::{
    Changes, Finding, FingerprintRule, Found, FoundReply, Guard, Operation, Outbound, Payload, PayloadWant,
    Plan, ProblemView, Receipt, Refusal, Reply, RequestField, Settlement, Verdict, Wording,
};
use bindings::exports::oncegate::policy as hooks;
use bindings::oncegate::policy::types as wit;
use bytes::Bytes;
use http::HeaderValue;
use oncegate_core::{Disposition, WhenUnknown, WhileRunning};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

mod presentation;

#[allow(missing_docs, unreachable_pub, dead_code, reason = "generated, from the frozen interface")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/v0.1",
        inline: "
            package oncegate:host;
            world host {
                export oncegate:policy/policy@0.1.0;
                export oncegate:policy/outcome@0.1.0;
                export oncegate:policy/resolution@0.1.0;
                export oncegate:policy/presentation@0.1.0;
            }",
        ownership: Borrowing { duplicate_if_necessary: true },
        additional_derives: [PartialEq],
    });
}
pub use wit::{Attribute, Part, Shape};

/// The whole document.
impl Default for Shape {
    fn default() -> Self {
        Self { keep: Vec::new(), drop: Vec::new() }
    }
}

/// Which optional interfaces a component exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// `settle`.
    pub outcome: bool,
    /// `question` and `reading`.
    pub resolution: bool,
    /// `present` and `explain`.
    pub presentation: bool,
}

/// Where a component's hooks are, looked up once.
pub(crate) struct Indices {
    policy: hooks::policy::GuestIndices,
    outcome: Option<hooks::outcome::GuestIndices>,
    resolution: Option<hooks::resolution::GuestIndices>,
    presentation: Option<hooks::presentation::GuestIndices>,
}

impl Indices {
    pub(crate) fn new(component: &InstancePre<InstanceState>, exports: Exports) -> wasmtime::Result<Self> {
        use hooks::{outcome, policy, presentation, resolution};
        Ok(Self {
            policy: policy::GuestIndices::new(component)?,
            outcome: exports.outcome.then(|| outcome::GuestIndices::new(component)).transpose()?,
            resolution: exports.resolution.then(|| resolution::GuestIndices::new(component)).transpose()?,
            presentation: exports
                .presentation
                .then(|| presentation::GuestIndices::new(component))
                .transpose()?,
        })
    }

    /// The hooks of an instance, their types checked.
    pub(crate) fn hooks(
        &self,
        store: &mut Store<InstanceState>,
        instance: &Instance,
    ) -> wasmtime::Result<Hooks> {
        Ok(Hooks {
            policy: self.policy.load(&mut *store, instance)?,
            outcome: self.outcome.as_ref().map(|outcome| outcome.load(&mut *store, instance)).transpose()?,
            resolution: self
                .resolution
                .as_ref()
                .map(|resolution| resolution.load(&mut *store, instance))
                .transpose()?,
            presentation: (self.presentation.as_ref())
                .map(|presentation| presentation.load(&mut *store, instance))
                .transpose()?,
        })
    }
}

/// The hooks of one instance.
pub(crate) struct Hooks {
    policy: hooks::policy::Guest,
    outcome: Option<hooks::outcome::Guest>,
    resolution: Option<hooks::resolution::Guest>,
    presentation: Option<hooks::presentation::Guest>,
}

impl Hooks {
    /// Calls `configure`.
    pub(crate) fn configure(
        &self,
        store: &mut Store<InstanceState>,
        settings: &str,
        time: Duration,
    ) -> Result<Plan, Failure> {
        Ok(plan(answer(self.policy.call_configure(store, settings), time)?)?)
    }

    /// Calls `decide`.
    pub(crate) fn decide(
        &self,
        store: &mut Store<InstanceState>,
        operation: &Operation<'_>,
        time: Duration,
    ) -> Result<Verdict, Failure> {
        // Few fields are declared as a rule: they need no allocation.
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
        let argument = self::operation(operation, fields, &selected);
        Ok(verdict(answer(self.policy.call_decide(store, argument), time)?, self.resolution.is_some())?)
    }

    /// Calls `settle`, where it is exported.
    pub(crate) fn settle(
        &self,
        store: &mut Store<InstanceState>,
        receipt: &Receipt,
        reply: &Reply,
        time: Duration,
    ) -> Result<Option<Settlement>, Failure> {
        let Some(outcome) = &self.outcome else { return Ok(None) };
        let lists = ReplyLists::of(reply);
        let lifted = answer(outcome.call_settle(store, receipt_of(receipt), lists.lower(reply)), time)?;
        Ok(lifted.map(|lifted| settlement(lifted, reply.complete)).transpose()?)
    }

    /// Calls `question`, where it is exported.
    pub(crate) fn question(
        &self,
        store: &mut Store<InstanceState>,
        receipt: &Receipt,
        time: Duration,
    ) -> Result<Option<Outbound>, Failure> {
        let Some(resolution) = &self.resolution else { return Ok(None) };
        let lifted = answer(resolution.call_question(store, receipt_of(receipt)), time)?;
        Ok(lifted.map(|lifted| outbound("question", lifted)).transpose()?)
    }

    /// Calls `reading`, where it is exported.
    pub(crate) fn reading(
        &self,
        store: &mut Store<InstanceState>,
        receipt: &Receipt,
        asked: &Outbound,
        reply: &Reply,
        time: Duration,
    ) -> Result<Finding, Failure> {
        let Some(resolution) = &self.resolution else { return Ok(Finding::StillUnknown) };
        let lists = ReplyLists::of(reply);
        // What was handed out is UTF-8, so it comes back as it went.
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let fields: Vec<_> =
            asked.fields.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let fields: Vec<_> = fields.iter().map(owned_field).collect();
        let question = wit::OutboundParam {
            method: asked.method.as_str(),
            path: asked.path.as_str(),
            fields: &fields,
            body: asked.body.as_deref(),
        };
        let lifted = resolution.call_reading(store, receipt_of(receipt), question, lists.lower(reply));
        Ok(finding(answer(lifted, time)?)?)
    }

    /// Calls `present`, where it is exported.
    pub(crate) fn present(
        &self,
        store: &mut Store<InstanceState>,
        receipt: &Receipt,
        operation: &Operation<'_>,
        reply: &Reply,
        time: Duration,
    ) -> Result<Option<Changes>, Failure> {
        let Some(guest) = &self.presentation else { return Ok(None) };
        presentation::present(guest, store, receipt, operation, reply, time)
    }

    /// Calls `explain`, where it is exported.
    pub(crate) fn explain(
        &self,
        store: &mut Store<InstanceState>,
        operation: &Operation<'_>,
        problem: &ProblemView,
        time: Duration,
    ) -> Result<Option<Wording>, Failure> {
        let Some(guest) = &self.presentation else { return Ok(None) };
        presentation::explain(guest, store, operation, problem, time)
    }
}

/// What `decide` and the hooks of `presentation` are asked about.
fn operation<'a>(
    operation: &'a Operation<'_>,
    fields: &'a [wit::FieldParam<'a>],
    selected: &'a [wit::FoundParam<'a>],
) -> wit::Operation<'a> {
    wit::Operation { method: operation.method, fields, payload: payload(&operation.payload, selected) }
}

/// What a reply borrows its lists from.
struct ReplyLists<'a> {
    fields: Vec<wit::FieldParam<'a>>,
    trailers: Vec<wit::FieldParam<'a>>,
    selected: Vec<wit::FoundParam<'a>>,
}

impl<'a> ReplyLists<'a> {
    fn of(reply: &'a Reply) -> Self {
        Self {
            fields: reply.fields.iter().map(owned_field).collect(),
            trailers: reply.trailers.iter().map(owned_field).collect(),
            selected: selection(&reply.payload),
        }
    }

    fn lower(&'a self, reply: &'a Reply) -> wit::ReplyParam<'a> {
        wit::ReplyParam {
            status: reply.status,
            fields: &self.fields,
            trailers: &self.trailers,
            payload: payload(&reply.payload, &self.selected),
            complete: reply.complete,
        }
    }
}

/// A call's result, where trap and `err` are failures alike.
fn answer<T>(called: wasmtime::Result<Result<T, String>>, time: Duration) -> Result<T, Failure> {
    match called {
        Ok(Ok(lifted)) => Ok(lifted),
        Ok(Err(text)) => Err(Failure::Err(on_one_line(&text))),
        Err(error) => Err(Failure::of_call(&error, time)),
    }
}

/// A policy's own words for the log, where they must not look like something else.
fn on_one_line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars().take(1 << 10) {
        match character {
            '"' | '\'' | '\\' => line.push(character),
            character => line.extend(character.escape_debug()),
        }
    }
    line
}

fn field<'a>(&(name, value): &(&'a str, &'a str)) -> wit::FieldParam<'a> {
    wit::FieldParam { name, value }
}

fn owned_field((name, value): &(String, String)) -> wit::FieldParam<'_> {
    wit::FieldParam { name, value }
}

fn selection(payload: &Payload) -> Vec<wit::FoundParam<'_>> {
    let Payload::Selected(places) = payload else { return Vec::new() };
    places.iter().map(found).collect()
}

fn found(place: &Found) -> wit::FoundParam<'_> {
    match place {
        Found::Nothing => wit::FoundParam::Nothing,
        Found::Text(text) => wit::FoundParam::Text(text),
        Found::Json(json) => wit::FoundParam::Json(json),
    }
}

fn payload<'a>(payload: &'a Payload, selected: &'a [wit::FoundParam<'a>]) -> wit::PayloadParam<'a> {
    match payload {
        Payload::Absent => wit::PayloadParam::Absent,
        Payload::Withheld => wit::PayloadParam::Withheld,
        Payload::Selected(_) => wit::PayloadParam::Selected(selected),
        Payload::Whole(bytes) => wit::PayloadParam::Whole(bytes),
        Payload::Oversize => wit::PayloadParam::Oversize,
        Payload::Malformed(why) => wit::PayloadParam::Malformed(why),
    }
}

fn receipt_of(receipt: &Receipt) -> wit::Receipt<'_> {
    wit::Receipt {
        operation_id: &receipt.operation_id,
        route: &receipt.route,
        method: &receipt.method,
        authority: &receipt.authority,
        path: &receipt.path,
        principal: receipt.principal.as_deref(),
        key_schema: &receipt.key_schema,
        attempts: receipt.attempts,
        first_attempt: receipt.first_attempt,
        memo: receipt.memo.as_deref(),
    }
}

fn pairs(fields: Vec<wit::FieldResult>) -> Vec<(String, String)> {
    if fields.is_empty() {
        return Vec::new();
    }
    fields.into_iter().map(|field| (field.name, field.value)).collect()
}

fn plan(lifted: wit::Plan) -> Result<Plan, Broken> {
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
    // They come before the headers; each kind stays in the plan's order.
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

fn key_schema(text: &str) -> Result<Arc<str>, Broken> {
    let place = "plan.key-schema";
    if !(1..=256).contains(&text.len()) {
        return broken(place, format!("{} bytes, 1 to 256 are allowed", text.len()));
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.trim() != text {
        return broken(place, "printable ASCII with no space at its ends is allowed");
    }
    Ok(text.into())
}

fn methods(methods: Vec<String>) -> Result<Vec<String>, Broken> {
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

fn request_field(name: &str) -> Result<RequestField, Broken> {
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

fn payload_want(place: &'static str, want: wit::PayloadWant) -> Result<PayloadWant, Broken> {
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

fn outcomes(lifted: &[wit::StatusRule]) -> Result<Vec<StatusRule>, Broken> {
    let place = "plan.outcomes";
    rules::at_most(place, lifted.len(), LIST_MAX)?;
    let mut outcomes = Vec::with_capacity(lifted.len());
    for &wit::StatusRule { lowest, highest, disposition } in lifted {
        if !(100 <= lowest && lowest <= highest && highest <= 599) {
            return broken(place, format!("{lowest}-{highest}: 100 <= lowest <= highest <= 599 is allowed"));
        }
        let means = disposition_of(disposition);
        if means == Disposition::NotApplied && lowest <= 299 && highest >= 200 {
            return broken(place, format!("{lowest}-{highest}: a rule can't call a 2xx `not-applied`"));
        }
        outcomes.push(StatusRule { lowest, highest, means });
    }
    Ok(outcomes)
}

fn disposition_of(lifted: wit::Disposition) -> Disposition {
    match lifted {
        wit::Disposition::Completed => Disposition::Completed,
        wit::Disposition::Consumed => Disposition::Consumed,
        wit::Disposition::NotApplied => Disposition::NotApplied,
        wit::Disposition::Unknown => Disposition::Unknown,
    }
}

fn verdict(lifted: wit::Verdict, probes: bool) -> Result<Verdict, Broken> {
    match lifted {
        wit::Verdict::Bypass(reason) => Ok(Verdict::Bypass(reason)),
        wit::Verdict::Guard(lifted) => Ok(Verdict::Guard(Box::new(guard(lifted, probes)?))),
        wit::Verdict::Refuse(lifted) => Ok(Verdict::Refuse(refusal(lifted)?)),
    }
}

fn guard(lifted: wit::Guard, probes: bool) -> Result<Guard, Broken> {
    rules::no_options("guard.options", lifted.options.first().map(|option| option.name.as_str()))?;
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
    })
}

fn check_key(key: &[Part]) -> Result<(), Broken> {
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

/// Empty whatever the request.
fn is_empty(part: &Part) -> bool {
    match part {
        Part::Text(text) => text.is_empty(),
        Part::Bytes(bytes) => bytes.is_empty(),
        Part::Of(_) | Part::Document(_) | Part::Missing => false,
    }
}

fn check_parts(place: &'static str, parts: &[Part]) -> Result<(), Broken> {
    parts.iter().try_for_each(|part| match part {
        Part::Document(shape) => check_shape(place, shape),
        Part::Text(_) | Part::Bytes(_) | Part::Of(_) | Part::Missing => Ok(()),
    })
}

fn check_shape(place: &'static str, shape: &Shape) -> Result<(), Broken> {
    rules::pointers(place, &[&shape.keep, &shape.drop])
}

fn fingerprint(lifted: wit::Fingerprint, key: &[Part]) -> Result<FingerprintRule, Broken> {
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

fn when_unknown(lifted: wit::WhenUnknown, probes: bool) -> Result<Option<WhenUnknown>, Broken> {
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

fn retention(place: &'static str, seconds: Option<u32>) -> Result<Option<Duration>, Broken> {
    match seconds {
        Some(0) => broken(place, "0 seconds: at least 1 is allowed"),
        seconds => Ok(seconds.map(|seconds| Duration::from_secs(seconds.into()))),
    }
}

fn refusal(lifted: wit::Refusal) -> Result<Refusal, Broken> {
    const DETAIL_BYTES_MAX: usize = 1 << 10;
    if !(400..=599).contains(&lifted.status) {
        return broken("refusal.status", format!("{}: 400 to 599 is allowed", lifted.status));
    }
    rules::refusal_code("refusal.code", &lifted.code)?;
    rules::bytes_at_most("refusal.detail", &lifted.detail, DETAIL_BYTES_MAX)?;
    let more = |name: &str| name == "set-cookie" || name.starts_with("content-");
    Ok(Refusal {
        status: lifted.status,
        code: lifted.code,
        detail: lifted.detail,
        fields: rules::fields("refusal.fields", pairs(lifted.fields), more)?,
    })
}

fn settlement(lifted: hooks::outcome::Settlement, complete: bool) -> Result<Settlement, Broken> {
    let disposition = disposition_of(lifted.disposition);
    if disposition == Disposition::NotApplied && !complete {
        return broken("settlement.disposition", "an incomplete answer is never `not-applied`");
    }
    rules::memo("settlement.memo", lifted.memo.as_deref())?;
    Ok(Settlement {
        disposition,
        memo: lifted.memo.map(Arc::from),
        retention: retention("settlement.retention-seconds", lifted.retention_seconds)?,
    })
}

fn outbound(place: &'static str, lifted: wit::OutboundResult) -> Result<Outbound, Broken> {
    rules::method(place, &lifted.method)?;
    Ok(Outbound {
        method: http::Method::from_bytes(lifted.method.as_bytes()).unwrap_or_default(),
        path: rules::path(place, &lifted.path)?,
        fields: rules::fields(place, pairs(lifted.fields), |_| false)?,
        body: lifted.body.map(Bytes::from),
    })
}

fn finding(lifted: hooks::resolution::Finding) -> Result<Finding, Broken> {
    use hooks::resolution::Finding as Lifted;
    Ok(match lifted {
        Lifted::Happened(lifted) => Finding::Happened(Box::new(found_reply(lifted)?)),
        Lifted::Consumed => Finding::Consumed,
        Lifted::DidNotHappen => Finding::DidNotHappen,
        Lifted::StillUnknown => Finding::StillUnknown,
        Lifted::Ask(lifted) => Finding::Ask(outbound("finding.ask", lifted)?),
    })
}

/// An answer that a policy hands out.
fn found_reply(lifted: wit::ReplyResult) -> Result<FoundReply, Broken> {
    let place = "finding.happened";
    if !(200..=599).contains(&lifted.status) {
        return broken(place, format!("status {}: 200 to 599 is allowed", lifted.status));
    }
    let body = match lifted.payload {
        wit::PayloadResult::Absent => Bytes::new(),
        wit::PayloadResult::Whole(bytes) => Bytes::from(bytes),
        wit::PayloadResult::Withheld
        | wit::PayloadResult::Selected(_)
        | wit::PayloadResult::Oversize
        | wit::PayloadResult::Malformed(_) => {
            return broken(place, "a payload that a policy hands out is `absent` or `whole`");
        }
    };
    if matches!(lifted.status, 204 | 304) && !body.is_empty() {
        return broken(place, format!("a body, and an answer with status {} has none", lifted.status));
    }
    Ok(FoundReply {
        status: lifted.status,
        fields: rules::answer_fields(place, pairs(lifted.fields))?,
        trailers: rules::answer_fields(place, pairs(lifted.trailers))?,
        body,
    })
}

#[cfg(test)]
mod tests;
