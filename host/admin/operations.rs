//! Operations, listed and changed by hand (DESIGN §10). A change names what it does and why, counts
//! only at the version that was shown, and is logged.

use super::{Reply, json_reply, problem};
use crate::config::parse_duration;
use crate::gateway::{ActiveConfig, Shared, respond};
use crate::ledger::Intervention;
use crate::store::{Store, StoreError, Version, Versioned};
use base64::Engine as _;
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use oncegate_core::{Answer, AnswerSummary, OperationId, Outcome, Timestamp, Unchanged, View};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Records that one call reads at most: the next call goes on behind them.
const PAGE: usize = 512;
const PAGES_MAX: usize = 8;
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// Of a change's body: an answer of 1 MiB in base64, and more.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;
const REASON_BYTES_MAX: usize = 1 << 10;
const STATES: [View; 5] = [View::Executing, View::Completed, View::Consumed, View::Unknown, View::Expired];

/// `GET /v1/operations?state=&route=&older_than=&limit=&after=`
pub(super) async fn list(shared: &Shared, query: &str) -> Reply {
    let filter = match OperationFilter::parse(query) {
        Ok(filter) => filter,
        Err(faults) => return bad_request(&faults),
    };
    let now = shared.ledger.clock().now();
    let (mut found, mut scanned, mut next) = (Vec::new(), 0_u64, filter.after);
    for _ in 0..PAGES_MAX {
        let page = match shared.ledger.store().scan(next, PAGE).await {
            Ok(page) => page,
            Err(error) => return unavailable(&error),
        };
        if page.is_empty() {
            next = None;
            break;
        }
        for (id, versioned) in page {
            (scanned, next) = (scanned + 1, Some(id));
            if filter.takes(&versioned, now) {
                found.push(document(id, &versioned, now));
            }
            if found.len() >= filter.limit {
                break;
            }
        }
        if found.len() >= filter.limit {
            break;
        }
    }
    json_reply(&json!({
        "operations": found,
        // Behind this one the next call goes on; none: that was all.
        "next": next.map(|id| id.to_string()),
        "scanned": scanned,
    }))
}

/// What the interface shows of an operation.
pub(super) fn document(id: OperationId, found: &Versioned, now: Timestamp) -> Value {
    let record = &found.record;
    let origin = &record.origin;
    let mut document = respond::description(id, record, now);
    document["version"] = found.version.0.to_string().into();
    document["route"] = (*origin.route).into();
    document["policy"] = (*origin.policy).into();
    document["key_schema"] = (*origin.key_schema).into();
    document["key_epoch"] = origin.key_epoch.into();
    document["method"] = (*origin.method).into();
    document["authority"] = (*origin.authority).into();
    document["path"] = (*origin.path).into();
    document["principal"] = origin.principal.to_string().into();
    document["first_sent"] = origin.first_sent.map(|at| Timestamp::from_secs(at.into()).to_string()).into();
    document["execution"] = record.execution.to_string().into();
    document["resent"] = record.resent.into();
    document["memo"] = record.memo.as_deref().into();
    if let Some(probing) = record.probing.filter(|_| record.view(now) == View::Unknown) {
        // Never before it is unknown; at once is a time long ago.
        let next = probing.next.map(|at| at.max(record.unknown_since().unwrap_or_default()).to_string());
        document["probing"] = json!({ "tries": probing.tries, "next": next });
    }
    document
}

/// `POST /v1/operations/{id}/resolve`
pub(super) async fn resolve(shared: &Shared, id: OperationId, fields: &HeaderMap, body: &[u8]) -> Reply {
    // A page in somebody's browser can post text here, but not JSON without being asked first.
    let content_type =
        fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().map(str::trim) != Some("application/json") {
        return problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "bad-request",
            "Send the resolution as `Content-Type: application/json`.",
        );
    }
    let wanted = match Resolution::parse(body) {
        Ok(wanted) => wanted,
        Err(faults) => return bad_request(&faults),
    };
    let strip = match shared.ledger.load(id).await {
        Ok(Some(found)) => strip_of(&shared.active.load(), &found),
        Ok(None) => Vec::new(),
        Err(error) => return unavailable(&error),
    };
    let Resolution { version, reason, verdict } = wanted;
    let (outcome, left_out) = match verdict {
        OperatorVerdict::NotApplied => (Outcome::NotApplied, Vec::new()),
        OperatorVerdict::Consumed(status) => {
            (Outcome::Consumed(AnswerSummary { status, ..AnswerSummary::default() }), Vec::new())
        }
        OperatorVerdict::Completed(reply) => {
            let (answer, left_out) = kept(&reply, &strip);
            (Outcome::Completed(Arc::new(answer)), left_out)
        }
    };
    let word = outcome.disposition().word();
    match shared.ledger.resolve(id, version, &outcome).await {
        Ok(Intervention::Done(standing)) => {
            tracing::warn!(operation = %id, outcome = word, reason, "an operator resolved an unknown outcome");
            let mut told = now_standing(shared, id, standing.as_ref());
            if !left_out.is_empty() {
                told["left_out"] = left_out.into();
            }
            json_reply(&told)
        }
        other => not_done(shared, id, other, "resolved"),
    }
}

