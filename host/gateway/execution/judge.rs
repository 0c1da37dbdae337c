//! The meaning of an upstream's answer: the operator's rules first, then the policy's, then the policy's
//! `settle`, then the answer's own status or the table (`design/life.md`).

use crate::execution::capture::CapturedAnswer;
use crate::request::route::Route;
use crate::worker::Worker;
use http::header;
use oncegate_core::{
    Answer, AnswerStatus, Disposition, OperationId, Outcome, PrincipalId, Record, Settlement, UnknownReason,
};
use oncegate_policy::{self as policy, Generation};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Everything that an answer is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// The worker on which the policy's `settle` runs.
    pub worker: &'a Worker,
    /// The route, with the operator's rules.
    pub route: &'a Route,
    /// The generation that decided the request, with its policy's rules.
    pub generation: &'a Arc<Generation>,
    /// The principal that asked.
    pub principal: &'a PrincipalId,
    /// The operation.
    pub operation: OperationId,
    /// The record under which it executes.
    pub record: &'a Record,
    /// The turns of the peer's large documents.
    pub turns: &'a Arc<Semaphore>,
}

impl Judge<'_> {
    /// Judges an answer. Returns the settlement, and the answer for the waiting requests if it is *not
    /// applied*.
    pub async fn settle(&self, answer: &CapturedAnswer) -> (Settlement, Option<Arc<Answer>>) {
        let CapturedAnswer { head, capture, cut } = answer;
        let judged = self.judge(answer).await;
        let disposition = judged.disposition;
        let outcome = match disposition {
            Disposition::Completed if capture.is_kept() => {
                let answer = capture.answer(head, &self.route.config.strip);
                // Whoever made the caller up has as many as fill the ledger answered at once.
                let is_kept = head.status.as_u16() < 400
                    || self.worker.shared.keeps_failure(self.principal, answer.weight());
                match is_kept {
                    true => Outcome::Completed(Arc::new(answer)),
                    false => Outcome::Consumed(capture.summary(head)),
                }
            }
            Disposition::Completed | Disposition::Consumed => Outcome::Consumed(capture.summary(head)),
            Disposition::NotApplied => Outcome::NotApplied,
            Disposition::Unknown => Outcome::Unknown(cut.unwrap_or(UnknownReason::Ambiguous)),
        };
        let shared = (disposition == Disposition::NotApplied && !capture.is_over())
            .then(|| Arc::new(capture.shared(head, &self.route.config.strip)));
        let own = self.route.config.times.retention;
        let settlement = Settlement {
            outcome,
            memo: judged.memo,
            // A settlement, like a verdict, may shorten the route's retention and never lengthen it.
            retention: judged.retention.map(|retention| retention.min(own)),
        };
        (settlement, shared)
    }

    /// The meaning of the answer. Rules judge only whole answers that carry no status of their own.
    async fn judge(&self, answer: &CapturedAnswer) -> policy::PolicySettlement {
        let only = |disposition| policy::PolicySettlement { disposition, memo: None, retention: None };
        let CapturedAnswer { head, capture, cut } = answer;
        let status = head.status.as_u16();
        let own_status = if cut.is_none() { capture.own_status(head) } else { None };
        if cut.is_none() && own_status.is_none() {
            let mut rules = self.route.config.outcomes.iter().chain(&self.generation.plan().outcomes);
            if let Some(rule) = rules.find(|rule| (rule.lowest..=rule.highest).contains(&status)) {
                return only(rule.means);
            }
        }
        if self.generation.exports().has(policy::Interface::Outcome) {
            match self.ask_policy(answer).await {
                Ok(Some(settlement)) => return settlement,
                Ok(None) => {}
                Err(failure) => {
                    tracing::error!(policy = %self.generation.name(), operation = %self.operation, kind = failure.kind(), %failure, "`settle` failed: the outcome is unknown");
                    self.worker.shared.policy_failed(self.generation, self.principal, &failure);
                    return only(Disposition::Unknown);
                }
            }
        }
        only(match (cut, own_status) {
            (Some(_), _) => Disposition::Unknown,
            (None, Some(own_status)) => own_status,
            (None, None) => Disposition::of_status(AnswerStatus {
                status,
                retry_after: head.headers.contains_key(header::RETRY_AFTER),
                dedupes: self.route.upstream.config.dedupes,
            }),
        })
    }

    async fn ask_policy(
        &self,
        answer: &CapturedAnswer,
    ) -> Result<Option<policy::PolicySettlement>, policy::Failure> {
        let receipt = policy::Receipt::of(self.operation, self.record);
        let CapturedAnswer { head, capture, cut } = answer;
        let payload = capture.payload(head, self.generation, &self.worker.policies, self.turns).await?;
        let reply = capture.reply(head, self.generation.plan(), payload, cut.is_none());
        let call = policy::HookCall::Settle { receipt, reply };
        Ok(self.worker.call(self.generation, self.principal, call).await?.settlement())
    }
}
