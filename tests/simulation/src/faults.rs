//! The setting of a run and its faults: how the gateways are set up, and what goes wrong.
//!
//! About half of each seed's faults are switched off, so that some runs have few kinds of trouble and much of
//! it, and no fault hides another for ever.

use crate::focus::Focus;
use oncegate_core::{Disposition, Times, WhenUnknown, WhileRunning};
use std::time::Duration;

/// How likely something is, in thousandths each time that it could happen.
pub type Chance = u16;

/// How the gateways and their upstream are set up.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many gateways stand on the store. With one, the store is embedded, and dies with its process.
    pub gateways: usize,
    /// How many operations there are.
    pub operations: usize,
    /// How many clients ask for each operation.
    pub clients: usize,
    /// What duplicates do while the first execution runs.
    pub while_running: WhileRunning,
    /// What an unknown outcome leads to.
    pub when_unknown: WhenUnknown,
    /// The upstream honours the operation id: it does an operation once and then repeats its answer.
    pub dedupes: bool,
    /// A request that may have been sent may be sent again, though nobody deduplicates.
    pub accept_repeats: bool,
    /// How often one execution tries to reach the upstream.
    pub attempts: u32,
    /// The times of every record.
    pub times: Times,
    /// How long a duplicate waits.
    pub wait: Duration,
    /// How long an execution waits for the upstream's answer.
    pub response_timeout: Duration,
    /// Clients say when they first sent an operation.
    pub first_sent: bool,
    /// Final records are kept at hand.
    pub cache: bool,
    /// How often an answer is too large to keep.
    pub large: Chance,
    /// An operator looks after unknown outcomes.
    pub operator: bool,
    /// The operator also forgets operations that are over.
    pub forgets: bool,
    /// The route refuses the same key under another principal.
    pub refuses_changed: bool,
    /// The operator changes how long records are kept.
    pub retimes: bool,
    /// From how many sources the route has taken principals, one after the other.
    pub sources: u32,
    /// How often the policy shortens the retention of an answer.
    pub shortens: Chance,
    /// The policy leaves a note with each answer.
    pub notes: bool,
    /// What the policy says of an answer whose body is cut short.
    pub cut_means: Disposition,
    /// How the policy's keys change, where they do.
    pub changes: Option<Changes>,
}

/// Changes of the way in which keys are made, while operations run.
#[derive(Clone, Debug)]
pub struct Changes {
    /// How many ways there are.
    pub ways: u32,
    /// The lease on the list of key spaces, where several gateways stand on it.
    pub list_lease: Duration,
    /// How often a gateway looks after the list there.
    pub tend_every: Duration,
    /// The longest time between two changes.
    pub pause_max: Duration,
    /// How much later one gateway comes to a change than another.
    pub spread_max: Duration,
    /// The ways by which all operations of one principal have one key.
    pub merging: Ways,
    /// The ways by which some operations are not guarded.
    pub blind: Ways,
    /// How often a generation of another way can't be loaded, each time that it is tried.
    pub missing: Chance,
}

/// Some of the ways of making keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways(pub u32);

impl Ways {
    /// Whether this way is in the set.
    pub const fn has(self, way: u32) -> bool {
        self.0 & (1 << way) != 0
    }

    /// Whether the sets have a way in common.
    pub const fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl FromIterator<u32> for Ways {
    fn from_iter<T: IntoIterator<Item = u32>>(ways: T) -> Self {
        Self(ways.into_iter().fold(0, |all, way| all | 1 << way))
    }
}

impl Setting {
    /// Whether a request that may have been sent may be sent again.
    pub fn repeats(&self) -> bool {
        self.dedupes || self.accept_repeats
    }

    /// Whether there is one gateway, which owns the store.
    pub fn embedded(&self) -> bool {
        self.gateways == 1
    }

