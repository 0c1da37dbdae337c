//! Calls of the hooks beside `decide` with an answer or a problem that an author shows them.

use super::workbench::{DecideReport, Workbench};
use crate::interface::failure::Failure;
use crate::interface::hooks::{ArgumentSource, Hook, HookCall, HookResult};
use crate::interface::{Finding, Guard, Outbound, OwnedOperation, ProblemView, Receipt, Reply, Verdict};
use crate::load::pipeline::{self, LoadFault};
use crate::load::sample::Sample;
use crate::load::sample_answer::SampleAnswer;
use crate::load::vectors;
use std::time::{Duration, Instant};

/// The inputs of hooks, beside the request.
#[derive(Clone, Debug, Default)]
pub struct HookInputs {
    /// The upstream's answer to the request: for `settle` and `present`.
    pub answer: Option<SampleAnswer>,
    /// The upstream's answers to the policy's questions, in their order: for `reading`.
    pub found: Vec<SampleAnswer>,
    /// The code of one of the gateway's own answers: for `explain`.
    pub problem: Option<String>,
    /// The memo in place of the guard's.
    pub memo: Option<String>,
}

/// The result of calling a hook.
#[derive(Debug)]
pub struct HookReport {
    /// The hook.
    pub hook: Hook,
    /// The outcome of the call.
    pub outcome: HookOutcome,
    /// Lines that it logged.
    pub log: Vec<String>,
    /// The time that the hook took, on an instance that was just made.
    pub time: Duration,
}

/// The outcome of a hook's call, if there was a call.
#[derive(Debug)]
pub enum HookOutcome {
    /// The hook wasn't called, for this reason.
    NotCalled(String),
    /// The hook was called, on a fresh instance.
    Called(Result<HookResult, Failure>),
}

impl Workbench {
    /// Calls the hooks that have an input, and `question` wherever it is exported. `decided` is the verdict
    /// of `decide` about the same request.
    pub fn call_hooks(
        &self,
        sample: &Sample,
        decided: &DecideReport,
        shown: &HookInputs,
    ) -> Result<Vec<HookReport>, LoadFault> {
        let source = ShownArguments { sample, decided, shown, answer: None, asked: None };
        let mut calls = HookCalls { workbench: self, source, reports: Vec::new() };
        if let Some(answer) = &shown.answer {
            calls.source.answer = Some(answer);
            calls.call(Hook::Settle)?;
            calls.call(Hook::Present)?;
        }
        calls.resolve()?;
        if let Some(code) = &shown.problem {
            calls.explain(code)?;
        }
        Ok(calls.reports)
    }
}

/// The source of the calls' arguments. A fault says why a hook isn't called.
struct ShownArguments<'w> {
    sample: &'w Sample,
    decided: &'w DecideReport,
    shown: &'w HookInputs,
    /// The answer at hand.
    answer: Option<&'w SampleAnswer>,
    /// The question at hand.
    asked: Option<Outbound>,
}

const UNGUARDED: &str = "the request is not guarded";

impl ShownArguments<'_> {
    fn guard(&self) -> Option<&Guard> {
        if let Some(Ok(Verdict::Guard(guard))) = &self.decided.verdict { Some(guard) } else { None }
    }

    fn answer(&self) -> Result<&SampleAnswer, String> {
        self.answer.ok_or_else(|| "there is no answer".into())
    }

    fn problem_of(&self, code: &str) -> Option<ProblemView> {
        let operation = self.guard().map(|guard| self.sample.operation(&self.decided.plan, &guard.key));
        ProblemView::of_code(code, operation)
    }
}

