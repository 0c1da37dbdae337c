//! A guarded operation: executed, answered from its record, waited for, or refused
//! (`design/life.md`).

use crate::answer::body::AnswerBody;
use crate::answer::names::Replayed;
use crate::answer::problem::Problem;
use crate::answer::{refusals, replay};
use crate::execution::execute::detached;
use crate::execution::no_answer::not_admitted;
use crate::execution::report::Report;
use crate::execution::task::Execution;
use crate::request::context::RequestContext;
use crate::request::drift::PrincipalObservation;
use crate::request::identify;
use crate::request::progress::RequestProgress;
use crate::request::verdict::Guarded;
use bytes::Bytes;
use http::Response;
use oncegate_config::OnError;
use oncegate_core::{Answer, Key, OperationId, Record, Refusal, State};
use oncegate_ledger::{self as ledger, Claimant, Claimed, Pursued};
use oncegate_observe::metrics::RequestResult;
use oncegate_policy::Receipt;
use oncegate_store::{ConfiguredStore, StoreError};
use oncegate_upstream::{Admission, Slot};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// Answers a guarded request.
pub async fn operation(
    mut context: RequestContext,
    mut guarded: Guarded,
    progress: &mut RequestProgress,
) -> Result<Response<AnswerBody>, Problem> {
    context.read(progress).await?;
    guarded.prepare(&mut context).await?;
    let whole = context.read(progress).await?;
    guarded.generation.recent().offer(progress.access.begun(), || identify::sample(&whole));
    let request = Arc::new(identify::request(&whole, &mut guarded));
    let observation = identify::observation(&whole, &guarded, &request.claim.fingerprint);
    let body = whole.body;
    progress.access.operation = Some(request.id);
    let labels = std::mem::take(&mut guarded.guard.labels);
    context.worker.shared.metrics.policy_labelled(guarded.generation.name(), &labels);
    progress.access.labelled(labels);
    let execution = Rc::new(execution(request.id, context, guarded, body, observation));
    pursue(execution, request, progress).await
}

/// Everything that an execution of the operation needs, should there be one.
fn execution(
    id: OperationId,
    context: RequestContext,
    guarded: Guarded,
    body: Bytes,
    observation: Option<PrincipalObservation>,
) -> Execution {
    let peer = context.arrival.peer;
    let bodies = context.arrival.client.bodies().clone();
    let (head, fields, _) = context.arrival.into_head();
    Execution {
        id: Cell::new(id),
        worker: context.worker,
        route: context.route,
        generation: guarded.generation,
        principal: context.principal,
        observation,
        forward: guarded.guard.forward,
        unvouched: guarded.guard.unvouched,
        peer,
        head,
        fields,
        body,
        bodies,
    }
}

/// Asks the ledger, and does what the ledger says.
async fn pursue(
    execution: Rc<Execution>,
    request: Arc<ledger::Request>,
    progress: &mut RequestProgress,
) -> Result<Response<AnswerBody>, Problem> {
    let (id, ledger) = (request.id, &execution.worker.shared.ledger);
    // An execution that was not applied leaves no record. The receipt is made of this request's claim,
    // which would have left the same record.
    let receipt =
        progress.presenter.as_ref().map(|_| Receipt::of_claim(id, &request.claim, ledger.clock().now()));
    let keys = request.derived.keys.clone();
    let execute = async |claimant| execute(&execution, id, claimant).await;
    let pursued = ledger.pursue(request, execute).await;
    let mut pursuit = Pursuit { execution: &execution, id, keys, progress };
    match pursued {
        Pursued::Executed(report) => pursuit.executed(report),
        Pursued::Replay { record, waited } => pursuit.replay(&record, waited).await,
        // It may be the answer to somebody who only named the same key.
        Pursued::Shared(_) if execution.unvouched => pursuit.refuse(Refusal::InFlight, None),
        Pursued::Shared(answer) => pursuit.shared(&answer, receipt).await,
        Pursued::Refuse(refusal, record) => pursuit.refuse(refusal, record.as_deref()),
        Pursued::Unavailable(error) => Box::pin(pursuit.unavailable(&error)).await,
    }
}

/// The answer or problem that an execution has for its client.
type Executed = Result<Response<AnswerBody>, Problem>;

/// Admits one more execution: of an unproven principal where the ledger has room for it, and at the upstream.
fn admit(execution: &Execution) -> Result<Slot, Problem> {
    if let Some(wait) = execution.worker.shared.unproven_wait(&execution.principal) {
        tracing::warn!(
            route = &*execution.route.config.name,
            "503 `overloaded`: callers of whom no operation was executed with success lately have their share of the \
             ledger, a quarter of its room"
        );
        return Err(refusals::share_of_ledger(wait));
    }
    execution.route.upstream.admit(Admission::Execution).map_err(not_admitted)
}

