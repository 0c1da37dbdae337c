//! What a request costs: processor microseconds of the gateway's process tree, beside nginx and
//! floors of bare hyper, in one run. `tests/bench` calls it; `cargo bench --bench gateway -- --help`.
//!
//! Every subject has one worker and gets the same requests on loopback, from 64 connections, over
//! the same service. Subjects take turns within each round and are started anew for each, so what
//! else the machine does meets all alike, and a ratio is that of two neighbours in time. In every
//! round it is checked that each key ran once, and that its repetition got the same bytes.

#![allow(clippy::unwrap_used, reason = "a benchmark ends where something is wrong")]
#![allow(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run are few")]

mod floors;
mod load;
mod service;
mod subject;

use load::{Load, Phase};
use service::Service;
use std::time::{Duration, Instant};
use subject::{Kind, Subject};

/// One line of the table.
struct Row {
    name: &'static str,
    kind: Kind,
    work: Work,
    /// The row that its ratio refers to.
    floor: usize,
}

/// What is asked of a subject.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    /// Every request is forwarded, though all carry a key.
    Forward,
    /// No request carries a key.
    Keyless,
    /// Every request carries a key of its own.
    New,
    /// Every request repeats one that was answered.
    Repeat,
    /// Every request gets the same answer.
    Same,
}

const ROWS: [Row; 11] = [
    Row { name: "forward: bare hyper", kind: Kind::FloorProxy, work: Work::Forward, floor: 0 },
    Row { name: "forward: nginx", kind: Kind::Nginx, work: Work::Forward, floor: 0 },
    Row { name: "forward: Oncegate, no policy", kind: Kind::Plain, work: Work::Forward, floor: 0 },
    Row { name: "forward: Oncegate, policy, no key", kind: Kind::Memory, work: Work::Keyless, floor: 0 },
    Row { name: "new key: bare hyper and a map", kind: Kind::FloorDedup, work: Work::New, floor: 4 },
    Row { name: "new key: Oncegate, memory", kind: Kind::Memory, work: Work::New, floor: 4 },
    Row { name: "new key: Oncegate, embedded sync", kind: Kind::Embedded, work: Work::New, floor: 4 },
    Row { name: "static answer: bare hyper", kind: Kind::FloorStatic, work: Work::Same, floor: 7 },
    Row { name: "replay: bare hyper and a map", kind: Kind::FloorDedup, work: Work::Repeat, floor: 7 },
    Row { name: "replay: Oncegate, memory", kind: Kind::Memory, work: Work::Repeat, floor: 7 },
    Row { name: "replay: Oncegate, embedded sync", kind: Kind::Embedded, work: Work::Repeat, floor: 7 },
];

const HELP: &str = "\
Processor microseconds a request: Oncegate beside nginx and floors of bare hyper.

  --rounds N      rounds [5]
  --requests N    measured requests of each row in each round [20000]
  --only TEXT     rows whose name contains this
  --nginx PATH    nginx, or `none` [nginx]
  --oncegate PATH another build of the gateway
";

struct Options {
    rounds: usize,
    requests: u64,
    only: String,
    nginx: String,
    oncegate: String,
}

/// What one row showed in one round.
#[derive(Clone, Copy)]
struct Sample {
    /// Processor microseconds a request.
    cpu: f64,
    rate: f64,
    /// From the start of its process to the end of its first answer.
    first_answer: Duration,
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if arguments.first().is_some_and(|word| word == "floor") {
        return floors::serve(&arguments.split_off(1));
    }
    let options = options(arguments);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let service = Service::start();
    let mut samples: Vec<Vec<Option<Sample>>> = ROWS.iter().map(|_| Vec::new()).collect();
    let mut faults = Vec::new();
    for round in 0..options.rounds {
        // To and fro, so that none always follows the same one.
        let order: Vec<usize> =
            if round % 2 == 0 { (0..ROWS.len()).collect() } else { (0..ROWS.len()).rev().collect() };
        for index in order {
            let row = &ROWS[index];
            let wanted = row.name.contains(&options.only)
                || ROWS.iter().any(|other| other.floor == index && other.name.contains(&options.only));
            let there = row.kind != Kind::Nginx || options.nginx != "none";
            let sample = (wanted && there).then(|| runtime.block_on(measure(row, &options, &service, round)));
            samples[index].push(match sample {
                Some(Ok(sample)) => Some(sample),
                Some(Err(fault)) => {
                    faults.push(format!("round {round}, {}: {fault}", row.name));
                    None
                }
                None => None,
            });
        }
        eprintln!("round {} of {}", round + 1, options.rounds);
    }
    tell(&options, &samples);
    match runtime.block_on(starts(&options, &service)) {
        Ok([first, second]) => println!(
            "start to first answer, embedded: {:.0} ms on an empty folder, {:.0} ms on its own (compiled policy kept).",
            first.as_secs_f64() * 1e3,
            second.as_secs_f64() * 1e3
        ),
        Err(fault) => faults.push(format!("starts: {fault}")),
    }
    for fault in &faults {
        println!("FAIL {fault}");
    }
    if !faults.is_empty() {
        std::process::exit(1);
    }
    println!("\nEach key ran once and each repetition got the same bytes, in every round.");
}