/// `DELETE /v1/operations/{id}?version=&reason=`
pub(super) async fn forget(shared: &Shared, id: OperationId, query: &str) -> Reply {
    let (mut version, mut reason, mut faults) = (None, String::new(), Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "version" => match value.parse() {
                Ok(number) => version = Some(Version(number)),
                Err(_) => faults.push(format!("`version` can't be {value:?}: the number that was shown")),
            },
            "reason" => match check_reason(&value) {
                Ok(()) => reason = value.into_owned(),
                Err(why) => faults.push(format!("`reason`: {why}")),
            },
            _ => faults
                .push(format!("`{}` is no parameter here: there are version, reason", name.escape_debug())),
        }
    }
    if !faults.is_empty() {
        return bad_request(&faults);
    }
    match shared.ledger.forget(id, version).await {
        Ok(Intervention::Done(_)) => {
            tracing::warn!(operation = %id, reason, "an operator had an operation forgotten: its key is free");
            json_reply(&now_standing(shared, id, None))
        }
        other => not_done(shared, id, other, "forgotten"),
    }
}

fn now_standing(shared: &Shared, id: OperationId, standing: Option<&Versioned>) -> Value {
    match standing {
        Some(standing) => document(id, standing, shared.ledger.clock().now()),
        None => json!({ "operation": id.to_string(), "state": View::Absent.word() }),
    }
}

/// Why nothing was changed.
fn not_done(shared: &Shared, id: OperationId, why: Result<Intervention, StoreError>, done: &str) -> Reply {
    let conflict = |code, detail: String| problem(StatusCode::CONFLICT, code, &detail);
    match why {
        Err(error) => unavailable(&error),
        Ok(Intervention::Missing) => missing(),
        Ok(Intervention::Changed(standing)) => {
            let state = standing.record.view(shared.ledger.clock().now()).word();
            let version = standing.version.0;
            conflict(
                "changed",
                format!(
                    "Operation {id} has changed since it was shown: it is {state} now, version {version}. Look at it again and decide anew."
                ),
            )
        }
        Ok(Intervention::Living) => conflict(
            "executing",
            format!(
                "An execution of operation {id} still runs in this gateway, so it may yet take effect. Wait for its end."
            ),
        ),
        Ok(Intervention::Refused(why)) => match why {
            Unchanged::Executing => conflict(
                "executing",
                format!("Operation {id} is executing and can't be {done}. Wait for its end."),
            ),
            Unchanged::Unresolved => conflict(
                "unresolved",
                format!("Nobody knows the outcome of operation {id}: it has to be resolved, not {done}."),
            ),
            Unchanged::Pointer => conflict(
                "pointer",
                format!(
                    "Operation {id} is another key of one that has an id of its own: look at it, and change that one."
                ),
            ),
            Unchanged::Final
            | Unchanged::Lapsed
            | Unchanged::OtherExecution
            | Unchanged::Absent
            | Unchanged::NotDue => {
                conflict("final", format!("The outcome of operation {id} is known, so it can't be {done}."))
            }
        },
        Ok(Intervention::Done(_)) => conflict("changed", format!("Operation {id} has been {done}.")),
    }
}

pub(super) fn missing() -> Reply {
    problem(StatusCode::NOT_FOUND, "not-found", "The ledger has no record of this operation.")
}

pub(super) fn unavailable(error: &StoreError) -> Reply {
    problem(StatusCode::SERVICE_UNAVAILABLE, "ledger-unavailable", &error.to_string())
}

fn bad_request(faults: &[String]) -> Reply {
    problem(StatusCode::BAD_REQUEST, "bad-request", &format!("{}.", faults.join("; ")))
}

/// Which operations are listed.
#[derive(Debug, PartialEq)]
struct OperationFilter {
    state: Option<View>,
    route: Option<String>,
    older_than: Option<Duration>,
    limit: usize,
    after: Option<OperationId>,
}

