//! The check that generations keep the promise of their key-schemas.

use super::report::PROMISE;
use crate::gateway::ActiveConfig;
use crate::policy::{Comparison, Generation, Generations, Step, Steps, compare};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// The result of comparing a new generation with the one before.
#[derive(Clone, Debug)]
pub(super) struct PromiseCheck {
    pub(super) steps: Vec<Step>,
    pub(super) warnings: Vec<String>,
}

/// The promise checks by policy.
pub(super) type Promises = BTreeMap<Arc<str>, PromiseCheck>;

/// Keys that would change though the key space says that they don't.
#[derive(Debug, thiserror::Error)]
#[error(
    "policy `{policy}`: operations would get other keys or lose their guard, and run again, though the key-schema is \
     still {key_schema:?}: {seen}. Have it make the keys that it made, or another key-schema; or raise \
     `policies.{policy}.key_epoch` to say that keys change"
)]
pub struct PromiseBroken {
    /// The policy.
    pub policy: Arc<str>,
    /// The key-schema that both generations claim.
    pub key_schema: Arc<str>,
    /// The changes that were found, with the number of operations compared.
    pub seen: String,
    /// The finding that the ledger should record. None: it is recorded already, or it may differ on another
    /// machine.
    pub to_record: Option<String>,
    /// The steps of its load, this check the last.
    pub steps: Vec<Step>,
}

impl PromiseBroken {
    /// The refusal of a generation that the ledger has recorded, by this gateway or another.
    pub(super) fn recorded(new: &Generation, why: &str) -> Self {
        let mut steps = Steps::default();
        steps.taken(PROMISE, Instant::now(), false);
        steps.note("refused before");
        Self {
            policy: new.name().clone(),
            key_schema: new.plan().key_schema.clone(),
            seen: format!("so it was found before, and the ledger keeps that; {why}"),
            to_record: None,
            steps: new.steps().iter().cloned().chain(steps.into_vec()).collect(),
        }
    }
}

/// The derivers of each policy's key space before a reload, where `next` has another generation: the active
/// generation or an older one. A policy without one has made no promise; the ledger takes or refuses it.
pub(super) fn derivers_before(active: &ActiveConfig, next: &Generations) -> Generations {
    let before = |(name, new): (&Arc<str>, &Arc<Generation>)| {
        let deciding = active.generations.get(name);
        if deciding.is_some_and(|old| old.number() == new.number()) {
            return None;
        }
        let older = active.spaces.open.get(name).into_iter().flat_map(|spaces| &spaces.older);
        let mut known = deciding.into_iter().chain(older.map(|older| &older.generation));
        known.find(|old| old.shares_keys_with(new)).map(|old| (name.clone(), old.clone()))
    };
    next.iter().filter_map(before).collect()
}

/// Checks each policy of `next` against the derivers `before`. Blocks.
pub(super) fn check(before: &Generations, next: &Generations) -> Result<Promises, PromiseBroken> {
    let one = |(name, new): (&Arc<str>, &Arc<Generation>)| {
        let checked = before.get(name).map_or_else(|| Ok(none_before()), |old| one(name, old, new));
        Ok((name.clone(), checked?))
    };
    next.iter().map(one).collect()
}

/// The check of a policy that has made no promise yet.
fn none_before() -> PromiseCheck {
    let mut steps = Steps::default();
    steps.taken(PROMISE, Instant::now(), true);
    steps.note("nothing before it in its key space");
    PromiseCheck { steps: steps.into_vec(), warnings: Vec::new() }
}

fn one(name: &Arc<str>, old: &Generation, new: &Generation) -> Result<PromiseCheck, PromiseBroken> {
    let mut steps = Steps::default();
    let (mut found, mut warnings) = (Comparison::default(), Vec::new());
    let kept = steps.take(PROMISE, || {
        found = compare(old, new);
        if found.broken == 0 { Ok(()) } else { Err(()) }
    });
    steps.note(format!("{} operations compared", found.compared));
    if kept.is_err() {
        let key_schema = new.plan().key_schema.clone();
        let steps = new.steps().iter().cloned().chain(steps.into_vec()).collect();
        let words = found.words.join("; ");
        let seen = format!("{} of {} compared; {words}", found.broken, found.compared);
        let to_record = (found.certain > 0).then_some(words);
        return Err(PromiseBroken { policy: name.clone(), key_schema, seen, to_record, steps });
    }
    if found.refused > 0 {
        warnings.push(format!(
            "policy `{name}` now refuses {} of {} operations that it guarded: their retries are turned away",
            found.refused, found.compared
        ));
    }
    let changed = old.digest() != new.digest() || old.settings() != new.settings();
    if found.compared == 0 && changed {
        warnings.push(format!(
            "policy `{name}` has changed and nothing could be compared: its component carries no test vectors that \
             it guarded, and no operation was seen lately. That keys are as before rests on its word"
        ));
    }
    Ok(PromiseCheck { steps: steps.into_vec(), warnings })
}
