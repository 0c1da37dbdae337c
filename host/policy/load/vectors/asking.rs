//! What a case asks of a hook beside `decide`, and whether what it says is what was expected.
//!
//! The receipt is what the ledger would have of the case's own request: it is decided first, on
//! another instance, because the gateway never asks these hooks of one that has decided.

use super::VectorFault;
use super::format::{Case, Expect, ProblemMore, ProblemText};
use crate::policy::interface::failure::Failure;
use crate::policy::interface::hooks::{HookCall, HookResult};
use crate::policy::interface::v0_1::Exports;
use crate::policy::interface::{Guard, Outbound, OwnedOperation, Plan, ProblemView, Receipt, Verdict};
use crate::policy::load::sample::Sample;
use crate::policy::load::sample_answer::SampleAnswer;
use crate::policy::run::budget::CallBudget;
use crate::policy::run::instance::{Instance, Program};
use oncegate_core::OperationId;
use oncegate_core::problem::Code;
use serde_json::{Value, json};

/// What is to be compared with what a case expects.
pub(crate) enum CaseQuestion {
    /// A call of the hook.
    Call(HookCall),
    /// The plan has answered already.
    Known(Value),
}

/// What an operation's receipt says where a case says nothing.
const FIRST_ATTEMPT: u32 = 1_700_000_000;

/// What the ledger would know of an operation that was just claimed.
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
pub(crate) fn ruled(plan: &Plan, answer: &SampleAnswer) -> Option<crate::config::StatusRule> {
    let fits = |rule: &&crate::config::StatusRule| (rule.lowest..=rule.highest).contains(&answer.status);
    plan.outcomes.iter().find(fits).filter(|_| answer.complete).copied()
}

impl Case {
    /// What it asks, beside `decide`. `decided`: what that said to its request.
    pub(crate) fn question(
        &self,
        program: &Program,
        exports: Exports,
        budget: CallBudget,
        (plan, decided): (&Plan, Option<&Verdict>),
    ) -> Result<Option<CaseQuestion>, VectorFault> {
        let sample = self.sample()?;
        let answer = self.answer()?;
        let call = match (&self.expect, answer) {
            (Expect::Explain(_), _) => {
                HookCall::Explain(self.operation(&sample, plan)?, self.problem_view(&sample, plan, decided)?)
            }
            (Expect::Question(_), _) => HookCall::Question(self.receipt(&sample, plan, decided)?),
            (Expect::Outcome(_) | Expect::Settle(_), Some(answer)) => {
                let receipt = self.receipt(&sample, plan, decided)?;
                match (ruled(plan, &answer), &self.expect) {
                    (Some(rule), Expect::Outcome(_)) => {
                        return Ok(Some(CaseQuestion::Known(rule.means.word().into())));
                    }
                    (Some(rule), _) => {
                        return Err(self.never_asked(format!(
                            "the plan's own rule for {}-{} settles this answer: expect its `outcome`",
                            rule.lowest, rule.highest
                        )));
                    }
                    (None, Expect::Outcome(_)) if !exports.outcome => {
                        return Ok(Some(CaseQuestion::Known(Value::Null)));
                    }
                    (None, _) => HookCall::Settle(receipt, answer.declared(plan)),
                }
            }
            (Expect::Reading(_), Some(answer)) => {
                let receipt = self.receipt(&sample, plan, decided)?;
                let asked = self.asked(program, budget, &receipt)?;
                HookCall::Reading(receipt, asked, answer.whole())
            }
            (Expect::Present(_), Some(answer)) => {
                let receipt = self.receipt(&sample, plan, decided)?;
                HookCall::Present(receipt, self.operation(&sample, plan)?, answer.whole())
            }
            // A case of these without an answer isn't read.
            _ => return Ok(None),
        };
        Ok(Some(CaseQuestion::Call(call)))
    }

    fn never_asked(&self, why: impl Into<String>) -> VectorFault {
        VectorFault::NeverAsked { case: self.name.clone(), hook: self.expect.name(), why: why.into() }
    }

