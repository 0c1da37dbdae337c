//! Threads of one process, interleaved by shuttle: the store in memory and the ledger, with three threads and two keys.
//! How it works, what it sees and what not: ../../README.md, "Threads".

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../common/mod.rs"]
mod common;
mod ledger;
mod memory;
mod story;

use common::origin;
use oncegate_core::{
    Claim, ExecutionId, Fingerprint, OperationId, Recipe, Rules, Times, Timestamp, WhenUnknown, WhileRunning,
};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use shuttled_tokio::time;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// An hour, in a scene of seconds.
const LONG: Duration = Duration::from_secs(3_600);

/// Two keys apart from each other, and two that share every lock which keys can share.
const KEYS: [[OperationId; 2]; 2] =
    [[OperationId([1; 32]), OperationId([2; 32])], [OperationId([1; 32]), OperationId([9; 32])]];

thread_local! {
    static SCHEDULES: Cell<usize> = const { Cell::new(0) };
}

/// Plays a scene by so many schedules, half of them drawn step by step, half with few changes of thread at places that
/// are drawn (PCT). They are the same each time.
fn play(schedules: usize, scene: fn()) {
    let config = || {
        let mut config = Config::new();
        config.stack_size = 1 << 18;
        config.silence_warnings = true;
        config
    };
    let by = |name: &str, scheduler: Box<dyn Scheduler + Send>| {
        SCHEDULES.set(0);
        let all = || {
            Runner::new(scheduler, config()).run(move || {
                SCHEDULES.set(SCHEDULES.get() + 1);
                time::reset();
                scene();
            });
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(all)) {
            eprintln!("seen by {name} schedule {}", SCHEDULES.get());
            resume_unwind(panic);
        }
    };
    by("drawn", Box::new(RandomScheduler::new_from_seed(1, schedules / 2)));
    by("PCT", Box::new(PctScheduler::new_from_seed(1, 4, schedules / 2)));
}

/// A number below `end`. The schedule has it.
fn draw(end: u32) -> u32 {
    thread_rng().gen_range(0..end)
}

fn keys() -> [OperationId; 2] {
    KEYS[draw(2) as usize]
}

const HOLD: Rules = Rules { while_running: WhileRunning::Wait, when_unknown: WhenUnknown::Hold };

const START: Timestamp = Timestamp::from_secs(1_800_000_000);

fn claim(execution: ExecutionId, lease: Duration, now: Timestamp) -> Claim {
    Claim {
        fingerprint: Fingerprint { recipe: Recipe::Request, hash: [3; 32] },
        execution,
        times: Times { lease, retention: LONG, tombstone: LONG, unknown_retention: LONG, memory: LONG * 2 },
        origin: origin(),
        memo: None,
        clock: now,
        remembered_since: Timestamp::default(),
        came: now,
    }
}