impl OperationFilter {
    /// From a query; every fault names its parameter and says what would do.
    fn parse(query: &str) -> Result<Self, Vec<String>> {
        let mut filter =
            Self { state: None, route: None, older_than: None, limit: LIMIT_DEFAULT, after: None };
        let mut faults = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if seen.iter().any(|before| *before == *name) {
                faults.push(format!("`{}` is there twice", name.escape_debug()));
                continue;
            }
            seen.push(name.to_string());
            if let Err(help) = filter.set(&name, &value) {
                faults.push(help);
            }
        }
        if faults.is_empty() { Ok(filter) } else { Err(faults) }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let refused = |help: &str| format!("`{name}` can't be {value:?}: {help}");
        // What a form leaves empty is as if it were not there.
        if value.is_empty() && ["state", "route", "older_than", "limit", "after"].contains(&name) {
            return Ok(());
        }
        match name {
            "state" => {
                let state = STATES.into_iter().find(|state| state.word() == value);
                let words: Vec<&str> = STATES.iter().map(|state| state.word()).collect();
                self.state = Some(state.ok_or_else(|| refused(&format!("one of {}", words.join(", "))))?);
            }
            "route" => self.route = Some(value.to_owned()),
            "older_than" => {
                let help = || refused("a duration like \"90s\", \"10m\" or \"24h\"");
                self.older_than = Some(parse_duration(value).ok_or_else(help)?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                self.limit = limit.ok_or_else(|| refused(&format!("a number from 1 to {LIMIT_MAX}")))?;
            }
            "after" => {
                let id =
                    value.parse().map_err(|_| refused("an operation id, the `next` of the page before"))?;
                self.after = Some(id);
            }
            _ => {
                return Err(format!(
                    "`{}` is no parameter here: there are state, route, older_than, limit, after",
                    name.escape_debug()
                ));
            }
        }
        Ok(())
    }

    fn takes(&self, found: &Versioned, now: Timestamp) -> bool {
        let (record, view) = (&found.record, found.record.view(now));
        // A pointer is another key of an operation that is listed itself.
        !matches!(view, View::Absent | View::Pointer)
            && self.state.is_none_or(|state| state == view)
            && self.route.as_ref().is_none_or(|route| **route == *record.origin.route)
            && self.older_than.is_none_or(|age| now.since(record.first_attempt) > age)
    }
}

/// The body of a resolution, checked.
#[derive(Debug, PartialEq)]
pub struct Resolution {
    version: Version,
    reason: String,
    verdict: OperatorVerdict,
}

#[derive(Debug, PartialEq)]
enum OperatorVerdict {
    NotApplied,
    /// With the status, where the operator knows it.
    Consumed(Option<u16>),
    Completed(Given),
}

/// An answer that an operator hands in.
#[derive(Debug, PartialEq)]
struct Given {
    status: u16,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Resolution {
    /// Reads a body. Every fault names its place, as a JSON pointer, and what would do.
    pub fn parse(body: &[u8]) -> Result<Self, Vec<String>> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| vec![format!("the body is not JSON: {error}")])?;
        let Value::Object(mut members) = value else {
            return Err(vec!["the body is not a JSON object".to_owned()]);
        };
        let mut faults = Vec::new();
        let version = version_of(&members.remove("version").unwrap_or_default(), &mut faults);
        let reason = match members.remove("reason") {
            Some(Value::String(reason)) => reason,
            Some(_) => {
                faults.push("/reason is not a string".to_owned());
                String::new()
            }
            None => {
                faults.push("/reason is missing: say why, it is logged".to_owned());
                String::new()
            }
        };
        if !faults.iter().any(|fault| fault.starts_with("/reason"))
            && let Err(why) = check_reason(&reason)
        {
            faults.push(format!("/reason: {why}"));
        }
        let reply = members.remove("reply").filter(|reply| !reply.is_null());
        let verdict = verdict_of(members.remove("outcome"), reply, &mut faults);
        faults.extend(members.keys().map(|name| {
            format!("/{} is not known: there are outcome, version, reason, reply", name.escape_debug())
        }));
        match (version, verdict) {
            (Some(version), Some(verdict)) if faults.is_empty() => Ok(Self { version, reason, verdict }),
            _ => Err(faults),
        }
    }
}

fn version_of(value: &Value, faults: &mut Vec<String>) -> Option<Version> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    if number.is_none() {
        let found = if value.is_null() { "is missing" } else { "is no version" };
        faults.push(format!("/version {found}: the one that `GET /v1/operations/ID` showed"));
    }
    number.map(Version)
}

