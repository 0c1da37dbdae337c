//! The state of an execution on a task of its own, when its client may be gone.

use crate::answer::body::AnswerBody;
use crate::answer::names::{OPERATION, operation_value};
use crate::answer::problem::Problem;
use crate::edge::{Peer, PeerAccount};
use crate::execution::{outgoing, pass};
use crate::request::drift::PrincipalObservation;
use crate::request::fields::set_alone;
use crate::request::head::RequestHead;
use crate::request::principal;
use crate::request::route::Route;
use crate::worker::Worker;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use oncegate_core::{OperationId, PrincipalId, Record, Settlement};
use oncegate_policy::Generation;
use oncegate_upstream::RequestBody;
use std::cell::Cell;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

/// The state of an execution that is detached from its client.
#[derive(Debug)]
pub struct Execution {
    /// The operation id, by the highest of the operation's keys; from the claim on by the key of its record.
    pub id: Cell<OperationId>,
    /// The worker that executes it.
    pub worker: Rc<Worker>,
    /// The route of the request.
    pub route: Arc<Route>,
    /// The generation that decided the request.
    pub generation: Arc<Generation>,
    /// The principal that asked.
    pub principal: PrincipalId,
    /// The observation of the operation and its principal, to be noted once the operation is executed.
    pub observation: Option<PrincipalObservation>,
    /// Fields that the policy sets on the upstream request.
    pub forward: Vec<(HeaderName, HeaderValue)>,
    /// True if the policy can't vouch for the caller.
    pub unvouched: bool,
    /// The other end of the client's connection.
    pub peer: Peer,
    /// The request's head.
    pub head: RequestHead,
    /// The request's fields.
    pub fields: HeaderMap,
    /// The request's body.
    pub body: Bytes,
    /// What the bodies of the client's peer hold.
    pub bodies: Arc<PeerAccount>,
}

impl Execution {
    /// The request as it goes upstream. `attempt`: how often the operation was claimed.
    pub(super) fn upstream_request(&self, attempt: u32) -> Box<Request<RequestBody>> {
        let mut request = self.outgoing();
        let fields = request.headers_mut();
        fields.insert(OPERATION, operation_value(self.id.get()));
        fields.insert(HeaderName::from_static("oncegate-attempt"), HeaderValue::from(attempt));
        for (name, value) in &self.forward {
            set_alone(fields, name, value.clone());
        }
        if let Some(name) = &self.route.upstream.config.operation_header {
            set_alone(fields, name, operation_value(self.id.get()));
        }
        request
    }

    /// The request without the fields of an execution.
    fn outgoing(&self) -> Box<Request<RequestBody>> {
        let body = RequestBody::Whole(self.body.clone());
        outgoing::request(&self.route, self.peer, &self.head, self.fields.clone(), body)
    }

    /// Notes that the service did what the principal asked for.
    pub(super) fn note_success(&self) {
        self.worker.shared.known.note(&self.principal, |hash| {
            let rules = &self.route.config.principal;
            let mut credentials = principal::credentials(rules, &self.fields, &self.head.query, hash);
            credentials.extend(self.peer.own_network().map(|network| hash.hash_one(network)));
            credentials
        });
    }

    /// Notes what the ledger keeps of an operation that the service did not do, if its principal is unproven.
    pub(super) fn note_failure(&self, record: &Record, settlement: &Settlement) {
        let shared = &self.worker.shared;
        if shared.known.caller(&self.principal).is_none() {
            shared.unproven.note_left(record, settlement, shared.ledger.clock().now());
        }
    }

    /// Sends the request without a guard.
    pub async fn send_unguarded(&self) -> Result<Response<AnswerBody>, Problem> {
        pass::proxy(&self.worker, &self.route, self.outgoing()).await
    }
}
