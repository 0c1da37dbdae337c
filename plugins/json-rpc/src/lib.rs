//! JSON-RPC 2.0 over HTTP: a call is named by a key in its parameters or in a header, not by its id,
//! which clients count up or make anew for a retry. A replay carries the asker's id, and the gateway's
//! own problems are JSON-RPC errors, because a client takes an answer by the id that it sent.

mod rpc;

use oncegate_policy::*;

/// The first places of the plan.
const ID: usize = 0;
const METHOD: usize = 1;
const FIRST_OF_ARRAY: usize = 2;
const DOCUMENT: usize = 3;
const KEY: usize = 4;

/// What a body is to this policy.
enum Body<'a> {
    /// A call of this method.
    Call(&'a str),
    Batch,
    /// Nothing that any service takes for a call.
    NoCall,
    /// A service that is blind to letter case reads another call than this policy does.
    Misnamed(String),
    /// A service that reads more than this policy does may find a call in it.
    Unread(&'a str),
}

/// An array is a batch, whatever its elements are: no array has a `/method`.
fn body(operation: &Operation) -> Body<'_> {
    if let Some(why) = operation.payload.unread() {
        return Body::Unread(why);
    }
    if let Some(Found::Json(document)) = operation.payload.found_at(DOCUMENT)
        && let Some((name, meant)) = rpc::misnamed(document)
    {
        return Body::Misnamed(format!(
            "its member {name} is {meant} to a service that is blind to letter case"
        ));
    }
    match (operation.payload.found_at(METHOD), operation.payload.found_at(FIRST_OF_ARRAY)) {
        (Some(_), _) if operation.media() == Media::Form => Body::Unread("it is a form"),
        (Some(Found::Text(method)), _) => Body::Call(method),
        (Some(Found::Json(_)), _) => Body::Unread("its method is no string"),
        (Some(Found::Nothing), Some(Found::Text(_) | Found::Json(_))) => Body::Batch,
        (Some(Found::Nothing), _) | (None, _) => Body::NoCall,
    }
}

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
        let mut pointers = vec!["/id", "/method", "/0", ""];
        let wrong = || format!("`key` must be header:NAME or body:/POINTER, found {key:?}");
        let header = match key.split_once(':').ok_or_else(wrong)? {
            ("header", name) if !name.is_empty() => Some(name.to_ascii_lowercase()),
            ("body", pointer) if pointer.starts_with('/') => {
                pointers.push(pointer);
                None
            }
            _ => return Err(wrong()),
        };
        let schema = format!("json-rpc/2 key={key} methods={}", methods.join(","));
        let plan = match schema.len() {
            0..=256 => Plan::new(schema),
            _ => {
                let hash = digest::sha256(schema.as_bytes());
                let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                Plan::new(format!("json-rpc/2 sha256={hex}"))
            }
        };
        let fields: Vec<&str> = header.as_deref().into_iter().chain(["content-type"]).collect();
        let plan = plan.reads_body(&pointers).reads(&fields);
        Ok((Self { header, methods, required }, plan))
    }

    fn decide(&self, operation: &Operation) -> Result<Verdict, String> {
        let method = match body(operation) {
            Body::Call(method) => method,
            Body::Misnamed(why) if self.required || !matches!(self.key(operation), Ok(None)) => {
                return Ok(refuse("key-malformed", format!("the call can be read in two ways: {why}")));
            }
            Body::Misnamed(why) => return Ok(bypass(format!("no JSON-RPC: {why}"))),
            Body::NoCall => return Ok(bypass("no JSON-RPC: there is no call")),
            Body::Batch => {
                return Ok(refuse("batch", "calls that must run once come one by one: send no batch"));
            }
            Body::Unread(why) if self.wants_key(operation) => {
                let detail =
                    format!("the call can't be read for a key ({why}): send one as well-formed JSON");
                return Ok(refuse("key-malformed", detail));
            }
            Body::Unread(why) => return Ok(bypass(format!("no JSON-RPC: {why}"))),
        };
        if !self.methods.is_empty() && !self.methods.iter().any(|name| name == method) {
            return Ok(bypass("a method that is not guarded"));
        }
        let key = match self.key(operation) {
            Ok(Some(key)) => key,
            Ok(None) if self.required => {
                return Ok(refuse("key-missing", "this method runs each key once: send one with the call"));
            }
            Ok(None) => return Ok(bypass("a call without a key")),
            Err(detail) => return Ok(refuse("key-malformed", detail)),
        };
        // All of the call but its id.
        let shape = Shape { keep: vec![], drop: vec!["/id".into()] };
        let guard = Guard::new([authority(), path(), text(method), text(key)]);
        Ok(Guard { fingerprint: Fingerprint::Document(shape), ..guard }.into())
    }
}

impl JsonRpc {
    /// True if what may be a call with a key must not pass unguarded: a key is required, there is one in the
    /// header, or there may be one in a body that says that it is JSON.
    fn wants_key(&self, operation: &Operation) -> bool {
        let named = match &self.header {
            Some(name) => operation.field(name).is_some(),
            None => operation.media() == Media::Json,
        };
        self.required || named
    }

    /// The call's key; an `Err` is for the caller to read.
    fn key(&self, operation: &Operation) -> Result<Option<String>, &'static str> {
        let key = match &self.header {
            Some(name) => {
                let mut values = operation.values(name);
                let key = values.next().map(str::to_owned);
                if values.next().is_some() {
                    return Err("the key comes more than once: send one");
                }
                key
            }
            None => match operation.payload.found_at(KEY) {
                Some(Found::Text(key)) => Some(key.clone()),
                Some(Found::Json(json)) => match json.bytes().next() {
                    Some(b'n') => None,
                    Some(b'-' | b'0'..=b'9') => Some(json.clone()),
                    _ => return Err("the key is neither a string nor a number: send a string"),
                },
                Some(Found::Nothing) | None => None,
            },
        };
        match key {
            Some(key) if key.is_empty() => Err("the key is empty"),
            key => Ok(key),
        }
    }
}

/// The asker's id as JSON, of a number the value; null where it sent none.
fn id_of(operation: &Operation) -> String {
    match operation.payload.found_at(ID) {
        Some(Found::Text(text)) => rpc::quoted(text),
        Some(Found::Json(json)) if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            rpc::laid_out(json)
        }
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
