//! What the host and a policy say to each other, in the host's own types: whatever version of the
//! interface a component speaks.

use super::v0_1::{Part, Shape};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use oncegate_config::StatusRule;
use oncegate_core::{Claim, Disposition, OperationId, Origin, Record, Timestamp, WhenUnknown, WhileRunning};
use std::sync::Arc;
use std::time::Duration;

/// What a policy needs and promises, given its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Names how keys are made with these settings.
    pub key_schema: Arc<str>,
    /// Methods of interest; empty: all but the safe ones.
    pub methods: Vec<String>,
    /// What `decide` reads of the request's fields, pseudo-fields first.
    pub request_fields: Vec<RequestField>,
    /// What it reads of the body.
    pub request_payload: PayloadWant,
    /// What `settle` reads of an answer's fields and trailers.
    pub response_fields: Vec<HeaderName>,
    /// What it reads of an answer's body.
    pub response_payload: PayloadWant,
    /// The policy's word on statuses.
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
    /// Its name as the policy sees it.
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

/// How much of a body a plan asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadWant {
    /// None of it.
    Nothing,
    /// These places of its document.
    Pointers(Vec<String>),
    /// All of it, up to so many bytes.
    Whole(u32),
}

/// What `decide` judges.
#[derive(Clone, Debug)]
pub struct Operation<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The declared fields that are there: name as in [`RequestField::name`], value; in the plan's
    /// order of pseudo-fields and then arrival order.
    pub fields: Vec<(&'a str, &'a str)>,
    /// As much of the body as the plan asked for.
    pub payload: Payload,
}

/// As much of a body as a plan asked for, content codings removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// There is no body.
    Absent,
    /// There is one, and the plan did not ask for it.
    Withheld,
    /// One entry for each pointer of the plan, in its order.
    Selected(Vec<Found>),
    /// All of it.
    Whole(Bytes),
    /// Larger than the plan or the route allows.
    Oversize,
    /// Pointers were asked for and there is no document, or a content coding can't be removed.
    Malformed(String),
}

/// One place in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It isn't there.
    Nothing,
    /// A string, without quotes and escapes.
    Text(String),
    /// Anything else, as canonical JSON.
    Json(String),
}

/// What `decide` says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Not protected, for this reason.
    Bypass(String),
    /// Protected.
    Guard(Box<Guard>),
    /// Turned away.
    Refuse(PolicyRefusal),
}

/// How an operation is to be protected.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// What the key is made of.
    pub key: Vec<Part>,
    /// What must be equal when the key is reused.
    pub fingerprint: FingerprintRule,
    /// In place of the route's.
    pub while_running: Option<WhileRunning>,
    /// In place of the route's.
    pub when_unknown: Option<WhenUnknown>,
    /// Shortens the route's retention.
    pub retention: Option<Duration>,
    /// Shortens the route's tombstone.
    pub tombstone: Option<Duration>,
    /// When the client says it first sent this, in Unix seconds.
    pub first_sent: Option<u32>,
    /// Fields to set on the upstream request.
    pub forward: Vec<(HeaderName, HeaderValue)>,
    /// Kept with the record for later hooks.
    pub memo: Option<Arc<str>>,
    /// For metrics and the decision log.
    pub labels: Vec<(String, String)>,
}

/// What must be equal when a key is reused.
#[derive(Clone, Debug, PartialEq)]
pub enum FingerprintRule {
    /// Method, authority, path, query and the bytes of the body.
    Request,
    /// Method, authority, path, query and the shaped document.
    Document(Shape),
    /// Exactly these.
    Parts(Vec<Part>),
    /// The key alone.
    KeyOnly,
}

/// A caller turned away by the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyRefusal {
    /// 400 to 599.
    pub status: u16,
    /// The tail of the problem type.
    pub code: String,
    /// For the caller to read.
    pub detail: String,
    /// Fields of the answer.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// What later hooks know of an operation.
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

/// What `settle` says.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySettlement {
    /// What the answer means.
    pub disposition: Disposition,
    /// In place of the guard's.
    pub memo: Option<Arc<str>>,
    /// Shortens the retention further.
    pub retention: Option<Duration>,
}

/// A request for the host to send to the route's own upstream. Credentials are the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// GET or HEAD, or what the upstream's `probe.methods` allows: for the sender to check.
    pub method: http::Method,
    /// With the query.
    pub path: http::uri::PathAndQuery,
    /// By the rules of `guard.forward`.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// None: no body.
    pub body: Option<Bytes>,
}

/// What `reading` says of an answer to its question.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// It happened, and this is the answer to replay.
    Happened(Box<FoundReply>),
    /// It happened; the answer is not known.
    Consumed,
    /// It did not, as far as the answer tells.
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
    /// As handed out: what is kept of them is the host's to say.
    pub fields: HeaderMap,
    /// As handed out.
    pub trailers: HeaderMap,
    /// Empty: none.
    pub body: Bytes,
}

/// What a duplicate's answer differs in from the kept one.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerChanges {
    /// Fields in place of those of the same name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields to leave out.
    pub remove: Vec<HeaderName>,
    /// In place of the kept body.
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
    /// Its fields.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

impl Receipt {
    /// Of a record.
    pub fn of(id: OperationId, record: &Record) -> Self {
        Self::from(id, &record.origin, record.memo.clone(), record.attempts, record.first_attempt)
    }

    /// Of an execution that was claimed so and left no record.
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

/// An operation that outlives the request it was read from.
#[derive(Clone, Debug)]
pub struct OwnedOperation {
    method: String,
    fields: Vec<(String, String)>,
    payload: Payload,
}

impl OwnedOperation {
    /// A copy.
    pub fn of(operation: &Operation<'_>) -> Self {
        Self {
            method: operation.method.into(),
            fields: operation.fields.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
            payload: operation.payload.clone(),
        }
    }

    /// As the hooks take it.
    pub fn borrowed(&self) -> Operation<'_> {
        Operation {
            method: &self.method,
            fields: self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            payload: self.payload.clone(),
        }
    }
}
