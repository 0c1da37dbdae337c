//! A request as text, as test vectors have it and an author tries it. A policy sees it as it sees one at the
//! gateway, without a gateway.

use crate::interface::failure::Failure;
use crate::interface::v0_1::{Attribute, Part, Shape};
use crate::interface::{FingerprintRule, Operation, Payload, Plan, Verdict};
use crate::run::budget::CallBudget;
use crate::run::instance::Instance;
use crate::view::document::DocumentFormat;
use crate::view::parts::{self, Values};
use crate::view::seen::{self, NotUtf8, Seen};
use crate::view::{Late, ShownBody, Until};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use oncegate_core::normal::{normal_authority, normal_escapes};
use oncegate_core::{Fingerprint, Framer, KeySpace, OperationId, PartKind, Secret};
use std::borrow::Cow;
use std::cell::OnceCell;

/// The most bytes of a body that a policy is shown.
const BODY_BYTES_MAX: usize = 10 << 20;

/// A request with the host's knowledge of it.
pub struct Sample {
    /// The request's method.
    pub method: String,
    /// The authority in lower case, without the default port.
    pub authority: Option<String>,
    /// The path, percent-encoded, without the query.
    pub path: String,
    /// The query without the question mark.
    pub query: Option<String>,
    /// The request's fields.
    pub headers: HeaderMap,
    /// The request's body; empty if there is none.
    pub body: Bytes,
    /// The route's name.
    pub route: String,
    /// The principal; none: nobody is known.
    pub principal: Option<String>,
    pub(crate) shown: OnceCell<ShownBody>,
}

/// The clone's body is read again: a clone is made to be changed.
impl Clone for Sample {
    fn clone(&self) -> Self {
        Self {
            method: self.method.clone(),
            authority: self.authority.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            route: self.route.clone(),
            principal: self.principal.clone(),
            shown: OnceCell::new(),
        }
    }
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, authority, path, query, headers, body, route, principal, shown: _ } = self;
        let all = (method, authority, path, query, headers, body, route, principal);
        f.debug_tuple("Sample").field(&all).finish()
    }
}

/// The result of asking a policy.
#[derive(Debug)]
pub(crate) enum DecideOutcome {
    /// The plan doesn't name the method: the host wouldn't ask.
    NotOfInterest,
    /// The host would answer 400 without asking.
    NotUtf8(NotUtf8),
    /// The policy was asked.
    Decided(Result<Verdict, Failure>),
}

