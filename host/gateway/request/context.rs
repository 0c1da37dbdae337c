//! A request of a route that a policy guards, with everything that its keys are made of.

use crate::answer::problem::{Code, Problem};
use crate::answer::refusals::switched_off;
use crate::request::arrival::Arrival;
use crate::request::fields::names_in_connection;
use crate::request::principal;
use crate::request::progress::RequestProgress;
use crate::request::route::Route;
use crate::shared::ActiveConfig;
use crate::worker::Worker;
use bytes::Bytes;
use oncegate_core::{PrincipalId, Timestamp};
use oncegate_policy::document::Document;
use oncegate_policy::parts::Values;
use oncegate_policy::view::NoDocument;
use oncegate_policy::{Attribute, Generation, Operation, Payload, PayloadWant, RequestField, view};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

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
    pub arrival: Arrival,
    /// The ledger's time at which the request came in.
    pub came: Timestamp,
    /// The query without the parameters that name the principal; none: the query has no such parameters.
    query: Option<String>,
    document: OnceCell<Result<Document, NoDocument>>,
}

impl RequestContext {
    /// Establishes the principal of a request.
    pub fn new(
        worker: &Rc<Worker>,
        active: Arc<ActiveConfig>,
        route: Arc<Route>,
        arrival: Arrival,
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
            document: OnceCell::new(),
        })
    }

    /// Reads the whole body, so that the connection has nothing unread.
    pub async fn read(&mut self, progress: &mut RequestProgress) -> Result<WholeRequest<'_>, Problem> {
        let body = self.arrival.body.read(&self.worker).await?;
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

    /// The operation that `decide` judges. `principal`: the principal, in digits.
    pub fn operation<'s>(
        &'s self,
        generation: &'s Generation,
        principal: &'s str,
    ) -> Result<Operation<'s>, Problem> {
        let plan = generation.plan();
        for field in &plan.request_fields {
            if let RequestField::Header(name) = field
                && names_in_connection(self.arrival.fields(), name.as_str())
            {
                return Err(switched_off(name.as_str()));
            }
        }
        let seen = view::Seen {
            authority: self.authority(),
            path: &self.arrival.head.path,
            query: self.query(),
            route: &self.route.config.name,
            principal: Some(principal),
            headers: self.arrival.fields(),
        };
        let fields = view::fields(plan, &seen).map_err(|view::NotUtf8(name)| {
            Problem::new(Code::BadRequest, format!("The field `{name}` is not UTF-8; send it as UTF-8."))
        })?;
        let payload = self.payload(&plan.request_payload);
        Ok(Operation { method: self.arrival.head.method.as_str(), fields, payload })
    }

    /// The part of the body that the policy gets to see.
    fn payload(&self, want: &PayloadWant) -> Payload {
        let body = &self.arrival.body;
        match (want, body.bytes()) {
            _ if !body.has_body() => Payload::Absent,
            (PayloadWant::Nothing, _) | (_, None) => Payload::Withheld,
            // The document is read once and kept: the fingerprint may need it, too.
            (PayloadWant::Pointers(pointers), Some(body)) => view::selected(pointers, self.document(body)),
            (PayloadWant::Whole(_), body) => {
                view::payload(want, self.arrival.fields(), body, self.body_bytes_max())
            }
        }
    }

    /// The body as a document, read once. `body` is the whole body of this request.
    fn document(&self, body: &Bytes) -> Result<&Document, &NoDocument> {
        let read = || view::document(self.arrival.fields(), body, self.body_bytes_max());
        self.document.get_or_init(read).as_ref()
    }

    /// The most bytes that a body may have, also without its content codings.
    fn body_bytes_max(&self) -> usize {
        self.active.config.server.limits.body_bytes
    }
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

    fn document(&self) -> Option<&Document> {
        self.context.document(&self.body).ok()
    }
}
