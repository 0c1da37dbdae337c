//! The gateway: the only room that names hyper's server.
//!
//! The request's way is `answer`, and where it is guarded `guard_operation`: route → identify → begin →
//! `match` on execute, replay, wait, refuse. An execution is detached from its client
//! (`execute`): it captures, settles, and only then lets the end of its answer go.

mod access;
pub mod answer;
mod edge;
mod execution;
pub mod lineup;
pub mod request;
mod shared;
mod worker;

pub use answer::respond;
pub use edge::{BindError, Listeners};
pub use execution::generations::ExecutionGenerations;
pub use request::drift::DriftDetector;
pub use shared::{ActiveConfig, Buffers, Shared};
pub use worker::{Retirement, Workers};

use crate::config::{self, OnError};
use crate::ledger::Pursued;
use crate::observe::metrics::RequestResult;
use crate::policy::{Failure, Generation, OwnedOperation, Receipt, Verdict};
use crate::upstream::Admission;
use access::AccessRecord;
use answer::body::AnswerBody;
use answer::present::Presenter;
use answer::problem::{Code, Problem};
use edge::{After, Answered, EdgeState, Framing, Peer, Service};
use execution::execute::detached;
use execution::no_answer::not_admitted;
use execution::report::Report;
use execution::task::Execution;
use http::{Request, Response};
use hyper::body::Incoming;
use lineup::{Decided, Judged};
use oncegate_core::{Record, State};
use request::body::{DrainOnDrop, InboundBody};
use request::head::Head;
use request::identify::{Facts, KeyScope};
use request::route::Route;
use std::rc::Rc;
use std::sync::Arc;
use worker::{Order, Worker};

impl Service for Worker {
    type Body = AnswerBody;
    type Order = Order;

    fn edge(&self) -> &Arc<EdgeState> {
        &self.shared.edge
    }

    fn server<T>(&self, read: impl FnOnce(&config::Server) -> T) -> T {
        read(&self.shared.active.load().config.server)
    }

    fn begin(self: &Rc<Self>, worker: usize) {
        // One of them asks about unknown outcomes, beside its requests.
        if worker == 0 {
            tokio::task::spawn_local(execution::probe::run(self.clone()));
        }
    }

    fn obey(&self, order: Order) {
        match order {
            Order::RetireAllBut(generations) => self.policies.retire(&generations),
            Order::EndExecutions => self.shutdown.send(),
        }
    }

    async fn answer(
        self: Rc<Self>,
        peer: Peer,
        framing: Framing,
        request: Request<Incoming>,
    ) -> Answered<AnswerBody> {
        match framing {
            Framing::Clear => handle(self, peer, request).await,
            Framing::Ambiguous => {
                Answered { response: ambiguous_framing().into_response(), after: After::Stay }
            }
        }
    }
}

fn ambiguous_framing() -> Problem {
    Problem::new(
        Code::BadRequest,
        "The request says with both `Content-Length` and `Transfer-Encoding` where its body ends: send one of them.",
    )
}

/// Answers one request, whatever happens, and tells what it did.
async fn handle(worker: Rc<Worker>, peer: Peer, request: Request<Incoming>) -> Answered<AnswerBody> {
    let mut access = AccessRecord::begin(&request, peer);
    let mut after = After::Stay;
    let mut response = match answer(&worker, peer, request, &mut access).await {
        Ok(response) => response,
        Err(problem) => {
            access.problem(&problem);
            let problem = access.answered(problem);
            if access.ends_connection {
                after = After::Close;
            }
            answer::present::problem(&worker, access.presenter.as_ref(), problem).await
        }
    };
    if !peer.protocol.has_trailers {
        // They would take the place of the length, which is all that tells its client the end.
        response.body_mut().remove_trailers();
    }
    access.end(&worker.shared, &response);
    Answered { response, after }
}

