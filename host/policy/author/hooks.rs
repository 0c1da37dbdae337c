//! What the hooks beside `decide` say to an answer or a problem that an author shows them.

use super::{DecideReport, Workbench};
use crate::policy::interface::failure::Failure;
use crate::policy::interface::hooks::{Hook, HookCall, HookResult};
use crate::policy::interface::{Finding, OwnedOperation, ProblemView, Receipt, Verdict};
use crate::policy::load::pipeline::{self, LoadFault};
use crate::policy::load::sample::Sample;
use crate::policy::load::sample_answer::SampleAnswer;
use crate::policy::load::vectors;
use std::time::{Duration, Instant};

/// What hooks are shown, beside the request.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The upstream's answer to the request: for `settle` and `present`.
    pub answer: Option<SampleAnswer>,
    /// Its answers to the policy's questions, in their order: for `reading`.
    pub found: Vec<SampleAnswer>,
    /// The code of one of the gateway's own answers: for `explain`.
    pub problem: Option<String>,
    /// In place of the guard's memo.
    pub memo: Option<String>,
}

/// What came of a hook.
#[derive(Debug)]
pub struct HookReport {
    /// The hook.
    pub hook: Hook,
    /// What it said.
    pub outcome: HookOutcome,
    /// Lines that it logged.
    pub log: Vec<String>,
    /// How long it took, on an instance that was just made.
    pub time: Duration,
}

/// What a hook said, if it was asked.
#[derive(Debug)]
pub enum HookOutcome {
    /// It wasn't, for this reason.
    NotCalled(String),
    /// It was, on a fresh instance.
    Called(Result<HookResult, Failure>),
}

impl Workbench {
    /// Asks the hooks that are shown something, and `question` wherever it is exported. `answer` is what
    /// `decide` said to the same request.
    pub fn call_hooks(
        &self,
        sample: &Sample,
        answer: &DecideReport,
        shown: &Shown,
    ) -> Result<Vec<HookReport>, LoadFault> {
        let mut calls = HookCalls { workbench: self, sample, decided: answer, reports: Vec::new() };
        let receipt = calls.receipt(shown);
        if let Some(answer) = &shown.answer {
            calls.settle(receipt.as_ref(), answer)?;
            calls.present(receipt.as_ref(), answer)?;
        }
        calls.resolve(receipt.as_ref(), &shown.found)?;
        if let Some(code) = &shown.problem {
            calls.explain(code)?;
        }
        Ok(calls.reports)
    }
}

struct HookCalls<'w> {
    workbench: &'w Workbench,
    sample: &'w Sample,
    decided: &'w DecideReport,
    reports: Vec<HookReport>,
}

const UNGUARDED: &str = "the request is not guarded";

impl HookCalls<'_> {
    fn receipt(&self, shown: &Shown) -> Option<Receipt> {
        let Some(Ok(Verdict::Guard(guard))) = &self.decided.verdict else { return None };
        let mut receipt = vectors::receipt(self.sample, &self.decided.plan, guard);
        if let Some(memo) = &shown.memo {
            receipt.memo = Some(memo.as_str().into());
        }
        Some(receipt)
    }

    fn operation(&self) -> Option<OwnedOperation> {
        self.sample.view(&self.decided.plan).ok().map(|operation| OwnedOperation::of(&operation))
    }

    fn settle(&mut self, receipt: Option<&Receipt>, answer: &SampleAnswer) -> Result<(), LoadFault> {
        let plan = &self.decided.plan;
        let call = match (receipt, vectors::ruled(plan, answer)) {
            (None, _) => Err(UNGUARDED.into()),
            (_, Some(rule)) => Err(format!(
                "the plan's rule for {}-{} says already: {}",
                rule.lowest,
                rule.highest,
                rule.means.word()
            )),
            (Some(receipt), None) => Ok(HookCall::Settle(receipt.clone(), answer.declared(plan))),
        };
        self.ask(Hook::Settle, call).map(drop)
    }

    fn present(&mut self, receipt: Option<&Receipt>, answer: &SampleAnswer) -> Result<(), LoadFault> {
        let call = match (receipt, self.operation()) {
            (Some(_), _) if !answer.complete => {
                Err("of an answer that was cut off there is no replay".into())
            }
            (Some(receipt), Some(operation)) => {
                Ok(HookCall::Present(receipt.clone(), operation, answer.whole()))
            }
            _ => Err(UNGUARDED.into()),
        };
        self.ask(Hook::Present, call).map(drop)
    }

    /// The questions, and what is read of the answers that are given.
    fn resolve(&mut self, receipt: Option<&Receipt>, found: &[SampleAnswer]) -> Result<(), LoadFault> {
        if found.is_empty() && !Hook::Question.is_in(self.workbench.compiled.inspected.exports) {
            return Ok(());
        }
        let question = receipt.map(|receipt| HookCall::Question(receipt.clone())).ok_or(UNGUARDED.into());
        let mut asked = match self.ask(Hook::Question, question)? {
            Some(HookResult::Question(asked)) => asked,
            _ => None,
        };
        for answer in found {
            let call = match (receipt, asked.take()) {
                (Some(receipt), Some(asked)) => Ok(HookCall::Reading(receipt.clone(), asked, answer.whole())),
                _ => Err("nothing was asked".into()),
            };
            if let Some(HookResult::Reading(Finding::Ask(next))) = self.ask(Hook::Reading, call)? {
                asked = Some(next);
            }
        }
        Ok(())
    }

    fn explain(&mut self, code: &str) -> Result<(), LoadFault> {
        let operation = match &self.decided.verdict {
            Some(Ok(Verdict::Guard(guard))) => Some(self.sample.operation(&self.decided.plan, &guard.key)),
            _ => None,
        };
        let call = match (&self.decided.verdict, self.operation(), ProblemView::of_code(code, operation)) {
            (Some(Ok(Verdict::Refuse(_))), ..) => Err("a policy's own refusal is worded by itself".into()),
            (Some(Ok(_)), Some(operation), Some(problem)) => Ok(HookCall::Explain(operation, problem)),
            (.., None) => Err(format!("{code} is no problem of the gateway's")),
            _ => Err("the policy has not decided about the request".into()),
        };
        self.ask(Hook::Explain, call).map(drop)
    }

    /// Asks on a fresh instance, where there is something to ask.
    fn ask(&mut self, hook: Hook, call: Result<HookCall, String>) -> Result<Option<HookResult>, LoadFault> {
        let workbench = self.workbench;
        let exported = hook.is_in(workbench.compiled.inspected.exports);
        let call = match call {
            _ if !exported => {
                Err(format!("the component doesn't export `oncegate:policy/{}`", hook.interface()))
            }
            call => call,
        };
        let call = match call {
            Ok(call) => call,
            Err(why) => {
                let (outcome, time) = (HookOutcome::NotCalled(why), Duration::ZERO);
                self.reports.push(HookReport { hook, outcome, log: Vec::new(), time });
                return Ok(None);
            }
        };
        let program = workbench.program_with(workbench.settings.as_ref());
        let (mut instance, _) = program.instance(workbench.budget).map_err(pipeline::fault_of_start)?;
        instance.collect_log();
        let begun = Instant::now();
        let result = call.ask(&mut instance, workbench.budget.call);
        let time = begun.elapsed();
        let returned = result.as_ref().ok().cloned();
        self.reports.push(HookReport {
            hook,
            outcome: HookOutcome::Called(result),
            log: instance.take_log(),
            time,
        });
        Ok(returned)
    }
}
