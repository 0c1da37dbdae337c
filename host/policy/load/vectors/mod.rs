//! The self-test: test vectors that a component carries in its custom section `oncegate:vectors`,
//! run at each load on a fresh and on a used instance.
//!
//! ```json
//! { "version": 1,
//!   "cases": [
//!     { "name": "a key is found",
//!       "settings": { "from": ["header:idempotency-key"] },
//!       "route": "charges", "principal": "alice",
//!       "request": "POST /v1/charges?x=1 HTTP/1.1\r\nHost: api\r\nIdempotency-Key: k1\r\n\r\n{\"a\":1}",
//!       "expect": { "guard": { "key": [{ "of": "method" }, { "text": "k1" }], "fingerprint": "request" } } },
//!     { "name": "no key", "request": "POST / HTTP/1.1\n\n", "expect": { "bypass": null } },
//!     { "name": "bad key", "request": "POST / HTTP/1.1\n\n",
//!       "expect": { "refuse": { "status": 400, "code": "key-malformed" } } } ],
//!   "same": [["a key is found", "…"]], "different": [["a key is found", "…"]] }
//! ```
//!
//! `settings` is `{}` where it is left out, `route` "vectors", `principal` nobody. The request is
//! HTTP/1.1 text whose body is all that follows the empty line. Of `guard` what is left out is not
//! compared: `key-schema`, `key`, `fingerprint` (`"request"`, `"key-only"`, `{"document": shape}`,
//! `{"parts": […]}`), `first-sent`, `memo`, `while-running`, `when-unknown`, `retention-seconds`,
//! `tombstone-seconds`, and `forward` and `labels` as lists of pairs. A part is `{"text": …}`, `{"bytes": [0, 255]}`, `{"of": "method"}`,
//! `{"document": {"keep": […], "drop": […]}}` or `"missing"`. `bypass` is the reason, or null for
//! any; a method that the plan has no interest in counts as bypassed. The cases of a group in `same`
//! must be guarded by one key, as the host computes it, those of one in `different` by a key each.
//!
//! `{"no-plan": "words"}`, or null for any, is for settings that can't be: `configure` must return an
//! err that holds the words, or a plan that the host refuses. Such a case has no request.
//!
//! A case of another hook says what that is shown beside the request, and expects its word:
//!
//! ```json
//! { "name": "the service lost its way", "request": "POST /payments HTTP/1.1\r\nIdempotency-Key: k\r\n\r\n",
//!   "answer": "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"lost\"}", "expect": { "settle": "unknown" } }
//! ```
//!
//! [`asking`] has the rules of that.

mod asking;
mod format;

pub(crate) use asking::{CaseQuestion, receipt, ruled};
pub(crate) use format::{Case, Vectors, read};

use crate::policy::interface::failure::Failure;
use crate::policy::interface::v0_1::Exports;
use crate::policy::interface::{Plan, Verdict};
use crate::policy::load::sample::{DecideOutcome, Sample};
use crate::policy::run::budget::CallBudget;
use crate::policy::run::instance::{Instance, Program};
use format::{CASES_MAX, Expect};
use oncegate_core::OperationId;
use std::collections::HashMap;

