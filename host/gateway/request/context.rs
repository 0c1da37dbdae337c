//! A request of a route that a policy guards, with everything that its keys are made of.

use crate::answer::problem::{Code, Problem};
use crate::answer::refusals::{switched_off, twin_of};
use crate::request::arrival::Arrival;
use crate::request::fields::are_twins;
use crate::request::principal;
use crate::request::progress::RequestProgress;
use crate::request::route::Route;
use crate::shared::ActiveConfig;
use crate::worker::Worker;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use oncegate_core::{PrincipalId, Timestamp};
use oncegate_policy::document::DocumentFormat;
use oncegate_policy::parts::Values;
use oncegate_policy::view::{DocumentForm, ShownBody};
use oncegate_policy::{
    Attribute, Failure, Generation, Guard, Operation, Payload, PayloadWant, Plan, RequestField, Shape, view,
};
use oncegate_upstream::elements;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A request with its route and its principal.
#[derive(Debug)]
pub struct RequestContext {
    /// The worker that answers the request.
    pub worker: Rc<Worker>,
    /// The configuration that was active when the request came in.
    pub active: Arc<ActiveConfig>,
    /// The request's route.
    pub route: Arc<Route>,
    /// The principal that asks.
    pub principal: PrincipalId,
    /// The request as it was received.
    pub arrival: Box<Arrival>,
    /// The ledger's time at which the request came in.
    pub came: Timestamp,
    /// The query without the parameters that name the principal; none: the query has no such parameters.
    query: Option<String>,
    /// The body as policies see it.
    shown: OnceCell<Arc<ShownBody>>,
    /// The canonical documents of a large body.
    forms: Vec<DocumentForm>,
    /// A large body is no document.
    no_document: bool,
}

impl RequestContext {
    /// Establishes the principal of a request.
    pub fn new(
        worker: &Rc<Worker>,
        active: Arc<ActiveConfig>,
        route: Arc<Route>,
        arrival: Box<Arrival>,
    ) -> Result<Self, Problem> {
        let rules = &route.config.principal;
        let principal = arrival.principal(rules, &worker.shared.secret)?;
        let query = match principal::without_credentials(rules, &arrival.head.query) {
            Cow::Borrowed(_) => None,
            Cow::Owned(query) => Some(query),
        };
        Ok(Self {
            worker: worker.clone(),
            active,
            route,
            principal,
            arrival,
            came: worker.shared.ledger.clock().now(),
            query,
            shown: OnceCell::new(),
            forms: Vec::new(),
            no_document: false,
        })
    }

