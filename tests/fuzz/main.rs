//! Feeds mutated good inputs to everything that reads bytes from outside: stored records, keys, the
//! configuration, the bodies of admin calls. `tests/run fuzz [SECONDS]`.
//!
//! A loop of our own on the stable compiler rather than a coverage-guided fuzzer: the inputs are
//! short and structured, and half of the mutations splice good inputs, which gets past the first
//! checks without guidance. What fails prints its target and seed, and is run again by them.

use clap::Parser;
use oncegate_core::codec;
use oncegate_core::{Framer, KeySpace, OperationId, PartKind, PrincipalId, Secret};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Feeds mutated inputs to the readers for so many seconds.
#[derive(Parser)]
#[command(name = "fuzz")]
struct Args {
    /// How long, in seconds, over all targets.
    #[arg(default_value_t = 10)]
    seconds: u64,
    /// The seed to begin with.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this target: records, keys, configuration, resolutions.
    #[arg(long)]
    target: Option<String>,
}

/// One target: a name, good inputs, and what must hold of every input.
struct Target {
    name: &'static str,
    corpus: Vec<Vec<u8>>,
    /// An error says what was broken; a panic is a failure too.
    holds: fn(&[u8]) -> Result<(), String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let targets: Vec<_> = targets()
        .into_iter()
        .filter(|target| args.target.as_ref().is_none_or(|name| *name == target.name))
        .collect();
    if targets.is_empty() {
        eprintln!("no such target: records, keys, configuration, resolutions");
        return ExitCode::from(2);
    }
    let each = Duration::from_secs(args.seconds) / u32::try_from(targets.len()).expect("they are few");
    for target in &targets {
        let begun = Instant::now();
        let mut seed = args.from;
        while begun.elapsed() < each {
            if let Err(what) = try_seed(target, seed) {
                println!("{} seed {seed}: {what}", target.name);
                println!("to repeat it: tests/run fuzz 1 --target {} --from {seed}", target.name);
                return ExitCode::FAILURE;
            }
            seed += 1;
        }
        println!("fuzz: {}, {} inputs from {}, nothing broken", target.name, seed - args.from, args.from);
    }
    ExitCode::SUCCESS
}

fn try_seed(target: &Target, seed: u64) -> Result<(), String> {
    let input = mutated(&target.corpus, &mut fastrand::Rng::with_seed(seed));
    std::panic::catch_unwind(|| (target.holds)(&input))
        .unwrap_or_else(|_| Err(format!("a panic on {}", input.escape_ascii())))
}

fn targets() -> Vec<Target> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str, suffix: &str| {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(root.join(folder))
            .unwrap_or_else(|error| panic!("{folder}: {error}"))
            .map(|entry| entry.expect("a folder of this repository can be read").path())
            .filter(|path| path.to_string_lossy().ends_with(suffix))
            .collect();
        paths.sort();
        paths.iter().map(|path| std::fs::read(path).expect("it can be read")).collect::<Vec<_>>()
    };
    let records = files("host/core/src/codec/golden", ".hex").iter().map(|text| unhex(text)).collect();
    let mut configurations = files("tests/config/good", ".toml");
    configurations.extend(files("tests/config/bad", ".toml"));
    let resolutions = RESOLUTIONS.iter().map(|text| text.as_bytes().to_vec()).collect();
    let keys = vec![b"\x10\x03abc\x11\x00\x19\x02\x10\x10".to_vec(), vec![16; 40]];
    vec![
        Target { name: "records", corpus: records, holds: record },
        Target { name: "keys", corpus: keys, holds: framing },
        Target { name: "configuration", corpus: configurations, holds: configuration },
        Target { name: "resolutions", corpus: resolutions, holds: resolution },
    ]
}

const RESOLUTIONS: [&str; 4] = [
    r#"{"outcome":"not-applied","version":7,"reason":"the service has no such charge"}"#,
    r#"{"outcome":"consumed","version":18446744073709551615,"reason":"r","reply":{"status":201}}"#,
    r#"{"outcome":"completed","version":1,"reason":"é","reply":{"status":201,"headers":[["content-type","text/plain"],["x","y"]],"body_base64":"aGVsbG8="}}"#,
    r#"{"outcome":"completed","version":"12","reason":"","reply":{"status":99,"headers":[["set-cookie",1]],"body_base64":"%"}}"#,
];

/// What decodes is written back so that it decodes to the same.
fn record(input: &[u8]) -> Result<(), String> {
    let Ok(record) = codec::decode(&bytes::Bytes::copy_from_slice(input)) else { return Ok(()) };
    let again = codec::decode(&codec::encode(&record).into()).map_err(|error| error.to_string())?;
    if again == record { Ok(()) } else { Err(format!("{record:?} reads back as {again:?}")) }
}

