//! The smallest useful policy: the operation is named by `x-request-id`.

wit_bindgen::generate!({ path: "../../wit/v0.1", world: "key-policy" });
use exports::oncegate::policy::policy::Guest;
use oncegate::policy::types::*;

struct HeaderKey;

impl Guest for HeaderKey {
    fn configure(_settings: String) -> Result<Plan, String> {
        Ok(Plan { request_fields: vec!["x-request-id".into()], ..plan("header-key/1") })
    }

    fn decide(operation: Operation) -> Result<Verdict, String> {
        let mut key = vec![Part::Of(Attribute::Method), Part::Of(Attribute::Path)];
        key.extend(
            operation.fields.into_iter().filter(|id| !id.value.is_empty()).map(|id| Part::Text(id.value)),
        );
        if key.len() == 2 {
            return Ok(refuse("key-missing", MISSING));
        }
        Ok(Verdict::Guard(guard(key, Fingerprint::Request)))
    }
}

const MISSING: &str = if cfg!(feature = "v2") {
    "this service runs each x-request-id once (v2 speaking): send one"
} else {
    "this service runs each x-request-id once: send one"
};

export!(HeaderKey);

// What a policy leaves to the host.

fn plan(key_schema: &str) -> Plan {
    Plan {
        key_schema: key_schema.into(),
        methods: vec![],
        request_fields: vec![],
        request_payload: PayloadWant::Nothing,
        response_fields: vec![],
        response_payload: PayloadWant::Nothing,
        outcomes: vec![],
        options: vec![],
    }
}

fn guard(key: Vec<Part>, fingerprint: Fingerprint) -> oncegate::policy::types::Guard {
    oncegate::policy::types::Guard {
        key,
        fingerprint,
        while_running: WhileRunning::RouteDefault,
        when_unknown: WhenUnknown::RouteDefault,
        retention_seconds: None,
        tombstone_seconds: None,
        first_sent: None,
        forward: vec![],
        memo: None,
        labels: vec![],
        options: vec![],
    }
}

fn refuse(code: &str, detail: &str) -> Verdict {
    Verdict::Refuse(Refusal { status: 400, code: code.into(), detail: detail.into(), fields: vec![] })
}
