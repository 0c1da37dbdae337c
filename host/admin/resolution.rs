//! The body of a resolution. Every fault in it is reported with its place.

use crate::store::Version;
use base64::Engine as _;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

const REASON_BYTES_MAX: usize = 1 << 10;

/// The body of a resolution, checked.
#[derive(Debug, PartialEq)]
pub struct Resolution {
    pub(super) version: Version,
    pub(super) reason: String,
    pub(super) verdict: OperatorVerdict,
}

#[derive(Debug, PartialEq)]
pub(super) enum OperatorVerdict {
    NotApplied,
    /// Consumed, with the status if the operator knows it.
    Consumed(Option<u16>),
    Completed(GivenAnswer),
}

/// An answer that an operator hands in.
#[derive(Debug, PartialEq)]
pub(super) struct GivenAnswer {
    pub(super) status: u16,
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Resolution {
    /// Reads a body. Every fault names its place, as a JSON pointer, and says what would be accepted.
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

fn given(reply: Value, faults: &mut Vec<String>) -> Option<GivenAnswer> {
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
    (faults.len() == before).then_some(GivenAnswer { status: status?, fields, body: body? })
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

/// Refuses a reason that says nothing, or that is no line of a log.
pub fn check_reason(reason: &str) -> Result<(), String> {
    if reason.trim().is_empty() {
        return Err("say why, it is logged".to_owned());
    }
    if reason.len() > REASON_BYTES_MAX || reason.contains(char::is_control) {
        return Err(format!("one line of at most {REASON_BYTES_MAX} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::admin::api::{GivenReply, ResolveRequest};
    use serde_json::json;

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
    fn what_commands_send_is_read() {
        let wanted = ResolveRequest {
            outcome: "completed".into(),
            version: "7".into(),
            reason: "seen at the bank".into(),
            reply: Some(GivenReply {
                status: 201,
                headers: vec![("X-A".into(), "1".into())],
                body_base64: "aGk=".into(),
            }),
        };
        let read = Resolution::parse(json!(wanted).to_string().as_bytes()).unwrap();
        assert_eq!((read.version, &*read.reason), (Version(7), "seen at the bank"));
        let OperatorVerdict::Completed(answer) = read.verdict else { panic!("{:?}", read.verdict) };
        assert_eq!((answer.status, answer.fields.len(), &*answer.body), (201, 1, &b"hi"[..]));
    }
}