    fn receipt(
        &self,
        sample: &Sample,
        plan: &Plan,
        decided: Option<&Verdict>,
    ) -> Result<Receipt, VectorFault> {
        let guard = match decided {
            Some(Verdict::Guard(guard)) => guard,
            Some(Verdict::Bypass(reason)) => {
                return Err(self.never_asked(format!("its request is let pass ({reason})")));
            }
            Some(Verdict::Refuse(refusal)) => {
                return Err(self.never_asked(format!("its request is refused ({})", refusal.code)));
            }
            None => return Err(self.never_asked("the plan has no interest in its request's method")),
        };
        let mut receipt = receipt(sample, plan, guard);
        let given = &self.receipt;
        if let Some(memo) = &given.memo {
            receipt.memo = Some(memo.as_str().into());
        }
        receipt.attempts = given.attempts.unwrap_or(receipt.attempts);
        receipt.first_attempt = given.first_attempt.unwrap_or(receipt.first_attempt);
        Ok(receipt)
    }

    fn operation(&self, sample: &Sample, plan: &Plan) -> Result<OwnedOperation, VectorFault> {
        match sample.view(plan) {
            Ok(operation) => Ok(OwnedOperation::of(&operation)),
            Err(why) => Err(VectorFault::Request { case: self.name.clone(), why: why.to_string() }),
        }
    }

    /// The question that was asked: as the case says, else the policy's own.
    fn asked(
        &self,
        program: &Program,
        budget: CallBudget,
        receipt: &Receipt,
    ) -> Result<Outbound, VectorFault> {
        let failed = |failure| VectorFault::HookFailed { case: self.name.clone(), hook: "question", failure };
        let Some(text) = &self.asked else {
            let (mut instance, _) = program.instance(budget).map_err(failed)?;
            let own = instance.question(receipt, budget.call).map_err(failed)?;
            return own.ok_or_else(|| self.never_asked("`question` asks nothing: say what was `asked`"));
        };
        let fault =
            |why: String| VectorFault::Request { case: self.name.clone(), why: format!("asked: {why}") };
        outbound(text).map_err(fault)
    }

