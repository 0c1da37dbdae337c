//! The engine, which all policies and workers of a process share.

use crate::engine::code_cache::CodeCache;
use crate::engine::compiled::Compiled;
use crate::engine::epoch_clock::{EpochClock, EpochThread};
use crate::engine::limits::{AUTHOR_COMPILE_TIME_MAX, COMPILE_TIME_MAX};
use crate::engine::state::InstanceState;
use crate::engine::threads::Threads;
use crate::interface::imports;
use crate::load::recent::Recent;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The most compiled components that are kept, so that going back and forth between files is quick.
const COMPILED_MAX: usize = 8;

/// The engine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refused.
    #[error("the WebAssembly engine doesn't start on this machine: {0}")]
    Wasm(String),
    /// No thread could be started.
    #[error("the policy host can't start its threads: {0}")]
    Threads(#[from] std::io::Error),
}

/// The engine, which all policies and workers of a process share: one WebAssembly engine, the imports,
/// compiled components, the epoch thread and the threads for slow calls. The threads end when the engine is
/// dropped.
pub struct Engine {
    wasm: wasmtime::Engine,
    linker: Linker<InstanceState>,
    compiled: Mutex<Vec<Arc<Compiled>>>,
    code_cache: OnceLock<CodeCache>,
    /// Operations seen lately, by policy.
    recent: Mutex<BTreeMap<Arc<str>, Arc<Recent>>>,
    /// The longest time that a component may compile.
    compile_time: Duration,
    /// Counts, by its owners, the compilers at work.
    compilers: Arc<()>,
    numbers: AtomicU64,
    slow_calls: usize,
    threads: Threads,
    epoch: EpochThread,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine(..)")
    }
}

impl Engine {
    /// An engine for so many workers.
    pub fn new(workers: usize) -> Result<Arc<Self>, EngineError> {
        Self::with_compile_time(workers, COMPILE_TIME_MAX)
    }

    /// An engine for an author's commands. No traffic waits behind them, so a compiler may take its time.
    pub fn for_author() -> Result<Arc<Self>, EngineError> {
        Self::with_compile_time(1, AUTHOR_COMPILE_TIME_MAX)
    }

    fn with_compile_time(workers: usize, compile_time: Duration) -> Result<Arc<Self>, EngineError> {
        let threads = workers.clamp(2, 8);
        let wasm = wasm_engine(workers + threads)?;
        let linker = imports::linker(&wasm).map_err(EngineError::wasm)?;
        Ok(Arc::new(Self {
            linker,
            compiled: Mutex::default(),
            code_cache: OnceLock::new(),
            recent: Mutex::default(),
            compilers: Arc::new(()),
            compile_time,
            numbers: AtomicU64::new(0),
            // One policy alone never occupies every thread.
            slow_calls: threads - 1,
            threads: Threads::start(threads)?,
            epoch: EpochThread::start(&wasm)?,
            wasm,
        }))
    }

    /// The longest time that a component may compile.
    pub(crate) fn compile_time(&self) -> Duration {
        self.compile_time
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }

    pub(crate) fn linker(&self) -> &Linker<InstanceState> {
        &self.linker
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Keeps compiled code in this cache, from now on and for good.
    pub fn keep_code_in(&self, cache: CodeCache) {
        let _ = self.code_cache.set(cache);
    }

    /// The operations of a policy, which its generations share.
    pub(crate) fn recent(&self, policy: &Arc<str>) -> Arc<Recent> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(recent.entry(Arc::clone(policy)).or_default())
    }

    pub(crate) fn code_cache(&self) -> Option<&CodeCache> {
        self.code_cache.get()
    }

    /// The clock that must know when guests run, so that the epoch moves.
    pub(crate) fn clock(&self) -> &Arc<EpochClock> {
        self.epoch.clock()
    }

    pub(crate) fn compilers(&self) -> &Arc<()> {
        &self.compilers
    }

    /// The most slow calls of one policy that may run at a time.
    pub(crate) fn slow_calls(&self) -> usize {
        self.slow_calls
    }

