//! A pass through test vectors, on fresh and on used instances.

use super::arguments::CaseQuestion;
use super::expect::Expect;
use super::fault::VectorFault;
use super::format::{Case, Vectors, read};
use crate::interface::failure::Failure;
use crate::interface::hooks::Exports;
use crate::interface::{Plan, Verdict};
use crate::load::sample::{DecideOutcome, Sample};
use crate::run::budget::CallBudget;
use crate::run::instance::{Instance, LinkedPolicy, settings_text};
use oncegate_core::OperationId;
use std::collections::HashMap;

/// Runs all vectors of `section`. Returns their number.
pub(crate) fn run(
    section: &[u8],
    program: &LinkedPolicy,
    exports: Exports,
    budget: CallBudget,
) -> Result<usize, VectorFault> {
    let vectors = read(section)?;
    let mut run = Run::new(program, exports, budget);
    vectors.cases.iter().try_for_each(|case| run.case(case))?;
    run.check_groups(&vectors)?;
    Ok(vectors.cases.len())
}

/// A pass through test vectors.
pub(crate) struct Run<'p, 'v> {
    program: &'p LinkedPolicy,
    exports: Exports,
    budget: CallBudget,
    /// Instances that have answered a call already, by their settings.
    used: HashMap<String, Instance>,
    keys: HashMap<&'v str, OperationId>,
}

impl<'p, 'v> Run<'p, 'v> {
    pub(crate) fn new(program: &'p LinkedPolicy, exports: Exports, budget: CallBudget) -> Self {
        Self { program, exports, budget, used: HashMap::new(), keys: HashMap::new() }
    }

    /// Asks a fresh and a used instance, and compares their results with the expectation.
    pub(crate) fn case(&mut self, case: &'v Case) -> Result<(), VectorFault> {
        let fault = |failure| VectorFault::Failed { case: case.name.clone(), failure };
        if let Some(hook) = case.expect.hook().filter(|hook| !hook.is_in(self.exports)) {
            let (hook, interface) = (hook.name(), hook.interface().name());
            return Err(VectorFault::NotExported { case: case.name.clone(), hook, interface });
        }
        let settings = settings_text(&case.settings);
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

    /// Runs a case of a hook beside `decide`: its fresh instance has not decided anything, as in service.
    fn hook(
        &self,
        case: &Case,
        program: &LinkedPolicy,
        question: &CaseQuestion,
        worn: &mut Instance,
    ) -> Result<(), VectorFault> {
        let made = program.instance(self.budget);
        let (mut fresh, _) =
            made.map_err(|failure| VectorFault::Failed { case: case.name.clone(), failure })?;
        let result = question.ask(case, &mut fresh, self.budget)?;
        case.check_result(&result)?;
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

    /// Compares keys after all cases were run.
    pub(crate) fn check_groups(&self, vectors: &Vectors) -> Result<(), VectorFault> {
        check_groups(vectors, &self.keys)
    }
}

impl Case {
    /// The verdict of `decide`; none if the host wouldn't ask it.
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

    /// Checks that `configure` refuses the settings in these words, or that the host refuses the plan it
    /// makes.
    fn check_no_plan(
        &self,
        words: Option<&str>,
        program: &LinkedPolicy,
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
            (expect, _) if expect.called().is_some() => return Ok(()),
            (expect, found) => (expect.describe(), describe(found)),
        };
        Err(VectorFault::Differs { case: self.name.clone(), expected, found })
    }
}

/// The verdict of `decide`, in words.
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
