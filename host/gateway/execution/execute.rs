//! An execution: claimed, sent upstream, captured, settled. It belongs to the gateway, not to the
//! client that brought it about.
//!
//! **Durable before the end.** The client gets the end of its answer only after the record is
//! durable. An answer that is there at once is settled first and then sent in one piece; of one
//! that takes its time the data passes as it comes, and what waits is the last piece
//! (length-delimited) or the end mark and the trailers (chunked).

use crate::gateway::Peer;
use crate::gateway::answer::body::{AnswerBody, Feed, captured};
use crate::gateway::answer::problem::Problem;
use crate::gateway::answer::respond;
use crate::gateway::execution::capture::{Capture, Piece, next_piece, piece_at_once};
use crate::gateway::execution::exchange::{self, NoHead};
use crate::gateway::execution::judge::Taken;
use crate::gateway::execution::no_answer::{self, NoAnswer};
use crate::gateway::execution::pass;
use crate::gateway::execution::rpc;
use crate::gateway::request::drift::PrincipalObservation;
use crate::gateway::request::fields;
use crate::gateway::request::head::Head;
use crate::gateway::request::route::Route;
use crate::gateway::shared::{Counted, Reservation};
use crate::gateway::worker::Worker;
use crate::ledger::{self, Claimant, Claimed, Exchange, Exchanged, Permit, Unsettled};
use crate::policy::Generation;
use crate::store::AnyStore;
use crate::upstream::{RequestBody, ResponseBody};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Request, Response, Version};
use oncegate_core::{Disposition, OperationId, Outcome, PrincipalId, UnknownReason};
use std::cell::Cell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Of an answer that isn't kept, so much may be on its way to a slow client.
const UNDERWAY_MAX: usize = 256 * 1024;

/// What an execution needs, once it is detached.
#[derive(Debug)]
pub struct Execution {
    /// The operation, by the highest of its keys; from the claim on by that under which it is kept.
    pub id: Cell<OperationId>,
    /// The worker that executes it.
    pub worker: Rc<Worker>,
    /// Its route.
    pub route: Arc<Route>,
    /// The generation that decided it.
    pub generation: Arc<Generation>,
    /// Who asked.
    pub principal: PrincipalId,
    /// What is remembered of it and of who asked, once it is executed.
    pub observation: Option<PrincipalObservation>,
    /// Fields that the policy sets on the upstream request.
    pub forward: Vec<(HeaderName, HeaderValue)>,
    /// The policy's labels, for the decision log.
    pub labels: Vec<(String, String)>,
    /// The client's address.
    pub peer: Peer,
    /// The request's head.
    pub head: Head,
    /// Its fields.
    pub fields: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// What the body holds of the budget.
    pub _reserved: Reservation,
}

/// What the client is to be told.
#[derive(Debug)]
pub enum Report {
    /// This.
    Answered(Response<AnswerBody>),
    /// There is no answer, and this is why.
    Failed(Problem),
    /// The claim wasn't won.
    Claimed(Claimed),
}

/// Claims and executes on a task of its own; comes back with what the client is to be told.
pub async fn detached(execution: Rc<Execution>, claimant: Claimant) -> Report {
    let (client, report) = oneshot::channel();
    let id = execution.id.get();
    // A client that leaves drops it, with this future or with the answer's body.
    let interest = claimant.interest();
    tokio::task::spawn_local(async move {
        let _counted = Counted::new(&execution.worker.shared, |shared| &shared.executions);
        ledger::execute(claimant, Answering { execution, client }).await;
    });
    let mut report = report
        .await
        .unwrap_or_else(|_| Report::Failed(no_answer::broken("The execution ended without a word.").of(id)));
    if let Report::Answered(response) = &mut report
        && let AnswerBody::Captured(captured) = response.body_mut()
    {
        captured.hold(interest);
    }
    report
}

/// An execution with the client that brought it about.
struct Answering {
    execution: Rc<Execution>,
    client: oneshot::Sender<Report>,
}

/// What the client gets no sooner than the outcome is durable.
struct End {
    execution: Rc<Execution>,
    held: Held,
}