    /// The setting of a seed, before its [`Focus`] is set.
    pub fn draw(dice: &mut fastrand::Rng) -> Self {
        let millis = |dice: &mut fastrand::Rng, range| Duration::from_millis(dice.u64(range));
        let when_unknown = [WhenUnknown::Hold, WhenUnknown::Probe, WhenUnknown::Resend][dice.usize(0..3)];
        let resends = when_unknown == WhenUnknown::Resend;
        let dedupes = dice.u8(0..4) == 0 || (resends && dice.bool());
        // Some runs are long enough for records to be forgotten.
        let short = dice.u8(0..4) == 0;
        let kept = |dice: &mut fastrand::Rng| match short {
            true => Duration::from_millis(dice.u64(200..2_000)),
            false => Duration::from_secs(600),
        };
        let (retention, tombstone, unknown_retention) = (kept(dice), kept(dice), kept(dice));
        let operator = dice.u8(0..3) == 0;
        Self {
            gateways: dice.usize(1..4),
            operations: dice.usize(1..4),
            clients: dice.usize(1..5),
            while_running: if dice.u8(0..5) == 0 { WhileRunning::Reject } else { WhileRunning::Wait },
            when_unknown,
            dedupes,
            accept_repeats: resends && !dedupes,
            attempts: dice.u32(1..4),
            times: Times {
                lease: millis(dice, 100..1_000),
                retention,
                tombstone: if dice.u8(0..4) == 0 { Duration::ZERO } else { tombstone },
                unknown_retention,
                memory: retention + tombstone,
            },
            wait: millis(dice, 50..2_000),
            response_timeout: millis(dice, 50..1_500),
            first_sent: dice.u8(0..4) == 0,
            cache: dice.bool(),
            large: if dice.u8(0..4) == 0 { 300 } else { 0 },
            operator,
            forgets: operator && dice.bool(),
            refuses_changed: dice.u8(0..4) == 0,
            retimes: dice.u8(0..3) == 0,
            sources: if short { dice.u32(1..4) } else { 1 },
            shortens: if dice.u8(0..4) == 0 { 400 } else { 0 },
            notes: dice.bool(),
            cut_means: [Disposition::Unknown, Disposition::Consumed, Disposition::Completed]
                [dice.usize(0..3)],
            changes: None,
        }
    }

    /// In two of three seeds keys change. A quarter of these seeds have a crowd: three gateways, which look
    /// after the list as late as they may, and many clients. In another quarter ways of making keys differ in
    /// more than the keys. The changes are drawn by dice of their own, so that the other draws stay the same.
    pub fn with_changes(mut self, seed: u64) -> Self {
        let (focus, seed) = (Focus::of(seed), seed / 2);
        let crowd = matches!(seed % 12, 4 | 6);
        let unlike = matches!(seed % 24, 7 | 9 | 12 | 21);
        if focus.is_none() && seed % 3 != 2 && !crowd && !unlike {
            return self;
        }
        let mut dice = fastrand::Rng::with_seed(!seed);
        let mut millis = |range| Duration::from_millis(dice.u64(range));
        let (list_lease, pause_max, spread_max) = (millis(150..2_000), millis(200..3_000), millis(1..1_000));
        // A space leaves only when its records are gone.
        if dice.bool() {
            let mut millis = |range| Duration::from_millis(dice.u64(range));
            let times = &mut self.times;
            (times.retention, times.unknown_retention) = (millis(100..1_500), millis(100..1_500));
            if !times.tombstone.is_zero() {
                times.tombstone = millis(100..1_500);
            }
            times.memory = times.retention + times.tombstone;
        }
        let ways = dice.u32(2..8);
        let mut tend_every = list_lease / 3;
        if crowd {
            (self.gateways, self.operations) = (3, 1);
            self.clients = dice.usize(4..12);
            tend_every = list_lease * dice.u32(5..10) / 10;
        }
        let (merging, blind, missing) = (Ways::default(), Ways::default(), 0);
        let changes =
            Changes { ways, list_lease, tend_every, pause_max, spread_max, merging, blind, missing };
        self.changes = Some(changes);
        if unlike { self.with_unlike_ways(&mut dice) } else { self }
    }

    /// The setting without what gateways that share a store don't promise, and what this model can't tell.
    pub fn consistent(mut self) -> Self {
        let alone = self.embedded();
        // The cache of another gateway isn't told.
        self.forgets &= self.operator && (alone || !self.cache);
        // One gateway that still forgets early, and one that holds clients to a longer memory, would need one
        // history of both.
        self.retimes &= alone || !self.first_sent;
        // While another gateway takes principals as before, a change is refused.
        self.sources = if alone { self.sources } else { 1 };
        let merges = self.changes.as_ref().is_some_and(|changes| changes.merging != Ways::default());
        self.refuses_changed &= !merges;
        self
    }

