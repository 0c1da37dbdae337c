//! An execution: claimed, sent upstream, captured, judged, settled. An execution belongs to the gateway, not
//! to the client that caused it (`design/life.md`).

use crate::answer::body::AnswerBody;
use crate::answer::first::first;
use crate::answer::problem::Problem;
use crate::answer::stream::Feed;
use crate::edge::Counted;
use crate::execution::abandon::abandoned;
use crate::execution::capture::CapturedAnswer;
use crate::execution::judge::Judge;
use crate::execution::no_answer::{self, NoAnswer};
use crate::execution::report::{Client, Report};
use crate::execution::stream::{ShownAnswer, take_in};
use crate::execution::task::Execution;
use http::Response;
use oncegate_core::{Disposition, OperationId, Outcome, UnknownReason};
use oncegate_ledger::{self as ledger, Claimant, Claimed, Exchange, Exchanged, Permit, Unsettled};
use oncegate_store::ConfiguredStore;
use oncegate_upstream::{Attempted, ResponseBody, Retry, Sending, Slot, Traffic, attempts};
use std::cell::Cell;
use std::pin::{Pin, pin};
use std::rc::Rc;

/// Claims and executes on a task of its own. Returns the client's report. `slot`: the upstream's slot, held
/// until the execution is settled or its claim is lost.
pub async fn detached(execution: Rc<Execution>, claimant: Claimant, slot: Slot) -> Report {
    let (client, report) = Client::new();
    let id = execution.id.get();
    // A client that leaves drops its interest, with this future or with the answer's body.
    let interest = claimant.interest();
    tokio::task::spawn_local(async move {
        let shared = &execution.worker.shared;
        let _counted = Counted::new(shared, |shared| &shared.executions);
        let _unproven = (shared.known.caller(&execution.principal).is_none())
            .then(|| Counted::new(shared, |shared| &shared.unproven.under_way));
        ledger::execute(claimant, DetachedExecution { execution, client, slot }).await;
    });
    let mut report = report
        .await
        .unwrap_or_else(|_| Report::Failed(no_answer::broken("The execution ended without a word.").of(id)));
    if let Report::Answered(response) = &mut report
        && let AnswerBody::Streamed(stream) = response.body_mut()
    {
        stream.hold(interest);
    }
    report
}

/// An execution with the client that caused it.
struct DetachedExecution {
    execution: Rc<Execution>,
    client: Client,
    slot: Slot,
}

/// The part of an answer that the client gets only when the outcome is durable.
struct ExecutionEnd {
    operation: OperationId,
    client: Client,
    withheld: WithheldEnd,
    outcome: Disposition,
    /// Held until the execution is settled.
    _slot: Slot,
}

enum WithheldEnd {
    /// A problem in place of an answer.
    Problem(Problem),
    /// The whole answer.
    Whole(CapturedAnswer),
    /// The last piece of the body, or its end mark and trailers.
    Last(CapturedAnswer, Feed),
}

impl Exchange<ConfiguredStore> for DetachedExecution {
    type End = ExecutionEnd;

    fn lost(self, claimed: Claimed) {
        self.client.tell(Report::Claimed(claimed));
    }

    async fn run(self, permit: &Permit) -> Exchanged<ExecutionEnd> {
        let Self { execution, client, slot } = self;
        let slot = slot.counted();
        // A request that is sent again has the same id, by which the upstream may recognise it.
        execution.id.set(permit.id());
        tracing::debug!(operation = %permit.id(), "executing");
        let shared = &execution.worker.shared;
        if let Some(observation) = execution.observation {
            shared.drift.note(observation, &execution.route, permit.id());
        }
        // The deciding generation may have to ask the upstream about the outcome.
        let asks = execution.generation.exports().has(oncegate_policy::Interface::Resolution);
        if asks {
            shared.decided_by.note(permit.record().execution, &execution.generation);
        }
        let client_gone = execution.route.config.client_gone;
        let mut abandoned = pin!(abandoned(client_gone, &execution.worker.shutdown, permit));
        // A client that has part of an answer can't get another answer.
        let may_send = || !client.is_told() && permit.holds();
        let attempt = async |_| {
            let exchanged = attempt(&execution, permit, &client, abandoned.as_mut()).await;
            (exchanged.settlement.outcome.disposition(), exchanged)
        };
        let Attempted { joined, last } = attempts(Retry::NONE, may_send, attempt).await;
        if asks && joined != Disposition::Unknown {
            shared.decided_by.forget(permit.record().execution);
        }
        execution.route.metrics.execution(joined);
        match is_success(&last.settlement.outcome) {
            true => execution.note_success(),
            false => execution.note_failure(permit.record(), &last.settlement),
        }
        if joined == Disposition::NotApplied {
            tracing::debug!(operation = %permit.id(), route = %execution.route.config.name, "not applied: the key is freed");
        }
        let Exchanged { settlement, shared, end: withheld } = last;
        let outcome = settlement.outcome.disposition();
        Exchanged {
            settlement,
            shared,
            end: ExecutionEnd { operation: permit.id(), client, withheld, outcome, _slot: slot },
        }
    }

