//! `builtin:idempotency-key`: the client names its operation, in a header as
//! draft-ietf-httpapi-idempotency-key-header has it, in the query or in the body.
//!
//! This file is the way from the interface of `policy.wit` to the rooms that do the work and back:
//! [`settings`] reads what the operator wants, [`key`] what the client sent. Neither knows the
//! interface.

mod key;
mod settings;

use key::Key;
use oncegate::policy::types::{
    Attribute, Field, Fingerprint, Found, Guard as Guarded, Operation, Part, Payload, PayloadWant, Plan,
    Refusal, Verdict, WhenUnknown, WhileRunning,
};
use settings::{Settings, Source};
use std::sync::OnceLock;

wit_bindgen::generate!({ path: "../../wit/v0.1", world: "key-policy" });

struct IdempotencyKey;

/// Set by `configure`, which the host calls first and once in each instance.
static SETTINGS: OnceLock<Settings> = OnceLock::new();

impl exports::oncegate::policy::policy::Guest for IdempotencyKey {
    fn configure(text: String) -> Result<Plan, String> {
        let settings = settings::parse(&text)?;
        let plan = plan(&settings);
        SETTINGS.set(settings).map_err(|_| "configure was called a second time")?;
        Ok(plan)
    }

    fn decide(operation: Operation) -> Result<Verdict, String> {
        let settings = SETTINGS.get().ok_or("decide was called before configure")?;
        Ok(match find_key(settings, &operation) {
            Ok(Some(key)) => Verdict::Guard(guard(key)),
            Ok(None) if settings.required => refuse("key-missing", settings.absence()),
            Ok(None) => Verdict::Bypass(settings.absence()),
            Err(detail) => refuse("key-malformed", detail),
        })
    }
}

fn plan(settings: &Settings) -> Plan {
    let pointers = settings.pointers();
    Plan {
        key_schema: settings.key_schema(|text| {
            oncegate::policy::digest::sha256(text).iter().map(|byte| format!("{byte:02x}")).collect()
        }),
        methods: settings.methods.clone(),
        request_fields: settings.fields(),
        request_payload: if pointers.is_empty() {
            PayloadWant::Nothing
        } else {
            PayloadWant::Pointers(pointers)
        },
        response_fields: vec![],
        response_payload: PayloadWant::Nothing,
        outcomes: vec![],
        options: vec![],
    }
}

/// The key of the first source that has one; an `Err` is for the caller to read.
fn find_key(settings: &Settings, operation: &Operation) -> Result<Option<Key>, String> {
    let mut pointer = 0;
    for source in &settings.from {
        let text = match source {
            Source::Header(name) => key::of_header(values(&operation.fields, name), settings.strict),
            Source::Query(name) => key::of_query(values(&operation.fields, ":query").next(), name),
            Source::Body(_) => {
                pointer += 1;
                key_of_body(operation, pointer - 1)
            }
        };
        let judged = match text {
            Ok(None) => continue,
            Ok(Some(text)) => key::judge(text, settings),
            Err(fault) => Err(fault),
        };
        return judged.map(Some).map_err(|fault| format!("{}: {fault}", source.spoken()));
    }
    Ok(None)
}

fn values<'a>(fields: &'a [Field], name: &'a str) -> impl Iterator<Item = &'a str> {
    fields.iter().filter(move |field| field.name == name).map(|field| field.value.as_str())
}

fn key_of_body(operation: &Operation, pointer: usize) -> Result<Option<String>, String> {
    match &operation.payload {
        Payload::Selected(places) => match places.get(pointer) {
            None | Some(Found::Nothing) => Ok(None),
            Some(Found::Text(text)) => key::of_text(text).map(Some),
            Some(Found::Json(json)) => key::of_json(json),
        },
        Payload::Malformed(why) if key::is_document(values(&operation.fields, "content-type").next()) => {
            Err(format!("the body can't be read for a key ({why}): send a well-formed one"))
        }
        Payload::Oversize => Err("the body is too large to be read for a key: send a smaller one".into()),
        Payload::Malformed(_) | Payload::Absent | Payload::Withheld | Payload::Whole(_) => Ok(None),
    }
}

/// Authority, method and path stand in the key, so that a client which uses one key for two
/// endpoints has two operations, as the draft lets a server decide.
fn guard(key: Key) -> Guarded {
    Guarded {
        key: vec![
            Part::Of(Attribute::Authority),
            Part::Of(Attribute::Method),
            Part::Of(Attribute::Path),
            Part::Text(key.text),
        ],
        fingerprint: Fingerprint::Request,
        while_running: WhileRunning::RouteDefault,
        when_unknown: WhenUnknown::RouteDefault,
        retention_seconds: None,
        tombstone_seconds: None,
        first_sent: key.first_sent,
        forward: vec![],
        memo: None,
        labels: vec![],
        options: vec![],
    }
}

fn refuse(code: &str, detail: String) -> Verdict {
    Verdict::Refuse(Refusal { status: 400, code: code.into(), detail, fields: vec![] })
}

export!(IdempotencyKey);