    /// Adds ways that merge operations which others keep apart, that leave some unguarded, or that can't be
    /// loaded for a while: one of these or several.
    fn with_unlike_ways(mut self, dice: &mut fastrand::Rng) -> Self {
        let which = dice.u8(1..8);
        let mut some = |wanted: bool| Ways(if wanted { dice.u32(1..256) } else { 0 });
        let (merging, blind) = (some(which & 1 != 0), some(which & 2 != 0));
        if merging != Ways::default() {
            // Each two operations have different principals.
            self.operations = dice.usize(3..5);
        }
        let missing = if which & 4 != 0 { dice.u16(50..600) } else { 0 };
        self.changes = self.changes.map(|changes| Changes { merging, blind, missing, ..changes });
        self
    }
}

/// What goes wrong, and how often. README.md says why each must be survived.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// A gateway ends, at any step of any of its requests or calls to the store.
    pub crash: Chance,
    /// A gateway stands still at such a step, for up to [`pause_max`](Self::pause_max).
    pub pause: Chance,
    /// The longest standstill: several leases.
    pub pause_max: Duration,
    /// A request or an answer between client and gateway is lost.
    pub lost: Chance,
    /// A message comes late, by up to [`late_max`](Self::late_max).
    pub late: Chance,
    /// How late a message can be.
    pub late_max: Duration,
    /// A client has no patience and leaves; its gateway notices.
    pub leaves: Chance,
    /// The same key comes with another request.
    pub reused: Chance,
    /// A call to the store takes up to [`slow_max`](Self::slow_max).
    pub slow: Chance,
    /// How long a slow call takes.
    pub slow_max: Duration,
    /// The store says no.
    pub refused: Chance,
    /// Nobody knows the result of a write: it took effect, it didn't, or it will.
    pub unclear: Chance,
    /// The store has no room for a new record, or for an answer.
    pub full: Chance,
    /// A record can't be read for as long as things go wrong.
    pub damaged: Chance,
    /// An embedded store fails at a write, and is opened anew within [`slow_max`](Self::slow_max).
    pub fails: Chance,
    /// The upstream can't be reached.
    pub unreachable: Chance,
    /// The upstream answers that it did nothing, and did nothing.
    pub declined: Chance,
    /// The upstream's answer proves nothing, whether it acts or not.
    pub ambiguous: Chance,
    /// The upstream breaks the connection off, whether it acts or not.
    pub broken: Chance,
    /// The upstream's answer is final, and its body is cut short.
    pub cut: Chance,
    /// The upstream says nothing, whether it acts or not.
    pub silent: Chance,
    /// The upstream acts up to [`commit_max`](Self::commit_max) after it answered or broke off.
    pub commits_late: Chance,
    /// The longest delay of the upstream's act.
    pub commit_max: Duration,
    /// The wall clock is stepped by up to three days while the gateway is down.
    pub stepped: Chance,
    /// How long a crashed gateway stays away.
    pub away_max: Duration,
}

impl Faults {
    /// The faults of a seed.
    pub fn draw(dice: &mut fastrand::Rng, setting: &Setting) -> Self {
        let mut chance = |often: Chance| if dice.bool() { dice.u16(1..=often) } else { 0 };
        let (crash, pause, lost, late, leaves) =
            (chance(40), chance(40), chance(100), chance(200), chance(300));
        let (reused, slow, refused, unclear) = (chance(150), chance(100), chance(80), chance(80));
        let (unreachable, declined, ambiguous) = (chance(300), chance(300), chance(300));
        let (broken, silent, commits_late, stepped) = (chance(300), chance(300), chance(500), chance(500));
        let (full, damaged, fails, cut) = (chance(80), chance(4), chance(30), chance(200));
        let lease = setting.times.lease;
        let mut faults = Self {
            crash,
            pause,
            lost,
            late,
            leaves,
            reused,
            slow,
            refused,
            unclear,
            full,
            damaged,
            fails,
            unreachable,
            declined,
            ambiguous,
            broken,
            silent,
            cut,
            commits_late,
            stepped,
            ..Self::default()
        };
        faults.settles_within(lease);
        faults
    }

    /// Sets how long what goes wrong takes, by the lease of executions.
    pub fn settles_within(&mut self, lease: Duration) {
        (self.pause_max, self.late_max, self.slow_max) = (lease * 3, lease, lease * 2);
        (self.commit_max, self.away_max) = (lease * 3, lease * 2);
    }

    /// No execution commits later than this after its lease ended: a standstill between the last
    /// check and the first byte, the way to the upstream, and the upstream's own delay.
    pub fn settle_after(&self) -> Duration {
        self.pause_max + self.late_max + self.commit_max + Duration::from_millis(200)
    }
}
