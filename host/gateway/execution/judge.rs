//! What an upstream's answer means: the operator's word first, then the policy's, then the answer's
//! own status or the table (DESIGN §4).

use crate::gateway::execution::capture::Capture;
use crate::gateway::execution::execute::Execution;
use crate::ledger::Permit;
use crate::policy;
use http::header;
use http::response::Parts;
use oncegate_core::{Answer, Disposition, Outcome, Settlement, UnknownReason};
use std::sync::Arc;

/// An answer, taken in as far as it came.
#[derive(Debug)]
pub struct Taken {
    /// Its head, without hop-by-hop fields.
    pub head: Parts,
    /// Its body.
    pub capture: Capture,
    /// It broke off.
    pub cut: Option<UnknownReason>,
}

impl Execution {
    /// Judges the answer: what it settles, and what those who waited get should it be *not applied*.
    pub(super) async fn settlement(
        &self,
        permit: &Permit,
        taken: &Taken,
    ) -> (Settlement, Option<Arc<Answer>>) {
        let Taken { head, capture, cut } = taken;
        let judged = self.judge(permit, head, capture, *cut).await;
        let disposition = judged.disposition;
        let outcome = match disposition {
            Disposition::Completed if capture.is_kept() => {
                Outcome::Completed(Arc::new(capture.answer(head, &self.route.config.strip)))
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
            // As a verdict's: it may shorten the route's, never lengthen it.
            retention: judged.retention.map(|retention| retention.min(own)),
        };
        (settlement, shared)
    }

    /// What the answer means: the operator's word first, then the policy's, then the table. Rules
    /// judge whole answers only, and none that has a status of its own.
    async fn judge(
        &self,
        permit: &Permit,
        head: &Parts,
        capture: &Capture,
        cut: Option<UnknownReason>,
    ) -> policy::Settlement {
        let only = |disposition| policy::Settlement { disposition, memo: None, retention: None };
        let status = head.status.as_u16();
        let own_status = if cut.is_none() { capture.own_status(head) } else { None };
        if cut.is_none() && own_status.is_none() {
            let mut rules = self.route.config.outcomes.iter().chain(&self.generation.plan().outcomes);
            if let Some(rule) = rules.find(|rule| (rule.lowest..=rule.highest).contains(&status)) {
                return only(rule.means);
            }
        }
        if self.generation.exports().outcome {
            match self.ask_policy(permit, head, capture, cut).await {
                Ok(Some(settlement)) => return settlement,
                Ok(None) => {}
                Err(failure) => {
                    tracing::error!(policy = %self.generation.name(), operation = %self.id.get(), kind = failure.kind(), %failure, "`settle` failed: the outcome is unknown");
                    self.worker.shared.policy_failed(&self.generation, &self.principal, &failure);
                    return only(Disposition::Unknown);
                }
            }
        }
        only(match (cut, own_status) {
            (Some(_), _) => Disposition::Unknown,
            (None, Some(own_status)) => own_status,
            (None, None) => Disposition::of_status(
                status,
                head.headers.contains_key(header::RETRY_AFTER),
                self.route.upstream.dedupes,
            ),
        })
    }

    async fn ask_policy(
        &self,
        permit: &Permit,
        head: &Parts,
        capture: &Capture,
        cut: Option<UnknownReason>,
    ) -> Result<Option<policy::Settlement>, policy::Failure> {
        let receipt = policy::Receipt::of(self.id.get(), permit.record());
        let reply = capture.reply(head, self.generation.plan(), cut.is_none());
        let said = self.worker.policies.settle(&self.generation, &self.principal, receipt, reply);
        self.worker.timed(&self.generation, "settle", said).await
    }
}
