//! The gateway: from a client's request to its answer (`design/shape.md`).
//!
//! The request's way is `answer`: head → route → context (principal) → verdict → guard, or through unguarded.
//! Four rooms stand beside it: `edge` has the sockets, `request` makes an operation of a request, `execution`
//! sends the operation upstream, and `answer` words the client's answer. An execution is detached from its
//! client. The execution captures, settles, and only then releases the end of its answer.

mod access;
pub mod answer;
mod edge;
mod execution;
mod guard;
mod lookup;
mod pieces;
pub mod request;
mod shared;
mod worker;

pub use edge::{BindError, Listeners, Protocol};
pub use execution::generations::ExecutionGenerations;
pub use request::drift::DriftDetector;
pub use shared::{ActiveConfig, Shared};
pub use worker::{Retirement, Workers};

use answer::body::AnswerBody;
use answer::problem::{Code, Problem};
use answer::{present, refusals};
use edge::{After, Answered, ClientConnection, EdgeService, EdgeState, HeadFault, Peer};
use execution::{pass, probe};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use oncegate_config::{self as config, ClientGone, OnError};
use oncegate_observe::metrics::RequestResult;
use oncegate_policy::Generation;
use request::arrival::Arrival;
use request::context::RequestContext;
use request::fields::names_in_connection;
use request::progress::RequestProgress;
use request::route::Route;
use request::verdict::{self, Treatment};
use std::rc::Rc;
use std::sync::Arc;
use worker::{Worker, WorkerOrder};

/// The field by which clients name an operation, as most policies read it.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The request's way.
async fn answer(
    worker: &Rc<Worker>,
    peer: Peer,
    client: ClientConnection,
    request: Request<Incoming>,
    progress: &mut RequestProgress,
) -> Result<Response<AnswerBody>, Problem> {
    let active = worker.active();
    let arrival = Arrival::read(peer, client, request, &active)?;
    // A service that believes the field behind one route may be behind another one, too.
    active.routes.trusting().iter().try_for_each(|rules| arrival.refuse_impostor(rules))?;
    let head = &arrival.head;
    if let Some(sought) = head.lookup() {
        progress.access.result = RequestResult::Passed;
        return lookup::answer(&worker.shared, &active, &arrival, sought).await;
    }
    let Some(route) = active.routes.find(head.host(), &head.path, &head.method).cloned() else {
        return Err(refusals::no_route());
    };
    progress.access.take(&route);
    if route.config.client_gone == ClientGone::Close {
        arrival.client.ends_request();
    }
    if route.is_unavailable_for(&head.method) {
        return Box::pin(unavailable(worker, &route, arrival, progress)).await;
    }
    let Some(generation) = route.judge(&head.method).cloned() else {
        progress.access.result = RequestResult::Passed;
        return pass::stream(worker, &route, arrival).await;
    };
    warn_of_unread_key(&route, &generation, arrival.fields());
    let mut context = RequestContext::new(worker, active, route, arrival)?;
    match verdict::decide(&mut context, generation, progress).await? {
        Treatment::Guard(guarded) => guard::operation(context, guarded, progress).await,
        Treatment::Refuse(refusal) => Err(Problem::refused(&refusal)),
        Treatment::Bypass(reason) => {
            progress.access.bypassed(reason);
            pass::send(worker, &context.route, context.arrival).await
        }
    }
}

/// Warns of an `Idempotency-Key` that the route's policy does not read: its client believes itself safe.
fn warn_of_unread_key(route: &Route, generation: &Generation, fields: &HeaderMap) {
    let reads_it = || generation.plan().request_fields.iter().any(|field| field.name() == IDEMPOTENCY_KEY);
    if fields.contains_key(IDEMPOTENCY_KEY) && !reads_it() {
        tracing::warn!(
            route = &*route.config.name,
            policy = %generation.name(),
            "a request has `Idempotency-Key`, which its policy does not read: that key guards nothing"
        );
    }
}

/// Answers when keys can't be derived in all key spaces of the route's policy: refuses the request, or sends
/// it unguarded if the route says so.
async fn unavailable(
    worker: &Rc<Worker>,
    route: &Route,
    arrival: Box<Arrival>,
    progress: &mut RequestProgress,
) -> Result<Response<AnswerBody>, Problem> {
    match route.config.on_error {
        OnError::Bypass => {
            let reason = "its policy is not loaded whole and the route says `on_error = \"bypass\"`";
            progress.access.bypassed(reason.into());
            pass::stream(worker, route, arrival).await
        }
        OnError::Refuse => {
            progress.access.result = RequestResult::Failed;
            Err(refusals::policy_unavailable())
        }
    }
}

/// Answers one request, whatever happens, then counts and logs it. What few requests need is boxed, so that the
/// future of the many is small.
async fn handle(
    worker: Rc<Worker>,
    peer: Peer,
    fault: Option<HeadFault>,
    client: ClientConnection,
    request: Box<Request<Incoming>>,
) -> Answered<AnswerBody> {
    let mut progress = RequestProgress::begin(&worker, &request, peer);
    // hyper does not read a `Connection` that has a byte which is not ASCII.
    let is_last = names_in_connection(request.headers(), "close");
    let answered = match fault {
        None => answer(&worker, peer, client, *request, &mut progress).await,
        Some(fault) => {
            // RFC 9112 §6.1: what comes behind such a head may not be what it seems.
            progress.after_refusal = After::Close;
            Err(refusals::head_fault(fault))
        }
    };
    let (mut response, after) = match answered {
        Ok(response) => (response, After::Stay),
        Err(problem) => {
            progress.access.problem(&problem);
            let problem = progress.access.answered(problem);
            let response = Box::pin(present::problem(&worker, progress.presenter.as_ref(), problem)).await;
            (response, progress.after_refusal)
        }
    };
    if !peer.protocol.has_trailers {
        // Trailers would take the place of the length, and only the length tells this client where the body
        // ends.
        response.body_mut().remove_trailers();
    }
    progress.access.end(&response);
    Answered { response, after: if is_last { After::Close } else { after } }
}

impl EdgeService for Worker {
    type Body = AnswerBody;
    type Order = WorkerOrder;

    fn edge(&self) -> &Arc<EdgeState> {
        &self.shared.edge
    }

    fn server<T>(&self, read: impl FnOnce(&config::Server) -> T) -> T {
        read(&self.shared.active.load().config.server)
    }

    fn begin(self: &Rc<Self>, worker: usize) {
        // One worker probes unknown outcomes beside its requests.
        if worker == 0 {
            tokio::task::spawn_local(probe::run(self.clone()));
        }
    }

    fn obey(&self, order: WorkerOrder) {
        match order {
            WorkerOrder::RetireAllBut(generations) => self.policies.retire(&generations),
            WorkerOrder::EndExecutions => self.shutdown.send(),
        }
    }

    fn unreadable(&self) {
        self.shared.metrics.unrouted(Code::BadRequest.name());
    }

    async fn answer(
        self: Rc<Self>,
        peer: Peer,
        fault: Option<HeadFault>,
        client: ClientConnection,
        request: Box<Request<Incoming>>,
    ) -> Answered<AnswerBody> {
        handle(self, peer, fault, client, request).await
    }
}
