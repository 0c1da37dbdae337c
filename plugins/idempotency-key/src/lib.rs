//! `builtin:idempotency-key`: the client names its operation, in a header as
//! draft-ietf-httpapi-idempotency-key-header has it, in the query or in the body.
//!
//! This file is the way from the interface of `policy.wit` to the rooms that do the work and back:
//! [`settings`] reads what the operator wants, [`key`] what the client sent. Neither knows the
//! interface.

mod key;
mod settings;

use key::Key;
use oncegate_policy::{
    Found, Guard, Operation, Payload, PayloadWant, Plan, Policy, Verdict, authority, bypass, digest, method,
    path, policy, refuse, text,
};
use settings::{Settings, Source};

struct IdempotencyKey(Settings);

impl Policy for IdempotencyKey {
    fn configure(text: &str) -> Result<(Self, Plan), String> {
        let settings = settings::parse(text)?;
        let plan = plan(&settings);
        Ok((Self(settings), plan))
    }

    fn decide(&self, operation: &Operation) -> Result<Verdict, String> {
        let Self(settings) = self;
        Ok(match find_key(settings, operation) {
            Ok(Some(key)) => guard(key).into(),
            Ok(None) if settings.required => refuse("key-missing", settings.absence()),
            Ok(None) => bypass(settings.absence()),
            Err(detail) => refuse("key-malformed", detail),
        })
    }
}

fn plan(settings: &Settings) -> Plan {
    let hex = |text: &[u8]| digest::sha256(text).iter().map(|byte| format!("{byte:02x}")).collect();
    let plan = Plan {
        methods: settings.methods.clone(),
        request_fields: settings.fields(),
        ..Plan::new(settings.key_schema(hex))
    };
    match settings.pointers() {
        pointers if pointers.is_empty() => plan,
        pointers => Plan { request_payload: PayloadWant::Pointers(pointers), ..plan },
    }
}

/// The key of the first source that has one; an `Err` is for the caller to read.
fn find_key(settings: &Settings, operation: &Operation) -> Result<Option<Key>, String> {
    let mut pointer = 0;
    for source in &settings.from {
        let text = match source {
            Source::Header(name) => key::of_header(operation.values(name), settings.strict),
            Source::Query(name) => key::of_query(operation.field(":query"), name),
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

fn key_of_body(operation: &Operation, pointer: usize) -> Result<Option<String>, String> {
    match &operation.payload {
        Payload::Selected(places) => match places.get(pointer) {
            None | Some(Found::Nothing) => Ok(None),
            Some(Found::Text(text)) => key::of_text(text).map(Some),
            Some(Found::Json(json)) => key::of_json(json),
        },
        Payload::Malformed(why) if key::is_document(operation.field("content-type")) => {
            Err(format!("the body can't be read for a key ({why}): send a well-formed one"))
        }
        Payload::Oversize => Err("the body is too large to be read for a key: send a smaller one".into()),
        Payload::Malformed(_) | Payload::Absent | Payload::Withheld | Payload::Whole(_) => Ok(None),
    }
}

/// Authority, method and path stand in the key, so that a client which uses one key for two
/// endpoints has two operations, as the draft lets a server decide.
fn guard(key: Key) -> Guard {
    let Key { text: key, first_sent } = key;
    Guard { first_sent, ..Guard::new([authority(), method(), path(), text(key)]) }
}

policy!(IdempotencyKey);
