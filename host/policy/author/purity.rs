//! Checks that a policy answers at all, and always the same: each call on an instance of its own, and all
//! calls on used instances in shuffled orders.

use super::report::Check;
use super::workbench::{VectorSubject, Workbench};
use crate::interface::failure::Failure;
use crate::interface::hooks::{HookCall, HookResult};
use crate::interface::{Plan, Verdict};
use crate::load::sample::{DecideOutcome, Sample};
use crate::load::vectors::CaseQuestion;
use crate::run::instance::{Instance, settings_text};
use std::collections::{BTreeMap, HashMap};

/// The number of shuffled passes.
const PASSES: u64 = 3;

/// The calls under one set of settings.
pub(super) struct Group<'w> {
    settings: String,
    calls: Vec<Asking<'w>>,
    /// Why there are no calls, or the fault of `configure`.
    fault: Option<String>,
}

/// A call, with its result on an instance of its own.
struct Asking<'w> {
    name: &'w str,
    ask: AnyCall<'w>,
    alone: CallResult,
}

enum AnyCall<'w> {
    Decide(&'w Sample),
    Hook(Box<HookCall>),
}

#[derive(Debug, PartialEq)]
enum CallResult {
    /// The verdict; none: the gateway wouldn't ask.
    Verdict(Option<Result<Verdict, Failure>>),
    Hook(Result<HookResult, Failure>),
}

impl AnyCall<'_> {
    fn hook(&self) -> &'static str {
        match self {
            Self::Decide(_) => "decide",
            Self::Hook(call) => call.hook().name(),
        }
    }

    fn of(&self, instance: &mut Instance, plan: &Plan, workbench: &Workbench) -> CallResult {
        match self {
            Self::Decide(sample) => CallResult::Verdict(match sample.ask(instance, plan, workbench.budget) {
                DecideOutcome::NotOfInterest | DecideOutcome::NotUtf8(_) => None,
                DecideOutcome::Decided(result) => Some(result),
            }),
            Self::Hook(call) => CallResult::Hook(instance.call(call, workbench.budget.call)),
        }
    }
}

impl CallResult {
    fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Verdict(result) => result.as_ref()?.as_ref().err(),
            Self::Hook(result) => result.as_ref().err(),
        }
    }

    fn brief(&self) -> String {
        let mut text = match self {
            Self::Verdict(None) => return "not asked".into(),
            Self::Verdict(Some(Err(failure))) | Self::Hook(Err(failure)) => return failure.to_string(),
            Self::Verdict(Some(Ok(Verdict::Guard(guard)))) => format!("guarded under {:?}", guard.key),
            Self::Verdict(Some(Ok(verdict))) => format!("{verdict:?}"),
            Self::Hook(Ok(word)) => word.json().to_string(),
        };
        if text.len() > 300 {
            text.truncate(text.floor_char_boundary(300));
            text.push('…');
        }
        text
    }
}

impl Workbench {
    /// Makes each call of the test vectors once, on an instance of its own.
    pub(super) fn groups<'w>(&self, subjects: &'w [VectorSubject<'w>]) -> Vec<Group<'w>> {
        let by_settings = by_settings(subjects).into_iter();
        by_settings
            .map(|(settings, subjects)| {
                let mut group = Group { settings, calls: Vec::new(), fault: None };
                if let Err(failure) = self.ask_alone(&subjects, &mut group) {
                    group.fault = Some(format!("the settings {}: {failure}", group.settings));
                }
                group
            })
            .collect()
    }

    fn ask_alone<'w>(
        &self,
        subjects: &[&'w VectorSubject<'w>],
        group: &mut Group<'w>,
    ) -> Result<(), Failure> {
        let program = self.program.with_settings(&group.settings);
        let exports = self.compiled.inspected.exports;
        let mut plan: Option<Plan> = None;
        for subject in subjects {
            let name = subject.name.as_str();
            let (mut instance, found) = program.instance(self.budget)?;
            if plan.as_ref().is_some_and(|plan| *plan != found) {
                group.fault = Some(format!(
                    "`configure` returns another plan the second time with the settings {}",
                    group.settings
                ));
            }
            let ask = AnyCall::Decide(&subject.sample);
            let alone = ask.of(&mut instance, &found, self);
            let decided =
                if let CallResult::Verdict(Some(Ok(verdict))) = &alone { Some(verdict) } else { None };
            // A case that can't be asked is reported with the vectors.
            let question = subject.case.question(&program, exports, self.budget, (&found, decided));
            group.calls.push(Asking { name, ask, alone });
            if let Ok(Some(CaseQuestion::Call(call))) = question
                && call.hook().is_in(exports)
            {
                let (mut instance, plan) = program.instance(self.budget)?;
                let ask = AnyCall::Hook(Box::new(call));
                let alone = ask.of(&mut instance, &plan, self);
                group.calls.push(Asking { name, ask, alone });
            }
            plan = Some(found);
        }
        Ok(())
    }

