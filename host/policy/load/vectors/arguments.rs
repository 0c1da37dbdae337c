//! The call that a case makes of a hook beside `decide`, and the check of its result.
//!
//! The receipt is the one that the ledger would have of the case's own request. So the request is decided
//! first, on another instance, because the gateway never calls these hooks on an instance that has decided.

use super::expect::Expect;
use super::fault::VectorFault;
use super::format::{Case, ProblemMore, ProblemText};
use crate::interface::failure::Failure;
use crate::interface::hooks::{ArgumentSource, Exports, HookCall};
use crate::interface::{Guard, Outbound, OwnedOperation, Plan, ProblemView, Receipt, Reply, Verdict};
use crate::load::sample::Sample;
use crate::load::sample_answer::SampleAnswer;
use crate::run::budget::CallBudget;
use crate::run::instance::{Instance, LinkedPolicy};
use oncegate_core::OperationId;
use oncegate_core::problem::Code;
use serde_json::{Value, json};

/// The source of the result that is compared with a case's expectation.
pub(crate) enum CaseQuestion {
    /// A call of the hook.
    Call(HookCall),
    /// The plan has answered already.
    Known(Value),
}

/// The first attempt in an operation's receipt if a case names none.
const FIRST_ATTEMPT: u32 = 1_700_000_000;

/// The receipt that the ledger would have of an operation that was just claimed.
pub(crate) fn receipt(sample: &Sample, plan: &Plan, guard: &Guard) -> Receipt {
    Receipt {
        operation_id: sample.operation(plan, &guard.key).to_string(),
        route: sample.route.as_str().into(),
        method: sample.method.as_str().into(),
        authority: sample.authority.as_deref().unwrap_or_default().into(),
        path: sample.path.as_str().into(),
        principal: sample.principal.clone(),
        key_schema: plan.key_schema.clone(),
        attempts: 1,
        first_attempt: FIRST_ATTEMPT,
        memo: guard.memo.clone(),
    }
}

/// The rule of a plan that settles a whole answer before `settle` is asked.
pub(crate) fn ruled(plan: &Plan, answer: &SampleAnswer) -> Option<oncegate_config::StatusRule> {
    let fits = |rule: &&oncegate_config::StatusRule| (rule.lowest..=rule.highest).contains(&answer.status);
    plan.outcomes.iter().find(fits).filter(|_| answer.complete).copied()
}

/// The source of the arguments for the call that a case is about.
struct CaseArguments<'a> {
    case: &'a Case,
    program: &'a LinkedPolicy,
    budget: CallBudget,
    sample: Sample,
    answer: Option<SampleAnswer>,
    plan: &'a Plan,
    /// The verdict about the case's request.
    decided: Option<&'a Verdict>,
}

impl Case {
    /// The question that the case asks, beside `decide`. `decided`: the verdict about its request.
    pub(crate) fn question(
        &self,
        program: &LinkedPolicy,
        exports: Exports,
        budget: CallBudget,
        (plan, decided): (&Plan, Option<&Verdict>),
    ) -> Result<Option<CaseQuestion>, VectorFault> {
        let Some(hook) = self.expect.called() else { return Ok(None) };
        let (sample, answer) = (self.sample()?, self.answer()?);
        let mut arguments = CaseArguments { case: self, program, budget, sample, answer, plan, decided };
        if matches!(self.expect, Expect::Outcome(_)) {
            arguments.receipt()?;
            if let Some(rule) = ruled(plan, arguments.answer()?) {
                return Ok(Some(CaseQuestion::Known(rule.means.word().into())));
            }
            if !hook.is_in(exports) {
                return Ok(Some(CaseQuestion::Known(Value::Null)));
            }
        }
        Ok(Some(CaseQuestion::Call(hook.call_from(&mut arguments)?)))
    }

    fn never_asked(&self, why: impl Into<String>) -> VectorFault {
        VectorFault::NeverAsked { case: self.name.clone(), hook: self.expect.name(), why: why.into() }
    }
}

impl CaseArguments<'_> {
    fn answer(&self) -> Result<&SampleAnswer, VectorFault> {
        self.answer.as_ref().ok_or_else(|| VectorFault::Form {
            case: self.case.name.clone(),
            why: format!("a case that expects `{}` needs `answer`", self.case.expect.name()),
        })
    }

    fn guard(&self) -> Result<&Guard, VectorFault> {
        Err(self.case.never_asked(match self.decided {
            Some(Verdict::Guard(guard)) => return Ok(guard),
            Some(Verdict::Bypass(reason)) => format!("its request is let pass ({reason})"),
            Some(Verdict::Refuse(refusal)) => format!("its request is refused ({})", refusal.code),
            None => "the plan has no interest in its request's method".into(),
        }))
    }
}

