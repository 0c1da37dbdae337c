//! A worker's instances, and the calls of hooks on them.

use crate::policy::engine::limits::INLINE_TIME_MAX;
use crate::policy::engine::shared::Engine;
use crate::policy::interface::failure::Failure;
use crate::policy::interface::{
    Changes, Finding, Operation, Outbound, OwnedOperation, ProblemView, Receipt, Reply, Settlement, Verdict,
    Wording,
};
use crate::policy::run::budget::CallBudget;
use crate::policy::run::generation::Generation;
use crate::policy::run::instance::Instance;
use crate::policy::run::instance_cache::{InstanceCache, InstanceCaches};
use oncegate_core::PrincipalId;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// The policy instances of one worker thread.
///
/// A call runs on the worker itself, on an instance that is used again, for as long as a worker
/// can spare; one that takes longer is repeated on a policy thread with the policy's own limit.
/// Hooks are pure, so repeating them is safe. Nothing is borrowed across an await.
pub struct InstancePool {
    engine: Arc<Engine>,
    caches: RefCell<InstanceCaches>,
}

impl std::fmt::Debug for InstancePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstancePool(..)")
    }
}

impl InstancePool {
    /// An empty pool.
    pub fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine), caches: RefCell::default() }
    }

    /// Asks the policy about an operation.
    pub async fn decide(
        &self,
        generation: &Arc<Generation>,
        operation: &Operation<'_>,
    ) -> Result<Verdict, Failure> {
        let inline =
            |cache: &mut InstanceCache, budget: CallBudget| cache.decide(generation, operation, budget);
        if let Some(result) = self.inline(generation, inline) {
            return result;
        }
        let operation = OwnedOperation::of(operation);
        let slow = move |cache: &mut InstanceCache, generation: &Generation| {
            cache.decide(generation, &operation.borrowed(), CallBudget::off_worker(generation.time))
        };
        Box::pin(self.engine.threads().call(generation, slow)).await
    }

    /// Asks the policy what an answer means; none where it doesn't say.
    pub async fn settle(
        &self,
        generation: &Arc<Generation>,
        principal: &PrincipalId,
        receipt: Receipt,
        reply: Reply,
    ) -> Result<Option<Settlement>, Failure> {
        if !generation.exports().outcome {
            return Ok(None);
        }
        self.call_with_answer(generation, principal, (receipt, reply), |instance, (receipt, reply), time| {
            instance.settle(receipt, reply, time)
        })
        .await
    }

    /// Asks the policy what to ask the upstream about a lost attempt; none: nothing can be asked.
    pub async fn question(
        &self,
        generation: &Arc<Generation>,
        principal: &PrincipalId,
        receipt: Receipt,
    ) -> Result<Option<Outbound>, Failure> {
        self.call_with_answer(generation, principal, receipt, |instance, receipt, time| {
            instance.question(receipt, time)
        })
        .await
    }

    /// Asks the policy what the answer to its question says.
    pub async fn reading(
        &self,
        generation: &Arc<Generation>,
        principal: &PrincipalId,
        receipt: Receipt,
        asked: Outbound,
        reply: Reply,
    ) -> Result<Finding, Failure> {
        let arguments = (receipt, asked, reply);
        self.call_with_answer(generation, principal, arguments, |instance, (receipt, asked, reply), time| {
            instance.reading(receipt, asked, reply, time)
        })
        .await
    }

    /// Asks the policy how a kept answer is arguments to this caller; none: as kept.
    pub async fn present(
        &self,
        generation: &Arc<Generation>,
        principal: &PrincipalId,
        receipt: Receipt,
        operation: OwnedOperation,
        reply: Reply,
    ) -> Result<Option<Changes>, Failure> {
        let arguments = (receipt, operation, reply);
        self.call_with_answer(
            generation,
            principal,
            arguments,
            |instance, (receipt, operation, reply), time| {
                instance.present(receipt, &operation.borrowed(), reply, time)
            },
        )
        .await
    }

    /// Asks the policy for the words of a problem; none: the gateway's own.
    pub async fn explain(
        &self,
        generation: &Arc<Generation>,
        principal: &PrincipalId,
        operation: OwnedOperation,
        problem: ProblemView,
    ) -> Result<Option<Wording>, Failure> {
        self.call_with_answer(
            generation,
            principal,
            (operation, problem),
            |instance, (operation, problem), time| instance.explain(&operation.borrowed(), problem, time),
        )
        .await
    }

    /// Drops the instances of all generations but these.
    pub fn retire(&self, keep: &[u64]) {
        self.caches.borrow_mut().retire(keep);
    }

    /// Calls a hook that sees answers, with what it is arguments.
    async fn call_with_answer<A: Send + 'static, T: Send + 'static>(
        &self,
        generation: &Arc<Generation>,
        principal: &PrincipalId,
        arguments: A,
        hook: fn(&mut Instance, &A, Duration) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let inline = |cache: &mut InstanceCache, budget: CallBudget| {
            cache.call_with_answer(generation, principal, budget, |instance, time| {
                hook(instance, &arguments, time)
            })
        };
        if let Some(result) = self.inline(generation, inline) {
            return result;
        }
        let principal = *principal;
        let slow = move |cache: &mut InstanceCache, generation: &Generation| {
            let budget = CallBudget::off_worker(generation.time);
            cache.call_with_answer(generation, &principal, budget, |instance, time| {
                hook(instance, &arguments, time)
            })
        };
        Box::pin(self.engine.threads().call(generation, slow)).await
    }

    /// Calls a hook on this thread. None: it has to go to a policy thread.
    fn inline<T>(
        &self,
        generation: &Arc<Generation>,
        hook: impl Fn(&mut InstanceCache, CallBudget) -> Result<T, Failure>,
    ) -> Option<Result<T, Failure>> {
        if generation.slow_policy.is_slow() {
            return None;
        }
        let budget = CallBudget::inline(generation.time);
        let mut caches = self.caches.borrow_mut();
        let mut result = hook(caches.of(generation), budget);
        if matches!(result, Err(Failure::Instantiate(_))) {
            // Perhaps idle instances of older generations fill the engine's pool.
            caches.make_room(generation);
            result = hook(caches.of(generation), budget);
        }
        if matches!(result, Err(Failure::Deadline(_))) && generation.time > INLINE_TIME_MAX {
            generation.slow_policy.slowed();
            return None;
        }
        Some(result)
    }
}