/// The request's way.
async fn answer(
    worker: &Rc<Worker>,
    peer: Peer,
    request: Request<Incoming>,
    access: &mut AccessRecord,
) -> Result<Response<AnswerBody>, Problem> {
    let active = worker.active();
    let head = match Head::read(&request, peer.protocol, active.config.server.limits.header_bytes) {
        Ok(head) => head,
        Err(problem) => return Err(refused(request, problem)),
    };
    if let Some(id) = head.lookup() {
        return lookup(worker, peer, id, &head, &request).await;
    }
    let Some(route) = active.routes.find(head.host(), &head.path, &head.method).cloned() else {
        let problem =
            Problem::new(Code::NoRoute, "No route of this gateway matches the host, path and method.");
        return Err(refused(request, problem));
    };
    access.take(&route);
    if route.is_unavailable_for(&head.method) {
        return policy_unavailable(worker, &route, peer, &head, request, access).await;
    }
    let Some(generation) = route.judge(&head.method).cloned() else {
        access.result = RequestResult::Passed;
        return execution::pass::stream(worker, &route, peer, &head, request).await;
    };

    // The policy's verdict. One that doesn't want the body decides before it is read.
    let (parts, incoming) = request.into_parts();
    let body_bytes = active.config.server.limits.body_bytes;
    let mut inbound = InboundBody::new(incoming, &worker.shared);
    let facts =
        Facts::establish(&head, &parts.headers, &route, &worker.shared.secret, peer.trusted, body_bytes)?;
    let early = match route.wants_body(&head.method) {
        true => Some(take_in(worker, &mut inbound, access).await?),
        false => None,
    };
    let (has_body, body) = (inbound.has_body(), early.as_ref());
    let asked = Question { worker, route: &route, facts: &facts, has_body, body };
    let (verdict, presenter) = judge(&asked, &generation).await?;
    let readings = lineup::read(&asked).await?;
    let scope = KeyScope {
        secret: &worker.shared.secret,
        deployment: &active.config.ledger.deployment,
        ledger: &worker.shared.ledger,
        execution: worker.shared.ledger.execution_id(),
    };
    let whole =
        if readings.is_empty() { bytes::Bytes::new() } else { take_in(worker, &mut inbound, access).await? };
    let decided = lineup::weigh(verdict, (&route, generation), &readings, &facts, &whole, &scope).await;
    let decided = decided.map_err(|error| {
        tracing::error!(%error, "the ledger is unavailable");
        Problem::new(
            Code::LedgerUnavailable,
            "The ledger can't be asked now, and nothing was sent. Ask again.",
        )
    })?;
    let (generation, guard, pin) = match decided {
        Decided::Guarded(generation, guard, pin) => (generation, guard, pin),
        Decided::Refused(refusal) => {
            access.result = RequestResult::Refused;
            return Err(Problem::refused(&refusal));
        }
        Decided::Bypassed(reason) => {
            access.presenter = presenter;
            access.bypassed(reason);
            drop(facts);
            let request = inbound.into_request(parts);
            return execution::pass::send(worker, &route, peer, &head, request).await;
        }
    };

    // The key and the fingerprint; from here on it is an operation.
    access.presenter = presenter;
    let body = take_in(worker, &mut inbound, access).await?;
    generation.recent().offer(access.begun(), || request::identify::sample(&facts, &route, &body));
    let mut operation = lineup::request(&facts, &route, (&generation, &guard), &readings, &body, &scope);
    operation.derived.pin = pin.map(Arc::new);
    let observation = request::identify::observation(
        &facts,
        &route,
        (&generation, &guard),
        &operation.claim.fingerprint,
        &body,
        &worker.shared.drift,
    );
    let principal = facts.principal;
    drop(facts);
    access.operation = Some(operation.id);
    let execution = Rc::new(Execution {
        id: std::cell::Cell::new(operation.id),
        worker: worker.clone(),
        route,
        generation,
        principal,
        observation,
        forward: guard.forward,
        labels: guard.labels,
        peer,
        head,
        fields: parts.headers,
        body,
        _reserved: inbound.into_reservation(),
    });
    guard_operation(execution, operation, access).await
}

/// The body of a guarded request, whole: the connection has nothing unread on it then.
async fn take_in(
    worker: &Worker,
    inbound: &mut InboundBody,
    access: &mut AccessRecord,
) -> Result<bytes::Bytes, Problem> {
    let body = inbound.read(worker).await?;
    access.ends_connection = false;
    Ok(body)
}

