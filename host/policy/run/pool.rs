//! A worker's instances, and the calls of hooks on them.

use crate::engine::limits::{BODY_TIME_MAX, INLINE_TIME_MAX};
use crate::engine::shared::Engine;
use crate::interface::failure::Failure;
use crate::interface::hooks::{HookCall, HookResult};
use crate::interface::v0_1::Shape;
use crate::interface::{Operation, OwnedOperation, Payload, PayloadWant, Plan, Verdict};
use crate::run::budget::CallBudget;
use crate::run::generation::Generation;
use crate::run::instance_cache::{InstanceCache, InstanceCaches};
use crate::view::{DocumentForm, Late, ShownBody, Until};
use oncegate_core::PrincipalId;
use std::cell::RefCell;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The policy instances of one worker thread.
///
/// A call runs on the worker itself, on an instance that is used again, for as long as a worker can spare. A
/// call that takes longer is repeated on a policy thread with the policy's own limit. Hooks are pure, so
/// repeating a call is safe. Nothing is borrowed across an await.
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

    /// As much of a body as the policy's plan wants to see. What is large is read on a policy thread. `turns`: those of
    /// the peer, of whose documents few wait beside those of others.
    pub async fn payload(
        &self,
        generation: &Arc<Generation>,
        body: &Arc<ShownBody>,
        want: fn(&Plan) -> &PayloadWant,
        turns: &Arc<Semaphore>,
    ) -> Result<Payload, Failure> {
        if body.is_small() {
            return in_time(body.payload(want(&generation.plan), Until::THE_END));
        }
        let (held, body) = (Arc::clone(generation), Arc::clone(body));
        let work = move || in_time(body.payload(want(&held.plan), Until::spent(BODY_TIME_MAX)));
        self.in_turn(generation, turns, work).await
    }

    /// The canonical documents of a large body, made on a policy thread; none if the body is no document.
    pub async fn forms(
        &self,
        generation: &Arc<Generation>,
        body: &Arc<ShownBody>,
        shapes: Vec<Shape>,
        turns: &Arc<Semaphore>,
    ) -> Result<Option<Vec<DocumentForm>>, Failure> {
        let body = Arc::clone(body);
        let work = move || in_time(body.forms(shapes, Until::spent(BODY_TIME_MAX)));
        self.in_turn(generation, turns, work).await
    }

    /// Does work on a policy thread. It holds one of `turns` to its end, also when nobody waits for it any more.
    async fn in_turn<T: Send + 'static>(
        &self,
        generation: &Arc<Generation>,
        turns: &Arc<Semaphore>,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = Arc::clone(turns).acquire_owned().await.map_err(|_| Failure::Lost)?;
        let work = move || {
            let _turn = turn;
            work()
        };
        self.engine.threads().work(generation, work).await
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

    /// Calls any other hook. A hook that the component doesn't export returns nothing.
    pub async fn call(
        &self,
        generation: &Arc<Generation>,
        principal: &PrincipalId,
        call: HookCall,
    ) -> Result<HookResult, Failure> {
        if !call.hook().is_in(generation.exports()) {
            return Ok(HookResult::nothing(call.hook()));
        }
        let inline = |cache: &mut InstanceCache, budget: CallBudget| {
            cache.call_with_answer(generation, principal, &call, budget)
        };
        if let Some(result) = self.inline(generation, inline) {
            return result;
        }
        let principal = *principal;
        let slow = move |cache: &mut InstanceCache, generation: &Generation| {
            cache.call_with_answer(generation, &principal, &call, CallBudget::off_worker(generation.time))
        };
        Box::pin(self.engine.threads().call(generation, slow)).await
    }

    /// Drops the instances of all generations but these.
    pub fn retire(&self, keep: &[u64]) {
        self.caches.borrow_mut().retire(keep);
    }

    /// Calls a hook on this thread. None: the call has to go to a policy thread.
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

fn in_time<T>(read: Result<T, Late>) -> Result<T, Failure> {
    read.map_err(|Late| Failure::Body(BODY_TIME_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::tests::{ENGINE, guests, load, run};
    use http::HeaderMap;
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::Poll;

    async fn begin<T>(work: Pin<&mut impl Future<Output = T>>) {
        let mut work = Some(work);
        assert!(poll_fn(|cx| Poll::Ready(work.take().unwrap().poll(cx).is_pending())).await);
    }

    /// A client that resets gave its turn back at once, and its next document came beside the first.
    #[test]
    fn a_turn_lasts_as_long_as_its_work() {
        let one = || load(&guests::keyed_by_header("a", "toy/1")).unwrap();
        let pool = InstancePool::new(&ENGINE);
        let body = Arc::new(ShownBody::new(&HeaderMap::new(), vec![b'1'; 1 << 20].into(), 4 << 20));
        run(async {
            // Nothing else runs meanwhile: there are two threads.
            let (release, released) = crossbeam_channel::bounded::<()>(0);
            let [first, second] = [one(), one()];
            let hold = |generation| {
                let released = released.clone();
                Box::pin(ENGINE.threads().work(generation, move || {
                    let _released = released.recv();
                    Ok(())
                }))
            };
            let mut held = [hold(&first), hold(&second)];
            for held in &mut held {
                begin(held.as_mut()).await;
            }
            let [read, formed] = [one(), one()];
            let turns = [(); 3].map(|()| Arc::new(Semaphore::new(1)));
            let mut payload = Box::pin(pool.payload(&read, &body, |plan| &plan.request_payload, &turns[0]));
            begin(payload.as_mut()).await;
            let mut forms = Box::pin(pool.forms(&formed, &body, vec![], &turns[1]));
            begin(forms.as_mut()).await;
            // The policy has one thread at a time, so that this one waits for its place there.
            let mut queued = Box::pin(pool.forms(&formed, &body, vec![], &turns[2]));
            begin(queued.as_mut()).await;
            let left = || [0, 1, 2].map(|n| turns[n].available_permits());
            assert_eq!(left(), [0, 0, 0]);
            drop((payload, forms, queued));
            assert_eq!(left(), [0, 0, 1], "only what never began gives its turn back");
            drop(release);
            while left() != [1, 1, 1] {
                std::thread::yield_now();
            }
        });
    }
}