impl ArgumentSource for ShownArguments<'_> {
    type Fault = String;

    fn receipt(&mut self) -> Result<Receipt, String> {
        let guard = self.guard().ok_or(UNGUARDED)?;
        let mut receipt = vectors::receipt(self.sample, &self.decided.plan, guard);
        if let Some(memo) = &self.shown.memo {
            receipt.memo = Some(memo.as_str().into());
        }
        Ok(receipt)
    }

    fn operation(&mut self) -> Result<OwnedOperation, String> {
        let operation = self.sample.view(&self.decided.plan);
        operation.map(|operation| OwnedOperation::of(&operation)).map_err(|_| UNGUARDED.into())
    }

    fn settled_reply(&mut self) -> Result<Reply, String> {
        let (plan, answer) = (&self.decided.plan, self.answer()?);
        match vectors::ruled(plan, answer) {
            None => Ok(answer.declared(plan)),
            Some(rule) => Err(format!(
                "the plan's rule for {}-{} says already: {}",
                rule.lowest,
                rule.highest,
                rule.means.word()
            )),
        }
    }

    fn asked(&mut self, _receipt: &Receipt) -> Result<Outbound, String> {
        self.asked.take().ok_or_else(|| "nothing was asked".into())
    }

    fn found_reply(&mut self) -> Result<Reply, String> {
        Ok(self.answer()?.whole())
    }

    fn kept_reply(&mut self) -> Result<Reply, String> {
        let answer = self.answer()?;
        if !answer.complete {
            return Err("of an answer that was cut off there is no replay".into());
        }
        Ok(answer.whole())
    }

    fn problem(&mut self) -> Result<ProblemView, String> {
        let code = self.shown.problem.as_deref().unwrap_or_default();
        self.problem_of(code).ok_or_else(|| format!("{code} is no problem of the gateway's"))
    }
}

struct HookCalls<'w> {
    workbench: &'w Workbench,
    source: ShownArguments<'w>,
    reports: Vec<HookReport>,
}

impl HookCalls<'_> {
    /// Asks the policy's questions, and has it read the answers that are given.
    fn resolve(&mut self) -> Result<(), LoadFault> {
        let found = &self.source.shown.found;
        if found.is_empty() && !Hook::Question.is_in(self.workbench.compiled.inspected.exports) {
            return Ok(());
        }
        self.source.asked = self.call(Hook::Question)?.and_then(HookResult::question);
        for answer in found {
            self.source.answer = Some(answer);
            let result = match self.source.asked {
                Some(_) => self.call(Hook::Reading)?,
                None => self.report(Hook::Reading, Err("nothing was asked".into()))?,
            };
            self.source.asked = match result.map(HookResult::finding) {
                Some(Finding::Ask(next)) => Some(next),
                _ => None,
            };
        }
        Ok(())
    }

    fn explain(&mut self, code: &str) -> Result<(), LoadFault> {
        let undecided = "the policy has not decided about the request";
        let call = match (&self.source.decided.verdict, self.source.problem_of(code)) {
            (Some(Ok(Verdict::Refuse(_))), _) => Err("a policy's own refusal is worded by itself".into()),
            (_, None) => Err(format!("{code} is no problem of the gateway's")),
            (Some(Ok(_)), _) => Hook::Explain.call_from(&mut self.source).map_err(|_| undecided.into()),
            _ => Err(undecided.into()),
        };
        self.report(Hook::Explain, call).map(drop)
    }

    /// Calls a hook with the answer or problem at hand.
    fn call(&mut self, hook: Hook) -> Result<Option<HookResult>, LoadFault> {
        let call = hook.call_from(&mut self.source);
        self.report(hook, call)
    }

    /// Makes a call on a fresh instance, or notes why the hook isn't called.
    fn report(
        &mut self,
        hook: Hook,
        call: Result<HookCall, String>,
    ) -> Result<Option<HookResult>, LoadFault> {
        let workbench = self.workbench;
        let call = match call {
            _ if !hook.is_in(workbench.compiled.inspected.exports) => {
                Err(format!("the component doesn't export `oncegate:policy/{}`", hook.interface().name()))
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
        let result = instance.call(&call, workbench.budget.call);
        let time = begun.elapsed();
        let returned = result.as_ref().ok().cloned();
        let outcome = HookOutcome::Called(result);
        self.reports.push(HookReport { hook, outcome, log: instance.take_log(), time });
        Ok(returned)
    }
}
