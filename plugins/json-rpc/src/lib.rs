//! JSON-RPC 2.0 over HTTP: a call is named by a key in its parameters or in a header, not by its id,
//! which clients count up or make anew for a retry. A replay carries the asker's id, and the gateway's
//! own problems are JSON-RPC errors, because a client takes an answer by the id that it sent.

mod rpc;

use oncegate_policy::*;

/// The first places of the plan.
const ID: usize = 0;
const METHOD: usize = 1;
const FIRST_OF_BATCH: usize = 2;
const KEY: usize = 3;

struct JsonRpc {
    header: Option<String>,
    methods: Vec<String>,
    required: bool,
}

impl Policy for JsonRpc {
    fn configure(settings: &str) -> Result<(Self, Plan), String> {
        let mut settings = Settings::parse(settings)?;
        let key = settings.text("key")?.unwrap_or_else(|| "body:/params/idempotency_key".into());
        let mut methods = settings.texts("methods")?.unwrap_or_default();
        let required = settings.flag("required")?;
        settings.done()?;
        methods.sort();
        methods.dedup();
        let mut pointers = vec!["/id", "/method", "/0/jsonrpc"];
        let wrong = || format!("`key` must be header:NAME or body:/POINTER, found {key:?}");
        let header = match key.split_once(':').ok_or_else(wrong)? {
            ("header", name) if !name.is_empty() => Some(name.to_ascii_lowercase()),
            ("body", pointer) if pointer.starts_with('/') => {
                pointers.push(pointer);
                None
            }
            _ => return Err(wrong()),
        };
        let schema = format!("json-rpc/1 key={key} methods={}", methods.join(","));
        let plan = match schema.len() {
            0..=256 => Plan::new(schema),
            _ => {
                let hash = digest::sha256(schema.as_bytes());
                let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                Plan::new(format!("json-rpc/1 sha256={hex}"))
            }
        };
        let plan = plan.reads_body(&pointers);
        let plan = match &header {
            Some(name) => plan.reads(&[name]),
            None => plan,
        };
        Ok((Self { header, methods, required }, plan))
    }

    fn decide(&self, operation: &Operation) -> Result<Verdict, String> {
        let Payload::Selected(places) = &operation.payload else {
            return Ok(bypass("no JSON-RPC: there is no document"));
        };
        if !matches!(places.get(FIRST_OF_BATCH), Some(Found::Nothing)) {
            return Ok(refuse("batch", "calls that must run once come one by one: send no batch"));
        }
        let Some(method) = operation.text_at(METHOD) else {
            return Ok(bypass("no JSON-RPC: there is no method"));
        };
        if !self.methods.is_empty() && !self.methods.iter().any(|name| name == method) {
            return Ok(bypass("a method that is not guarded"));
        }
        let key = match &self.header {
            Some(name) => operation.field(name).map(str::to_owned),
            None => match places.get(KEY) {
                Some(Found::Text(key)) => Some(key.clone()),
                Some(Found::Json(key)) if key != "null" => Some(key.clone()),
                _ => None,
            },
        };
        let key = match key {
            Some(key) if key.is_empty() => return Ok(refuse("key-malformed", "the key is empty")),
            Some(key) => key,
            None if self.required => {
                return Ok(refuse("key-missing", "this method runs each key once: send one with the call"));
            }
            None => return Ok(bypass("a call without a key")),
        };
        // All of the call but its id.
        let shape = Shape { keep: vec![], drop: vec!["/id".into()] };
        let guard = Guard::new([authority(), path(), text(method), text(key)]);
        Ok(Guard { fingerprint: Fingerprint::Document(shape), ..guard }.into())
    }
}

/// The asker's id as JSON; null where it sent none.
fn id_of(operation: &Operation) -> String {
    match operation.payload.found_at(ID) {
        Some(Found::Text(text)) => rpc::quoted(text),
        Some(Found::Json(json)) => json.clone(),
        Some(Found::Nothing) | None => "null".into(),
    }
}

impl Presentation for JsonRpc {
    fn present(&self, _: &Receipt, asked: &Operation, reply: &Reply) -> Result<Option<Changes>, String> {
        let fitted = reply.payload.whole().and_then(|body| rpc::with_id(body, &id_of(asked)));
        Ok(fitted.map(Changes::body))
    }

    fn explain(&self, asked: &Operation, problem: &Problem) -> Result<Option<Wording>, String> {
        let fault = rpc::Fault {
            code: &problem.code,
            detail: &problem.detail,
            operation: problem.operation_id.as_deref(),
            retryable: problem.retryable,
        };
        Ok(Some(Wording::new(200, "application/json", rpc::error(&id_of(asked), &fault))))
    }
}

policy!(JsonRpc: Presentation);
