//! The keys by which `[ledger]` says how long and how much is remembered, and by which a route says
//! otherwise.

use super::reading::{Item, KeyWithin, PlainKey, Section, Unset};
use super::server::SIZE_MAX;
use oncegate_core::Times;
use std::ops::RangeInclusive;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// The shortest of each ledger time (`design/configuration.md`).
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest of each ledger time, ten years. A longer time is a mistake.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);
const RETENTION_BOUNDS: RangeInclusive<Duration> = SHORTEST..=LONGEST;
/// The longest wait. Any client has given up by then, and so have the proxies before it.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long and how much is remembered of an operation.
#[derive(Clone, Copy)]
pub(super) struct Remembering {
    pub(super) times: Times,
    pub(super) wait: Duration,
    pub(super) body_kept: usize,
}

/// The bounds of a kept answer.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// The half of `server.limits.buffers` that is for answers.
    pub(super) buffers: usize,
    /// `ledger.memory`
    pub(super) memory: usize,
}

const LEASE: PlainKey<Duration> = PlainKey::new(
    "lease",
    Unset::Value("\"60s\""),
    |item| item.duration(&(SHORTEST..=DAY)),
    "How long a claim stands without renewal.",
)
.guarding();
const RETENTION: PlainKey<Duration> = PlainKey::new(
    "retention",
    Unset::Value("\"24h\""),
    |item| item.duration(&RETENTION_BOUNDS),
    "How long an answer is replayed, from completion.",
)
.guarding();
const TOMBSTONE: PlainKey<Duration> = PlainKey::new(
    "tombstone",
    Unset::Value("\"24h\""),
    tombstone,
    "How long after that a duplicate is told 410 `expired`; `\"0s\"`: not at all.",
)
.guarding();
const UNKNOWN_RETENTION: PlainKey<Duration> = PlainKey::new(
    "unknown_retention",
    Unset::Value("\"30d\""),
    |item| item.duration(&RETENTION_BOUNDS),
    "How long an unknown outcome is held.",
)
.guarding();
const WAIT: PlainKey<Duration> = PlainKey::new(
    "wait",
    Unset::Value("\"10s\""),
    |item| item.duration(&(Duration::ZERO..=LONGEST_WAIT)),
    "How long a duplicate waits for a running execution before 409 `in-flight`.",
)
.guarding();
const BODY_KEPT: KeyWithin<Bounds, usize> = KeyWithin::new(
    "body_kept",
    Unset::Value("\"1MiB\""),
    body_kept,
    "Larger answers are not kept: duplicates are told 409 `consumed`.",
)
.guarding();

/// Reads the keys of `[ledger]`.
pub(super) fn read(section: &mut Section<'_>, bounds: &Bounds) -> Remembering {
    let lease = section.get(&LEASE);
    let retention = section.get(&RETENTION);
    let tombstone = section.get(&TOMBSTONE);
    let unknown_retention = section.get(&UNKNOWN_RETENTION);
    Remembering {
        times: Times { lease, retention, tombstone, unknown_retention, memory: retention + tombstone },
        wait: section.get(&WAIT),
        body_kept: section.get_within(&BODY_KEPT, bounds),
    }
}

/// Reads the keys of a route. Keys that the route doesn't set are as in `[ledger]`.
pub(super) fn read_of_route(section: &mut Section<'_>, outer: Remembering, bounds: &Bounds) -> Remembering {
    let mut inherit =
        |key: PlainKey<Duration>, outer| section.find(&key.inherited("ledger")).unwrap_or(outer);
    let lease = inherit(LEASE, outer.times.lease);
    let retention = inherit(RETENTION, outer.times.retention);
    let tombstone = inherit(TOMBSTONE, outer.times.tombstone);
    let unknown_retention = inherit(UNKNOWN_RETENTION, outer.times.unknown_retention);
    let wait = inherit(WAIT, outer.wait);
    let body_kept = section.find_within(&BODY_KEPT.inherited("ledger"), bounds);
    Remembering {
        times: Times { lease, retention, tombstone, unknown_retention, memory: retention + tombstone },
        wait,
        body_kept: body_kept.unwrap_or(outer.body_kept),
    }
}

fn tombstone(item: &Item<'_>) -> Option<Duration> {
    let span = item.duration(&(Duration::ZERO..=LONGEST))?;
    if !span.is_zero() && span < SHORTEST {
        item.refuse("from 0.1s up, or \"0s\" for none");
        return None;
    }
    Some(span)
}

fn body_kept(item: &Item<'_>, bounds: &Bounds) -> Option<usize> {
    let bytes = item.size(&(0..=SIZE_MAX))?;
    for (key, bound, means) in [
        ("server.limits.buffers", bounds.buffers, "the half of `server.limits.buffers` that is for answers"),
        ("ledger.memory", bounds.memory, "`ledger.memory`, what the ledger may hold in memory"),
    ] {
        if bytes > bound {
            item.fault(
                format!("`{}` is larger than {means}", item.path),
                format!("raise `{key}` or lower `{}`", item.path),
            );
            return None;
        }
    }
    Some(bytes)
}