/// Different lists of parts never frame alike. The input is read as a list; it is compared with the
/// lists that a careless framing would take it for.
fn framing(input: &[u8]) -> Result<(), String> {
    let parts = parts(input);
    let mut lists = vec![parts.clone()];
    for at in 0..parts.len() {
        // Two neighbours as one, a part cut in two, one less, another kind, one empty more.
        if let [(kind, left), (_, right)] = &parts[at..parts.len().min(at + 2)] {
            lists.push(spliced(&parts, at, 2, &[(*kind, [&left[..], right].concat())]));
        }
        let (kind, bytes) = &parts[at];
        let (left, right) = bytes.split_at(bytes.len() / 2);
        lists.push(spliced(&parts, at, 1, &[(*kind, left.to_vec()), (*kind, right.to_vec())]));
        lists.push(spliced(&parts, at, 1, &[]));
        let other = if *kind == PartKind::Text { PartKind::Bytes } else { PartKind::Text };
        lists.push(spliced(&parts, at, 1, &[(other, bytes.clone())]));
        lists.push(spliced(&parts, at, 0, &[(PartKind::Text, Vec::new())]));
    }
    let mut seen: BTreeMap<OperationId, Parts> = BTreeMap::new();
    for list in lists {
        if let Some(other) = seen.insert(framed(&list), list.clone())
            && other != list
        {
            return Err(format!("{list:?} and {other:?} frame alike"));
        }
    }
    Ok(())
}

type Parts = Vec<(PartKind, Vec<u8>)>;

fn spliced(parts: &Parts, at: usize, taken: usize, put: &[(PartKind, Vec<u8>)]) -> Parts {
    [&parts[..at], put, &parts[at + taken..]].concat()
}

fn parts(mut input: &[u8]) -> Parts {
    let mut parts = Vec::new();
    while let [kind, length, rest @ ..] = input {
        let kind = [PartKind::Text, PartKind::Bytes, PartKind::Missing][usize::from(*kind) % 3];
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        parts.push((kind, bytes.to_vec()));
        input = rest;
    }
    parts.truncate(8);
    parts
}

fn framed(parts: &Parts) -> OperationId {
    let space = KeySpace { policy: "p", key_schema: "s", key_epoch: 0 };
    let mut framer = Framer::operation(&Secret::new([7; 32]), "d", &PrincipalId([1; 32]), &space);
    parts.iter().for_each(|(kind, bytes)| framer.part(*kind, bytes));
    framer.into_operation()
}

/// A configuration is taken or refused with faults that can be shown, each with its place.
fn configuration(input: &[u8]) -> Result<(), String> {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a temporary folder");
    }
    let file = FOLDER.with(|folder| folder.path().join("oncegate.toml"));
    std::fs::write(&file, input).map_err(|error| error.to_string())?;
    let source = oncegate::config::Source { file: Some(file), ..Default::default() };
    match oncegate::config::load(&source) {
        Ok(_) => Ok(()),
        Err(faults) if faults.to_string().trim().is_empty() => Err("refused without a word".into()),
        Err(_) => Ok(()),
    }
}

/// The body of a resolution is taken or refused with words.
fn resolution(input: &[u8]) -> Result<(), String> {
    match oncegate::admin::Resolution::parse(input) {
        Err(faults) if faults.iter().all(|fault| fault.trim().is_empty()) => {
            Err("refused without a word".into())
        }
        _ => Ok(()),
    }
}

/// A good input, spliced with another or spoilt in a few places.
fn mutated(corpus: &[Vec<u8>], dice: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = dice.choice(corpus).expect("every target has a corpus").clone();
    if dice.bool() {
        let other = dice.choice(corpus).expect("every target has a corpus");
        let (from, to) = range(other.len(), dice);
        let (begin, end) = range(input.len(), dice);
        input.splice(begin..end, other[from..to].iter().copied());
    }
    for _ in 0..dice.usize(0..5) {
        if input.is_empty() {
            break;
        }
        let at = dice.usize(0..input.len());
        match dice.u8(0..6) {
            0 => input[at] = dice.u8(..),
            1 => input[at] ^= 1 << dice.u8(0..8),
            2 => input.insert(at, *dice.choice(b"\0\xff\"{}[]=.,\n#0-e").expect("it is not empty")),
            3 => input.truncate(at),
            4 => {
                let (begin, end) = range(input.len(), dice);
                let copied = input[begin..end].to_vec();
                input.splice(at..at, copied);
            }
            _ => drop(input.remove(at)),
        }
    }
    input.truncate(1 << 16);
    input
}

fn range(length: usize, dice: &mut fastrand::Rng) -> (usize, usize) {
    let (a, b) = (dice.usize(0..=length), dice.usize(0..=length));
    (a.min(b), a.max(b))
}

fn unhex(text: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = text.iter().copied().filter(u8::is_ascii_hexdigit).collect();
    let value = |digit: u8| (digit as char).to_digit(16).expect("they are digits") as u8;
    digits.chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}
