//! The checks of a policy's promises: one check for each promise.

use super::anatomy::counts;
use super::desk::{Desk, VerdictDigest};
use super::report::{Check, PromiseReport};
use super::variants::{self, Guise};
use super::workbench::{VectorSubject, Workbench};
use crate::interface::failure::Failure;
use crate::load::purity::{self, SelfTestReport};
use crate::load::sample::Sample;
use crate::load::vectors;
use crate::run::instance::settings_text;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The most values of one setting that are tried.
const VALUES_MAX: usize = 12;

impl Workbench {
    /// Makes all checks. `seed` orders the shuffled ones.
    pub fn report(&self, seed: u64) -> PromiseReport {
        let is_tested = self.is_tested();
        // Without readable vectors there is nothing to try the other checks with.
        let (Some(_), Ok(subjects)) = (&self.vectors, self.subjects()) else {
            let checks = vec![self.check_vectors(), self.check_self_test()];
            return PromiseReport { checks, is_tested };
        };
        let groups = self.groups(&subjects);
        let (calls, decides) = Self::check_calls(&groups);
        let mut checks: Vec<Check> = calls.into_iter().collect();
        // A policy that never answers breaks no other promise, and keeps none.
        if decides {
            checks.push(self.check_vectors());
            checks.push(self.check_self_test());
            checks.push(self.check_purity(&groups, seed));
            checks.push(self.check_large_values(&subjects));
            checks.push(self.check_guises(&subjects));
            checks.push(self.check_alterations(&subjects));
            checks.push(self.check_settings(&subjects));
        }
        PromiseReport { checks, is_tested }
    }

    /// Checks the test vectors, each on a fresh and on a used instance.
    fn check_vectors(&self) -> Check {
        let mut check = Check::new("vectors");
        let Some(vectors) = &self.vectors else {
            check.warn(
                "the component carries no test vectors: put a vectors.json beside the source and build it with \
                 `oncegate policy build`; a tool may have stripped them (`wasm-tools strip` does)",
            );
            return check;
        };
        check.scope = format!("{} cases, each on a fresh and a used instance", vectors.cases.len());
        if vectors.cases.is_empty() {
            check.warn("there is not one case: nothing is tested");
        }
        for (hook, count) in counts(self.compiled.inspected.exports, vectors) {
            match count {
                0 => check.warn(format!("no case is about `{hook}`, which the component exports")),
                count => check.facts.push(format!("{hook}: {count}")),
            }
        }
        let mut run = vectors::Run::new(&self.program, self.compiled.inspected.exports, self.budget);
        for case in &vectors.cases {
            if let Err(fault) = run.case(case) {
                check.fault(fault.to_string());
            }
        }
        // After failed cases, their groups would report the same faults again.
        if check.faults.is_empty()
            && let Err(fault) = run.check_groups(vectors)
        {
            check.fault(fault.to_string());
        }
        check
    }

    /// Makes the part of the self-test that needs no test vectors, as each load does.
    fn check_self_test(&self) -> Check {
        let mut check = Check::new("self-test");
        let program = self.program_with(self.settings.as_ref());
        let tried = program
            .instance(self.budget)
            .map(|(_, plan)| purity::check(&program, &plan, self.instances, &[], self.self_test_budget));
        match tried {
            Ok(Ok(SelfTestReport { tried, always_fails })) => {
                check.scope = format!("{tried} requests of the gateway's own making, as at each load");
                if let Some(failure) = always_fails {
                    self.tell_always(&mut check, &failure);
                }
            }
            Ok(Err(impure)) => {
                check.fault(format!("the gateway refuses it: it is not pure: {impure}"));
            }
            Err(failure) => check.fault(failure.to_string()),
        }
        check
    }

    /// Where test vectors show that the policy answers, the gateway's requests may just be none of its own.
    fn tell_always(&self, check: &mut Check, failure: &Failure) {
        let text = format!("it fails on each of them that has a value at each place of the plan: {failure}");
        match self.is_tested() {
            true => check.warn(text),
            false => check.fault(format!("{text}; test vectors can show on which requests it answers")),
        }
    }

    /// Whether there is a test vector.
    fn is_tested(&self) -> bool {
        self.vectors.as_ref().is_some_and(|vectors| !vectors.cases.is_empty())
    }

