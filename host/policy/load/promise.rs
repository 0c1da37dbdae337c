//! The promise of equal key-schemas: operations keep their keys. Each reload checks it on the operations of
//! the vectors and on recent operations, under the operator's own settings.
//!
//! The check has a direction: the new generation must guard every operation that the old one guarded, with
//! equal key and fingerprint. A refusal in place of a guard runs nothing, and is a warning. Operations that
//! the old generation bypassed, refused or failed on prove nothing.

use crate::interface::failure::Failure;
use crate::interface::{Guard, Plan, Verdict};
use crate::load::sample::{DecideOutcome, Sample};
use crate::load::vectors;
use crate::run::budget::CallBudget;
use crate::run::generation::Generation;
use crate::run::instance::Instance;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A comparison ends after this time; operations that it has not reached by then are not compared.
const TIME_MAX: Duration = Duration::from_secs(10);
/// The most changes that are described in words.
const TOLD_MAX: usize = 3;

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Operations that the old generation guarded.
    pub compared: usize,
    /// Guarded operations that the new generation refuses.
    pub refused: usize,
    /// Guarded operations whose keys or fingerprints differ, or that are no longer guarded.
    pub broken: usize,
    /// Broken operations that are broken on every machine and at any time, and not because a call came to its
    /// time limit.
    pub certain: usize,
    /// The first broken operations, in words without any key.
    pub words: Vec<String>,
}

/// Compares the verdicts of `new` about operations with those of `old`. Blocks; for loads only.
pub fn compare(old: &Generation, new: &Generation) -> Comparison {
    let begun = Instant::now();
    let (mut before, mut after) = (Side::new(old), Side::new(new));
    let mut found = Comparison::default();
    for (whence, sample) in samples(old, new) {
        if begun.elapsed() > TIME_MAX {
            break;
        }
        let Ok(Verdict::Guard(was)) = before.ask(&sample) else { continue };
        found.compared += 1;
        let result = after.ask(&sample);
        let certain = !matches!(result, Err(Silence::ByChance));
        let change = match result {
            Ok(Verdict::Guard(is)) => difference(&sample, (old.plan(), &was), (new.plan(), &is)),
            Ok(Verdict::Refuse(_)) => {
                found.refused += 1;
                None
            }
            Ok(Verdict::Bypass(_)) => Some("is no longer guarded".into()),
            Err(_) => Some("can no longer be judged: the policy fails on it, or wants no part of it".into()),
        };
        if let Some(change) = change {
            found.broken += 1;
            found.certain += usize::from(certain);
            if found.words.len() < TOLD_MAX {
                found.words.push(format!("{} {} ({whence}) {change}", sample.method, sample.path));
            }
        }
    }
    found
}

/// All operations that can be compared: those of both components' vectors, and recent ones.
fn samples(old: &Generation, new: &Generation) -> Vec<(String, Sample)> {
    let mut cases = BTreeSet::new();
    let mut all = Vec::new();
    for section in [old.vectors(), new.vectors()].into_iter().flatten() {
        // The vectors were read before, when their component was loaded.
        for case in vectors::read(section).into_iter().flat_map(|vectors| vectors.cases) {
            if let Ok(sample) = case.sample()
                && cases.insert((case.name.clone(), format!("{sample:?}")))
            {
                all.push((format!("the vector `{}`", case.name), sample));
            }
        }
    }
    all.extend(new.recent().samples().into_iter().map(|sample| ("seen lately".to_owned(), sample)));
    all
}

/// The difference between two guards, as far as it may be told.
fn difference(
    sample: &Sample,
    (old_plan, was): (&Plan, &Guard),
    (new_plan, is): (&Plan, &Guard),
) -> Option<String> {
    if sample.operation(old_plan, &was.key) != sample.operation(new_plan, &is.key) {
        let (before, after) = (was.key.len(), is.key.len());
        let other = was.key.iter().zip(&is.key).position(|(was, is)| was != is);
        return Some(match other {
            Some(index) if before == after => {
                format!("gets another key: part {} of {after} is another", index + 1)
            }
            _ => format!("gets another key: of {after} parts, before of {before}"),
        });
    }
    (sample.fingerprint(&was.fingerprint) != sample.fingerprint(&is.fingerprint))
        .then(|| "gets another fingerprint, so that its retries would be refused".into())
}

/// Why there is no verdict.
enum Silence {
    /// The policy isn't asked, or fails, on every machine.
    ForSure,
    /// The call came to a limit that it may not reach another time.
    ByChance,
}

impl Silence {
    fn of(failure: Failure) -> Self {
        if failure.is_its_own() { Self::ForSure } else { Self::ByChance }
    }
}

/// A generation with an instance, which is made anew when a call breaks it.
struct Side<'g> {
    generation: &'g Generation,
    budget: CallBudget,
    instance: Option<Instance>,
}

impl<'g> Side<'g> {
    fn new(generation: &'g Generation) -> Self {
        Self { generation, budget: CallBudget::loading(generation.time), instance: None }
    }

    fn ask(&mut self, sample: &Sample) -> Result<Verdict, Silence> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.generation.instance(self.budget).map_err(Silence::of)?,
        };
        match sample.ask(&mut instance, self.generation.plan(), self.budget) {
            DecideOutcome::Decided(Ok(verdict)) => {
                self.instance = Some(instance);
                Ok(verdict)
            }
            DecideOutcome::Decided(Err(failure)) => Err(Silence::of(failure)),
            DecideOutcome::NotOfInterest | DecideOutcome::NotUtf8(_) => {
                self.instance = Some(instance);
                Err(Silence::ForSure)
            }
        }
    }
}
