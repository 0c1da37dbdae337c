//! The arguments and results of policies in the host's own types, whatever version of the interface a
//! component speaks.

use super::v0_1::{Part, Shape};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use oncegate_config::StatusRule;
use oncegate_core::{Claim, Disposition, OperationId, Origin, Record, Timestamp, WhenUnknown, WhileRunning};
use std::sync::Arc;
use std::time::Duration;

/// The needs and promises of a policy under its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Names how keys are made with these settings.
    pub key_schema: Arc<str>,
    /// Methods of interest; empty: all methods except the safe ones.
    pub methods: Vec<String>,
    /// The fields of the request that `decide` reads, pseudo-fields first.
    pub request_fields: Vec<RequestField>,
    /// The part of the request's body that `decide` reads.
    pub request_payload: PayloadWant,
    /// The fields and trailers of an answer that `settle` reads.
    pub response_fields: Vec<HeaderName>,
    /// The part of an answer's body that `settle` reads.
    pub response_payload: PayloadWant,
    /// The policy's rules for statuses.
    pub outcomes: Vec<StatusRule>,
}

/// A field that a plan declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestField {
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:query`
    Query,
    /// `:route`
    Route,
    /// `:principal`
    Principal,
    /// A header.
    Header(HeaderName),
}

impl RequestField {
    /// The field's name as the policy sees it.
    pub fn name(&self) -> &str {
        match self {
            Self::Authority => ":authority",
            Self::Path => ":path",
            Self::Query => ":query",
            Self::Route => ":route",
            Self::Principal => ":principal",
            Self::Header(name) => name.as_str(),
        }
    }
}

/// The part of a body that a plan asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadWant {
    /// Nothing of the body.
    Nothing,
    /// The values at these places of the body's document.
    Pointers(Vec<String>),
    /// The whole body, up to so many bytes.
    Whole(u32),
}

/// The request as `decide` sees it.
#[derive(Clone, Debug)]
pub struct Operation<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The declared fields that the request has, each with its name as in [`RequestField::name`] and its
    /// value. Pseudo-fields come in the plan's order, then the other fields in arrival order.
    pub fields: Vec<(&'a str, &'a str)>,
    /// The part of the body that the plan asked for.
    pub payload: Payload,
}

/// The part of a body that a plan asked for, content codings removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// There is no body.
    Absent,
    /// There is a body, and the plan did not ask for it.
    Withheld,
    /// One entry for each pointer of the plan, in its order.
    Selected(Vec<Found>),
    /// The whole body.
    Whole(Bytes),
    /// The body is larger than the plan or the route allows.
    Oversize,
    /// Pointers were asked for and there is no document, or a content coding can't be removed.
    Malformed(String),
}

/// The value at one place in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The document has no such place.
    Nothing,
    /// A string, without quotes and escapes.
    Text(String),
    /// Any other value, as canonical JSON.
    Json(String),
}

/// The result of `decide`.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The request is not protected, for this reason.
    Bypass(String),
    /// The request is protected.
    Guard(Box<Guard>),
    /// The request is turned away.
    Refuse(PolicyRefusal),
}

/// The protection of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// The parts that the key is made of.
    pub key: Vec<Part>,
    /// The parts of the request that must be equal when the key is reused.
    pub fingerprint: FingerprintRule,
    /// The rule in place of the route's own.
    pub while_running: Option<WhileRunning>,
    /// The rule in place of the route's own.
    pub when_unknown: Option<WhenUnknown>,
    /// Shortens the route's retention.
    pub retention: Option<Duration>,
    /// Shortens the route's tombstone.
    pub tombstone: Option<Duration>,
    /// When the client first sent the request, by the client's own account, in Unix seconds.
    pub first_sent: Option<u32>,
    /// Fields to set on the upstream request.
    pub forward: Vec<(HeaderName, HeaderValue)>,
    /// The policy's note, kept with the record for later hooks.
    pub memo: Option<Arc<str>>,
    /// Labels for metrics and the decision log.
    pub labels: Vec<(String, String)>,
    /// The option `unvouched`: nothing that the policy sees proves who sent the request.
    pub unvouched: bool,
}

impl Guard {
    /// The shapes of documents that key and fingerprint are made of.
    pub fn shapes(&self) -> impl Iterator<Item = &Shape> {
        let (whole, parts) = match &self.fingerprint {
            FingerprintRule::Document(shape) => (Some(shape), &[][..]),
            FingerprintRule::Parts(parts) => (None, &parts[..]),
            FingerprintRule::Request | FingerprintRule::KeyOnly => (None, &[][..]),
        };
        whole.into_iter().chain(self.key.iter().chain(parts).filter_map(shape_of))
    }
}

fn shape_of(part: &Part) -> Option<&Shape> {
    if let Part::Document(shape) = part { Some(shape) } else { None }
}

/// The rule for the parts of a request that must be equal when a key is reused.
#[derive(Clone, Debug, PartialEq)]
pub enum FingerprintRule {
    /// Method, authority, path, query and the bytes of the body.
    Request,
    /// Method, authority, path, query and the shaped document.
    Document(Shape),
    /// Exactly these parts.
    Parts(Vec<Part>),
    /// The key alone.
    KeyOnly,
}

/// A refusal by the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyRefusal {
    /// 400 to 599.
    pub status: u16,
    /// The tail of the problem type.
    pub code: String,
    /// A text for the caller to read.
    pub detail: String,
    /// Fields of the answer.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// The ledger's knowledge of an operation, for later hooks.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields of `receipt` in policy.wit")]
pub struct Receipt {
    pub operation_id: String,
    pub route: Arc<str>,
    pub method: Arc<str>,
    pub authority: Arc<str>,
    pub path: Arc<str>,
    pub principal: Option<String>,
    pub key_schema: Arc<str>,
    pub attempts: u32,
    pub first_attempt: u32,
    pub memo: Option<Arc<str>>,
}

/// An answer as `settle` sees it: the fields that the plan declared.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields of `reply` in policy.wit")]
pub struct Reply {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub trailers: Vec<(String, String)>,
    pub payload: Payload,
    pub complete: bool,
}

/// The result of `settle`.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySettlement {
    /// The meaning of the answer.
    pub disposition: Disposition,
    /// The memo in place of the guard's.
    pub memo: Option<Arc<str>>,
    /// Shortens the retention further.
    pub retention: Option<Duration>,
}

/// A request for the host to send to the route's own upstream. Credentials are the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// GET or HEAD, or a method that the upstream's `probe.methods` allows: the sender checks this.
    pub method: http::Method,
    /// The path with its query.
    pub path: http::uri::PathAndQuery,
    /// Fields by the rules of `guard.forward`.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The body; none: no body.
    pub body: Option<Bytes>,
}

/// The result of `reading` for an answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// The operation happened, and this is the answer to replay.
    Happened(Box<FoundReply>),
    /// The operation happened; its answer is not known.
    Consumed,
    /// The operation did not happen, as far as the answer tells.
    DidNotHappen,
    /// Nobody knows yet.
    StillUnknown,
    /// Ask this next.
    Ask(Outbound),
}

/// An answer that a policy hands out.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundReply {
    /// 200 to 599.
    pub status: u16,
    /// The fields as handed out: the host decides which of them are kept.
    pub fields: HeaderMap,
    /// The trailers as handed out.
    pub trailers: HeaderMap,
    /// The body; empty: no body.
    pub body: Bytes,
}

/// The differences between a duplicate's answer and the kept one.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerChanges {
    /// Fields that replace the fields of the same name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields to leave out.
    pub remove: Vec<HeaderName>,
    /// The body in place of the kept one.
    pub body: Option<Bytes>,
}

/// One of the gateway's own answers, as `explain` sees it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields of `problem` in policy.wit")]
pub struct ProblemView {
    pub status: u16,
    pub code: String,
    pub detail: String,
    pub operation_id: Option<String>,
    pub outcome: Option<Disposition>,
    pub retryable: bool,
    pub retry_after_seconds: Option<u32>,
    pub first_status: Option<u16>,
    pub first_location: Option<String>,
}

/// One of the gateway's own answers in the caller's protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Wording {
    /// 200 to 599, but not 3xx.
    pub status: u16,
    /// The answer's fields.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The answer's body.
    pub body: Bytes,
}

impl Receipt {
    /// The receipt of a record.
    pub fn of(id: OperationId, record: &Record) -> Self {
        Self::from(id, &record.origin, record.memo.clone(), record.attempts, record.first_attempt)
    }

    /// The receipt of an execution that was claimed like this and left no record.
    pub fn of_claim(id: OperationId, claim: &Claim, now: Timestamp) -> Self {
        Self::from(id, &claim.origin, claim.memo.clone(), 1, now)
    }

    fn from(
        id: OperationId,
        origin: &Origin,
        memo: Option<Arc<str>>,
        attempts: u32,
        first_attempt: Timestamp,
    ) -> Self {
        Self {
            operation_id: id.to_string(),
            route: origin.route.clone(),
            method: origin.method.clone(),
            authority: origin.authority.clone(),
            path: origin.path.clone(),
            principal: Some(origin.principal.to_string()),
            key_schema: origin.key_schema.clone(),
            attempts,
            first_attempt: u32::try_from(first_attempt.as_secs()).unwrap_or(u32::MAX),
            memo,
        }
    }
}

/// A copy of an operation, which outlives the request that it was read from.
#[derive(Clone, Debug)]
pub struct OwnedOperation {
    method: String,
    fields: Vec<(String, String)>,
    payload: Payload,
}

impl OwnedOperation {
    /// Copies an operation.
    pub fn of(operation: &Operation<'_>) -> Self {
        Self {
            method: operation.method.into(),
            fields: operation.fields.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
            payload: operation.payload.clone(),
        }
    }

    /// The operation as the hooks take it.
    pub fn borrowed(&self) -> Operation<'_> {
        Operation {
            method: &self.method,
            fields: self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            payload: self.payload.clone(),
        }
    }
}
