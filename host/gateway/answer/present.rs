//! The wording of an answer (`design/answers.md`). The route's `answers` sets the status of a problem. The
//! policy words problems by `explain` and kept answers by `present`, if it exports them. Otherwise the client
//! gets the problem document, or the answer as kept.

use crate::answer::body::AnswerBody;
use crate::answer::names::{Replayed, status};
use crate::answer::problem::{Code, Problem};
use crate::answer::replay::what_is_kept;
use crate::edge::{Direction, PeerAccount};
use crate::worker::Worker;
use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use oncegate_core::{Answer, PrincipalId};
use oncegate_policy::{
    AnswerChanges, Failure, Generation, HookCall, HookResult, OwnedOperation, Payload, ProblemView, Receipt,
    Reply, Wording,
};
use std::sync::Arc;

/// Fields that are true of one body only: codings, ranges, validators, digests.
const OF_THE_BODY: [HeaderName; 10] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ACCEPT_RANGES,
    header::ETAG,
    header::LAST_MODIFIED,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// The presenter for a caller whose protocol the policy speaks: the generation that decided the request, and
/// the operation that the generation saw.
#[derive(Debug)]
pub struct Presenter {
    /// The generation that decided the request.
    pub generation: Arc<Generation>,
    /// The principal that asks.
    pub principal: PrincipalId,
    /// The operation that `decide` saw.
    pub operation: OwnedOperation,
    /// What the bodies of the client's peer hold.
    pub bodies: Arc<PeerAccount>,
}

impl Presenter {
    /// Words another execution's answer in this caller's protocol. `answer` is the kept answer, and
    /// `response` the response that would be sent of it. None: there is no room for what the policy made of it. A policy
    /// that fails shows nothing: the record stays.
    pub async fn present(
        &self,
        worker: &Worker,
        receipt: Receipt,
        answer: &Answer,
        body_kept: usize,
        response: Response<AnswerBody>,
        replayed: Replayed,
    ) -> Result<Option<Response<AnswerBody>>, Problem> {
        let operation = self.operation.clone();
        let call = HookCall::Present { receipt, operation, reply: whole_reply(answer, body_kept) };
        let result = worker.call(&self.generation, &self.principal, call).await;
        match result.map(HookResult::changes) {
            Ok(None) => Ok(Some(response)),
            Ok(Some(changes)) => Ok(changed(response, changes, &self.bodies)),
            Err(failure) => {
                self.failed(worker, "present", &failure);
                let detail = format!(
                    "The policy that puts answers into your protocol failed. {} Ask again with the same key.",
                    what_is_kept(replayed)
                );
                Err(Problem::new(Code::PolicyFailed, detail))
            }
        }
    }

    /// A problem in the words of this caller's protocol; none if the protocol has none, or the hook fails.
    pub async fn explain(&self, worker: &Worker, problem: &Problem) -> Option<Wording> {
        let operation = self.operation.clone();
        let call = HookCall::Explain { operation, problem: problem.view() };
        let result = worker.call(&self.generation, &self.principal, call).await;
        result.map(HookResult::wording).unwrap_or_else(|failure| {
            self.failed(worker, "explain", &failure);
            None
        })
    }

    fn failed(&self, worker: &Worker, hook: &str, failure: &Failure) {
        let generation = &self.generation;
        tracing::error!(policy = %generation.name(), generation = generation.number(), hook, kind = failure.kind(), %failure, "a policy failed");
        worker.shared.policy_failed(generation, &self.principal, failure);
    }
}

/// A whole kept answer as `present` sees it, without fields that are not text.
fn whole_reply(answer: &Answer, body_kept: usize) -> Reply {
    let texts = |fields: &[(Bytes, Bytes)]| {
        let text = |bytes: &Bytes| std::str::from_utf8(bytes).ok().map(str::to_owned);
        fields.iter().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
    };
    Reply {
        status: answer.status,
        fields: texts(&answer.fields),
        trailers: texts(&answer.trailers),
        payload: decoded(answer, body_kept),
        complete: true,
    }
}

fn decoded(answer: &Answer, body_kept: usize) -> Payload {
    use oncegate_policy::coding::{self, CodingFault};
    if answer.body.is_empty() {
        return Payload::Absent;
    }
    let fields = crate::request::fields::restored(&answer.fields, 0);
    match coding::removed(&fields, &answer.body, body_kept) {
        Ok(body) => Payload::Whole(body),
        Err(CodingFault::Oversize) => Payload::Oversize,
        Err(CodingFault::Malformed(why)) => Payload::Malformed(why),
    }
}

/// The response with these changes. None: there is no room for the new body.
fn changed(
    mut response: Response<AnswerBody>,
    changes: AnswerChanges,
    bodies: &Arc<PeerAccount>,
) -> Option<Response<AnswerBody>> {
    let fields = response.headers_mut();
    if changes.body.is_some() {
        OF_THE_BODY.iter().for_each(|name| _ = fields.remove(name));
    }
    for name in &changes.remove {
        fields.remove(name);
    }
    for (name, _) in &changes.set {
        fields.remove(name);
    }
    for (name, value) in changes.set {
        fields.append(name, value);
    }
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(body) = changes.body {
        let trailers = match std::mem::replace(response.body_mut(), AnswerBody::Whole(None, None)) {
            AnswerBody::Whole(_, trailers) => trailers.map(without_digests),
            AnswerBody::Streamed(_) | AnswerBody::Passed(_) => None,
        };
        // The kept body is gone by now.
        let body = bodies.hold(Direction::Out, body)?;
        *response.body_mut() = AnswerBody::Whole((!body.is_empty()).then_some(body), trailers);
    }
    Some(response)
}

fn without_digests(mut trailers: HeaderMap) -> HeaderMap {
    OF_THE_BODY.iter().for_each(|name| _ = trailers.remove(name));
    trailers
}

/// The answer to a refused request, in the policy's words if the policy has some. The answer has the
/// problem's code in a field, whoever words the answer.
pub async fn problem(
    worker: &Worker,
    presenter: Option<&Presenter>,
    problem: Problem,
) -> Response<AnswerBody> {
    let Some(presenter) = presenter else { return problem.into_response() };
    let Some(wording) = presenter.explain(worker, &problem).await else { return problem.into_response() };
    let Some(body) = presenter.bodies.hold(Direction::Out, wording.body) else {
        return problem.into_response();
    };
    let mut response = problem.into_response();
    *response.status_mut() = status(wording.status);
    let fields = response.headers_mut();
    fields.remove(header::CONTENT_TYPE);
    for (name, _) in &wording.fields {
        fields.remove(name);
    }
    for (name, value) in wording.fields {
        fields.append(name, value);
    }
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = AnswerBody::whole(body);
    response
}

impl Problem {
    /// The problem as `explain` sees it.
    fn view(&self) -> ProblemView {
        let summary = self.summary();
        ProblemView {
            status: self.status().as_u16(),
            code: self.code().to_owned(),
            detail: self.detail().to_owned(),
            operation_id: self.operation().map(|id| id.to_string()),
            outcome: self.outcome(),
            retryable: self.is_retryable(),
            retry_after_seconds: self.retry_after_seconds(),
            first_status: summary.and_then(|summary| summary.status),
            first_location: summary.and_then(|summary| summary.location.as_deref()).map(str::to_owned),
        }
    }
}