enum Held {
    /// Everything there is to say.
    Problem(Problem, oneshot::Sender<Report>),
    /// The whole answer.
    Whole(Taken, oneshot::Sender<Report>),
    /// The last piece of the body, or its end mark and trailers.
    Last(Taken, Feed),
}

impl Exchange<AnyStore> for Answering {
    type End = End;

    fn lost(self, claimed: Claimed) {
        // A client that left needs no word.
        let _ = self.client.send(Report::Claimed(claimed));
    }

    async fn run(self, permit: &Permit) -> Exchanged<End> {
        let Self { execution, client } = self;
        // What is sent once more goes under the same id again, by which the upstream may know it.
        execution.id.set(permit.id());
        tracing::debug!(operation = %execution.id.get(), labels = ?execution.labels, "executing");
        if let Some(observation) = execution.observation {
            execution.worker.shared.drift.note(observation, &execution.route);
        }
        let (asks, deciders) = (execution.generation.exports().resolution, &execution.worker.shared.deciders);
        if asks {
            deciders.note(permit.record().execution, &execution.generation);
        }
        let exchanged = {
            let mut abandoned = pin!(execution.abandoned(permit));
            match execution.send(permit, abandoned.as_mut()).await {
                Ok(response) => execution.take_in(permit, response, client, abandoned).await,
                Err(no_answer) => execution.give_up(no_answer, client),
            }
        };
        let Exchanged { settlement, shared, end: held } = exchanged;
        if asks && settlement.outcome.disposition() != Disposition::Unknown {
            deciders.forget(permit.record().execution);
        }
        execution.route.metrics.execution(settlement.outcome.disposition());
        Exchanged { settlement, shared, end: End { execution, held } }
    }

    fn release(end: End) {
        match end.held {
            Held::Problem(problem, client) => _ = client.send(Report::Failed(problem)),
            Held::Whole(mut taken, client) => {
                let whole = join(std::mem::take(&mut taken.capture.unsent));
                let body = AnswerBody::Whole((!whole.is_empty()).then_some(whole), taken.capture.trailers);
                let _ = client.send(Report::Answered(end.execution.first_answer(&taken.head, body)));
            }
            Held::Last(Taken { cut: Some(_), .. }, feed) => feed.cut(),
            Held::Last(Taken { capture, .. }, feed) => {
                capture.unsent.into_iter().for_each(|data| feed.data(data));
                capture.trailers.into_iter().for_each(|trailers| feed.trailers(trailers));
            }
        }
    }

    fn withhold(end: End, why: Unsettled) {
        let problem = end.execution.unsettled(&why);
        match end.held {
            Held::Problem(_, client) | Held::Whole(_, client) => _ = client.send(Report::Failed(problem)),
            Held::Last(_, feed) => feed.cut(),
        }
    }
}

impl Execution {
    /// Sends the request; comes back with the head of an answer, or with what its lack means.
    async fn send(
        &self,
        permit: &Permit,
        abandoned: Pin<&mut impl Future<Output = UnknownReason>>,
    ) -> Result<Response<ResponseBody>, NoAnswer> {
        let request = self.upstream_request(permit.record().attempts);
        let asked = Cell::new(false);
        // Whoever took over after the lease must not meet a second execution.
        let may_send = || {
            asked.set(true);
            permit.holds()
        };
        let sent = exchange::send(&self.worker, &self.route, request, true, may_send);
        let sent = tokio::select! {
            biased;
            sent = sent => sent,
            reason = abandoned => return Err(no_answer::given_up(reason, asked.get())),
        };
        sent.map_err(|no_head| match no_head {
            NoHead::Unreachable => no_answer::unreachable(),
            NoHead::Forbidden => no_answer::lapsed(),
            NoHead::Broken => NoAnswer {
                problem: no_answer::broken(
                    "The connection to the service ended after the request may have been sent, and no answer came.",
                ),
                outcome: Outcome::Unknown(UnknownReason::Broken),
            },
            NoHead::TimedOut => no_answer::timed_out(),
        })
    }

