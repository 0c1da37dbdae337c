//! Directed settings. Half of all seeds have one, in turn. Each makes one constellation likely that chance
//! seldom makes, so that a few thousand seeds meet each of them often.

use crate::faults::{Faults, Setting, Ways};
use oncegate_core::{WhenUnknown, WhileRunning};
use std::time::Duration;

/// What a seed is directed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// Many wait for executions whose outcomes nobody knows, on a route that resends.
    Waiters,
    /// The lease on the list of key spaces is over again and again, between any two steps of requests whose
    /// own leases are long.
    Lapses,
    /// Operations are claimed by many at once while keys change, and freed again and again.
    Releases,
    /// What the active way doesn't guard is guarded by an older one, whose space is about to leave.
    Unguarded,
    /// Older ways can't be loaded while spaces enter and leave.
    Missing,
    /// Ways merge what others keep apart, and executions take long.
    Merges,
    /// Writes of claims are unclear, and nothing else goes wrong.
    Unclear,
    /// The source of principals changes while operations begin, end and are forgotten.
    Sources,
}

impl Focus {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Waiters,
        Self::Lapses,
        Self::Releases,
        Self::Unguarded,
        Self::Missing,
        Self::Merges,
        Self::Unclear,
        Self::Sources,
    ];

    /// What this seed is directed at; `None`: all is left to chance.
    pub fn of(seed: u64) -> Option<Self> {
        let turn = usize::try_from(seed / 2 % Self::ALL.len() as u64).expect("it is less than eight");
        (seed % 2 == 1).then_some(Self::ALL[turn])
    }

    /// The name for the command line and the trace.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiters => "waiters",
            Self::Lapses => "lapses",
            Self::Releases => "releases",
            Self::Unguarded => "unguarded",
            Self::Missing => "missing",
            Self::Merges => "merges",
            Self::Unclear => "unclear",
            Self::Sources => "sources",
        }
    }

    /// Changes a drawn setting and its faults.
    pub fn direct(self, dice: &mut fastrand::Rng, setting: &mut Setting, faults: &mut Faults) {
        match self {
            Self::Waiters => waiters(dice, setting, faults),
            Self::Lapses => lapses(dice, setting, faults),
            Self::Releases => releases(dice, setting, faults),
            Self::Unguarded => unguarded(dice, setting, faults),
            Self::Missing => missing(dice, setting, faults),
            Self::Merges => merges(dice, setting, faults),
            Self::Unclear => unclear(dice, setting, faults),
            Self::Sources => sources(dice, setting, faults),
        }
    }
}

fn millis(dice: &mut fastrand::Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(dice.u64(range))
}

/// Keeps no fault, so that what goes wrong is what is directed at.
fn quiet(faults: &Faults) -> Faults {
    let Faults { pause_max, late_max, slow_max, commit_max, away_max, .. } = *faults;
    Faults { pause_max, late_max, slow_max, commit_max, away_max, ..Faults::default() }
}

/// Records are gone soon, and their spaces with them.
fn short_lived(dice: &mut fastrand::Rng, setting: &mut Setting) {
    let times = &mut setting.times;
    (times.retention, times.unknown_retention) = (millis(dice, 50..400), millis(dice, 50..400));
    times.tombstone = Duration::ZERO;
    times.memory = times.retention;
    setting.first_sent = false;
}

/// Three gateways and many clients of one operation.
fn crowd(dice: &mut fastrand::Rng, setting: &mut Setting) {
    (setting.gateways, setting.operations) = (3, 1);
    setting.clients = dice.usize(6..14);
}

fn waiters(dice: &mut fastrand::Rng, setting: &mut Setting, faults: &mut Faults) {
    crowd(dice, setting);
    setting.gateways = dice.usize(1..4);
    setting.changes = None;
    (setting.when_unknown, setting.while_running) = (WhenUnknown::Resend, WhileRunning::Wait);
    (setting.dedupes, setting.accept_repeats, setting.attempts) = (false, true, 1);
    (setting.wait, setting.operator) = (Duration::from_secs(2), false);
    *faults = Faults { late: 300, ambiguous: 300, broken: 300, silent: 200, ..quiet(faults) };
}

/// The lease on the list is short and every other lease long, so that a standstill ends this one alone.
fn lapses(dice: &mut fastrand::Rng, setting: &mut Setting, faults: &mut Faults) {
    crowd(dice, setting);
    short_lived(dice, setting);
    setting.times.lease = millis(dice, 1_000..3_000);
    setting.response_timeout = millis(dice, 50..300);
    let Some(changes) = &mut setting.changes else { return };
    changes.list_lease = millis(dice, 150..400);
    changes.tend_every = changes.list_lease * dice.u32(5..9) / 10;
    (changes.pause_max, changes.spread_max) = (millis(dice, 100..600), millis(dice, 1..400));
    (changes.merging, changes.blind, changes.missing) = (Ways::default(), Ways::default(), 0);
    faults.settles_within(setting.times.lease);
    (faults.pause, faults.pause_max) = (dice.u16(20..80), changes.list_lease * dice.u32(1..5));
    (faults.crash, faults.refused, faults.fails) = (0, 0, 0);
}

