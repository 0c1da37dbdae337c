//! From a request to an operation: the policy's verdict, the key, the fingerprint.

use crate::config::PrincipalChanged;
use crate::gateway::answer::problem::{Code, Problem};
use crate::gateway::request::drift::{DriftDetector, PrincipalObservation};
use crate::gateway::request::head::Head;
use crate::gateway::request::principal;
use crate::gateway::request::route::Route;
use crate::gateway::switched_off;
use crate::ledger::{self, Ledger};
use crate::policy::document::Document;
use crate::policy::parts::{self, Values};
use crate::policy::sample::Sample;
use crate::policy::view::NoDocument;
use crate::policy::{
    Attribute, Generation, Guard, Operation, Payload, PayloadWant, RequestField, recent, view,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use oncegate_core::{
    Claim, ExecutionId, Fingerprint, Framer, KeySpace, OperationId, Origin, PrincipalId, Rules, Secret,
    Times, Timestamp, WhenUnknown,
};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

/// What the host itself knows of a request: the values that `of` and `document` stand for.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The request's head.
    pub head: &'a Head,
    /// Its fields.
    pub fields: &'a HeaderMap,
    /// Its query, without what says who asks.
    pub query: Cow<'a, str>,
    /// Who asks.
    pub principal: PrincipalId,
    /// A body may have so many bytes, without its codings too.
    body_bytes: usize,
    document: OnceCell<Result<Document, NoDocument>>,
}

impl<'a> Facts<'a> {
    /// Establishes who asks, and refuses what can't be relied on.
    pub fn establish(
        head: &'a Head,
        fields: &'a HeaderMap,
        route: &Route,
        secret: &Secret,
        trusted: bool,
        body_bytes: usize,
    ) -> Result<Self, Problem> {
        let rules = &route.config.principal;
        Ok(Self {
            head,
            fields,
            query: principal::without_credentials(rules, &head.query),
            principal: principal::establish(rules, secret, fields, &head.query, trusted)?,
            body_bytes,
            document: OnceCell::new(),
        })
    }

    /// The body as a document, read once. `body` is that of this request, whole.
    fn document(&self, body: &Bytes) -> Result<&Document, &NoDocument> {
        self.document.get_or_init(|| view::document(self.fields, body, self.body_bytes)).as_ref()
    }

    /// What the policy gets to see of the body. `body`: none where it was not read.
    fn payload(&self, want: &PayloadWant, has_body: bool, body: Option<&Bytes>) -> Payload {
        match (want, body) {
            _ if !has_body => Payload::Absent,
            (PayloadWant::Nothing, _) | (_, None) => Payload::Withheld,
            // The fingerprint may need the document, too.
            (PayloadWant::Pointers(pointers), Some(body)) => view::selected(pointers, self.document(body)),
            (PayloadWant::Whole(_), body) => view::payload(want, self.fields, body, self.body_bytes),
        }
    }

    /// What `decide` judges.
    pub fn operation<'s>(
        &'s self,
        generation: &'s Generation,
        route: &'s Route,
        principal: &'s str,
        has_body: bool,
        body: Option<&Bytes>,
    ) -> Result<Operation<'s>, Problem> {
        let plan = generation.plan();
        for field in &plan.request_fields {
            if let RequestField::Header(name) = field
                && crate::gateway::request::fields::names_in_connection(self.fields, name.as_str())
            {
                return Err(switched_off(name.as_str()));
            }
        }
        let seen = view::Seen {
            authority: Some(&*self.head.authority).filter(|authority| !authority.is_empty()),
            path: &self.head.path,
            query: self.head.has_query.then_some(&*self.query),
            route: &route.config.name,
            principal: Some(principal),
            headers: self.fields,
        };
        let fields = view::fields(plan, &seen).map_err(|view::NotUtf8(name)| {
            Problem::new(Code::BadRequest, format!("The field `{name}` is not UTF-8; send it as UTF-8."))
        })?;
        let payload = self.payload(&plan.request_payload, has_body, body);
        Ok(Operation { method: self.head.method.as_str(), fields, payload })
    }
}

/// The request as it is kept for the promise check, without credentials; none where it is too large.
pub fn sample(facts: &Facts<'_>, route: &Route, body: &Bytes) -> Option<Sample> {
    let is_credential = |name: &HeaderName| principal::is_credential(&route.config.principal, name);
    let headers = recent::fields(facts.fields, is_credential)?;
    Some(
        Sample::of(
            facts.head.method.as_str(),
            Some(&*facts.head.authority).filter(|authority| !authority.is_empty()),
            &facts.head.path,
            facts.head.has_query.then_some(&*facts.query),
            headers,
            recent::body(body)?,
        )
        .by(Some(facts.principal.to_string()), route.config.name.to_string()),
    )
}

/// A request with its body, whole.
struct Complete<'a> {
    facts: &'a Facts<'a>,
    body: &'a Bytes,
}

