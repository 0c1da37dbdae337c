//! Nanoseconds of a policy call: `Pool::decide` beside a bare typed call of the same guest through
//! wasmtime, in one run.
//!
//! `cargo bench --bench policy_call [-- COMPONENT [SETTINGS]]`; without a component a toy guest that
//! returns the value of its first field. What is measured is the thread's CPU time, and the two take
//! turns, so that a busy machine slows both; the smallest and the median batch of each are printed.

#![allow(clippy::unwrap_used, reason = "a benchmark ends where something is wrong")]

#[path = "../guests/mod.rs"]
mod guests;

use guests::Guest;
use oncegate::config::{ComponentSource, Instances, Policy};
use oncegate::policy::{Engine, Generation, Operation, Payload, Pool};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, PoolingAllocationConfig, Store};

#[allow(missing_docs, unreachable_pub, dead_code, reason = "generated, from the frozen interface")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/v0.1",
        world: "full-policy",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
use bindings::exports::oncegate::policy::policy::{Guest as Hooks, GuestIndices};
use bindings::oncegate::policy::types as wit;

const BATCHES: usize = 60;
const CALLS: u32 = 5_000;

fn main() {
    // `cargo bench` puts a flag of its own behind the arguments.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let component = arguments.next().map(PathBuf::from);
    let settings = arguments.next().unwrap_or_else(|| "{}".into());
    let engine = Engine::new(1).unwrap();
    println!("{:<28}{:>12}{:>12}{:>12}{:>12}{:>8}", "ns a call", "pool", "median", "bare", "median", "ratio");
    for headers in [1, 2] {
        let (_folder, path) = guest(component.as_ref(), headers);
        let generation = engine.load(&policy(path.clone(), &settings)).unwrap();
        let fields = fields(&generation, headers);
        let operation = Operation { method: "POST", fields, payload: Payload::Absent };
        let mut bare = Bare::new(&path, &settings);
        let pool = Pool::new(&engine);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..BATCHES {
            ours.push(runtime.block_on(batch(&pool, &generation, &operation)));
            theirs.push(bare.batch(&operation));
        }
        let ((least, median), (bare_least, bare_median)) = (summary(ours), summary(theirs));
        let name = format!("decide, {} fields", operation.fields.len());
        let ratio = median / bare_median;
        println!("{name:<28}{least:>12.0}{median:>12.0}{bare_least:>12.0}{bare_median:>12.0}{ratio:>8.2}");
    }
}

fn guest(component: Option<&PathBuf>, headers: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    if let Some(path) = component {
        return (folder, path.clone());
    }
    let path = folder.path().join("toy.wasm");
    let request_fields = (0..headers).map(|number| format!("x-key-{number}")).collect();
    std::fs::write(&path, Guest { request_fields, ..Guest::default() }.component()).unwrap();
    (folder, path)
}

fn policy(path: PathBuf, settings: &str) -> Policy {
    Policy {
        name: "bench".into(),
        component: ComponentSource::File(path),
        sha256: None,
        settings: serde_json::from_str(settings).unwrap(),
        key_epoch: 0,
        instances: Instances::Reuse,
        trial: Duration::ZERO,
        time: Duration::from_millis(50),
        memory: 64 << 20,
    }
}

/// A value for every declared pseudo-field and for the first `headers` headers.
fn fields(generation: &Generation, headers: usize) -> Vec<(&str, &'static str)> {
    let names = generation.plan().request_fields.iter().map(|field| field.name());
    let (pseudo, header): (Vec<&str>, Vec<&str>) = names.partition(|name| name.starts_with(':'));
    let header = header.into_iter().take(headers).map(|name| (name, "0f8fad5b-d9cb-469f-a165-70867728950e"));
    pseudo.into_iter().map(|name| (name, "/v1/charges")).chain(header).collect()
}

async fn batch(pool: &Pool, generation: &Arc<Generation>, operation: &Operation<'_>) -> f64 {
    let start = clock_gettime(ClockId::ThreadCPUTime);
    for _ in 0..CALLS {
        black_box(pool.decide(generation, black_box(operation)).await).unwrap();
    }
    nanos(start)
}

/// The same call with nothing around it.
struct Bare {
    store: Store<()>,
    hooks: Hooks,
}

impl Bare {
    fn new(path: &PathBuf, settings: &str) -> Self {
        let mut config = Config::new();
        config
            .concurrency_support(false)
            .cranelift_nan_canonicalization(true)
            .epoch_interruption(true)
            .allocation_strategy(PoolingAllocationConfig::new());
        let engine = wasmtime::Engine::new(&config).unwrap();
        let component = Component::from_file(&engine, path).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX >> 1);
        let linked = linker.instantiate_pre(&component).unwrap();
        let instance = linked.instantiate(&mut store).unwrap();
        let hooks = GuestIndices::new(&linked).unwrap().load(&mut store, &instance).unwrap();
        hooks.call_configure(&mut store, settings).unwrap().unwrap();
        Self { store, hooks }
    }

    fn batch(&mut self, operation: &Operation<'_>) -> f64 {
        let fields: Vec<_> =
            operation.fields.iter().map(|&(name, value)| wit::FieldParam { name, value }).collect();
        let start = clock_gettime(ClockId::ThreadCPUTime);
        for _ in 0..CALLS {
            let payload = wit::PayloadParam::Absent;
            let argument = wit::Operation { method: operation.method, fields: black_box(&fields), payload };
            black_box(self.hooks.call_decide(&mut self.store, argument)).unwrap().unwrap();
        }
        nanos(start)
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a batch are few")]
fn nanos(start: Timespec) -> f64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime) - start;
    (spent.tv_sec * 1_000_000_000 + spent.tv_nsec) as f64 / f64::from(CALLS)
}

fn summary(mut batches: Vec<f64>) -> (f64, f64) {
    batches.sort_by(f64::total_cmp);
    (batches[0], batches[batches.len() / 2])
}