    fn release(ExecutionEnd { operation, client, withheld, outcome, .. }: ExecutionEnd) {
        match withheld {
            WithheldEnd::Problem(problem) => client.tell(Report::Failed(problem)),
            WithheldEnd::Whole(CapturedAnswer { head, capture, .. }) => {
                let (whole, trailers) = capture.into_whole();
                let body = AnswerBody::Whole((!whole.is_empty()).then_some(whole), trailers);
                let mut response = first(operation, &head, body);
                // For the access log.
                response.extensions_mut().insert(outcome);
                client.tell(Report::Answered(response));
            }
            WithheldEnd::Last(CapturedAnswer { capture, cut, .. }, feed) => {
                let (rest, trailers, counted) = capture.into_rest();
                if cut.is_none() {
                    feed.data(rest);
                }
                feed.is_counted(counted);
                match cut {
                    None => feed.end(trailers),
                    Some(_) => feed.cut(),
                }
            }
        }
    }

    fn withhold(ExecutionEnd { operation, client, withheld, .. }: ExecutionEnd, why: Unsettled) {
        let problem = no_answer::unsettled(operation, &why);
        match withheld {
            WithheldEnd::Problem(_) | WithheldEnd::Whole(_) => client.tell(Report::Failed(problem)),
            WithheldEnd::Last(_, feed) => feed.cut(),
        }
    }
}

/// One attempt: sends the request, takes the answer in, judges it.
async fn attempt(
    execution: &Execution,
    permit: &Permit,
    client: &Client,
    mut abandoned: Pin<&mut impl Future<Output = UnknownReason>>,
) -> Exchanged<WithheldEnd> {
    let operation = permit.id();
    let response = match send(execution, permit, abandoned.as_mut()).await {
        Ok(response) => response,
        Err(no_answer) => return give_up(execution, operation, no_answer),
    };
    let (answer, shown) = take_in(execution, permit, response, client, abandoned).await;
    let judge = Judge {
        worker: &execution.worker,
        route: &execution.route,
        generation: &execution.generation,
        principal: &execution.principal,
        operation,
        record: permit.record(),
        turns: &execution.bodies.documents,
    };
    let (settlement, shared) = judge.settle(&answer).await;
    tell_of(&answer, execution, &settlement.outcome);
    let end = match shown {
        ShownAnswer::Nothing => WithheldEnd::Whole(answer),
        ShownAnswer::AllButTheEnd(feed) => WithheldEnd::Last(answer, feed),
        ShownAnswer::Never => WithheldEnd::Problem(no_answer::unshowable(
            operation,
            execution.peer.protocol,
            &settlement.outcome,
        )),
    };
    Exchanged { settlement, shared, end }
}

/// Sends the request. Returns the head of an answer, or the meaning of its lack.
async fn send(
    execution: &Execution,
    permit: &Permit,
    abandoned: Pin<&mut impl Future<Output = UnknownReason>>,
) -> Result<Response<ResponseBody>, NoAnswer> {
    let (worker, route) = (&execution.worker, &execution.route);
    let request = execution.upstream_request(permit.record().attempts);
    let asked = Cell::new(false);
    // Nothing may be sent after the lease: another gateway may have taken the operation over.
    let may_send = || {
        asked.set(true);
        permit.holds()
    };
    let pool = worker.pools.of(&route.upstream, Traffic::Guarded);
    let sent = pool.exchange(request, route.response_timeout(), Sending::Once, may_send);
    tokio::select! {
        biased;
        sent = sent => sent.map_err(no_answer::no_head),
        reason = abandoned => Err(no_answer::given_up(reason, asked.get())),
    }
}

/// Says that an answer broke off, or that nobody knows by it what came of the operation: its key is held.
fn tell_of(answer: &CapturedAnswer, execution: &Execution, outcome: &Outcome) {
    let (operation, route) = (execution.id.get(), &*execution.route.config.name);
    let upstream = &**execution.route.upstream.name();
    let status = answer.head.status.as_u16();
    let word = outcome.disposition().word();
    if answer.cut.is_some() {
        execution.route.upstream.metrics.cut.inc();
    }
    match (answer.cut, outcome) {
        (Some(reason), _) => tracing::warn!(
            route, %operation, upstream, status, reason = reason.word(), outcome = word, "an answer was cut short"
        ),
        (None, Outcome::Unknown(reason)) => tracing::warn!(
            route, %operation, upstream, status, reason = reason.word(), outcome = word, "an answer leaves the outcome unknown"
        ),
        (None, _) => {}
    }
}

fn give_up(execution: &Execution, operation: OperationId, no_answer: NoAnswer) -> Exchanged<WithheldEnd> {
    let NoAnswer { problem, outcome } = no_answer;
    let disposition = outcome.disposition();
    let route = &*execution.route.config.name;
    let unknown = if let Outcome::Unknown(reason) = &outcome { Some(reason.word()) } else { None };
    let (code, reason) = (problem.code(), problem.cause().or(unknown));
    tracing::warn!(route, %operation, problem = code, reason, outcome = disposition.word(), "no answer");
    let problem = problem.of(operation).with_outcome(disposition);
    let shared = (disposition == Disposition::NotApplied).then(|| problem.to_shared());
    Exchanged { settlement: outcome.into(), shared, end: WithheldEnd::Problem(problem) }
}

/// Whether the service did what it was asked.
fn is_success(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Completed(answer) => answer.status < 400,
        Outcome::Consumed(summary) => summary.status.is_some_and(|status| status < 400),
        Outcome::NotApplied | Outcome::Unknown(_) => false,
    }
}
