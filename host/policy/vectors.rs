//! The self-test: test vectors that a component carries in its custom section `oncegate:vectors`,
//! run at each load on a fresh and on a used instance.
//!
//! ```json
//! { "version": 1,
//!   "cases": [
//!     { "name": "a key is found",
//!       "settings": { "from": ["header:idempotency-key"] },
//!       "route": "charges", "principal": "alice",
//!       "request": "POST /v1/charges?x=1 HTTP/1.1\r\nHost: api\r\nIdempotency-Key: k1\r\n\r\n{\"a\":1}",
//!       "expect": { "guard": { "key": [{ "of": "method" }, { "text": "k1" }], "fingerprint": "request" } } },
//!     { "name": "no key", "request": "POST / HTTP/1.1\n\n", "expect": { "bypass": null } },
//!     { "name": "bad key", "request": "POST / HTTP/1.1\n\n",
//!       "expect": { "refuse": { "status": 400, "code": "key-malformed" } } } ],
//!   "same": [["a key is found", "…"]], "different": [["a key is found", "…"]] }
//! ```
//!
//! `settings` is `{}` where it is left out, `route` "vectors", `principal` nobody. The request is
//! HTTP/1.1 text whose body is all that follows the empty line. Of `guard` what is left out is not
//! compared: `key-schema`, `key`, `fingerprint` (`"request"`, `"key-only"`, `{"document": shape}`,
//! `{"parts": […]}`), `first-sent`. A part is `{"text": …}`, `{"bytes": [0, 255]}`, `{"of": "method"}`,
//! `{"document": {"keep": […], "drop": […]}}` or `"missing"`. `bypass` is the reason, or null for
//! any; a method that the plan has no interest in counts as bypassed. The cases of a group in `same`
//! must be guarded by one key, as the host computes it, those of one in `different` by a key each.

use super::document::Document;
use super::failure::Failure;
use super::instance::{Instance, Program};
use super::limits::Allowance;
use super::parts::{self, Values};
use super::view::{self, NotUtf8, Seen};
use super::{Attribute, FingerprintRule, Operation, Part, Plan, Shape, Verdict};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use oncegate_core::{Framer, KeySpace, OperationId, PartKind, Secret};
use serde::Deserialize;
use std::cell::OnceCell;
use std::collections::HashMap;

/// Bytes of a body that a policy is shown in a self-test.
const BODY_BYTES_MAX: usize = 10 << 20;
const CASES_MAX: usize = 1000;

/// Why a component fails its own test vectors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum VectorFault {
    #[error("`oncegate:vectors` can't be read: {0}")]
    Format(String),
    #[error("`oncegate:vectors` has version {0}: this gateway reads version 1")]
    Version(u32),
    #[error("{0} cases, at most {CASES_MAX} are allowed")]
    TooMany(usize),
    #[error("case `{case}`: the request can't be read: {why}")]
    Request { case: String, why: String },
    #[error("case `{case}`: {failure}")]
    Failed { case: String, failure: Failure },
    #[error("case `{case}`: expected {expected}, found {found}")]
    Differs { case: String, expected: String, found: String },
    #[error("case `{case}`: a used instance decides differently from a fresh one: the policy is not pure")]
    Impure { case: String },
    #[error("`{group}` names the case `{case}`, which is not there or is not guarded")]
    Unkeyed { group: &'static str, case: String },
    #[error("cases `{first}` and `{second}` must have the same key and don't")]
    NotSame { first: String, second: String },
    #[error("cases `{first}` and `{second}` must have different keys and don't")]
    NotDifferent { first: String, second: String },
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "version")]
    _version: u32,
    cases: Vec<Case>,
    #[serde(default)]
    same: Vec<Vec<String>>,
    #[serde(default)]
    different: Vec<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    settings: serde_json::Map<String, serde_json::Value>,
    #[serde(default = "default_route")]
    route: String,
    #[serde(default)]
    principal: Option<String>,
    request: String,
    expect: Expect,
}