fn options(arguments: Vec<String>) -> Options {
    let mut options = Options {
        rounds: 5,
        requests: 20_000,
        only: String::new(),
        nginx: "nginx".into(),
        oncegate: env!("CARGO_BIN_EXE_oncegate").into(),
    };
    let mut words = arguments.into_iter();
    while let Some(flag) = words.next() {
        let value = words.next();
        match (flag.as_str(), value) {
            ("--rounds", Some(value)) => options.rounds = value.parse().unwrap(),
            ("--requests", Some(value)) => options.requests = value.parse().unwrap(),
            ("--only", Some(value)) => options.only = value,
            ("--nginx", Some(value)) => options.nginx = value,
            ("--oncegate", Some(value)) => options.oncegate = value,
            _ => {
                print!("{HELP}");
                std::process::exit(if flag == "--help" { 0 } else { 2 });
            }
        }
    }
    options
}

/// Starts a subject, has it do its work, checks what came of it, and ends it.
async fn measure(row: &Row, options: &Options, service: &Service, round: usize) -> Result<Sample, String> {
    service.forget();
    let start = Instant::now();
    let subject = Subject::start(row.kind, options, service.address())?;
    let mut load = Load::new(subject.address(), round as u64);
    load.keyless = row.work == Work::Keyless;
    load.run(Phase::First).await?;
    let first_answer = start.elapsed();
    match row.work {
        // As many keys as a cache must hold for it.
        Work::Repeat => load.run(Phase::New(5_000)).await?,
        Work::New | Work::Forward | Work::Keyless | Work::Same => {
            load.run(Phase::New(options.requests / 10)).await?
        }
    };
    let (cpu, begun) = (subject.cpu(), Instant::now());
    let done = match row.work {
        Work::Repeat => load.run(Phase::Repeat(options.requests)).await?,
        Work::New | Work::Forward | Work::Keyless | Work::Same => {
            load.run(Phase::New(options.requests)).await?
        }
    };
    let (cpu, took) = (subject.cpu().saturating_sub(cpu), begun.elapsed());
    check(row.work, &mut load, service).await?;
    let each = 1.0 / done as f64;
    Ok(Sample { cpu: cpu.as_secs_f64() * 1e6 * each, rate: done as f64 / took.as_secs_f64(), first_answer })
}

/// From the start to the first answer's end: medians of first starts and of second ones in the same
/// folder.
async fn starts(options: &Options, service: &Service) -> Result<[Duration; 2], String> {
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..options.rounds {
        let folder = subject::folder();
        for took in &mut took {
            let start = Instant::now();
            let subject = Subject::start_in(Kind::Embedded, options, folder.path(), service.address())?;
            Load::new(subject.address(), round as u64).run(Phase::First).await?;
            took.push(start.elapsed().as_secs_f64());
        }
    }
    Ok(took.map(|took| Duration::from_secs_f64(median(&sorted(took.into_iter())))))
}

/// Once each, and the same bytes again.
async fn check(work: Work, load: &mut Load, service: &Service) -> Result<(), String> {
    let guarded = work == Work::New || work == Work::Repeat;
    if guarded {
        // Those of `Repeat` were compared as they came.
        load.run(Phase::Repeat(256)).await?;
    }
    let (executions, keys) = service.counts();
    let expected = if work == Work::Same { 0 } else { load.sent_new() };
    if executions != expected {
        return Err(format!("the service executed {executions} requests, not {expected}"));
    }
    if guarded && keys != expected {
        return Err(format!("the service saw {keys} keys, not {expected}"));
    }
    Ok(())
}

fn tell(options: &Options, samples: &[Vec<Option<Sample>>]) {
    let nginx = ROWS.iter().position(|row| row.kind == Kind::Nginx).unwrap();
    println!(
        "\n{:<36}{:>10}{:>16}{:>10}{:>10}{:>12}{:>14}",
        "", "CPU µs", "range", "÷ bare", "÷ nginx", "requests/s", "first answer"
    );
    for (index, row) in ROWS.iter().enumerate() {
        let known: Vec<Sample> = samples[index].iter().flatten().copied().collect();
        if known.is_empty() {
            continue;
        }
        let cpu = sorted(known.iter().map(|sample| sample.cpu));
        let ratio = |to: usize| {
            let pairs = samples[index].iter().zip(&samples[to]);
            let ratios =
                sorted(pairs.filter_map(|(own, other)| Some(own.as_ref()?.cpu / other.as_ref()?.cpu)));
            if ratios.is_empty() { "–".to_owned() } else { format!("{:.2}", median(&ratios)) }
        };
        println!(
            "{:<36}{:>10.1}{:>16}{:>10}{:>10}{:>12.0}{:>11.1} ms",
            row.name,
            median(&cpu),
            format!("{:.1}–{:.1}", cpu[0], cpu[cpu.len() - 1]),
            ratio(row.floor),
            ratio(nginx),
            median(&sorted(known.iter().map(|sample| sample.rate))),
            median(&sorted(known.iter().map(|sample| sample.first_answer.as_secs_f64() * 1e3))),
        );
    }
    println!(
        "\nCPU µs: user and system time of the whole process tree, a request; median of {} rounds of {} requests.",
        options.rounds, options.requests
    );
    println!(
        "÷: median of the ratios within each round; bare: the first of its kind of work, by bare hyper."
    );
    println!("first answer: from the start of the process to the end of its first answer.");
    if options.nginx == "none" {
        println!("nginx: left out, there is none here.");
    }
    match subject::idle(options) {
        Ok(idle) => println!("idle: {idle:.2} ms of processor time a second, with nothing to do."),
        Err(fault) => println!("idle: not measured: {fault}"),
    }
    if let Ok(file) = std::fs::metadata(&options.oncegate) {
        println!("binary: {:.1} MiB.", file.len() as f64 / f64::from(1 << 20));
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