impl ArgumentSource for CaseArguments<'_> {
    type Fault = VectorFault;

    fn receipt(&mut self) -> Result<Receipt, VectorFault> {
        let mut receipt = receipt(&self.sample, self.plan, self.guard()?);
        let given = &self.case.receipt;
        if let Some(memo) = &given.memo {
            receipt.memo = Some(memo.as_str().into());
        }
        receipt.attempts = given.attempts.unwrap_or(receipt.attempts);
        receipt.first_attempt = given.first_attempt.unwrap_or(receipt.first_attempt);
        Ok(receipt)
    }

    fn operation(&mut self) -> Result<OwnedOperation, VectorFault> {
        match self.sample.view(self.plan) {
            Ok(operation) => Ok(OwnedOperation::of(&operation)),
            Err(why) => Err(VectorFault::Request { case: self.case.name.clone(), why: why.to_string() }),
        }
    }

    fn settled_reply(&mut self) -> Result<Reply, VectorFault> {
        let answer = self.answer()?;
        if let Some(rule) = ruled(self.plan, answer) {
            return Err(self.case.never_asked(format!(
                "the plan's own rule for {}-{} settles this answer: expect its `outcome`",
                rule.lowest, rule.highest
            )));
        }
        Ok(answer.declared(self.plan))
    }

    /// The question that was asked: the case's own if it has one, else the policy's.
    fn asked(&mut self, receipt: &Receipt) -> Result<Outbound, VectorFault> {
        let case = self.case;
        let failed = |failure| VectorFault::HookFailed { case: case.name.clone(), hook: "question", failure };
        let Some(text) = &case.asked else {
            let (mut instance, _) = self.program.instance(self.budget).map_err(failed)?;
            let call = HookCall::Question { receipt: receipt.clone() };
            let own = instance.call(&call, self.budget.call).map_err(failed)?.question();
            return own.ok_or_else(|| case.never_asked("`question` asks nothing: say what was `asked`"));
        };
        let fault =
            |why: String| VectorFault::Request { case: case.name.clone(), why: format!("asked: {why}") };
        outbound(text).map_err(fault)
    }

    fn found_reply(&mut self) -> Result<Reply, VectorFault> {
        Ok(self.answer()?.whole())
    }

    fn kept_reply(&mut self) -> Result<Reply, VectorFault> {
        Ok(self.answer()?.whole())
    }

    fn problem(&mut self) -> Result<ProblemView, VectorFault> {
        let operation: Option<OperationId> = match self.decided {
            Some(Verdict::Guard(guard)) => Some(self.sample.operation(self.plan, &guard.key)),
            Some(Verdict::Bypass(_)) => None,
            Some(Verdict::Refuse(_)) => {
                return Err(self.case.never_asked("its request is refused, and a policy words that itself"));
            }
            None => return Err(self.case.never_asked("the plan has no interest in its request's method")),
        };
        let (code, more) = match &self.case.problem {
            Some(ProblemText::Code(code)) => (code.as_str(), None),
            Some(ProblemText::More(more)) => (more.code.as_str(), Some(more)),
            None => ("", None),
        };
        let view = ProblemView::of_code(code, operation);
        let view = view.ok_or_else(|| VectorFault::Form {
            case: self.case.name.clone(),
            why: format!(
                "{code:?} is no problem of the gateway's; there are: {}",
                Code::names().collect::<Vec<_>>().join(", ")
            ),
        })?;
        Ok(match more {
            Some(more) => more.over(view),
            None => view,
        })
    }
}

impl ProblemMore {
    fn over(&self, usual: ProblemView) -> ProblemView {
        ProblemView {
            status: self.status.unwrap_or(usual.status),
            detail: self.detail.clone().unwrap_or(usual.detail),
            operation_id: self.operation_id.clone().or(usual.operation_id),
            outcome: self.outcome.map(|outcome| outcome.meant()).or(usual.outcome),
            retryable: self.retryable.unwrap_or(usual.retryable),
            retry_after_seconds: self.retry_after_seconds.or(usual.retry_after_seconds),
            first_status: self.first_status.or(usual.first_status),
            first_location: self.first_location.clone().or(usual.first_location),
            code: usual.code,
        }
    }
}

/// A question as HTTP/1.1 text.
fn outbound(text: &str) -> Result<Outbound, String> {
    let asked = Sample::parse(text.as_bytes())?;
    let target = match &asked.query {
        Some(query) => format!("{}?{query}", asked.path),
        None => asked.path.clone(),
    };
    Ok(Outbound {
        method: asked.method.parse().map_err(|_| format!("{:?} is no method", asked.method))?,
        path: target.parse().map_err(|error| format!("{target:?}: {error}"))?,
        fields: asked.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        body: (!asked.body.is_empty()).then_some(asked.body),
    })
}

impl CaseQuestion {
    /// Makes the call, or takes the plan's answer.
    pub(super) fn ask(
        &self,
        case: &Case,
        instance: &mut Instance,
        budget: CallBudget,
    ) -> Result<Value, VectorFault> {
        match self {
            Self::Known(known) => Ok(known.clone()),
            Self::Call(call) => {
                let result = match instance.call(call, budget.call) {
                    Err(Failure::Err(text)) if case.expects_err() => return Ok(json!({ "err": text })),
                    result => result,
                };
                let result = result.map_err(|failure| VectorFault::HookFailed {
                    case: case.name.clone(),
                    hook: call.hook().name(),
                    failure,
                })?;
                Ok(case.compared(&result))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_question_is_read_as_it_is_sent() {
        let asked = outbound("GET /p?a=1 HTTP/1.1\r\naccept: x\r\n\r\n").expect("a request");
        assert_eq!((asked.method.as_str(), asked.path.as_str(), asked.body), ("GET", "/p?a=1", None));
        assert_eq!(asked.fields.len(), 1);
        assert_eq!(
            outbound("POST / HTTP/1.1\r\n\r\nx").expect("a request").body,
            Some(Bytes::from_static(b"x"))
        );
        assert!(outbound("GET").is_err());
    }
}