    fn problem_view(
        &self,
        sample: &Sample,
        plan: &Plan,
        decided: Option<&Verdict>,
    ) -> Result<ProblemView, VectorFault> {
        let operation: Option<OperationId> = match decided {
            Some(Verdict::Guard(guard)) => Some(sample.operation(plan, &guard.key)),
            Some(Verdict::Bypass(_)) => None,
            Some(Verdict::Refuse(_)) => {
                return Err(self.never_asked("its request is refused, and a policy words that itself"));
            }
            None => return Err(self.never_asked("the plan has no interest in its request's method")),
        };
        let (code, more) = match &self.problem {
            Some(ProblemText::Code(code)) => (code.as_str(), None),
            Some(ProblemText::More(more)) => (more.code.as_str(), Some(more)),
            None => ("", None),
        };
        let view = ProblemView::of_code(code, operation);
        let view = view.ok_or_else(|| VectorFault::Form {
            case: self.name.clone(),
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

    /// What is expected of a hook, or of what an answer means.
    fn word(&self) -> Option<&Value> {
        match &self.expect {
            Expect::Outcome(word)
            | Expect::Settle(word)
            | Expect::Question(word)
            | Expect::Reading(word)
            | Expect::Present(word)
            | Expect::Explain(word) => Some(word),
            Expect::Bypass(_) | Expect::Guard(_) | Expect::Refuse { .. } | Expect::NoPlan(_) => None,
        }
    }

    /// Holds what a hook said, or the plan, against what is expected.
    pub(super) fn check_word(&self, found: &Value) -> Result<(), VectorFault> {
        let Some(expected) = self.word() else { return Ok(()) };
        if says(expected, found) {
            return Ok(());
        }
        Err(VectorFault::Differs {
            case: self.name.clone(),
            expected: format!("of `{}` {expected}", self.expect.name()),
            found: found.to_string(),
        })
    }

    /// The hook is expected to fail with an `err`, of any text where that is null.
    fn expects_err(&self) -> bool {
        self.word().is_some_and(|expected| expected.get("err").is_some())
    }

    /// What is compared of a hook's word.
    pub(super) fn compared(&self, result: &HookResult) -> Value {
        match &self.expect {
            Expect::Outcome(_) => result.json().get_mut("disposition").map_or(Value::Null, Value::take),
            _ => result.json(),
        }
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

/// Whether `found` is what is expected: of an object only what is written counts. A settlement may be
/// written as its disposition alone; lists of fields have no order but among those of one name; a body
/// that is expected as anything but a text is read as JSON.
fn says(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(_), Value::Object(found)) if found.contains_key("disposition") => {
            found.get("disposition") == Some(expected)
        }
        (Value::Object(expected), Value::Object(found)) => expected.iter().all(|(name, expected)| {
            found.get(name).is_some_and(|found| match name.as_str() {
                "body" => is_body(expected, found),
                "err" => expected.is_null() || expected == found,
                "fields" | "trailers" | "set" | "remove" => by_name(expected) == by_name(found),
                _ => says(expected, found),
            })
        }),
        (expected, found) => expected == found,
    }
}

fn is_body(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(_) | Value::Null, found) => expected == found,
        (expected, Value::String(text)) => {
            serde_json::from_str::<Value>(text).is_ok_and(|found| found == *expected)
        }
        (expected, found) => expected == found,
    }
}

fn by_name(list: &Value) -> Vec<Value> {
    let name = |pair: &Value| pair.get(0).unwrap_or(pair).as_str().unwrap_or_default().to_ascii_lowercase();
    let mut list = list.as_array().cloned().unwrap_or_default();
    list.sort_by_key(name);
    list
}

impl CaseQuestion {
    /// Asks it.
    pub(super) fn ask(
        &self,
        case: &Case,
        instance: &mut Instance,
        budget: CallBudget,
    ) -> Result<Value, VectorFault> {
        match self {
            Self::Known(known) => Ok(known.clone()),
            Self::Call(call) => {
                let word = match call.ask(instance, budget.call) {
                    Err(Failure::Err(text)) if case.expects_err() => return Ok(json!({ "err": text })),
                    word => word,
                };
                let word = word.map_err(|failure| VectorFault::HookFailed {
                    case: case.name.clone(),
                    hook: call.hook().name(),
                    failure,
                })?;
                Ok(case.compared(&word))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn of_what_is_expected_only_what_is_written_counts() {
        let settled = json!({ "disposition": "unknown", "memo": null, "retention-seconds": null });
        let fields =
            json!({ "status": 200, "fields": [["b", "1"], ["a", "1"], ["a", "2"]], "body": "{\"a\": 1}" });
        for (expected, found, fits) in [
            (json!("unknown"), &settled, true),
            (json!("completed"), &settled, false),
            (json!({ "memo": null }), &settled, true),
            (json!({ "memo": "m" }), &settled, false),
            (json!({ "mem": null }), &settled, false),
            (json!(null), &settled, false),
            (json!({}), &json!(null), false),
            (json!({ "fields": [["a", "1"], ["a", "2"], ["b", "1"]] }), &fields, true),
            (json!({ "fields": [["a", "2"], ["a", "1"], ["b", "1"]] }), &fields, false),
            (json!({ "fields": [["a", "1"]] }), &fields, false),
            (json!({ "body": { "a": 1 } }), &fields, true),
            (json!({ "body": "{\"a\": 1}" }), &fields, true),
            (json!({ "body": "{\"a\":1}" }), &fields, false),
            (json!({ "body": null }), &fields, false),
            (json!({ "err": null }), &json!({ "err": "why" }), true),
            (json!({ "err": "why" }), &json!({ "err": "why" }), true),
            (json!({ "err": "how" }), &json!({ "err": "why" }), false),
            (json!({ "err": null }), &settled, false),
        ] {
            assert_eq!(says(&expected, found), fits, "{expected} and {found}");
        }
    }

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