impl Values for Complete<'_> {
    fn attribute(&self, attribute: Attribute) -> &[u8] {
        match attribute {
            Attribute::Method => self.facts.head.method.as_str().as_bytes(),
            Attribute::Authority => self.facts.head.authority.as_bytes(),
            Attribute::Path => self.facts.head.path.as_bytes(),
            Attribute::Query => self.facts.query.as_bytes(),
            Attribute::Body => self.body,
        }
    }

    fn document(&self) -> Option<&Document> {
        self.facts.document(self.body).ok()
    }
}

/// Where the ledger stands, for a claim.
#[derive(Debug)]
pub struct KeyScope<'a> {
    /// The ledger's secret.
    pub secret: &'a Secret,
    /// The deployment's name.
    pub deployment: &'a str,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The id of the execution, should it win.
    pub execution: ExecutionId,
}

/// The key and the fingerprint that a guard means in its generation's key space.
pub fn key(
    facts: &Facts<'_>,
    generation: &Generation,
    guard: &Guard,
    body: &Bytes,
    scope: &KeyScope<'_>,
) -> (OperationId, Fingerprint) {
    let mut framer = Framer::operation(scope.secret, scope.deployment, &facts.principal, &space(generation));
    let request = Complete { facts, body };
    parts::frame(&guard.key, &request, &mut framer);
    (framer.into_operation(), parts::fingerprint(&guard.fingerprint, &request, scope.secret))
}

/// The key that the operation has in common with the same one of any other principal.
pub fn common_id(
    facts: &Facts<'_>,
    generation: &Generation,
    guard: &Guard,
    fingerprint: &Fingerprint,
    body: &Bytes,
    scope: &KeyScope<'_>,
) -> OperationId {
    let mut framer = Framer::common(scope.secret, scope.deployment, &space(generation), fingerprint);
    parts::frame(&guard.key, &Complete { facts, body }, &mut framer);
    framer.into_operation()
}

/// What is remembered of who asks for it, where its route counts a changed principal.
pub fn observation(
    facts: &Facts<'_>,
    route: &Route,
    (generation, guard): (&Generation, &Guard),
    fingerprint: &Fingerprint,
    body: &Bytes,
    drift: &DriftDetector,
) -> Option<PrincipalObservation> {
    match route.config.principal_changed {
        PrincipalChanged::Count => {
            let request = Complete { facts, body };
            drift.observation(generation.name(), (&guard.key, fingerprint), &request, &facts.principal)
        }
        PrincipalChanged::Refuse => None,
    }
}

fn space(generation: &Generation) -> KeySpace<'_> {
    KeySpace {
        policy: generation.name(),
        key_schema: &generation.plan().key_schema,
        key_epoch: generation.key_epoch(),
    }
}

/// The request to the ledger that a guard means.
pub fn request(
    facts: &Facts<'_>,
    route: &Route,
    generation: &Generation,
    guard: &Guard,
    body: &Bytes,
    scope: &KeyScope<'_>,
) -> ledger::Request {
    let plan = generation.plan();
    let (id, fingerprint) = key(facts, generation, guard, body, scope);
    let times = times(&route.config.times, guard);
    let clock = scope.ledger.clock().latest();
    let first_sent = Timestamp::from_secs(guard.first_sent.unwrap_or(0).into());
    ledger::Request {
        id,
        claim: Claim {
            fingerprint,
            execution: scope.execution,
            times,
            origin: Origin {
                route: route.config.name.clone(),
                policy: generation.name().clone(),
                key_schema: plan.key_schema.clone(),
                key_epoch: generation.key_epoch(),
                normalisation: ledger::NORMALISATION,
                method: Arc::from(facts.head.method.as_str()),
                authority: facts.head.authority.clone(),
                path: facts.head.path.clone(),
                principal: facts.principal,
                first_sent: guard.first_sent,
            },
            memo: guard.memo.clone(),
            clock,
            remembered_since: scope.ledger.remembered_since(
                &route.config.name,
                times.memory,
                first_sent,
                clock,
            ),
        },
        rules: Rules {
            while_running: guard.while_running.unwrap_or(route.config.while_running),
            when_unknown: when_unknown(route, guard, &facts.head.method),
        },
        wait: route.config.wait,
        derived: ledger::Derived::default(),
    }
}

/// A policy may shorten the route's times, never lengthen them.
fn times(route: &Times, guard: &Guard) -> Times {
    Times {
        retention: guard.retention.map_or(route.retention, |own| own.min(route.retention)),
        tombstone: guard.tombstone.map_or(route.tombstone, |own| own.min(route.tombstone)),
        ..*route
    }
}

/// `resend` only where repeating does no harm: the method is idempotent (RFC 9110 §9.2.2), or the
/// upstream is declared to deduplicate, or to take repeats.
fn when_unknown(route: &Route, guard: &Guard, method: &http::Method) -> WhenUnknown {
    let wanted = guard.when_unknown.unwrap_or(route.config.when_unknown);
    let harmless =
        method.is_idempotent() || route.upstream.config.dedupes || route.upstream.config.accept_repeats;
    match wanted {
        WhenUnknown::Resend if !harmless => WhenUnknown::Hold,
        wanted => wanted,
    }
}