fn verdict_of(
    word: Option<Value>,
    reply: Option<Value>,
    faults: &mut Vec<String>,
) -> Option<OperatorVerdict> {
    const HELP: &str = "\"not-applied\", \"consumed\" or \"completed\"";
    let mut fault = |text: String| {
        faults.push(text);
        None
    };
    match word.as_ref().map(Value::as_str) {
        None => fault(format!("/outcome is missing: {HELP}")),
        Some(Some("not-applied")) if reply.is_some() => {
            fault("/reply means nothing where the operation was not applied".to_owned())
        }
        Some(Some("not-applied")) => Some(OperatorVerdict::NotApplied),
        Some(Some("consumed")) => match reply {
            None => Some(OperatorVerdict::Consumed(None)),
            Some(reply) => {
                let given = given(reply, faults)?;
                if !given.fields.is_empty() || !given.body.is_empty() {
                    faults.push("/reply has headers or a body, and nothing but the status is kept of what is consumed".to_owned());
                    return None;
                }
                Some(OperatorVerdict::Consumed(Some(given.status)))
            }
        },
        Some(Some("completed")) => match reply {
            None => fault("/reply is missing: the answer that duplicates are to get".to_owned()),
            Some(reply) => Some(OperatorVerdict::Completed(given(reply, faults)?)),
        },
        Some(_) => fault(format!("/outcome can't be {}: {HELP}", word.unwrap_or_default())),
    }
}

fn given(reply: Value, faults: &mut Vec<String>) -> Option<Given> {
    let Value::Object(mut members) = reply else {
        faults.push("/reply is not an object".to_owned());
        return None;
    };
    let before = faults.len();
    let status = members.remove("status").unwrap_or_default();
    let status = status.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| (200..=599).contains(n));
    if status.is_none() {
        faults.push("/reply/status is missing or no status: a number from 200 to 599".to_owned());
    }
    let fields = given_fields(members.remove("headers").unwrap_or_default(), faults);
    let body = match members.remove("body_base64") {
        None | Some(Value::Null) => Some(Bytes::new()),
        Some(Value::String(text)) => {
            base64::engine::general_purpose::STANDARD.decode(text).ok().map(Bytes::from)
        }
        Some(_) => None,
    };
    match &body {
        None => faults.push("/reply/body_base64 is not base64 (RFC 4648 §4, with padding)".to_owned()),
        Some(body) if !body.is_empty() && matches!(status, Some(204 | 304)) => {
            faults.push("/reply/body_base64: an answer with this status has no body".to_owned());
        }
        Some(_) => {}
    }
    faults.extend(unknown_members(&members));
    (faults.len() == before).then_some(Given { status: status?, fields, body: body? })
}

fn unknown_members(members: &Map<String, Value>) -> Vec<String> {
    let unknown = |name: &String| {
        format!("/reply/{} is not known: there are status, headers, body_base64", name.escape_debug())
    };
    members.keys().map(unknown).collect()
}

fn given_fields(value: Value, faults: &mut Vec<String>) -> Vec<(HeaderName, HeaderValue)> {
    let pairs = match value {
        Value::Null => return Vec::new(),
        Value::Array(pairs) => pairs,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            faults.push("/reply/headers is not a list of [name, value]".to_owned());
            return Vec::new();
        }
    };
    let mut fields = Vec::with_capacity(pairs.len());
    for (index, pair) in pairs.iter().enumerate() {
        let texts = pair.as_array().map(|pair| pair.iter().map(Value::as_str).collect::<Vec<_>>());
        let Some([Some(name), Some(value)]) = texts.as_deref() else {
            faults.push(format!("/reply/headers/{index} is not [name, value], both strings"));
            continue;
        };
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes())) {
            (Err(_), _) => faults.push(format!("/reply/headers/{index}/0 is no field's name")),
            (Ok(_), Err(_)) => faults.push(format!("/reply/headers/{index}/1 has a control character")),
            (Ok(name), Ok(value)) => fields.push((name, value)),
        }
    }
    fields
}