/// Claimants are held up between two keys while others claim both and free them. Gateways read the list late.
fn releases(dice: &mut fastrand::Rng, setting: &mut Setting, faults: &mut Faults) {
    crowd(dice, setting);
    short_lived(dice, setting);
    setting.clients = dice.usize(8..16);
    setting.times.retention = millis(dice, 200..800);
    setting.times.memory = setting.times.retention;
    setting.times.lease = millis(dice, 300..1_000);
    (setting.attempts, setting.while_running, setting.wait) = (1, WhileRunning::Wait, millis(dice, 50..300));
    let Some(changes) = &mut setting.changes else { return };
    changes.list_lease = millis(dice, 1_000..3_000);
    changes.tend_every = changes.list_lease * 9 / 10;
    (changes.pause_max, changes.spread_max) = (millis(dice, 100..800), millis(dice, 500..2_000));
    (changes.merging, changes.blind, changes.missing) = (Ways::default(), Ways::default(), 0);
    let (slow, unreachable) = (dice.u16(150..400), dice.u16(300..700));
    *faults = Faults { slow, unreachable, declined: 100, slow_max: millis(dice, 20..200), ..quiet(faults) };
}

fn unguarded(dice: &mut fastrand::Rng, setting: &mut Setting, faults: &mut Faults) {
    crowd(dice, setting);
    short_lived(dice, setting);
    setting.operations = dice.usize(1..3);
    setting.times.lease = millis(dice, 500..2_000);
    let Some(changes) = &mut setting.changes else { return };
    changes.list_lease = millis(dice, 300..1_000);
    changes.tend_every = changes.list_lease * dice.u32(3..8) / 10;
    (changes.pause_max, changes.spread_max) = (millis(dice, 100..600), millis(dice, 1..400));
    (changes.merging, changes.missing) = (Ways::default(), 0);
    changes.blind = Ways(if dice.bool() { 255 } else { dice.u32(1..256) });
    faults.settles_within(setting.times.lease);
    (faults.slow, faults.slow_max) = (dice.u16(150..400), changes.list_lease * dice.u32(2..9) / 10);
    (faults.pause, faults.pause_max) = (dice.u16(0..30), changes.list_lease);
    (faults.crash, faults.refused, faults.fails) = (0, 0, 0);
}

fn missing(dice: &mut fastrand::Rng, setting: &mut Setting, faults: &mut Faults) {
    crowd(dice, setting);
    let Some(changes) = &mut setting.changes else { return };
    (changes.pause_max, changes.spread_max) = (millis(dice, 100..600), millis(dice, 1..600));
    (changes.merging, changes.blind) = (Ways::default(), Ways::default());
    changes.missing = dice.u16(200..800);
    (faults.crash, faults.refused, faults.fails) = (faults.crash / 4, 0, 0);
}

fn merges(dice: &mut fastrand::Rng, setting: &mut Setting, faults: &mut Faults) {
    (setting.gateways, setting.cache) = (dice.usize(2..4), true);
    (setting.operations, setting.clients) = (dice.usize(3..5), dice.usize(4..8));
    (setting.times.retention, setting.times.lease) = (millis(dice, 2_000..4_000), millis(dice, 300..1_000));
    (setting.times.memory, setting.first_sent) = (setting.times.retention + setting.times.tombstone, false);
    (setting.while_running, setting.response_timeout) = (WhileRunning::Wait, Duration::from_secs(1));
    let Some(changes) = &mut setting.changes else { return };
    (changes.pause_max, changes.spread_max) = (millis(dice, 100..800), millis(dice, 1..600));
    (changes.blind, changes.missing) = (Ways::default(), 0);
    changes.merging = Ways(dice.u32(1..256));
    faults.settles_within(setting.times.lease);
    (faults.late, faults.declined) = (700, 500);
    (faults.crash, faults.refused) = (0, 0);
}

fn unclear(dice: &mut fastrand::Rng, setting: &mut Setting, faults: &mut Faults) {
    setting.operator = false;
    setting.when_unknown = WhenUnknown::Hold;
    (setting.dedupes, setting.accept_repeats) = (false, false);
    if dice.bool() {
        setting.changes = None;
    }
    *faults = Faults { unclear: dice.u16(100..400), refused: dice.u16(0..300), ..quiet(faults) };
}

fn sources(dice: &mut fastrand::Rng, setting: &mut Setting, faults: &mut Faults) {
    short_lived(dice, setting);
    (setting.gateways, setting.sources) = (1, dice.u32(2..5));
    setting.clients = dice.usize(2..8);
    setting.changes = setting.changes.take().filter(|_| dice.bool());
    (faults.slow, faults.pause) = (dice.u16(0..200), dice.u16(0..40));
    (faults.crash, faults.fails, faults.unclear) = (faults.crash / 4, faults.fails / 4, dice.u16(50..300));
}