fn default_route() -> String {
    "vectors".into()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Expect {
    Bypass(Option<String>),
    Guard(ExpectGuard),
    Refuse { status: u16, code: String },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ExpectGuard {
    key_schema: Option<String>,
    key: Option<Vec<PartText>>,
    fingerprint: Option<FingerprintText>,
    first_sent: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PartText {
    Text(String),
    Bytes(Vec<u8>),
    Of(AttributeText),
    Document(ShapeText),
    Missing,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AttributeText {
    Method,
    Authority,
    Path,
    Query,
    Body,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ShapeText {
    keep: Vec<String>,
    drop: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FingerprintText {
    Request,
    Document(ShapeText),
    Parts(Vec<PartText>),
    KeyOnly,
}

/// Runs all vectors of `section`. Returns how many there are.
pub(super) fn run(section: &[u8], program: &Program, allowance: Allowance) -> Result<usize, VectorFault> {
    let vectors = read(section)?;
    let mut used = HashMap::new();
    let mut keys = HashMap::new();
    for case in &vectors.cases {
        let fault = |failure| VectorFault::Failed { case: case.name.clone(), failure };
        let request = RawRequest::parse(&case.request)
            .map_err(|why| VectorFault::Request { case: case.name.clone(), why })?;
        let settings = super::load::settings_text(&case.settings);
        let program = program.with_settings(&settings);
        let (mut fresh, plan) = program.instance(allowance).map_err(fault)?;
        let first = case.decide(&mut fresh, &plan, &request, allowance)?;
        case.check(&plan, first.as_ref())?;
        let worn = match used.remove(&settings) {
            Some(instance) => instance,
            None => fresh,
        };
        let mut worn = worn;
        if case.decide(&mut worn, &plan, &request, allowance)? != first {
            return Err(VectorFault::Impure { case: case.name.clone() });
        }
        used.insert(settings, worn);
        if let Some(Verdict::Guard(guard)) = first {
            keys.insert(case.name.as_str(), case.operation(&plan, &guard.key, &request));
        }
    }
    check_groups(&vectors, &keys)?;
    Ok(vectors.cases.len())
}

fn read(section: &[u8]) -> Result<Vectors, VectorFault> {
    let format = |error: serde_json::Error| VectorFault::Format(error.to_string());
    let Version { version } = serde_json::from_slice(section).map_err(format)?;
    if version != 1 {
        return Err(VectorFault::Version(version));
    }
    let vectors: Vectors = serde_json::from_slice(section).map_err(format)?;
    if vectors.cases.len() > CASES_MAX {
        return Err(VectorFault::TooMany(vectors.cases.len()));
    }
    Ok(vectors)
}

impl Case {
    /// What the policy says; none where the host wouldn't ask it.
    fn decide(
        &self,
        instance: &mut Instance,
        plan: &Plan,
        request: &RawRequest,
        allowance: Allowance,
    ) -> Result<Option<Verdict>, VectorFault> {
        let safe = matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE");
        let of_interest =
            if plan.methods.is_empty() { !safe } else { plan.methods.contains(&request.method) };
        if !of_interest {
            return Ok(None);
        }
        let seen = request.seen(&self.route, self.principal.as_deref());
        let fields = view::fields(plan, &seen)
            .map_err(|why: NotUtf8| VectorFault::Request { case: self.name.clone(), why: why.to_string() })?;
        let body = Some(&request.body);
        let payload = view::payload(&plan.request_payload, &request.headers, body, BODY_BYTES_MAX);
        let operation = Operation { method: &request.method, fields, payload };
        let verdict = instance.decide(&operation, allowance.call);
        verdict.map(Some).map_err(|failure| VectorFault::Failed { case: self.name.clone(), failure })
    }

    /// The id that the host would give the operation, on a ledger with a fixed secret.
    fn operation(&self, plan: &Plan, key: &[Part], request: &RawRequest) -> OperationId {
        let secret = Secret::new([0; 32]);
        let mut principal = Framer::principal(&secret);
        if let Some(name) = &self.principal {
            principal.part(PartKind::SourceValue, name.as_bytes());
        }
        let space = KeySpace { policy: "", key_schema: &plan.key_schema, key_epoch: 0 };
        let mut framer = Framer::operation(&secret, "", &principal.into_principal(), &space);
        parts::frame(key, request, &mut framer);
        framer.into_operation()
    }

    fn check(&self, plan: &Plan, found: Option<&Verdict>) -> Result<(), VectorFault> {
        let fits = match (&self.expect, found) {
            (Expect::Bypass(None), None | Some(Verdict::Bypass(_))) => true,
            (Expect::Bypass(Some(reason)), Some(Verdict::Bypass(found))) => found == reason,
            (Expect::Refuse { status, code }, Some(Verdict::Refuse(refusal))) => {
                refusal.status == *status && refusal.code == *code
            }
            (Expect::Guard(expected), Some(Verdict::Guard(guard))) => {
                expected.key_schema.as_ref().is_none_or(|schema| **schema == *plan.key_schema)
                    && expected.key.as_ref().is_none_or(|key| parts_of(key) == guard.key)
                    && expected.fingerprint.as_ref().is_none_or(|rule| rule.meant() == guard.fingerprint)
                    && expected.first_sent.is_none_or(|sent| guard.first_sent == Some(sent))
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let found = match found {
            Some(verdict) => format!("{verdict:?} with the key-schema {:?}", plan.key_schema),
            None => "a method that the plan has no interest in".into(),
        };
        let expected = format!("{:?}", self.expect);
        Err(VectorFault::Differs { case: self.name.clone(), expected, found })
    }
}

fn parts_of(parts: &[PartText]) -> Vec<Part> {
    let part = |part: &PartText| match part {
        PartText::Text(text) => Part::Text(text.clone()),
        PartText::Bytes(bytes) => Part::Bytes(bytes.clone()),
        PartText::Of(AttributeText::Method) => Part::Of(Attribute::Method),
        PartText::Of(AttributeText::Authority) => Part::Of(Attribute::Authority),
        PartText::Of(AttributeText::Path) => Part::Of(Attribute::Path),
        PartText::Of(AttributeText::Query) => Part::Of(Attribute::Query),
        PartText::Of(AttributeText::Body) => Part::Of(Attribute::Body),
        PartText::Document(shape) => Part::Document(shape.meant()),
        PartText::Missing => Part::Missing,
    };
    parts.iter().map(part).collect()
}

impl ShapeText {
    fn meant(&self) -> Shape {
        Shape { keep: self.keep.clone(), drop: self.drop.clone() }
    }
}

impl FingerprintText {
    fn meant(&self) -> FingerprintRule {
        match self {
            Self::Request => FingerprintRule::Request,
            Self::Document(shape) => FingerprintRule::Document(shape.meant()),
            Self::Parts(parts) => FingerprintRule::Parts(parts_of(parts)),
            Self::KeyOnly => FingerprintRule::KeyOnly,
        }
    }
}

fn check_groups(vectors: &Vectors, keys: &HashMap<&str, OperationId>) -> Result<(), VectorFault> {
    for (name, groups, wanted) in [("same", &vectors.same, true), ("different", &vectors.different, false)] {
        for group in groups {
            let mut seen: Vec<(&String, &OperationId)> = Vec::with_capacity(group.len());
            for case in group {
                let key = keys.get(case.as_str());
                let key = key.ok_or_else(|| VectorFault::Unkeyed { group: name, case: case.clone() })?;
                if let Some((other, _)) = seen.iter().find(|(_, other)| (*other == key) != wanted) {
                    let (first, second) = ((*other).clone(), case.clone());
                    return Err(match wanted {
                        true => VectorFault::NotSame { first, second },
                        false => VectorFault::NotDifferent { first, second },
                    });
                }
                seen.push((case, key));
            }
        }
    }
    Ok(())
}

/// A request of a vector.
struct RawRequest {
    method: String,
    authority: Option<String>,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    body: Bytes,
    document: OnceCell<Option<Document>>,
}

impl RawRequest {
    fn parse(text: &str) -> Result<Self, String> {
        const HEADERS_MAX: usize = 128;
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut slots);
        let parsed = head.parse(text.as_bytes()).map_err(|error| error.to_string())?;
        let httparse::Status::Complete(length) = parsed else {
            return Err("the head has no end: an empty line is missing".into());
        };
        let target: http::Uri =
            head.path.unwrap_or_default().parse().map_err(|error| format!("target: {error}"))?;
        let mut headers = HeaderMap::new();
        for header in head.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|error| error.to_string())?;
            let value = HeaderValue::from_bytes(header.value).map_err(|error| error.to_string())?;
            headers.append(name, value);
        }
        let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        Ok(Self {
            method: head.method.unwrap_or_default().into(),
            authority: target.authority().map(|a| a.as_str()).or(host).map(view::normal_authority),
            path: target.path().into(),
            query: target.query().map(Into::into),
            headers,
            body: Bytes::copy_from_slice(&text.as_bytes()[length..]),
            document: OnceCell::new(),
        })
    }

    fn seen<'a>(&'a self, route: &'a str, principal: Option<&'a str>) -> Seen<'a> {
        Seen {
            authority: self.authority.as_deref(),
            path: &self.path,
            query: self.query.as_deref(),
            route,
            principal,
            headers: &self.headers,
        }
    }
}

impl Values for RawRequest {
    fn attribute(&self, attribute: Attribute) -> &[u8] {
        match attribute {
            Attribute::Method => self.method.as_bytes(),
            Attribute::Authority => self.authority.as_deref().unwrap_or_default().as_bytes(),
            Attribute::Path => self.path.as_bytes(),
            Attribute::Query => self.query.as_deref().unwrap_or_default().as_bytes(),
            Attribute::Body => &self.body,
        }
    }

    fn document(&self) -> Option<&Document> {
        let read = || view::document(&self.headers, &self.body, BODY_BYTES_MAX).ok();
        self.document.get_or_init(read).as_ref()
    }
}