fn check_reason(reason: &str) -> Result<(), String> {
    if reason.trim().is_empty() {
        return Err("say why, it is logged".to_owned());
    }
    if reason.len() > REASON_BYTES_MAX || reason.contains(char::is_control) {
        return Err(format!("one line of at most {REASON_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn strip_of(active: &ActiveConfig, found: &Versioned) -> Vec<String> {
    let route = active.routes.of(&found.record.origin);
    route.map(|route| route.config.strip.clone()).unwrap_or_default()
}

/// The answer to keep, by the rules for every kept answer, and the names that these leave out.
fn kept(given: &Given, strip: &[String]) -> (Answer, Vec<String>) {
    let mut fields = HeaderMap::new();
    given.fields.iter().for_each(|(name, value)| _ = fields.append(name, value.clone()));
    let kept = respond::kept_fields(&fields, given.status, strip);
    let is_kept = |name: &HeaderName| kept.iter().any(|(own, _)| own == name.as_str().as_bytes());
    let left_out = fields.keys().filter(|name| !is_kept(name)).map(ToString::to_string).collect();
    let answer =
        Answer { status: given.status, fields: kept, body: given.body.clone(), trailers: Vec::new() };
    (answer, left_out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn a_filter_that_cannot_be_meant_names_its_parameter() {
        for (query, expected) in [
            ("state=lost", "`state` can't be \"lost\": one of executing, completed"),
            ("older_than=5", "`older_than` can't be \"5\": a duration"),
            ("limit=0", "`limit` can't be \"0\": a number from 1 to 1000"),
            ("limit=1001", "`limit` can't be"),
            ("after=abc", "`after` can't be \"abc\": an operation id"),
            ("states=unknown", "`states` is no parameter here: there are state, route"),
            ("state=unknown&state=expired", "`state` is there twice"),
        ] {
            let faults = OperationFilter::parse(query).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{query}: {faults:?}");
        }
        assert_eq!(OperationFilter::parse("limit=0&after=x").unwrap_err().len(), 2, "all at once");
        let all = OperationFilter::parse("state=&route=&older_than=&limit=&after=").unwrap();
        assert_eq!(all, OperationFilter::parse("").unwrap());
    }

    #[test]
    fn each_fault_of_a_resolution_names_its_place() {
        let good = json!({
            "outcome": "completed", "version": "7", "reason": "seen at the bank",
            "reply": { "status": 201, "headers": [["X-A", "1"]], "body_base64": "aGk=" },
        });
        let spoilt: [(&str, Value, &str); 17] = [
            ("/outcome", "done".into(), "/outcome can't be \"done\": \"not-applied\","),
            ("/outcome", Value::Null, "/outcome can't be null"),
            ("/outcome", "not-applied".into(), "/reply means nothing"),
            ("/outcome", "consumed".into(), "/reply has headers or a body"),
            ("/version", Value::Null, "/version is missing"),
            ("/version", "v7".into(), "/version is no version"),
            ("/version", (-1).into(), "/version is no version"),
            ("/reason", " ".into(), "/reason: say why"),
            ("/reason", 5.into(), "/reason is not a string"),
            ("/reason", "a\nb".into(), "/reason: one line"),
            ("/reply", Value::Null, "/reply is missing"),
            ("/reply", "201".into(), "/reply is not an object"),
            ("/reply/status", 99.into(), "/reply/status is missing or no status"),
            ("/reply/headers", "x".into(), "/reply/headers is not a list"),
            ("/reply/headers/0", json!(["a"]), "/reply/headers/0 is not [name, value]"),
            ("/reply/headers/0/0", "a b".into(), "/reply/headers/0/0 is no field's name"),
            ("/reply/body_base64", "%".into(), "/reply/body_base64 is not base64"),
        ];
        for (place, value, expected) in spoilt {
            let mut body = good.clone();
            *body.pointer_mut(place).unwrap() = value;
            let faults = Resolution::parse(body.to_string().as_bytes()).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{place}: {faults:?}");
        }
        assert!(Resolution::parse(good.to_string().as_bytes()).is_ok());
        assert_eq!(Resolution::parse(b"{}").unwrap_err().len(), 3, "all at once");
        assert!(Resolution::parse(b"[]").unwrap_err()[0].contains("object"));
        assert!(Resolution::parse(b"{").unwrap_err()[0].contains("not JSON"));
    }

    #[test]
    fn an_answer_by_hand_is_kept_as_any_other() {
        let field = |name: &'static str| (HeaderName::from_static(name), HeaderValue::from_static("1"));
        let given = Given {
            status: 201,
            fields: vec![field("x-a"), field("set-cookie"), field("connection"), field("x-b"), field("x-a")],
            body: Bytes::from_static(b"hi"),
        };
        let (answer, left_out) = kept(&given, &["x-b".to_owned()]);
        assert_eq!(answer.fields.len(), 2, "both of x-a: {answer:?}");
        assert_eq!(left_out, ["set-cookie", "connection", "x-b"]);
    }
}