    /// Finds the hooks of which every call fails, and whether `decide` answers at all: a policy whose
    /// `decide` never answers can't be checked further.
    pub(super) fn check_calls(groups: &[Group<'_>]) -> (Option<Check>, bool) {
        let mut counts = BTreeMap::<&str, (usize, usize)>::new();
        let mut first = HashMap::<&str, &Failure>::new();
        for Asking { ask, alone, .. } in groups.iter().flat_map(|group| &group.calls) {
            if *alone == CallResult::Verdict(None) {
                continue;
            }
            let (all, failed) = counts.entry(ask.hook()).or_default();
            *all += 1;
            if let Some(failure) = alone.failure() {
                *failed += 1;
                first.entry(ask.hook()).or_insert(failure);
            }
        }
        let mut check = Check::new("calls");
        for (hook, (all, failed)) in &counts {
            if let (true, Some(failure)) = (all == failed, first.get(hook)) {
                check.fault(format!("every call of `{hook}` fails, {failed} of {all}: {failure}"));
            }
        }
        let decides = counts.get("decide").is_none_or(|(all, failed)| all != failed);
        if !decides {
            check.facts.push("nothing else can be tried with a policy that never answers".into());
        }
        let calls: usize = counts.values().map(|(all, _)| all).sum();
        check.scope = format!("{calls} calls, each on an instance of its own");
        ((!check.faults.is_empty()).then_some(check), decides)
    }

    /// Checks that one instance gives the same answers in any order as instances of their own.
    pub(super) fn check_purity(&self, groups: &[Group<'_>], seed: u64) -> Check {
        let mut check = Check::new("purity");
        check.scope = format!(
            "{} calls under {} settings, each on an instance of its own and in {PASSES} shuffled orders on used \
             ones (--seed {seed})",
            groups.iter().map(|group| group.calls.len()).sum::<usize>(),
            groups.len(),
        );
        let mut dice = Dice(seed);
        for group in groups {
            if let Some(fault) = &group.fault {
                check.fault(fault);
            }
            if let Err(failure) = self.shuffle(group, &mut dice, &mut check) {
                check.fault(format!("the settings {}: {failure}", group.settings));
            }
        }
        check
    }

    fn shuffle(&self, group: &Group<'_>, dice: &mut Dice, check: &mut Check) -> Result<(), Failure> {
        let program = self.program.with_settings(&group.settings);
        let mut order: Vec<usize> = (0..group.calls.len()).collect();
        for _ in 0..PASSES {
            dice.shuffle(&mut order);
            let (mut instance, plan) = program.instance(self.budget)?;
            let mut before = "the first one";
            for &at in &order {
                let Asking { name, ask, alone } = &group.calls[at];
                let result = ask.of(&mut instance, &plan, self);
                if result != *alone {
                    check.fault(format!(
                        "`{name}` (`{}`), asked after `{before}` on a used instance: {}; on a fresh one: {}",
                        ask.hook(),
                        result.brief(),
                        alone.brief(),
                    ));
                }
                if result.failure().is_some() {
                    instance = program.instance(self.budget)?.0;
                }
                before = name;
            }
        }
        Ok(())
    }
}

fn by_settings<'w>(subjects: &'w [VectorSubject<'w>]) -> Vec<(String, Vec<&'w VectorSubject<'w>>)> {
    let mut groups: Vec<(String, Vec<&VectorSubject<'_>>)> = Vec::new();
    let mut places = HashMap::new();
    for subject in subjects {
        let text = settings_text(&subject.settings);
        let at = *places.entry(text.clone()).or_insert_with(|| {
            groups.push((text, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(subject);
    }
    groups
}

/// SplitMix64: the same seed gives the same orders.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn shuffle(&mut self, order: &mut [usize]) {
        for at in (1..order.len()).rev() {
            // The remainder is below `at + 1`, so it fits.
            let other = usize::try_from(self.roll() % (at as u64 + 1)).unwrap_or_default();
            order.swap(at, other);
        }
    }
}
