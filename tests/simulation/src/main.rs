//! Runs seeds: `tests/run simulate [SEEDS] [--from N] [--trace]`.

use clap::Parser;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, scope};
use std::time::Instant;

/// Runs the simulation on so many seeds; prints the first that breaks a promise, and how to repeat it.
#[derive(Parser)]
#[command(name = "simulate")]
struct Args {
    /// How many seeds.
    #[arg(default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0, value_name = "N")]
    from: u64,
    /// Print everything that happens. For one seed.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let Args { seeds, from, trace } = Args::parse();
    let begun = Instant::now();
    let (next, failed, events) = (AtomicU64::new(from), AtomicU64::new(u64::MAX), AtomicU64::new(0));
    let end = from.saturating_add(seeds);
    let threads = if trace { 1 } else { available_parallelism().map_or(1, usize::from) };
    scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // Below a failure every seed is still run, so that the lowest is named whatever the
                    // number of threads.
                    if seed >= end || seed > failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let run = oncegate_simulation::run(seed, trace);
                    events.fetch_add(run.history.len() as u64, Ordering::Relaxed);
                    if run.violation.is_some() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    if failed < end {
        let violation = oncegate_simulation::run(failed, false).violation;
        let violation = violation.map_or("a violation that does not repeat".into(), |v| v.to_string());
        println!("seed {failed}: {violation}");
        println!("to see it: tests/run simulate 1 --from {failed} --trace");
        return ExitCode::FAILURE;
    }
    println!(
        "simulate: {seeds} seeds from {from}, {} events, no promise broken, {:.1} s",
        events.into_inner(),
        begun.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