/// A problem of a request whose body nobody has read.
fn refused(request: Request<Incoming>, problem: Problem) -> Problem {
    drop(DrainOnDrop::new(request.into_body()));
    problem
}

/// The route's policy can't derive keys in all its key spaces: refuse, or send it unguarded where the
/// route says so.
async fn policy_unavailable(
    worker: &Rc<Worker>,
    route: &Route,
    peer: Peer,
    head: &Head,
    request: Request<Incoming>,
    access: &mut AccessRecord,
) -> Result<Response<AnswerBody>, Problem> {
    match route.config.on_error {
        OnError::Bypass => {
            let reason = "its policy is not loaded whole and the route says `on_error = \"bypass\"`";
            access.bypassed(reason.into());
            execution::pass::stream(worker, route, peer, head, request).await
        }
        OnError::Refuse => {
            access.result = RequestResult::Failed;
            let problem = Problem::new(
                Code::PolicyFailed,
                "What made this route's idempotency keys before can't be loaded now, so nobody can tell whether this \
                 operation ran, and nothing was sent. Asking again with the same key is safe.",
            );
            Err(refused(request, problem))
        }
    }
}

/// What policies are asked about: a request, with as much of its body as was read.
struct Question<'a> {
    worker: &'a Rc<Worker>,
    route: &'a Route,
    facts: &'a Facts<'a>,
    has_body: bool,
    body: Option<&'a bytes::Bytes>,
}

/// The active generation's verdict. A method that only an older generation judges it bypasses.
async fn judge(asked: &Question<'_>, generation: &Arc<Generation>) -> Result<Judged, Problem> {
    let Question { worker, route, facts, .. } = *asked;
    if !route.judges(generation, &facts.head.method) {
        return Ok((Verdict::Bypass("the policy does not judge this method".into()), None));
    }
    let decided = decide(asked, generation).await;
    decided.map_err(|undecided| undecided.into_problem(worker, generation, &facts.principal))
}

/// Why there is no verdict.
#[derive(Debug)]
enum Undecided {
    /// The request can't be shown to the policy.
    Request(Problem),
    /// The policy failed.
    Policy(Failure),
}

async fn decide(asked: &Question<'_>, generation: &Arc<Generation>) -> Result<Judged, Undecided> {
    let Question { worker, route, facts, has_body, body } = *asked;
    let principal = match generation.plan().request_fields.contains(&crate::policy::RequestField::Principal) {
        true => facts.principal.to_string(),
        false => String::new(),
    };
    let operation =
        facts.operation(generation, route, &principal, has_body, body).map_err(Undecided::Request)?;
    let begun = std::time::Instant::now();
    let verdict = worker.policies.decide(generation, &operation).await;
    route.metrics.decided(begun.elapsed());
    let presenter = generation.exports().presentation.then(|| Presenter {
        generation: generation.clone(),
        principal: facts.principal,
        operation: OwnedOperation::of(&operation),
    });
    verdict.map(|verdict| (verdict, presenter)).map_err(Undecided::Policy)
}