    /// Reads the whole body, so that the connection has nothing unread.
    pub async fn read(&mut self, progress: &mut RequestProgress) -> Result<WholeRequest<'_>, Problem> {
        let bodies = self.arrival.client.bodies();
        let body = self.arrival.body.read(bodies, &self.active.config.server.limits).await?;
        progress.body_read();
        Ok(WholeRequest { context: self, body })
    }

    /// The query without the parameters that name the principal; none if the request has no query.
    pub fn query(&self) -> Option<&str> {
        let head = &self.arrival.head;
        head.has_query.then(|| self.query.as_deref().unwrap_or(&head.query))
    }

    /// The host that the request is for; none if the request names none.
    pub fn authority(&self) -> Option<&str> {
        Some(&*self.arrival.head.authority).filter(|authority| !authority.is_empty())
    }

    /// The operation that `decide` judges. `principal`: the principal, in digits. `payload`: what the policy gets to
    /// see of the body.
    pub fn operation<'s>(
        &'s self,
        generation: &'s Generation,
        principal: &'s str,
        payload: Payload,
    ) -> Result<Operation<'s>, Problem> {
        let plan = generation.plan();
        let fields = self.arrival.fields();
        must_count(fields, plan)?;
        let seen = view::Seen {
            authority: self.authority(),
            path: &self.arrival.head.path,
            query: self.query(),
            route: &self.route.config.name,
            principal: Some(principal),
            headers: fields,
        };
        let fields = view::fields(plan, &seen).map_err(|view::NotUtf8(name)| {
            Problem::new(Code::BadRequest, format!("The field `{name}` is not UTF-8; send it as UTF-8."))
                .because("a field that its policy reads is not UTF-8")
        })?;
        Ok(Operation { method: self.arrival.head.method.as_str(), fields, payload })
    }

    /// The part of the body that the policy gets to see.
    pub async fn payload(&self, generation: &Arc<Generation>) -> Result<Payload, Failure> {
        let body = &self.arrival.body;
        match (&generation.plan().request_payload, body.bytes()) {
            _ if !body.has_body() => Ok(Payload::Absent),
            (PayloadWant::Nothing, _) | (_, None) => Ok(Payload::Withheld),
            (_, Some(body)) => {
                let (shown, turns) = (self.shown(body), self.turns());
                self.worker.policies.payload(generation, shown, |plan| &plan.request_payload, turns).await
            }
        }
    }

    /// Makes what the keys and fingerprints of these guards need of a large body, which would take a worker too
    /// long.
    pub async fn prepare<'g>(
        &mut self,
        generation: &Arc<Generation>,
        guards: impl Iterator<Item = &'g Guard>,
    ) -> Result<(), Failure> {
        let Some(body) = self.arrival.body.bytes() else { return Ok(()) };
        let mut shapes = Vec::new();
        for shape in guards.flat_map(Guard::shapes) {
            if !shapes.contains(shape) && !self.forms.iter().any(|form| form.shape == *shape) {
                shapes.push(shape.clone());
            }
        }
        if shapes.is_empty() || self.shown(body).is_small() {
            return Ok(());
        }
        match self.worker.policies.forms(generation, self.shown(body), shapes, self.turns()).await? {
            Some(forms) => self.forms.extend(forms),
            None => self.no_document = true,
        }
        Ok(())
    }

    /// The whole body of this request as policies see it: a small document is read once, because the fingerprint may
    /// need it, too.
    fn shown(&self, body: &Bytes) -> &Arc<ShownBody> {
        let shown = || ShownBody::new(self.arrival.fields(), body.clone(), self.body_bytes_max());
        self.shown.get_or_init(|| Arc::new(shown()))
    }

    /// The turns of the peer's large documents.
    fn turns(&self) -> &Arc<Semaphore> {
        &self.arrival.client.bodies().documents
    }

    /// The most bytes that a body may have, also without its content codings.
    fn body_bytes_max(&self) -> usize {
        self.active.config.server.limits.body_bytes
    }
}

/// Refuses a request that is judged by a field which may not count: `Connection` names it, or there is one that many
/// services read as it. A plan that declares both knows what they mean. Each field is looked at once, because most
/// requests have neither.
fn must_count(fields: &HeaderMap, plan: &Plan) -> Result<(), Problem> {
    let declared = || {
        plan.request_fields.iter().filter_map(|field| match field {
            RequestField::Header(name) => Some(name.as_str()),
            _ => None,
        })
    };
    // By these two the host reads the document that policy and fingerprint see.
    let judged = || ["content-encoding", "content-type"].into_iter().chain(declared());
    for option in elements(fields, header::CONNECTION) {
        if let Some(name) = judged().find(|name| option.eq_ignore_ascii_case(name.as_bytes())) {
            return Err(switched_off(name));
        }
    }
    for own in fields.keys().map(HeaderName::as_str) {
        let twin = judged().find(|name| own != *name && are_twins(own, name));
        if let Some(name) = twin.filter(|_| !declared().any(|name| name == own)) {
            return Err(twin_of(own, name));
        }
    }
    Ok(())
}

/// A request whose body was read whole. Keys and fingerprints are made of whole requests only.
#[derive(Debug)]
pub struct WholeRequest<'a> {
    /// The request.
    pub context: &'a RequestContext,
    /// The request's body.
    pub body: Bytes,
}

impl Values for WholeRequest<'_> {
    fn attribute(&self, attribute: Attribute) -> &[u8] {
        let head = &self.context.arrival.head;
        match attribute {
            Attribute::Method => head.method.as_str().as_bytes(),
            Attribute::Authority => head.authority.as_bytes(),
            Attribute::Path => head.path.as_bytes(),
            Attribute::Query => self.context.query().unwrap_or_default().as_bytes(),
            Attribute::Body => &self.body,
        }
    }

    fn document(&self, shape: &Shape) -> Option<(DocumentFormat, Cow<'_, [u8]>)> {
        let context = self.context;
        if let Some(made) = context.forms.iter().find(|form| form.shape == *shape) {
            return Some((made.format, made.canonical.as_slice().into()));
        }
        if context.no_document {
            return None;
        }
        let (format, canonical) = context.shown(&self.body).form(shape)?;
        Some((format, canonical.into()))
    }
}