    /// The next generation's number.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The component with this digest, if it was compiled lately.
    pub(crate) fn compiled(&self, digest: &[u8; 32]) -> Option<Arc<Compiled>> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let index = compiled.iter().position(|entry| entry.digest == *digest)?;
        let entry = compiled.remove(index);
        compiled.push(Arc::clone(&entry));
        Some(entry)
    }

    /// Keeps a compiled component, in place of the one that was used longest ago.
    pub(crate) fn keep_compiled(&self, entry: Arc<Compiled>) {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.retain(|other| other.digest != entry.digest);
        if compiled.len() >= COMPILED_MAX {
            compiled.remove(0);
        }
        compiled.push(entry);
    }
}

impl EngineError {
    fn wasm(error: wasmtime::Error) -> Self {
        Self::Wasm(crate::interface::failure::one_line(&error))
    }
}

/// The WebAssembly engine. Where the system has not as many addresses as it would reserve (a limit of the process,
/// a kernel of 39 bits, a sandbox), memories are made one by one and move as they grow. Decisions are the
/// same, and take longer.
fn wasm_engine(threads: usize) -> Result<wasmtime::Engine, EngineError> {
    wasmtime::Engine::new(wasm_config().allocation_strategy(pool_config(threads))).or_else(|error| {
        let mut small = wasm_config();
        small
            .allocation_strategy(InstanceAllocationStrategy::OnDemand)
            .memory_reservation(0)
            .memory_reservation_for_growth(1 << 20)
            .memory_guard_size(64 << 10);
        // Where that fails, too, the first error is the one that says what is missing.
        let engine = wasmtime::Engine::new(&small).map_err(|_| EngineError::wasm(error))?;
        tracing::warn!(
            "this system gives too few addresses for policies to run fast: their calls take longer"
        );
        Ok(engine)
    })
}

/// A deterministic configuration: the same component decides alike on every machine. Threads and the
/// component model's async are not compiled in or are off with `concurrency_support`.
pub(crate) fn wasm_config() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .memory_init_cow(true);
    config
}

/// Room for several generations of several policies on every thread. Unused room costs addresses only: 4 GiB
/// a memory, so that the compiled code needs no bounds checks.
fn pool_config(threads: usize) -> PoolingAllocationConfig {
    let instances = u32::try_from(threads.saturating_mul(48)).unwrap_or(u32::MAX).clamp(256, 2048);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        // A component of componentize-py has 107 core instances.
        .max_core_instances_per_component(256)
        .total_core_instances(instances * 64)
        .max_memories_per_component(8)
        .max_memories_per_module(4)
        .total_memories(instances * 2)
        .max_tables_per_component(64)
        .max_tables_per_module(8)
        .total_tables(instances * 8)
        .max_unused_warm_slots(u32::try_from(threads * 2).unwrap_or(u32::MAX));
    // Only the page map tells which pages to clear: without it, keeping pages means writing all of
    // them.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(256 << 10).table_keep_resident(64 << 10);
    }
    pool
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::process::Command;

    /// What the room promises holds with few addresses, too: its tests run in processes that have a limit.
    #[test]
    fn policies_run_with_few_addresses() {
        let promises = [
            "tests::a_good_policy_loads_and_decides",
            "tests::a_trap_costs_its_own_request_only",
            "tests::each_failure_has_its_kind",
            "tests::an_instance_that_grew_is_replaced_before_it_reaches_the_limit",
            "tests::fresh_instances_remember_nothing",
        ];
        for gibibytes in [512_u64, 64, 8] {
            let run = Command::new("sh")
                .args(["-c", "ulimit -v $1 && shift && exec \"$@\"", "sh", &(gibibytes << 20).to_string()])
                .arg(std::env::current_exe().unwrap())
                .arg("--exact")
                .args(promises)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&run.stdout);
            assert!(run.status.success() && said.contains("5 passed"), "{gibibytes} GiB: {said}");
        }
    }
}
