//! The time that a policy takes: to load, and for a call on a used and on a fresh instance.

use crate::engine::processor::processor_time;
use crate::engine::shared::{Engine, EngineError};
use crate::interface::failure::Failure;
use crate::load::pipeline::LoadError;
use crate::load::sample::Sample;
use crate::run::budget::CallBudget;
use crate::run::generation::Generation;
use crate::run::instance_cache::InstanceCache;
use crate::view::seen::NotUtf8;
use oncegate_config as config;
use serde::Serialize;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The number of batches in which calls are timed; the least and the middle one are reported.
const BATCHES: usize = 31;
/// The approximate time of one batch.
const BATCH_TIME: Duration = Duration::from_millis(8);

/// Processor time of one call, in nanoseconds, over the batches.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The time in the quickest batch.
    pub least: u64,
    /// The time in the middle batch.
    pub median: u64,
}

/// The measurements of one component.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// Bytes of its file.
    pub size: usize,
    /// Wall-clock milliseconds to load the component for the first time: read, compile, configure, test.
    pub load_ms: f64,
    /// Wall-clock milliseconds to load the component when its compiled code is kept from before.
    pub load_again_ms: f64,
    /// A call on an instance that is used again.
    pub reused_ns: Spread,
    /// A call on an instance of its own, which is made and configured for it.
    pub fresh_ns: Spread,
    /// Bytes of linear memory of an instance that has been called.
    pub memory: usize,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum Unmeasured {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    NotUtf8(#[from] NotUtf8),
    #[error("the policy fails the call that is to be measured: {0}")]
    Call(#[from] Failure),
}

/// Loads a policy as the gateway does and calls it with one request, over and over.
pub fn measure(policy: &config::Policy, sample: &Sample) -> Result<Timing, Unmeasured> {
    // An engine of its own has compiled nothing yet.
    let engine = Engine::for_author()?;
    let (load, generation) = timed(|| engine.load(policy))?;
    let (load_again, _) = timed(|| engine.load(policy))?;
    let fresh = config::Policy { instances: config::Instances::Fresh, ..policy.clone() };
    let fresh = engine.load(&fresh)?;
    let memory = memory(&generation, sample)?;
    Ok(Timing {
        size: generation.size(),
        load_ms: load.as_secs_f64() * 1e3,
        load_again_ms: load_again.as_secs_f64() * 1e3,
        reused_ns: spread(&generation, sample)?,
        fresh_ns: spread(&fresh, sample)?,
        memory,
    })
}

fn timed(
    load: impl FnOnce() -> Result<Arc<Generation>, LoadError>,
) -> Result<(Duration, Arc<Generation>), LoadError> {
    let begun = Instant::now();
    let generation = load()?;
    Ok((begun.elapsed(), generation))
}

fn memory(generation: &Arc<Generation>, sample: &Sample) -> Result<usize, Unmeasured> {
    let budget = CallBudget::off_worker(generation.time);
    let mut instance = generation.instance(budget)?;
    instance.decide(&sample.view(generation.plan())?, budget.call)?;
    Ok(instance.memory())
}

/// Times calls on the gateway's own way for one thread.
fn spread(generation: &Arc<Generation>, sample: &Sample) -> Result<Spread, Unmeasured> {
    let operation = sample.view(generation.plan())?;
    let budget = CallBudget::off_worker(generation.time);
    let mut cache = InstanceCache::new(generation);
    let mut batch = |calls: u32| -> Result<Duration, Failure> {
        let begun = processor_time();
        for _ in 0..calls {
            black_box(cache.decide(generation, black_box(&operation), budget)?);
        }
        Ok(processor_time().saturating_sub(begun))
    };
    let warm = batch(3)? / 3;
    let calls = BATCH_TIME.as_nanos() / warm.as_nanos().max(100);
    let calls = u32::try_from(calls).unwrap_or(u32::MAX).clamp(1, 50_000);
    let mut times = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        times.push(batch(calls)?.as_nanos() / u128::from(calls));
    }
    times.sort_unstable();
    let nanos = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
    Ok(Spread { least: nanos(times[0]), median: nanos(times[BATCHES / 2]) })
}