/// Executes the operation, answers from its record, waits, or turns the request away.
async fn guard_operation(
    execution: Rc<Execution>,
    operation: crate::ledger::Request,
    access: &mut AccessRecord,
) -> Result<Response<AnswerBody>, Problem> {
    let id = operation.id;
    // Under several keys it may be kept under another than the highest.
    let keys = operation.derived.keys.clone();
    let id_of = |record: &Record| lineup::id_of(&keys, record).unwrap_or(id);
    let ledger = &execution.worker.shared.ledger;
    let execute = async |claimant| {
        let slot = match execution.route.upstream.admit(Admission::Execution) {
            Ok(slot) => slot,
            Err(refusal) => return Ok(Err(not_admitted(refusal).of(id))),
        };
        match detached(execution.clone(), claimant, slot).await {
            Report::Answered(response) => Ok(Ok(response)),
            Report::Failed(problem) => Ok(Err(problem)),
            Report::Claimed(claimed) => Err(claimed),
        }
    };
    let body_kept = execution.route.config.body_kept;
    // Of an execution that was not applied no record is left: this request would have left the same.
    let receipt =
        access.presenter.as_ref().map(|_| Receipt::of_claim(id, &operation.claim, ledger.clock().now()));
    match ledger.pursue(operation, execute).await {
        Pursued::Executed(report) => {
            access.operation = Some(execution.id.get());
            access.result = if report.is_ok() { RequestResult::Executed } else { RequestResult::Failed };
            report
        }
        Pursued::Replay { record, waited } => {
            access.result = if waited { RequestResult::Waited } else { RequestResult::Replayed };
            let id = id_of(&record);
            access.operation = Some(id);
            let response = answer::respond::replay(id, &record);
            match (&access.presenter, &record.state) {
                (Some(presenter), State::Completed { answer, .. }) => {
                    let receipt = Receipt::of(id, &record);
                    presenter.present(&execution.worker, receipt, answer, body_kept, response).await
                }
                _ => Ok(response),
            }
        }
        Pursued::Shared(answer) => {
            access.result = RequestResult::Waited;
            if let Some(problem) = Problem::from_shared(&answer) {
                return Err(problem.of(id));
            }
            let response = answer::respond::shared(id, &answer);
            match (&access.presenter, receipt) {
                (Some(presenter), Some(receipt)) => {
                    presenter.present(&execution.worker, receipt, &answer, body_kept, response).await
                }
                _ => Ok(response),
            }
        }
        Pursued::Refuse(refusal, record) => {
            access.refused(refusal);
            let id = record.as_deref().map_or(id, id_of);
            access.operation = Some(id);
            Err(answer::respond::refusal(id, refusal, record.as_deref()))
        }
        Pursued::Unavailable(error) => unavailable(&execution, &error, access).await,
    }
}

/// The ledger can't be asked: refuse, or send it unguarded where the route says so.
async fn unavailable(
    execution: &Rc<Execution>,
    error: &crate::store::StoreError,
    access: &mut AccessRecord,
) -> Result<Response<AnswerBody>, Problem> {
    tracing::error!(operation = %execution.id.get(), %error, "the ledger is unavailable");
    match execution.route.config.on_error {
        OnError::Bypass => {
            access.bypassed("the ledger is unavailable and the route says `on_error = \"bypass\"`".into());
            execution.send_unguarded().await
        }
        OnError::Refuse => {
            access.result = RequestResult::Failed;
            Err(answer::respond::ledger_unavailable(execution.id.get(), error))
        }
    }
}

/// `GET /.oncegate/operations/{id}`: for the principal whose operation it is; for anyone else
/// there is none.
async fn lookup(
    worker: &Rc<Worker>,
    peer: Peer,
    id: Option<oncegate_core::OperationId>,
    head: &Head,
    request: &Request<Incoming>,
) -> Result<Response<AnswerBody>, Problem> {
    let none = || {
        Problem::new(
            Code::NotFound,
            "There is no operation of yours with this id: it was never begun, was forgotten, or is another's.",
        )
    };
    let id = id.ok_or_else(none)?;
    let ledger = &worker.shared.ledger;
    let found = ledger.find(id).await.map_err(|error| {
        tracing::error!(operation = %id, %error, "the ledger is unavailable");
        Problem::new(Code::LedgerUnavailable, "The ledger can't be asked now. Ask again.")
    })?;
    let now = ledger.clock().now();
    let record = found.map(|versioned| versioned.record).ok_or_else(none)?;
    let active = worker.active();
    let route = active.routes.of(&record.origin).ok_or_else(none)?;
    let asker = request::principal::establish(
        &route.config.principal,
        &worker.shared.secret,
        request.headers(),
        &head.query,
        peer.trusted,
    )
    .map_err(|_| none())?;
    if asker != record.origin.principal || record.view(now) == oncegate_core::View::Absent {
        return Err(none());
    }
    Ok(answer::respond::lookup(id, &record, now))
}

/// A field that the policy reads, or that says who asks, can't be switched off by the client.
fn switched_off(name: &str) -> Problem {
    Problem::new(
        Code::BadRequest,
        format!(
            "`Connection` names the field `{name}`, which would take it away from what is judged here: leave it out of `Connection`."
        ),
    )
}
