//! The instances that one thread keeps for use again.

use crate::interface::failure::Failure;
use crate::interface::hooks::{HookCall, HookResult};
use crate::interface::{Operation, Verdict};
use crate::run::budget::CallBudget;
use crate::run::generation::Generation;
use crate::run::instance::Instance;
use oncegate_core::PrincipalId;
use std::sync::{Arc, Weak};

/// The number of decisions of which one is repeated on a fresh instance.
const SECOND_OPINION_EVERY: u64 = 1000;
/// The most principals whose instances for hooks that see answers are kept.
const PRINCIPALS_MAX: usize = 4;

/// The instance caches of one thread, one for each generation.
#[derive(Default)]
pub(crate) struct InstanceCaches(Vec<InstanceCache>);

impl InstanceCaches {
    /// The instance cache of `generation`.
    pub(crate) fn of(&mut self, generation: &Arc<Generation>) -> &mut InstanceCache {
        let number = generation.number();
        let index = match self.0.iter().position(|cache| cache.number == number) {
            Some(index) => index,
            None => {
                // This is a good moment to drop generations that no request holds any more.
                self.0.retain(|cache| cache.generation.strong_count() > 0);
                self.0.push(InstanceCache::new(generation));
                self.0.len() - 1
            }
        };
        &mut self.0[index]
    }

    /// Drops the instances of all generations but these.
    pub(crate) fn retire(&mut self, keep: &[u64]) {
        self.0.retain(|cache| keep.contains(&cache.number));
    }

    /// Drops all instances.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Drops the idle instances of other generations, whose places in the pool are needed.
    pub(crate) fn make_room(&mut self, generation: &Generation) {
        self.retire(&[generation.number()]);
    }
}

/// The instances of one generation on one thread.
pub(crate) struct InstanceCache {
    number: u64,
    generation: Weak<Generation>,
    deciding: Option<Instance>,
    by_principal: Vec<(PrincipalId, Instance)>,
    decisions: u64,
}

impl InstanceCache {
    pub(crate) fn new(generation: &Arc<Generation>) -> Self {
        Self {
            number: generation.number(),
            generation: Arc::downgrade(generation),
            deciding: None,
            by_principal: Vec::new(),
            decisions: 0,
        }
    }

    /// Calls `decide`. An instance whose call fails is dropped: the next call gets a new one.
    pub(crate) fn decide(
        &mut self,
        generation: &Generation,
        operation: &Operation<'_>,
        budget: CallBudget,
    ) -> Result<Verdict, Failure> {
        if generation.is_fresh() {
            return generation.instance(budget)?.decide(operation, budget.call);
        }
        // The instance stays in place: a reused instance is not moved on the hot path.
        let instance = match &mut self.deciding {
            Some(instance) => instance,
            empty => empty.insert(generation.instance(budget)?),
        };
        let verdict = instance.decide(operation, budget.call);
        if instance.lingered() {
            generation.slow_policy.slowed();
        }
        if verdict.is_err() || instance.is_worn() {
            self.deciding = None;
        }
        let verdict = verdict?;
        self.decisions += 1;
        if self.decisions.is_multiple_of(SECOND_OPINION_EVERY) {
            return Ok(second_opinion(generation, operation, budget, verdict));
        }
        Ok(verdict)
    }

    /// Calls a hook that sees answers, on an instance that has seen no other principal's answers: a guest's
    /// buffer must not carry one caller's answer to another.
    pub(crate) fn call_with_answer(
        &mut self,
        generation: &Generation,
        principal: &PrincipalId,
        call: &HookCall,
        budget: CallBudget,
    ) -> Result<HookResult, Failure> {
        let kept = self.by_principal.iter().position(|(of, _)| of == principal);
        let mut instance = match kept {
            Some(index) => self.by_principal.swap_remove(index).1,
            None => generation.instance(budget)?,
        };
        let result = instance.call(call, budget.call)?;
        if instance.lingered() {
            generation.slow_policy.slowed();
        }
        if !generation.is_fresh() && !instance.is_worn() {
            if self.by_principal.len() >= PRINCIPALS_MAX {
                self.by_principal.remove(0);
            }
            self.by_principal.push((*principal, instance));
        }
        Ok(result)
    }
}

/// Asks a fresh instance, too. If the two differ, the fresh instance is right, because every other gateway
/// and the next start would give its verdict.
fn second_opinion(
    generation: &Generation,
    operation: &Operation<'_>,
    budget: CallBudget,
    first: Verdict,
) -> Verdict {
    let second = generation.instance(budget).and_then(|mut instance| instance.decide(operation, budget.call));
    match second {
        Ok(second) if second == first => first,
        Ok(second) => {
            generation.distrust();
            second
        }
        // A lack of room or time is no sign of impurity.
        Err(Failure::Deadline(_) | Failure::Body(_) | Failure::Instantiate(_)) => first,
        Err(
            Failure::Trap(_)
            | Failure::Memory(_)
            | Failure::Handed
            | Failure::Err(_)
            | Failure::Invalid(_)
            | Failure::Busy(_)
            | Failure::Lost,
        ) => {
            generation.distrust();
            first
        }
    }
}
