//! Checks that large values leave a policy as it is: an allocator that is wrong, or memory that two allocators take
//! for theirs, is seen only when there is much to hold.

use super::report::Check;
use super::variants;
use super::workbench::{VectorSubject, Workbench};
use crate::interface::failure::Failure;
use crate::interface::{Plan, Verdict};
use crate::load::sample::{DecideOutcome, Sample};
use crate::run::instance::{Instance, settings_text};

/// The most requests that are tried with large values.
const REQUESTS_MAX: usize = 8;
/// How often a used instance is asked about each.
const TIMES: usize = 3;

impl Workbench {
    /// Checks that guarded requests with large values are decided, and alike on a used and on a fresh instance, and
    /// that they change no verdict about small ones.
    pub(super) fn check_large_values(&self, subjects: &[VectorSubject<'_>]) -> Check {
        let mut check = Check::new("large values");
        let mut tried = 0;
        for subject in subjects {
            match self.try_large_values(subject, &mut check) {
                Ok(was_guarded) => tried += usize::from(was_guarded),
                Err(failure) => check.fault(format!("`{}`: {failure}", subject.name)),
            }
            if tried == REQUESTS_MAX {
                break;
            }
        }
        check.scope =
            format!("{tried} guarded requests with large fields and bodies, and as they are after these");
        check
    }

    /// False: the request isn't guarded as it is.
    fn try_large_values(&self, subject: &VectorSubject<'_>, check: &mut Check) -> Result<bool, Failure> {
        let program = self.program.with_settings(&settings_text(&subject.settings));
        let ask = |instance: &mut Instance, plan: &Plan, sample: &Sample| match sample.ask(
            instance,
            plan,
            self.budget,
        ) {
            DecideOutcome::NotOfInterest | DecideOutcome::NotUtf8(_) => None,
            DecideOutcome::Decided(verdict) => Some(verdict),
        };
        let (mut used, plan) = program.instance(self.budget)?;
        let plain = ask(&mut used, &plan, &subject.sample);
        if !matches!(plain, Some(Ok(Verdict::Guard(_)))) {
            return Ok(false);
        }
        for (what, large) in variants::enlarged(&plan, &subject.sample) {
            let alone = ask(&mut program.instance(self.budget)?.0, &plan, &large);
            if let Some(Err(failure)) = &alone {
                told(check, format!("`{}` with {what}: {failure}", subject.name), failure);
                continue;
            }
            let turns = [(&large, &alone, ""), (&subject.sample, &plain, ", asked after it as it is")];
            for (sample, expected, then) in turns.iter().cycle().take(TIMES * turns.len()) {
                if used.is_worn() {
                    used = program.instance(self.budget)?.0;
                }
                let again = ask(&mut used, &plan, sample);
                if again != **expected {
                    let name = &subject.name;
                    check.fault(format!(
                        "`{name}` with {what}{then}: a used instance decides differently from a fresh one"
                    ));
                }
                if matches!(again, Some(Err(_))) {
                    used = program.instance(self.budget)?.0;
                }
            }
        }
        Ok(true)
    }
}

/// A policy may say that something is too large, and the host says it of results. None may break down.
fn told(check: &mut Check, text: String, failure: &Failure) {
    match failure {
        Failure::Trap(_) | Failure::Memory(_) => check.fault(text),
        _ => check.warn(text),
    }
}