    /// The request as it goes upstream.
    fn upstream_request(&self, attempt: u32) -> Request<RequestBody> {
        let mut fields = self.fields.clone();
        let is_framed =
            fields.contains_key(header::CONTENT_LENGTH) || fields.contains_key(header::TRANSFER_ENCODING);
        pass::prepare_fields(&mut fields, &self.head, self.peer);
        if is_framed {
            // Of an empty body, too: some services want the length of every POST (411).
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        fields.insert(respond::OPERATION, respond::operation_value(self.id.get()));
        fields.insert(HeaderName::from_static("oncegate-attempt"), HeaderValue::from(attempt));
        for (name, value) in &self.forward {
            fields.insert(name, value.clone());
        }
        if let Some(name) = &self.route.upstream.operation_header {
            fields.insert(name, respond::operation_value(self.id.get()));
        }
        pass::request(&self.head, fields, RequestBody::Whole(self.body.clone()))
    }

    /// Sends the request without a guard.
    pub async fn send_unguarded(&self) -> Result<Response<AnswerBody>, Problem> {
        let mut request = Request::new(RequestBody::Whole(self.body.clone()));
        *request.headers_mut() = self.fields.clone();
        pass::send(&self.worker, &self.route, self.peer, &self.head, request).await
    }

    fn give_up(&self, no_answer: NoAnswer, client: oneshot::Sender<Report>) -> Exchanged<Held> {
        let NoAnswer { problem, outcome } = no_answer;
        let disposition = outcome.disposition();
        tracing::warn!(operation = %self.id.get(), problem = problem.code(), outcome = disposition.word(), "no answer");
        let problem = problem.of(self.id.get()).with_outcome(disposition);
        let shared = (disposition == Disposition::NotApplied).then(|| problem.to_shared());
        Exchanged { settlement: outcome.into(), shared, end: Held::Problem(problem, client) }
    }

    /// Takes the answer in and judges it. What takes its time passes to the client as it comes, but for
    /// its end.
    async fn take_in(
        &self,
        permit: &Permit,
        response: Response<ResponseBody>,
        client: oneshot::Sender<Report>,
        mut abandoned: Pin<&mut impl Future<Output = UnknownReason>>,
    ) -> Exchanged<Held> {
        let (mut head, mut body) = response.into_parts();
        fields::remove_hop_by_hop(&mut head.headers);
        let old = self.head.version == Version::HTTP_10;
        let mut capture = Capture::new(&self.fields, &head, self.route.config.body_kept, &self.worker.shared);
        let at_once = match old {
            true => Some(self.take_whole(&mut body, &mut capture, abandoned.as_mut()).await),
            false => self.take_at_once(&mut body, &mut capture).await,
        };
        let showable = match at_once {
            Some(None) => !capture.is_spilled(),
            // To an HTTP/1.0 client the end of the connection would be the end of the answer.
            Some(Some(_)) => !old || (capture.length.is_some() && !capture.is_spilled()),
            None => true,
        };
        if at_once == Some(None) || !showable {
            let cut = at_once.flatten();
            let taken = Taken { head, capture, cut };
            let (settlement, shared) = self.settlement(permit, &taken).await;
            let end = match showable {
                true => Held::Whole(taken, client),
                false => Held::Problem(self.unshowable(&settlement.outcome), client),
            };
            return Exchanged { settlement, shared, end };
        }
        let feed = self.start_streaming(&head, &mut capture, client);
        let cut = match at_once {
            Some(cut) => cut,
            None => self.stream(&mut body, &mut capture, &feed, abandoned).await,
        };
        if let Some(reason) = cut {
            tracing::warn!(operation = %self.id.get(), upstream = %self.route.upstream.name, reason = reason.word(), "an answer was cut short");
        }
        let taken = Taken { head, capture, cut };
        let (settlement, shared) = self.settlement(permit, &taken).await;
        Exchanged { settlement, shared, end: Held::Last(taken, feed) }
    }

    /// Takes in what is there without waiting. None: more is to come; some: it ended, cut short or not.
    async fn take_at_once(
        &self,
        body: &mut ResponseBody,
        capture: &mut Capture,
    ) -> Option<Option<UnknownReason>> {
        loop {
            match piece_at_once(body).await? {
                Piece::Data(data) => capture.take(data),
                Piece::Trailers(trailers) => capture.trailers = Some(trailers),
                Piece::End => return Some(None),
                Piece::Cut(reason) => return Some(Some(reason)),
            }
            // What isn't kept must not pile up: it streams.
            if capture.is_over() {
                return None;
            }
        }
    }

    /// Takes in all of it. Why it was cut short, if it was.
    async fn take_whole(
        &self,
        body: &mut ResponseBody,
        capture: &mut Capture,
        mut abandoned: Pin<&mut impl Future<Output = UnknownReason>>,
    ) -> Option<UnknownReason> {
        loop {
            match self.next_piece(body, abandoned.as_mut()).await {
                Piece::Data(data) => {
                    capture.take(data);
                    capture.hold_unsent();
                }
                Piece::Trailers(trailers) => capture.trailers = Some(trailers),
                Piece::End => return None,
                Piece::Cut(reason) => return Some(reason),
            }
        }
    }

    /// Sends the head, and what came so far but for a last piece.
    fn start_streaming(&self, head: &Parts, capture: &mut Capture, client: oneshot::Sender<Report>) -> Feed {
        let (feed, body) = captured(capture.length);
        for data in capture.sendable() {
            feed.data(data);
        }
        let _ = client.send(Report::Answered(self.first_answer(head, AnswerBody::Captured(body))));
        feed
    }

    /// The next piece of the answer, which is cut short where it is given up.
    async fn next_piece(
        &self,
        body: &mut ResponseBody,
        abandoned: Pin<&mut impl Future<Output = UnknownReason>>,
    ) -> Piece {
        tokio::select! {
            biased;
            piece = next_piece(body, self.route.upstream.body_idle_timeout) => piece,
            reason = abandoned => Piece::Cut(reason),
        }
    }

    /// Passes the rest of the answer on as it comes, but for its end. Why it was cut short, if it was.
    async fn stream(
        &self,
        body: &mut ResponseBody,
        capture: &mut Capture,
        feed: &Feed,
        mut abandoned: Pin<&mut impl Future<Output = UnknownReason>>,
    ) -> Option<UnknownReason> {
        let idle = self.route.upstream.body_idle_timeout;
        loop {
            match self.next_piece(body, abandoned.as_mut()).await {
                Piece::Data(data) => {
                    capture.take(data);
                    for data in capture.sendable() {
                        feed.data(data);
                    }
                    // A client that takes nothing for so long is as good as gone; the execution
                    // goes on without it.
                    if !capture.is_over() {
                        continue;
                    }
                    let drained = tokio::time::timeout(idle, feed.drained_below(UNDERWAY_MAX));
                    let drained = tokio::select! {
                        biased;
                        drained = drained => drained,
                        reason = abandoned.as_mut() => return Some(reason),
                    };
                    if drained.is_err() {
                        tracing::warn!(operation = %self.id.get(), ?idle, "a client took nothing of its answer for so long, and is cut off");
                        feed.cut();
                    }
                }
                Piece::Trailers(trailers) => capture.trailers = Some(trailers),
                Piece::Cut(reason) => return Some(reason),
                Piece::End => return None,
            }
        }
    }

    /// The upstream's answer as it came, for the first caller.
    fn first_answer(&self, head: &Parts, body: AnswerBody) -> Response<AnswerBody> {
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        let mut own = head.headers.clone();
        fields::remove_ours(&mut own);
        match response.body() {
            AnswerBody::Whole(_, Some(trailers)) => {
                own.remove(header::CONTENT_LENGTH);
                fields::announce(&mut own, trailers.keys());
            }
            // The trailers of others are known when it is too late to announce them.
            AnswerBody::Captured(_) => fields::announce(&mut own, rpc::trailers_to_come(&head.headers)),
            AnswerBody::Whole(_, None) | AnswerBody::Passed(_) => {}
        }
        respond::mark(&mut own, self.id.get(), false);
        *response.headers_mut() = own;
        response
    }
}

fn join(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        0 => Bytes::new(),
        1 => pieces.swap_remove(0),
        _ => pieces.concat().into(),
    }
}
