//! New operations a second (a claim and its settlement each) and the processor time of one, for each
//! store and number of concurrent writers; and records swept a second, from the end of their retention to the end of their
//! memory. The second must be above what a gateway can take of the first. `cargo bench --bench store`.

use bytes::Bytes;
use oncegate::ledger::Ledger;
use oncegate::store::{AnyStore, Clock, Embedded, Memory, OpenError, Store, Swap, Version};
use oncegate_core::Durability;
use oncegate_core::{
    Answer, AnswerSummary, ExecutionId, Fingerprint, OperationId, Origin, PrincipalId, Recipe, Record, State,
    Times, Timestamp,
};
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PAIRS: u64 = 40_000;
const SWEPT: u64 = 20_000;
const TIME_MAX: Duration = Duration::from_secs(3);
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The stores that are measured.
const STORES: [&str; 3] = ["memory", "embedded async", "embedded sync"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:<16} {:>8} {:>12} {:>14} {:>10}", "store", "writers", "pairs/s", "CPU µs/pair", "worst ms");
    for name in STORES {
        for writers in [1, 16, 128] {
            // Beside the build, so on the same disk, and not in a folder that may be in memory.
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
            let store = store(name, folder.path())?;
            let Measured { pairs, took, cpu, worst } = measure(Arc::new(store), writers)?;
            let (rate, each) = (pairs as f64 / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / pairs as f64);
            let worst = worst.as_secs_f64() * 1e3;
            println!("{name:<16} {writers:>8} {rate:>12.0} {each:>14.1} {worst:>10.1}");
        }
    }
    println!("\n{:<16} {:>12} {:>14}", "store", "swept/s", "CPU µs/record");
    for name in STORES {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let (rate, each) = measure_sweep(store(name, folder.path())?)?;
        println!("{name:<16} {rate:>12.0} {each:>14.1}");
    }
    Ok(())
}

/// The store of this name, new in this folder.
fn store(name: &str, folder: &Path) -> Result<AnyStore, OpenError> {
    let open = |durability| Embedded::open(folder, durability).map(|(store, _)| store);
    Ok(match name {
        "memory" => AnyStore::Memory(Arc::new(Memory::new(1 << 30))),
        "embedded sync" => AnyStore::Embedded(open(Durability::Sync)?),
        _ => AnyStore::Embedded(open(Durability::Async)?),
    })
}

/// The rate at which records are swept, each in its two steps, and the processor time of one.
fn measure_sweep(store: AnyStore) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let day = Duration::from_secs(86_400);
        let clock = Clock::start(NOW.plus(day + Duration::from_secs(1)));
        let (ledger, _keeper) = Ledger::new(store.untimed(), clock, None);
        // As many come to the end of their retention as to the end of their memory.
        let consumed = record(State::Consumed { at: NOW.minus(day), summary: AnswerSummary::default() });
        let completed = completed();
        for portion in (0..2 * SWEPT).collect::<Vec<_>>().chunks(512) {
            let puts = portion.iter().map(|n| {
                let (ledger, next) =
                    (ledger.clone(), if n % 2 == 0 { &completed } else { &consumed }.clone());
                let n = *n;
                async move { put(ledger.store(), n, None, next).await }
            });
            let mut all: tokio::task::JoinSet<_> = puts.collect();
            while all.join_next().await.transpose()?.is_some() {}
        }
        let (started, cpu, mut steps) = (Instant::now(), cpu_time(), 0);
        while steps < 2 * SWEPT {
            steps += ledger.sweep(1024).await? as u64;
        }
        let (took, cpu) = (started.elapsed(), cpu_time().saturating_sub(cpu));
        Ok((SWEPT as f64 / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / SWEPT as f64))
    })
}

struct Measured {
    pairs: u64,
    took: Duration,
    /// Of all threads.
    cpu: Duration,
    /// The pair that took longest.
    worst: Duration,
}

/// Runs so many writers on one worker's runtime.
fn measure(store: Arc<AnyStore>, writers: u64) -> Result<Measured, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (executing, completed) = (executing(), completed());
    let (started, cpu) = (Instant::now(), cpu_time());
    let (pairs, worst) = runtime.block_on(async {
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let (store, executing, completed) = (store.clone(), executing.clone(), completed.clone());
                tokio::spawn(async move {
                    let (mut done, mut worst) = (0, Duration::ZERO);
                    for n in (writer..PAIRS).step_by(writers as usize) {
                        let begun = Instant::now();
                        let claimed = put(&*store, n, None, executing.clone()).await;
                        put(&*store, n, Some(claimed), completed.clone()).await;
                        done += 1;
                        worst = worst.max(begun.elapsed());
                        if started.elapsed() > TIME_MAX {
                            break;
                        }
                    }
                    (done, worst)
                })
            })
            .collect();
        let mut all = (0_u64, Duration::ZERO);
        for task in tasks {
            let (done, worst) = task.await?;
            all = (all.0 + done, all.1.max(worst));
        }
        Ok::<_, tokio::task::JoinError>(all)
    })?;
    Ok(Measured { pairs, took: started.elapsed(), cpu: cpu_time().saturating_sub(cpu), worst })
}

async fn put(store: &impl Store, number: u64, expected: Option<Version>, next: Arc<Record>) -> Version {
    let mut id = [0; 32];
    for (i, chunk) in id.chunks_exact_mut(8).enumerate() {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i as u32 * 16 + 7);
        chunk.copy_from_slice(&mixed.to_le_bytes());
    }
    match store.swap(OperationId(id), expected, Some(next), NOW).await.map(|said| said.value) {
        Ok(Swap::Done(version)) => version,
        other => panic!("a lone writer must win: {other:?}"),
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn executing() -> Arc<Record> {
    record(State::Executing { lease_until: NOW.plus(Duration::from_secs(60)) })
}

/// As a small JSON API answers.
fn completed() -> Arc<Record> {
    let field = |name: &'static str, value: &'static str| (Bytes::from(name), Bytes::from(value));
    let answer = Answer {
        status: 201,
        fields: vec![
            field("content-type", "application/json"),
            field("content-length", "300"),
            field("location", "/v1/charges/ch_1"),
        ],
        body: Bytes::from(vec![b'x'; 300]),
        trailers: Vec::new(),
    };
    record(State::Completed { at: NOW, answer: Arc::new(answer) })
}

fn record(state: State) -> Arc<Record> {
    Arc::new(Record {
        fingerprint: Fingerprint { recipe: Recipe::Request, hash: [3; 32] },
        execution: ExecutionId([5; 16]),
        attempts: 1,
        first_attempt: NOW,
        resent: false,
        times: Times {
            lease: Duration::from_secs(60),
            retention: Duration::from_secs(86_400),
            tombstone: Duration::from_secs(86_400),
            unknown_retention: Duration::from_secs(30 * 86_400),
            memory: Duration::from_secs(2 * 86_400),
        },
        origin: Origin {
            route: "charges".into(),
            policy: "payments".into(),
            key_schema: "idempotency-key/2 from=header:idempotency-key".into(),
            key_epoch: 0,
            normalisation: 1,
            method: "POST".into(),
            authority: "api.example.com".into(),
            path: "/v1/charges".into(),
            principal: PrincipalId([9; 32]),
            first_sent: None,
        },
        memo: None,
        state,
        probing: None,
        resolved_because: None,
    })
}
