//! The gateway's own answers: RFC 9457 problem documents (`design/problems.md`).

use crate::answer::body::AnswerBody;
use crate::answer::names::{OPERATION, PROBLEM, operation_value};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
pub use oncegate_core::problem::Code;
use oncegate_core::{Answer, AnswerSummary, Disposition, OperationId};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One of the gateway's own answers, before it is worded.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: Cow<'static, str>,
    retryable: bool,
    retry_after: Option<Duration>,
    operation: Option<OperationId>,
    outcome: Option<Disposition>,
    summary: Option<AnswerSummary>,
    fields: Vec<(HeaderName, HeaderValue)>,
    cause: Option<&'static str>,
}

impl Problem {
    /// A problem with the status and title of its code.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let retryable = code.is_retryable();
        Self {
            status: StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code: code.name().into(),
            title: code.title().into(),
            detail: detail.into(),
            retryable,
            retry_after: retryable.then_some(Duration::from_secs(1)),
            operation: None,
            outcome: None,
            summary: None,
            fields: Vec::new(),
            cause: None,
        }
    }

    /// A `bad-request` problem of a kind for which HTTP has a status of its own.
    pub fn bad_request(
        status: StatusCode,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, title: title.into(), ..Self::new(Code::BadRequest, detail) }
    }

    /// Adds this field to the problem.
    #[must_use]
    pub fn with_field(mut self, name: HeaderName, value: &'static str) -> Self {
        self.fields.push((name, HeaderValue::from_static(value)));
        self
    }

    /// Gives the problem another title than its code has: one that blames nobody who did nothing.
    #[must_use]
    pub fn titled(mut self, title: &'static str) -> Self {
        self.title = title.into();
        self
    }

    /// Says in fixed words why the request gets this problem, for the operator's log: never in a client's words.
    #[must_use]
    pub fn because(mut self, cause: &'static str) -> Self {
        self.cause = Some(cause);
        self
    }

    /// A policy's own refusal.
    pub fn refused(refusal: &oncegate_policy::PolicyRefusal) -> Self {
        Self {
            status: StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST),
            code: refusal.code.clone().into(),
            title: "The policy turned the request away".into(),
            detail: refusal.detail.clone().into(),
            retryable: false,
            retry_after: None,
            operation: None,
            outcome: None,
            summary: None,
            fields: refusal.fields.clone(),
            cause: Some("its policy turns it away"),
        }
    }

    /// Sets the operation that the problem is about.
    #[must_use]
    pub fn of(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Says that asking again is useful, though it is not useful with other problems of this code.
    #[must_use]
    pub fn worth_asking_again(mut self) -> Self {
        self.retryable = true;
        self.retry_after = Some(Duration::from_secs(1));
        self
    }

    /// Says when asking again is useful.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Sets the operation's settled outcome.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Disposition) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// Adds the summary of the answer that isn't kept.
    #[must_use]
    pub fn with_summary(mut self, summary: AnswerSummary) -> Self {
        self.summary = Some(summary);
        self
    }

    /// The problem's code in letters.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text for the caller.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Why the request gets this problem, for the operator.
    pub fn cause(&self) -> Option<&'static str> {
        self.cause
    }

    /// The operation that the problem is about.
    pub fn operation(&self) -> Option<OperationId> {
        self.operation
    }

    /// The operation's outcome, if it is settled.
    pub fn outcome(&self) -> Option<Disposition> {
        self.outcome
    }

    /// The summary of an answer that isn't kept.
    pub fn summary(&self) -> Option<&AnswerSummary> {
        self.summary.as_ref()
    }

    /// Whether asking again with the same key is useful.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// When to ask again.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.retry_after.map(|after| u32::try_from(after.as_secs().max(1)).unwrap_or(u32::MAX))
    }

    /// Sets the status that the route's `answers` give this code.
    #[must_use]
    pub fn answered_by(mut self, answers: &BTreeMap<String, u16>) -> Self {
        if let Some(status) = answers.get(&*self.code).and_then(|status| StatusCode::from_u16(*status).ok()) {
            self.status = status;
        }
        self
    }

    fn document(&self) -> Vec<u8> {
        let mut document = document(&self.code, &self.title, self.status, &self.detail);
        let mut put = |name: &str, value: Value| document.insert(name.into(), value);
        put("retryable", self.retryable.into());
        if let Some(operation) = self.operation {
            put("operation", operation.to_string().into());
        }
        if let Some(outcome) = self.outcome {
            put("outcome", outcome.word().into());
        }
        if let Some(summary) = &self.summary {
            put("first", summary_document(summary));
        }
        // Stripe's and OpenAI's SDKs look for this member, and take a 4xx without it for a success.
        put("error", json!({"type": "idempotency_error", "code": self.code, "message": self.detail}));
        serde_json::to_vec(&document).unwrap_or_default()
    }

    fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(8 + self.fields.len());
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            fields.insert(PROBLEM, code);
        }
        if let Some(after) = self.retry_after {
            fields.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        // Some SDKs retry every 409 unless this field tells them not to.
        let should_retry = HeaderValue::from_static(if self.retryable { "true" } else { "false" });
        fields.insert(HeaderName::from_static("x-should-retry"), should_retry.clone());
        fields.insert(HeaderName::from_static("stripe-should-retry"), should_retry);
        if let Some(operation) = self.operation {
            fields.insert(OPERATION, operation_value(operation));
        }
        for (name, value) in &self.fields {
            fields.append(name, value.clone());
        }
        fields
    }

    /// The answer to the client.
    pub fn into_response(self) -> Response<AnswerBody> {
        let mut fields = self.fields();
        let mut document = self.document();
        if matches!(self.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
            // The route's `answers` ask for a status without a body. The code is in its field.
            fields.remove(CONTENT_TYPE);
            document.clear();
        }
        let mut response = Response::new(AnswerBody::whole(document.into()));
        *response.status_mut() = self.status;
        *response.headers_mut() = fields;
        response
    }

    /// The problem as an answer for requests that waited for the execution.
    pub fn to_shared(&self) -> Arc<Answer> {
        let bytes = |text: &[u8]| Bytes::copy_from_slice(text);
        let fields = self.fields();
        let fields =
            fields.iter().map(|(name, value)| (bytes(name.as_str().as_bytes()), bytes(value.as_bytes())));
        let status = self.status.as_u16();
        Arc::new(Answer {
            status,
            fields: fields.collect(),
            body: self.document().into(),
            trailers: Vec::new(),
        })
    }

    /// The problem that a shared answer was made of, to be worded for each waiting request.
    pub fn from_shared(answer: &Answer) -> Option<Self> {
        answer.field(PROBLEM.as_str())?;
        let document: Value = serde_json::from_slice(&answer.body).ok()?;
        let text = |name: &str| document.get(name)?.as_str().map(str::to_owned);
        let outcomes =
            [Disposition::Completed, Disposition::Consumed, Disposition::NotApplied, Disposition::Unknown];
        let outcome = text("outcome");
        Some(Self {
            status: StatusCode::from_u16(answer.status).ok()?,
            code: text("code")?.into(),
            title: text("title")?.into(),
            detail: text("detail")?.into(),
            retryable: document.get("retryable")?.as_bool()?,
            retry_after: answer
                .field("retry-after")
                .and_then(|after| after.parse().ok())
                .map(Duration::from_secs),
            operation: None,
            outcome: outcomes.into_iter().find(|one| Some(one.word()) == outcome.as_deref()),
            summary: None,
            fields: Vec::new(),
            cause: None,
        })
    }
}

/// The members of every problem document, also of the admin interface's documents.
pub fn document(code: &str, title: &str, status: StatusCode, detail: &str) -> Map<String, Value> {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.into(), value);
    put("type", format!("urn:oncegate:problem:{code}").into());
    put("title", title.into());
    put("status", status.as_u16().into());
    put("detail", detail.into());
    put("code", code.into());
    document
}

fn summary_document(summary: &AnswerSummary) -> Value {
    let mut document = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            document.insert(name.into(), value);
        }
    };
    put("status", summary.status.map(Value::from));
    put("location", summary.location.as_deref().map(Value::from));
    put("content_location", summary.content_location.as_deref().map(Value::from));
    put("etag", summary.etag.as_deref().map(Value::from));
    Value::Object(document)
}