/// Executes the operation, if one more execution is admitted and the claim is won.
async fn execute(
    execution: &Rc<Execution>,
    id: OperationId,
    claimant: Claimant<ConfiguredStore>,
) -> Result<Executed, Claimed<ConfiguredStore>> {
    let slot = match admit(execution) {
        Ok(slot) => slot,
        Err(refusal) => {
            // A record answers without admission. Only what is at hand was looked at so far.
            return match claimant.standing().await {
                Some(begun) => Err(Claimed::Stands(begun)),
                None => Ok(Err(refusal.of(id))),
            };
        }
    };
    match detached(execution.clone(), claimant, slot).await {
        Report::Answered(response) => Ok(Ok(response)),
        Report::Failed(problem) => Ok(Err(problem)),
        Report::Claimed(claimed) => Err(claimed),
    }
}

/// A request whose operation the ledger was asked about.
struct Pursuit<'a> {
    execution: &'a Rc<Execution>,
    /// The operation id, by the highest of the operation's keys.
    id: OperationId,
    /// The operation's keys in all spaces, if there are several.
    keys: Vec<Key>,
    progress: &'a mut RequestProgress,
}

impl Pursuit<'_> {
    /// Reports an execution for this request.
    fn executed(&mut self, report: Executed) -> Executed {
        let access = &mut self.progress.access;
        access.operation = Some(self.execution.id.get());
        access.outcome = match &report {
            Ok(response) => response.extensions().get().copied(),
            Err(problem) => problem.outcome(),
        };
        access.result = if report.is_ok() { RequestResult::Executed } else { RequestResult::Failed };
        report
    }

    /// Replays the kept answer of an earlier execution.
    async fn replay(&mut self, record: &Record, waited: bool) -> Result<Response<AnswerBody>, Problem> {
        let access = &mut self.progress.access;
        access.result = if waited { RequestResult::Waited } else { RequestResult::Replayed };
        let id = self.id_of(record);
        self.progress.access.operation = Some(id);
        let State::Completed { answer, .. } = &record.state else {
            // The core replays completed records only.
            return Err(refusals::refusal(id, Refusal::Consumed, Some(record)));
        };
        let response = replay::replay(id, answer, &self.execution.bodies)?;
        let receipt = self.progress.presenter.is_some().then(|| Receipt::of(id, record));
        self.present(answer, receipt, response, Replayed::Yes).await
    }

    /// Gives the request the answer of an execution that it waited for and that proved not to be applied.
    async fn shared(
        &mut self,
        answer: &Answer,
        receipt: Option<Receipt>,
    ) -> Result<Response<AnswerBody>, Problem> {
        self.progress.access.result = RequestResult::Waited;
        if let Some(problem) = Problem::from_shared(answer) {
            return Err(problem.of(self.id));
        }
        let response = replay::shared(self.id, answer, &self.execution.bodies)?;
        self.present(answer, receipt, response, Replayed::No).await
    }

    /// Words another execution's answer in the caller's protocol.
    async fn present(
        &self,
        answer: &Answer,
        receipt: Option<Receipt>,
        response: Response<AnswerBody>,
        replayed: Replayed,
    ) -> Result<Response<AnswerBody>, Problem> {
        let (Some(presenter), Some(receipt)) = (&self.progress.presenter, receipt) else {
            return Ok(response);
        };
        let (worker, body_kept) = (&self.execution.worker, self.execution.route.config.body_kept);
        let presented =
            Box::pin(presenter.present(worker, receipt, answer, body_kept, response, replayed)).await?;
        presented.ok_or_else(|| replay::no_room(self.id, &self.execution.bodies, replayed))
    }

    /// Answers a request that the ledger refused.
    fn refuse(&mut self, refusal: Refusal, record: Option<&Record>) -> Result<Response<AnswerBody>, Problem> {
        self.progress.access.refused(refusal);
        let id = record.map_or(self.id, |record| self.id_of(record));
        self.progress.access.operation = Some(id);
        Err(refusals::refusal(id, refusal, record))
    }

    /// Answers when the ledger can't be asked: refuses the request, or sends it unguarded if the route says
    /// so.
    async fn unavailable(&mut self, error: &StoreError) -> Result<Response<AnswerBody>, Problem> {
        let id = self.execution.id.get();
        let route = &*self.execution.route.config.name;
        tracing::error!(route, operation = %id, %error, "the ledger is unavailable");
        let access = &mut self.progress.access;
        match self.execution.route.config.on_error {
            OnError::Bypass => {
                access
                    .bypassed("the ledger is unavailable and the route says `on_error = \"bypass\"`".into());
                self.execution.send_unguarded().await
            }
            OnError::Refuse => {
                access.result = RequestResult::Failed;
                Err(refusals::ledger_unavailable(id, error))
            }
        }
    }

    /// The id under which this record is kept. With several keys it may be another than the highest.
    fn id_of(&self, record: &Record) -> OperationId {
        identify::id_of(&self.keys, record).unwrap_or(self.id)
    }
}