impl Sample {
    /// Reads HTTP/1.1 text, whose body is all that follows the empty line. The route is "vectors",
    /// the principal nobody. An error is for the author to read.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        const HEADERS_MAX: usize = 128;
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut slots);
        let parsed = head.parse(text).map_err(|error| error.to_string())?;
        let httparse::Status::Complete(length) = parsed else {
            return Err("the head has no end: an empty line is missing".into());
        };
        let target: http::Uri =
            head.path.unwrap_or_default().parse().map_err(|error| format!("target: {error}"))?;
        let headers = fields(head.headers)?;
        let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let named = target.authority().map(|authority| authority.as_str()).or(host);
        let authority =
            |text| normal_authority(text, 80).ok_or_else(|| format!("{text:?} is not the name of a host"));
        Ok(Self {
            method: head.method.unwrap_or_default().into(),
            authority: named.map(authority).transpose()?,
            path: normal_escapes(target.path()).into(),
            query: target.query().map(Into::into),
            headers,
            body: Bytes::copy_from_slice(&text[length..]),
            route: "vectors".into(),
            principal: None,
            shown: OnceCell::new(),
        })
    }

    /// A sample of a request as the gateway has read it. The route is "vectors", the principal nobody.
    pub fn of(
        method: &str,
        authority: Option<&str>,
        path: &str,
        query: Option<&str>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Self {
        Self {
            method: method.into(),
            authority: authority.map(Into::into),
            path: path.into(),
            query: query.map(Into::into),
            headers,
            body,
            route: "vectors".into(),
            principal: None,
            shown: OnceCell::new(),
        }
    }

    /// The same request, by this principal on this route.
    #[must_use]
    pub fn by(self, principal: Option<String>, route: String) -> Self {
        Self { principal, route, ..self }
    }

    /// The same request with another body.
    pub(crate) fn with_body(&self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self.clone() }
    }

    /// True if the plan names the method, as far as a request alone can tell.
    fn is_of_interest(&self, plan: &Plan) -> bool {
        let safe = matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE");
        if plan.methods.is_empty() { !safe } else { plan.methods.contains(&self.method) }
    }

    /// The operation that a policy with this plan sees.
    pub(crate) fn view<'a>(&'a self, plan: &'a Plan) -> Result<Operation<'a>, NotUtf8> {
        let seen = Seen {
            authority: self.authority.as_deref(),
            path: &self.path,
            query: self.query.as_deref(),
            route: &self.route,
            principal: self.principal.as_deref(),
            headers: &self.headers,
        };
        let fields = seen::fields(plan, &seen)?;
        let payload = self.shown().payload(&plan.request_payload, Until::THE_END);
        let payload = payload.unwrap_or_else(|Late| Payload::Oversize);
        Ok(Operation { method: &self.method, fields, payload })
    }

    /// Asks an instance, as the gateway would.
    pub(crate) fn ask(&self, instance: &mut Instance, plan: &Plan, budget: CallBudget) -> DecideOutcome {
        if !self.is_of_interest(plan) {
            return DecideOutcome::NotOfInterest;
        }
        match self.view(plan) {
            Ok(operation) => DecideOutcome::Decided(instance.decide(&operation, budget.call)),
            Err(why) => DecideOutcome::NotUtf8(why),
        }
    }

    /// The id that the host would give the operation, on a ledger whose secret is zeros.
    pub(crate) fn operation(&self, plan: &Plan, key: &[Part]) -> OperationId {
        let secret = no_secret();
        let mut principal = Framer::principal(&secret);
        if let Some(name) = &self.principal {
            principal.part(PartKind::SourceValue, name.as_bytes());
        }
        let space = KeySpace { policy: "", key_schema: &plan.key_schema, key_epoch: 0 };
        let mut framer = Framer::operation(&secret, "", &principal.into_principal(), &space);
        parts::frame(key, self, &mut framer);
        framer.into_operation()
    }

    /// The fingerprint that the host would make, on a ledger whose secret is zeros.
    pub(crate) fn fingerprint(&self, rule: &FingerprintRule) -> Fingerprint {
        parts::fingerprint(rule, self, &no_secret())
    }

    /// The value that a part of a key stands for, as text for people.
    pub(crate) fn value_of(&self, part: &Part) -> Option<String> {
        match part {
            Part::Text(_) | Part::Bytes(_) | Part::Missing => None,
            Part::Of(attribute) => Some(String::from_utf8_lossy(self.attribute(*attribute)).into_owned()),
            Part::Document(shape) => Some(match self.document(shape) {
                Some((_, canonical)) => String::from_utf8_lossy(&canonical).into_owned(),
                None => String::from_utf8_lossy(&self.body).into_owned(),
            }),
        }
    }

    /// The body as a policy sees it.
    pub(crate) fn shown(&self) -> &ShownBody {
        self.shown.get_or_init(|| ShownBody::new(&self.headers, self.body.clone(), BODY_BYTES_MAX))
    }

    pub(crate) fn content_type(&self) -> Option<&str> {
        self.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    }
}

/// The fields of a request's or an answer's head.
pub(crate) fn fields(read: &[httparse::Header<'_>]) -> Result<HeaderMap, String> {
    let mut fields = HeaderMap::new();
    for field in read {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_bytes(field.value).map_err(|error| error.to_string())?;
        fields.append(name, value);
    }
    Ok(fields)
}

fn no_secret() -> Secret {
    Secret::new([0; 32])
}

impl Values for Sample {
    fn attribute(&self, attribute: Attribute) -> &[u8] {
        match attribute {
            Attribute::Method => self.method.as_bytes(),
            Attribute::Authority => self.authority.as_deref().unwrap_or_default().as_bytes(),
            Attribute::Path => self.path.as_bytes(),
            Attribute::Query => self.query.as_deref().unwrap_or_default().as_bytes(),
            Attribute::Body => &self.body,
        }
    }

    fn document(&self, shape: &Shape) -> Option<(DocumentFormat, Cow<'_, [u8]>)> {
        let (format, canonical) = self.shown().form(shape)?;
        Some((format, canonical.into()))
    }
}
