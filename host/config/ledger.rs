//! `[ledger]`: where operations are kept, and how long unless a route says otherwise.

use super::reading::fault::io_words;
use super::reading::units::{is_name, parse_hex};
use super::reading::{Item, NAME_HELP, Section};
use super::server::{SIZE_MAX, Server};
use oncegate_core::Times;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `[ledger]`, but for the times, which routes carry.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerConfig {
    /// Which store.
    pub store: StoreKind,
    /// The deployment's name, part of every key.
    pub deployment: Arc<str>,
    /// Whether an answer's end waits for the disk.
    pub durability: Durability,
    /// Bytes of the in-memory cache; of everything where the store is memory.
    pub memory: usize,
    /// The secret from `secret_file`, 32 bytes.
    pub secret: Option<[u8; 32]>,
}

/// `ledger.store`, with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// Lost with the process.
    Memory,
    /// In this folder.
    Embedded(PathBuf),
}

/// `ledger.durability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// An answer's end waits until its record survives power loss.
    Sync,
    /// It does not: what was answered in the last moments can be lost with the machine.
    Async,
}

const MIB: usize = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);
/// What the design promises of each ledger time: from a tenth of a second up.
const SHORTEST: Duration = Duration::from_millis(100);
/// Ten years: beyond it somebody meant something else.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

const LEASE: RangeInclusive<Duration> = SHORTEST..=DAY;
const KEEPING: RangeInclusive<Duration> = SHORTEST..=LONGEST;
const TOMBSTONE: RangeInclusive<Duration> = Duration::ZERO..=LONGEST;
/// A client that waits longer has given up, and so have the proxies before it.
const WAIT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

/// The ledger, and what routes inherit from it.
pub(super) struct Read {
    pub(super) ledger: LedgerConfig,
    pub(super) defaults: Defaults,
}

/// What a route may say otherwise.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub(super) times: Times,
    pub(super) wait: Duration,
    pub(super) body_kept: usize,
}

/// The section's meaning.
pub(super) fn read(mut section: Section<'_>, server: &Server) -> Read {
    section.later(&["url", "url_file"]);
    let built_in = Defaults {
        times: Times {
            lease: Duration::from_secs(60),
            retention: DAY,
            tombstone: DAY,
            unknown_retention: 30 * DAY,
            memory: 2 * DAY,
        },
        wait: Duration::from_secs(10),
        body_kept: MIB,
    };
    let ledger = LedgerConfig {
        store: store(&mut section),
        deployment: section
            .item("deployment")
            .and_then(|item| deployment(&item))
            .unwrap_or("default".into())
            .into(),
        durability: section.choice(
            "durability",
            &[("sync", Durability::Sync), ("async", Durability::Async)],
            Durability::Sync,
        ),
        memory: section.size("memory", &(MIB..=SIZE_MAX), 256 * MIB),
        secret: section.item("secret_file").and_then(|item| secret(&item)),
    };
    let defaults = kept(&mut section, built_in, &Bounds { ledger: &ledger, server });
    warn(&section, &ledger);
    section.close();
    Read { ledger, defaults }
}

fn store(section: &mut Section<'_>) -> StoreKind {
    let path = section.item("path").and_then(|item| item.path("the path of a folder"));
    let path = path.unwrap_or_else(|| section.reading.folder().join("oncegate-data"));
    let embedded = StoreKind::Embedded(path);
    let Some(item) = section.item("store") else { return embedded };
    let help = "\"embedded\" (a folder of this machine) or \"memory\" (forgotten when the process ends)";
    let Some(text) = item.text(help) else { return embedded };
    match text.split_once("://").map_or(text.as_str(), |(scheme, _)| scheme) {
        "memory" if text == "memory" => return StoreKind::Memory,
        "embedded" if text == "embedded" => {}
        name @ ("redis" | "rediss" | "postgres" | "postgresql") => {
            // Only the scheme is shown: the rest of such a URL is a password.
            let problem = format!("`ledger.store` is {name:?}, which is not in this version yet");
            item.reading.fault_unshown(&item.node.origin, &item.path, &problem, help);
        }
        _ => {
            if item.choice(&[("memory", ()), ("embedded", ())]).is_some() {
                item.refuse(help);
            }
        }
    }
    embedded
}