    /// Checks that the key stays the same under changes that must not change it.
    fn check_guises(&self, subjects: &[VectorSubject<'_>]) -> Check {
        let mut check = Check::new("same operation");
        let (mut desk, mut tried) = (Desk::new(self), BTreeMap::<&str, usize>::new());
        for subject in subjects {
            let Ok(plain) = desk.ask(&subject.settings, &subject.sample) else { continue };
            for guise in variants::guises(&subject.sample) {
                *tried.entry(guise.what).or_default() += 1;
                match desk.ask(&subject.settings, &guise.sample) {
                    Ok(decision) => compare_guise(&mut check, subject, &guise, &plain, &decision),
                    Err(failure) => check.fault(failure.to_string()),
                }
            }
        }
        let tried: Vec<String> = tried.iter().map(|(what, times)| format!("{what} ({times})")).collect();
        check.scope = format!("none of these changes a key: {}", tried.join(", "));
        check
    }

    /// Checks which changes alter the key and the fingerprint, and that some change does.
    fn check_alterations(&self, subjects: &[VectorSubject<'_>]) -> Check {
        let mut check = Check::new("another operation");
        let (mut desk, mut found) = (Desk::new(self), BTreeMap::<String, Effects>::new());
        let mut guarded = 0_usize;
        for subject in subjects {
            let Ok(plain @ VerdictDigest::Guard { .. }) = desk.ask(&subject.settings, &subject.sample) else {
                continue;
            };
            guarded += 1;
            let other = Sample { principal: Some("oncegate-somebody-else".into()), ..subject.sample.clone() };
            if desk.ask(&subject.settings, &other).is_ok_and(|decision| decision == plain) {
                check.fault(format!("`{}`: another principal has the same key", subject.name));
            }
            let Ok(plan) = desk.plan(&subject.settings) else { continue };
            let mut moved = false;
            for (what, altered) in variants::alterations(&plan, &subject.sample) {
                let Ok(decision) = desk.ask(&subject.settings, &altered) else { continue };
                let effects = found.entry(what).or_default();
                moved |= effects.count(&plain, &decision);
            }
            if !moved {
                check.fault(format!(
                    "`{}`: nothing in the request changes its key: all requests would be one operation",
                    subject.name
                ));
            }
        }
        if found.get("the body").is_some_and(|effects| effects.nothing > 0) {
            check.warn(
                "another body under the same key is not noticed: its sender gets the answer to the first one; a \
                 fingerprint of `request` or `document` refuses it",
            );
        }
        check.scope = format!("{guarded} guarded requests, one thing changed at a time");
        check.facts = found.iter().map(|(what, effects)| format!("{what}: {}", effects.words())).collect();
        check
    }

    /// Checks that no setting changes which requests are guarded, or their keys, while the key-schema stays
    /// the same.
    fn check_settings(&self, subjects: &[VectorSubject<'_>]) -> Check {
        let mut check = Check::new("settings");
        let bases: Vec<Map<String, Value>> =
            distinct(subjects.iter().map(|subject| subject.settings.clone()));
        let values = self.values(&bases);
        check.scope = format!(
            "{} settings, each changed alone, under {} others: with an equal key-schema, no key changes",
            values.len(),
            bases.len()
        );
        if values.is_empty() {
            check
                .facts
                .push("the component has no settings (no settings.schema.json, none in the vectors)".into());
            return check;
        }
        let mut desk = Desk::new(self);
        let requests = distinct_requests(subjects);
        for (name, values) in &values {
            let mut tried = Vec::new();
            for base in &bases {
                for changed in changes(base, name, values) {
                    tried.extend(compare_settings(&mut check, &mut desk, &requests, name, base, &changed));
                }
            }
            let word = match &tried[..] {
                [] => {
                    "not tried, no two values are known: the vectors may have one, or its schema `examples`"
                }
                tried if tried.contains(&true) => "the key-schema names it",
                _ => "it changes no key",
            };
            check.facts.push(format!("{name}: {word}"));
        }
        check
    }

    /// The values to try for each setting: those in the vectors, and those in the schema.
    fn values(&self, bases: &[Map<String, Value>]) -> BTreeMap<String, Vec<Value>> {
        let mut values = BTreeMap::<String, Vec<Value>>::new();
        for (name, value) in bases.iter().flatten() {
            add(values.entry(name.clone()).or_default(), value.clone());
        }
        let schema = self.compiled.inspected.settings_schema.as_deref();
        let schema: Value = schema.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let known = values.entry(name.clone()).or_default();
            candidates(property).into_iter().for_each(|value| add(known, value));
        }
        values
    }
}

fn add(values: &mut Vec<Value>, value: Value) {
    if values.len() < VALUES_MAX && !values.contains(&value) {
        values.push(value);
    }
}

/// The values that a property's schema names.
fn candidates(property: &Value) -> Vec<Value> {
    let mut values: Vec<Value> =
        property["default"].as_null().map_or(vec![property["default"].clone()], |()| vec![]);
    values.extend(property["enum"].as_array().into_iter().flatten().cloned());
    values.extend(property["examples"].as_array().into_iter().flatten().cloned());
    match property["type"].as_str() {
        Some("boolean") => values.extend([Value::from(false), Value::from(true)]),
        Some("integer" | "number") => {
            for bound in ["minimum", "maximum"] {
                values.extend(property[bound].as_i64().map(Value::from));
            }
        }
        _ => {}
    }
    values
}

/// `base` with another value of `name`, or without it.
fn changes(base: &Map<String, Value>, name: &str, values: &[Value]) -> Vec<Map<String, Value>> {
    let mut changed = Vec::new();
    for value in values.iter().filter(|value| base.get(name) != Some(value)) {
        let mut with = base.clone();
        with.insert(name.into(), value.clone());
        changed.push(with);
    }
    let mut without = base.clone();
    if without.remove(name).is_some() {
        changed.push(without);
    }
    changed
}

/// Compares two settings: true if their key-schemas differ; none if one of the two is refused.
fn compare_settings(
    check: &mut Check,
    desk: &mut Desk<'_>,
    requests: &[&VectorSubject<'_>],
    name: &str,
    base: &Map<String, Value>,
    changed: &Map<String, Value>,
) -> Option<bool> {
    // Settings that the policy refuses are never in force.
    let (Ok(before), Ok(after)) = (desk.plan(base), desk.plan(changed)) else { return None };
    if before.key_schema != after.key_schema {
        return Some(true);
    }
    for subject in requests {
        let (Ok(old), Ok(new)) = (desk.ask(base, &subject.sample), desk.ask(changed, &subject.sample)) else {
            continue;
        };
        let text = format!(
            "`{name}` changed from {} to {} leaves the key-schema at `{}`, but `{}` was {} and is {}",
            shown(base.get(name)),
            shown(changed.get(name)),
            before.key_schema,
            subject.name,
            old.word(),
            new.word(),
        );
        match (&old, &new) {
            (VerdictDigest::Guard { key, .. }, VerdictDigest::Guard { key: other, .. }) if key != other => {
                check.fault(text)
            }
            (VerdictDigest::Guard { fingerprint, .. }, VerdictDigest::Guard { fingerprint: other, .. })
                if fingerprint != other =>
            {
                check.fault(format!("{text}, with another fingerprint"));
            }
            (
                VerdictDigest::Guard { .. },
                VerdictDigest::Bypass | VerdictDigest::Unasked | VerdictDigest::Failed(_),
            ) => check.fault(text),
            // Refusing a request that was guarded runs nothing twice. A request that wasn't guarded proves
            // nothing.
            (
                VerdictDigest::Guard { .. }
                | VerdictDigest::Bypass
                | VerdictDigest::Unasked
                | VerdictDigest::Unshown
                | VerdictDigest::Refuse(_)
                | VerdictDigest::Failed(_),
                _,
            ) => {}
        }
    }
    Some(false)
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("nothing".into(), ToString::to_string)
}

fn compare_guise(
    check: &mut Check,
    subject: &VectorSubject<'_>,
    guise: &Guise,
    plain: &VerdictDigest,
    decision: &VerdictDigest,
) {
    let which = if guise.which.is_empty() { String::new() } else { format!(" `{}`", guise.which) };
    let same = match (plain, decision) {
        (
            VerdictDigest::Guard { key, fingerprint },
            VerdictDigest::Guard { key: other_key, fingerprint: other_fingerprint },
        ) => {
            if key == other_key && guise.rewrites_body && fingerprint != other_fingerprint {
                check.warn(format!(
                    "{} changes the fingerprint: a client that writes its body anew gets 422 key-reused; a \
                     fingerprint of `document` reads it by its meaning",
                    guise.what
                ));
            }
            key == other_key && (guise.rewrites_body || fingerprint == other_fingerprint)
        }
        (plain, decision) => plain == decision,
    };
    if !same {
        check.fault(format!(
            "{}{which} makes of `{}` {}, and it was {}",
            guise.what,
            subject.name,
            decision.word(),
            plain.word()
        ));
    }
}

/// The effects of changing one thing, over all requests.
#[derive(Default)]
struct Effects {
    key: usize,
    fingerprint: usize,
    nothing: usize,
    unguarded: usize,
}

impl Effects {
    /// True if the key changed, or a key appeared or went away.
    fn count(&mut self, plain: &VerdictDigest, decision: &VerdictDigest) -> bool {
        let (
            VerdictDigest::Guard { key, fingerprint },
            VerdictDigest::Guard { key: other_key, fingerprint: other_fingerprint },
        ) = (plain, decision)
        else {
            self.unguarded += 1;
            return true;
        };
        if key != other_key {
            self.key += 1;
            return true;
        }
        if fingerprint == other_fingerprint {
            self.nothing += 1;
        } else {
            self.fingerprint += 1;
        }
        false
    }

    fn words(&self) -> String {
        let counts = [
            (self.key, "another key"),
            (self.fingerprint, "the same key, another fingerprint"),
            (self.nothing, "no difference"),
            (self.unguarded, "not guarded any more"),
        ];
        let there: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, words)| format!("{words} ({n})")).collect();
        there.join("; ")
    }
}

fn distinct(settings: impl Iterator<Item = Map<String, Value>>) -> Vec<Map<String, Value>> {
    let mut seen = BTreeSet::new();
    let mut all = vec![Map::new()];
    seen.insert(settings_text(&all[0]));
    all.extend(settings.filter(|one| seen.insert(settings_text(one))));
    all
}

/// The requests, each counted once even if several vectors have it under different settings.
fn distinct_requests<'w>(subjects: &'w [VectorSubject<'w>]) -> Vec<&'w VectorSubject<'w>> {
    let mut seen = BTreeSet::new();
    subjects.iter().filter(|subject| seen.insert(format!("{:?}", subject.sample))).collect()
}