/// Why a component fails its own test vectors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum VectorFault {
    #[error("`oncegate:vectors` can't be read: {0}")]
    Format(String),
    #[error("`oncegate:vectors` has version {0}: this gateway reads version 1")]
    Version(u32),
    #[error("{0} cases, at most {CASES_MAX} are allowed")]
    TooMany(usize),
    #[error("case `{case}`: the request can't be read: {why}")]
    Request { case: String, why: String },
    #[error("case `{case}`: {why}")]
    Form { case: String, why: String },
    #[error("case `{case}`: the answer can't be read: {why}")]
    Answer { case: String, why: String },
    #[error(
        "case `{case}` expects `{hook}`, and the component doesn't export `oncegate:policy/{interface}`: export it, or \
         take the case away"
    )]
    NotExported { case: String, hook: &'static str, interface: &'static str },
    #[error("case `{case}` expects `{hook}`, which is never asked here: {why}")]
    NeverAsked { case: String, hook: &'static str, why: String },
    #[error("case `{case}`: {failure}")]
    Failed { case: String, failure: Failure },
    #[error("case `{case}`: `{hook}` {failure}")]
    HookFailed { case: String, hook: &'static str, failure: Failure },
    #[error("case `{case}`: expected {expected}, found {found}")]
    Differs { case: String, expected: String, found: String },
    #[error("case `{case}`: a used instance decides differently from a fresh one: the policy is not pure")]
    Impure { case: String },
    #[error(
        "case `{case}`: a used instance answers `{hook}` with {used}, a fresh one with {fresh}: the policy is not pure"
    )]
    ImpureHook { case: String, hook: &'static str, used: String, fresh: String },
    #[error("`{group}` names the case `{case}`, which is not there or is not guarded")]
    Unkeyed { group: &'static str, case: String },
    #[error("cases `{first}` and `{second}` must have the same key and don't")]
    NotSame { first: String, second: String },
    #[error("cases `{first}` and `{second}` must have different keys and don't")]
    NotDifferent { first: String, second: String },
}

/// Runs all vectors of `section`. Returns how many there are.
pub(crate) fn run(
    section: &[u8],
    program: &Program,
    exports: Exports,
    budget: CallBudget,
) -> Result<usize, VectorFault> {
    let vectors = read(section)?;
    let mut run = Run::new(program, exports, budget);
    vectors.cases.iter().try_for_each(|case| run.case(case))?;
    run.check_groups(&vectors)?;
    Ok(vectors.cases.len())
}

/// One pass through vectors.
pub(crate) struct Run<'p, 'v> {
    program: &'p Program,
    exports: Exports,
    budget: CallBudget,
    /// Instances that have been asked something already, by their settings.
    used: HashMap<String, Instance>,
    keys: HashMap<&'v str, OperationId>,
}

impl<'p, 'v> Run<'p, 'v> {
    pub(crate) fn new(program: &'p Program, exports: Exports, budget: CallBudget) -> Self {
        Self { program, exports, budget, used: HashMap::new(), keys: HashMap::new() }
    }

    /// Asks a fresh and a used instance, and holds what they say against what is expected.
    pub(crate) fn case(&mut self, case: &'v Case) -> Result<(), VectorFault> {
        let fault = |failure| VectorFault::Failed { case: case.name.clone(), failure };
        if let Some(hook) = case.expect.hook().filter(|hook| !hook.is_in(self.exports)) {
            let (hook, interface) = (hook.name(), hook.interface());
            return Err(VectorFault::NotExported { case: case.name.clone(), hook, interface });
        }
        let settings = crate::policy::load::pipeline::settings_text(&case.settings);
        let program = self.program.with_settings(&settings);
        if let Expect::NoPlan(words) = &case.expect {
            return case.check_no_plan(words.as_deref(), &program, self.budget);
        }
        let sample = case.sample()?;
        let (mut fresh, plan) = program.instance(self.budget).map_err(fault)?;
        let first = case.decide(&mut fresh, &plan, &sample, self.budget)?;
        case.check(&plan, first.as_ref())?;
        let mut worn = self.used.remove(&settings).unwrap_or(fresh);
        if case.decide(&mut worn, &plan, &sample, self.budget)? != first {
            return Err(VectorFault::Impure { case: case.name.clone() });
        }
        let question = case.question(&program, self.exports, self.budget, (&plan, first.as_ref()))?;
        if let Some(question) = question {
            self.hook(case, &program, &question, &mut worn)?;
        }
        self.used.insert(settings, worn);
        if let Some(Verdict::Guard(guard)) = first {
            self.keys.insert(case.name.as_str(), sample.operation(&plan, &guard.key));
        }
        Ok(())
    }

    /// The same for a hook beside `decide`: its fresh instance has not decided anything, as in service.
    fn hook(
        &self,
        case: &Case,
        program: &Program,
        question: &CaseQuestion,
        worn: &mut Instance,
    ) -> Result<(), VectorFault> {
        let made = program.instance(self.budget);
        let (mut fresh, _) =
            made.map_err(|failure| VectorFault::Failed { case: case.name.clone(), failure })?;
        let result = question.ask(case, &mut fresh, self.budget)?;
        case.check_word(&result)?;
        let again = question.ask(case, worn, self.budget)?;
        if again != result {
            return Err(VectorFault::ImpureHook {
                case: case.name.clone(),
                hook: case.hook_name(),
                used: again.to_string(),
                fresh: result.to_string(),
            });
        }
        Ok(())
    }

    /// Compares keys, when all cases were run.
    pub(crate) fn check_groups(&self, vectors: &Vectors) -> Result<(), VectorFault> {
        check_groups(vectors, &self.keys)
    }
}

impl Case {
    /// What `decide` says; none where the host wouldn't ask it.
    fn decide(
        &self,
        instance: &mut Instance,
        plan: &Plan,
        sample: &Sample,
        budget: CallBudget,
    ) -> Result<Option<Verdict>, VectorFault> {
        match sample.ask(instance, plan, budget) {
            DecideOutcome::NotOfInterest => Ok(None),
            DecideOutcome::NotUtf8(why) => {
                Err(VectorFault::Request { case: self.name.clone(), why: why.to_string() })
            }
            DecideOutcome::Decided(verdict) => {
                let failed = |failure| VectorFault::Failed { case: self.name.clone(), failure };
                verdict.map(Some).map_err(failed)
            }
        }
    }

    /// `configure` must refuse the settings, in these words, or the host the plan that it makes of them.
    fn check_no_plan(
        &self,
        words: Option<&str>,
        program: &Program,
        budget: CallBudget,
    ) -> Result<(), VectorFault> {
        let found = match program.instance(budget) {
            Err(failure @ (Failure::Err(_) | Failure::Invalid(_))) => {
                let result = failure.to_string();
                if words.is_none_or(|words| result.contains(words)) {
                    return Ok(());
                }
                result
            }
            Err(failure) => return Err(VectorFault::Failed { case: self.name.clone(), failure }),
            Ok((_, plan)) => format!("a plan with the key-schema {:?}", plan.key_schema),
        };
        Err(VectorFault::Differs { case: self.name.clone(), expected: self.expect.describe(), found })
    }

    fn check(&self, plan: &Plan, found: Option<&Verdict>) -> Result<(), VectorFault> {
        let (expected, found) = match (&self.expect, found) {
            (Expect::Bypass(None), None | Some(Verdict::Bypass(_))) => return Ok(()),
            (Expect::Bypass(Some(reason)), Some(Verdict::Bypass(found))) if found == reason => return Ok(()),
            (Expect::Refuse { status, code }, Some(Verdict::Refuse(refusal)))
                if refusal.status == *status && refusal.code == *code =>
            {
                return Ok(());
            }
            (Expect::Guard(expected), Some(Verdict::Guard(guard))) => {
                match expected.difference(&plan.key_schema, guard) {
                    None => return Ok(()),
                    Some(difference) => difference,
                }
            }
            (expect, _) if expect.is_of_a_hook() => return Ok(()),
            (expect, found) => (expect.describe(), describe(found)),
        };
        Err(VectorFault::Differs { case: self.name.clone(), expected, found })
    }
}

/// What `decide` result, in words.
fn describe(verdict: Option<&Verdict>) -> String {
    match verdict {
        None => "a method that the plan has no interest in".into(),
        Some(Verdict::Bypass(reason)) => format!("a bypass ({reason})"),
        Some(Verdict::Guard(guard)) => format!("a guard under {:?}", guard.key),
        Some(Verdict::Refuse(refusal)) => {
            format!("a refusal ({} {}: {})", refusal.status, refusal.code, refusal.detail)
        }
    }
}

fn check_groups(vectors: &Vectors, keys: &HashMap<&str, OperationId>) -> Result<(), VectorFault> {
    for (name, groups, wanted) in [("same", &vectors.same, true), ("different", &vectors.different, false)] {
        for group in groups {
            let mut seen: Vec<(&String, &OperationId)> = Vec::with_capacity(group.len());
            for case in group {
                let key = keys.get(case.as_str());
                let key = key.ok_or_else(|| VectorFault::Unkeyed { group: name, case: case.clone() })?;
                if let Some((other, _)) = seen.iter().find(|(_, other)| (*other == key) != wanted) {
                    let (first, second) = ((*other).clone(), case.clone());
                    return Err(match wanted {
                        true => VectorFault::NotSame { first, second },
                        false => VectorFault::NotDifferent { first, second },
                    });
                }
                seen.push((case, key));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