fn deployment(item: &Item<'_>) -> Option<String> {
    item.parsed(NAME_HELP, |text| is_name(text).then(|| text.to_owned()))
}

fn secret(item: &Item<'_>) -> Option<[u8; 32]> {
    let path = item.path("the path of a file that holds the secret")?;
    let help = "64 hexadecimal digits (openssl rand -hex 32), or exactly 32 bytes";
    let refuse = |words: String| {
        let problem = format!("`{}`: {}: {words}", item.path, path.display());
        item.fault(problem, help);
    };
    let bytes = std::fs::read(&path).map_err(|error| refuse(io_words(&error))).ok()?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let digits = std::str::from_utf8(line).ok().and_then(parse_hex::<32>);
    let secret = digits.or_else(|| bytes.as_slice().try_into().ok()).or_else(|| line.try_into().ok());
    if secret.is_none() {
        refuse(format!("it holds {} bytes that are no secret", bytes.len()));
    }
    secret
}

/// What bounds the answers that are kept.
pub(super) struct Bounds<'a> {
    pub(super) ledger: &'a LedgerConfig,
    pub(super) server: &'a Server,
}

/// The keys that `[ledger]` and a route both have; what isn't said is as in `outer`.
pub(super) fn kept(section: &mut Section<'_>, outer: Defaults, bounds: &Bounds<'_>) -> Defaults {
    let retention = section.duration("retention", &KEEPING, outer.times.retention);
    let tombstone = match section.item("tombstone") {
        None => outer.times.tombstone,
        Some(item) => match item.duration(&TOMBSTONE) {
            Some(span) if !span.is_zero() && span < SHORTEST => {
                item.refuse("from 0.1s up, or \"0s\" for none");
                outer.times.tombstone
            }
            span => span.unwrap_or(outer.times.tombstone),
        },
    };
    let times = Times {
        lease: section.duration("lease", &LEASE, outer.times.lease),
        retention,
        tombstone,
        unknown_retention: section.duration("unknown_retention", &KEEPING, outer.times.unknown_retention),
        memory: retention + tombstone,
    };
    let wait = section.duration("wait", &WAIT, outer.wait);
    let body_kept =
        section.item("body_kept").and_then(|item| body_kept(&item, bounds)).unwrap_or(outer.body_kept);
    Defaults { times, wait, body_kept }
}

fn body_kept(item: &Item<'_>, bounds: &Bounds<'_>) -> Option<usize> {
    let bytes = item.size(&(0..=SIZE_MAX))?;
    for (key, bound, means) in [
        ("server.limits.buffers", bounds.server.limits.buffers, "what all bodies together may hold"),
        ("ledger.memory", bounds.ledger.memory, "what the ledger may hold in memory"),
    ] {
        if bytes > bound {
            item.fault(
                format!("`{}` is larger than `{key}`, {means}", item.path),
                format!("raise `{key}` or lower `{}`", item.path),
            );
            return None;
        }
    }
    Some(bytes)
}

fn warn(section: &Section<'_>, ledger: &LedgerConfig) {
    match (&ledger.store, ledger.durability) {
        (StoreKind::Memory, _) => section.reading.warn(
            "`ledger.store = \"memory\"`: every operation is forgotten when the process ends, and a retry after that runs again",
        ),
        (StoreKind::Embedded(_), Durability::Async) => section.reading.warn(
            "`ledger.durability = \"async\"`: operations answered just before a power loss may be forgotten, and a retry after that runs again",
        ),
        (StoreKind::Embedded(_), Durability::Sync) => {}
    }
}
