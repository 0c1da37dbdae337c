//! Nanoseconds of a policy call: what the gateway does beside a bare typed call of the same guest
//! through wasmtime, in one run.
//!
//! `cargo bench --bench policy_call [-- COMPONENT [SETTINGS]]`; without a component the Rust policies of
//! `plugins/`. The request has twelve headers. `call` is `InstancePool::decide` with the declared fields at hand,
//! as the bare call has them; `pick` takes them out of the twelve first. What is measured is the thread's
//! CPU time, and the three take turns in batches; of each the least and the median batch are printed, and
//! of the ratio to the bare call the median of the turns, for what slows one slows its neighbours too.

#![allow(clippy::unwrap_used, reason = "a benchmark ends where something is wrong")]

use http::{HeaderMap, HeaderName, HeaderValue};
use oncegate::config::{ComponentSource, Instances, Policy};
use oncegate::policy::view::{self, Seen};
use oncegate::policy::{Engine, Generation, InstancePool, Operation, Payload, RequestField};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::hint::black_box;
use std::path::{Path, PathBuf};
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

/// As in the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TURNS: usize = 100;
const CALLS: u32 = 5_000;
const HEADERS: usize = 12;

fn main() {
    // `cargo bench` puts a flag of its own behind the arguments.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let component = arguments.next().map(PathBuf::from);
    let settings = arguments.next().unwrap_or_else(|| "{}".into());
    let engine = Engine::new(1).unwrap();
    println!("CPU ns a call, least / median of {TURNS} batches; ÷ bare: median of the turns");
    println!("{:<36}{:>13}{:>8}{:>13}{:>8}{:>13}", "", "call", "÷ bare", "pick, call", "÷ bare", "bare");
    let own = ["agent-step", "header-key", "idempotency-key"];
    let own = own.map(|name| Path::new("plugins").join(name).join(format!("{name}.wasm")));
    for path in component.map_or_else(|| own.to_vec(), |path| vec![path]) {
        measure(&engine, &path, &settings);
    }
}

fn measure(engine: &Arc<Engine>, path: &Path, settings: &str) {
    let generation = engine.load(&policy(path.to_owned(), settings)).unwrap();
    let headers = headers(&generation);
    let operation = picked(&generation, &headers);
    let mut bare = Bare::new(path, settings);
    let pool = InstancePool::new(engine);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let [mut calls, mut whole, mut bares, mut call_ratios, mut whole_ratios] = [const { Vec::new() }; 5];
    for _ in 0..TURNS {
        calls.push(runtime.block_on(batch(&pool, &generation, &operation)));
        bares.push(bare.batch(&operation));
        whole.push(runtime.block_on(batch_with_pick(&pool, &generation, &headers)));
        let turn = calls.len() - 1;
        call_ratios.push(calls[turn] / bares[turn]);
        whole_ratios.push(whole[turn] / bares[turn]);
    }
    let name = path.file_stem().unwrap().to_string_lossy();
    let name = format!("{name}: {} of {HEADERS} headers", operation.fields.len());
    let (call_ratio, whole_ratio) = (median(&mut call_ratios), median(&mut whole_ratios));
    let [calls, whole, bares] = [calls, whole, bares].map(summary);
    println!("{name:<36}{calls:>13}{call_ratio:>8.2}{whole:>13}{whole_ratio:>8.2}{bares:>13}");
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

/// Twelve headers as a client library sends them, those that the plan declares in their midst.
fn headers(generation: &Generation) -> HeaderMap {
    let usual = [
        ("host", "api.example.com"),
        ("user-agent", "python-requests/2.32.3"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, deflate, br"),
        ("authorization", "Bearer 0f8fad5bd9cb469fa16570867728950e"),
        ("content-type", "application/json"),
        ("content-length", "300"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-forwarded-for", "203.0.113.7"),
        ("cache-control", "no-cache"),
        ("connection", "keep-alive"),
        ("accept-language", "en"),
    ];
    let declared = generation.plan().request_fields.iter().filter_map(|field| match field {
        RequestField::Header(name) => Some((name.clone(), "0f8fad5b-d9cb-469f-a165-70867728950e")),
        _ => None,
    });
    let declared: Vec<_> = declared.collect();
    let usual = usual.iter().map(|&(name, value)| (HeaderName::from_static(name), value));
    let others = usual.take(HEADERS - declared.len()).collect::<Vec<_>>();
    let all = others.into_iter().chain(declared);
    all.map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

fn picked<'a>(generation: &'a Generation, headers: &'a HeaderMap) -> Operation<'a> {
    let seen = Seen {
        authority: Some("api.example.com"),
        path: "/v1/charges",
        query: None,
        route: "charges",
        principal: Some("9f2c"),
        headers,
    };
    let fields = view::fields(generation.plan(), &seen).unwrap();
    Operation { method: "POST", fields, payload: Payload::Absent }
}

async fn batch(pool: &InstancePool, generation: &Arc<Generation>, operation: &Operation<'_>) -> f64 {
    let start = clock_gettime(ClockId::ThreadCPUTime);
    for _ in 0..CALLS {
        black_box(pool.decide(generation, black_box(operation)).await).unwrap();
    }
    nanos(start)
}

async fn batch_with_pick(pool: &InstancePool, generation: &Arc<Generation>, headers: &HeaderMap) -> f64 {
    let start = clock_gettime(ClockId::ThreadCPUTime);
    for _ in 0..CALLS {
        let operation = picked(generation, black_box(headers));
        black_box(pool.decide(generation, &operation).await).unwrap();
    }
    nanos(start)
}

/// The same call with nothing around it.
struct Bare {
    store: Store<()>,
    hooks: Hooks,
}

impl Bare {
    fn new(path: &Path, settings: &str) -> Self {
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

fn median(batches: &mut [f64]) -> f64 {
    batches.sort_by(f64::total_cmp);
    batches[batches.len() / 2]
}

fn summary(mut batches: Vec<f64>) -> String {
    let median = median(&mut batches);
    format!("{:.0} / {median:.0}", batches[0])
}
