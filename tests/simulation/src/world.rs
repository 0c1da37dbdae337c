//! The state that all parties of a run share: time, dice, and the history that the checker reads.

use crate::faults::{Chance, Faults, Setting, Ways};
use crate::focus::Focus;
use oncegate_core::{Disposition, Refusal, Times, Timestamp};
use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// When every run begins, by all clocks.
const BEGINNING: Timestamp = Timestamp::from_secs(1_800_000_000);

thread_local! {
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How long the run of this thread has gone on.
pub fn elapsed() -> Duration {
    BEGUN.with(|begun| match begun.get() {
        Some(begun) => begun.elapsed(),
        None => Duration::ZERO,
    })
}

/// The number of one request of one client.
pub type RequestId = u32;

/// An event of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request came to a gateway.
    Arrived { request: RequestId, operation: usize, content: u32, gateway: usize },
    /// The request's keys are made by these ways.
    Keyed { request: RequestId, ways: Ways },
    /// Nothing guards the request: it goes upstream without a claim.
    Passes { request: RequestId },
    /// The request's execution begins: it holds the claim.
    Executes { request: RequestId },
    /// The execution's first byte goes upstream.
    Sent { request: RequestId, attempt: u32 },
    /// The upstream will never act on that attempt, and has said so.
    Declined { request: RequestId, attempt: u32 },
    /// The upstream acted.
    Effect { request: RequestId, attempt: u32, token: u32 },
    /// The execution has a whole answer, and it is final.
    Got { request: RequestId, token: u32, large: bool },
    /// The execution is over, with or without an answer, and its gateway goes to record the disposition.
    Judged { request: RequestId, means: Disposition },
    /// A gateway gives this answer, which may be lost on its way.
    Answers { request: RequestId, reply: Reply },
    /// The client has left, and the gateway has noticed.
    Left { request: RequestId },
    /// The client got this answer, to its end.
    Told { request: RequestId, reply: Reply },
    /// A policy is to make keys in this way.
    Changes { way: u32 },
    /// A gateway ended.
    Crashed { gateway: usize },
    /// A gateway stands still.
    Paused { gateway: usize },
    /// A gateway's call to the store was slow, refused or unclear.
    Hindered { gateway: usize },
    /// An operator or a probe found that nothing happened and that nothing will.
    Freed { operation: usize },
    /// An operator had the operation forgotten.
    Forgotten { operation: usize },
    /// A claim took effect after its gateway was told that nobody knows, and had looked.
    ClaimedLate { operation: usize },
    /// The store had no room for the operation's answer.
    NoRoom { operation: usize },
    /// An operator or a probe found that the operation happened.
    Found { operation: usize },
    /// From here on nothing goes wrong.
    Calm,
    /// The last request for an operation has ended: a final answer must have come.
    Last { request: RequestId },
}

/// The answer to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The execution's own answer, as it came from upstream. `content` and `token` are those of the
    /// answer's body.
    First { content: u32, token: u32, means: Disposition },
    /// The execution got no answer.
    NoAnswer(Disposition),
    /// The answer from the record.
    Replayed { content: u32, token: u32 },
    /// The answer of the execution that the request waited for, which was not applied.
    Shared,
    /// The request was turned away.
    Refused(Refusal),
    /// The request isn't guarded, and went upstream as it came.
    Passed,
    /// The ledger can't be asked, or the policy is not loaded whole.
    Unavailable,
    /// The request was sent, and its outcome couldn't be recorded.
    Unrecorded,
    /// The connection ended first.
    Cut,
}

impl Reply {
    /// Whether a client that gets this answer asks again.
    pub fn is_for_now(&self) -> bool {
        match self {
            Self::First { means, .. } | Self::NoAnswer(means) => *means == Disposition::NotApplied,
            Self::Refused(refusal) => *refusal == Refusal::InFlight,
            Self::Shared | Self::Unavailable | Self::Unrecorded | Self::Cut => true,
            Self::Replayed { .. } | Self::Passed => false,
        }
    }

    /// Whether the answer says that nobody knows.
    pub fn announces_doubt(&self) -> bool {
        match self {
            Self::First { means, .. } | Self::NoAnswer(means) => *means == Disposition::Unknown,
            Self::Refused(refusal) => *refusal == Refusal::Unknown,
            Self::Unrecorded => true,
            Self::Replayed { .. } | Self::Shared | Self::Passed | Self::Unavailable | Self::Cut => false,
        }
    }
}

/// An event and its time, by the run's own time and by the ledger's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at: Duration,
    pub ledger: Timestamp,
    pub event: Event,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7} ms  {:?}", self.at.as_millis(), self.event)
    }
}

/// One run's world.
#[derive(Debug)]
pub struct World {
    pub setting: Setting,
    pub faults: Faults,
    dice: Mutex<fastrand::Rng>,
    history: Mutex<Vec<Entry>>,
    calm: AtomicBool,
    requests: AtomicU64,
    tokens: AtomicU64,
    /// The shortest times that were in force so far, each by itself.
    shortest: Mutex<Times>,
    /// Milliseconds by which the wall clock has been put forward, and ledger time with it.
    wall_ahead: AtomicU64,
    ledger_ahead: AtomicU64,
    /// Prints every event and more as it happens.
    trace: bool,
}

impl World {
    /// A world whose time begins now.
    pub fn new(seed: u64, trace: bool) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut setting = Setting::draw(&mut dice).with_changes(seed);
        let mut faults = Faults::draw(&mut dice, &setting);
        let focus = Focus::of(seed);
        if let Some(focus) = focus {
            focus.direct(&mut dice, &mut setting, &mut faults);
        }
        let setting = setting.consistent();
        BEGUN.with(|begun| begun.set(Some(Instant::now())));
        let world = Self {
            shortest: Mutex::new(setting.times),
            setting,
            faults,
            dice: Mutex::new(dice),
            history: Mutex::default(),
            calm: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            // This leaves room for steps back.
            wall_ahead: AtomicU64::new(0),
            ledger_ahead: AtomicU64::new(0),
            trace,
        };
        world.say(|| format!("{:?}\n{:#?}\n{:#?}", focus.map(Focus::name), world.setting, world.faults));
        world
    }

    /// Writes an event into the history.
    pub fn note(&self, event: Event) {
        let entry = Entry { at: elapsed(), ledger: self.ledger_now(), event };
        if self.trace {
            println!("{entry}");
        }
        locked(&self.history).push(entry);
    }

    /// Tells the reader of the trace.
    pub fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>7} ms    {}", elapsed().as_millis(), text());
        }
    }

    /// All events so far.
    pub fn history(&self) -> Vec<Entry> {
        locked(&self.history).clone()
    }

    /// Ends the faults: from here on nothing goes wrong.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.note(Event::Calm);
    }

    /// Whether nothing goes wrong any more.
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Whether a fault with this chance happens now.
    pub fn happens(&self, chance: Chance) -> bool {
        chance > 0 && !self.is_calm() && self.dice().u16(0..1_000) < chance
    }

    /// True as often as not.
    pub fn coin(&self) -> bool {
        self.dice().bool()
    }

    /// A number drawn from the range.
    pub fn pick(&self, range: Range<usize>) -> usize {
        self.dice().usize(range)
    }

    /// Some time up to `max`.
    pub fn up_to(&self, max: Duration) -> Duration {
        let max = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.dice().u64(0..=max))
    }

    /// Notes times that are in force from now on.
    pub fn goes_by(&self, times: &Times) {
        let mut shortest = locked(&self.shortest);
        shortest.retention = shortest.retention.min(times.retention);
        shortest.tombstone = shortest.tombstone.min(times.tombstone);
        shortest.unknown_retention = shortest.unknown_retention.min(times.unknown_retention);
    }

    /// The shortest times that were in force so far, each by itself.
    pub fn shortest(&self) -> Times {
        *locked(&self.shortest)
    }

    fn dice(&self) -> MutexGuard<'_, fastrand::Rng> {
        locked(&self.dice)
    }

    /// A number for a new request.
    pub fn request(&self) -> RequestId {
        u32::try_from(self.requests.fetch_add(1, Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// A number for a new answer of the upstream.
    pub fn token(&self) -> u32 {
        u32::try_from(self.tokens.fetch_add(1, Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// Steps the wall clock: back, if it was ahead, or forth.
    pub fn step_wall(&self) {
        let ahead = match self.wall_ahead.load(Ordering::Relaxed) {
            0 => self.up_to(Duration::from_secs(3 * 86_400)),
            _ => Duration::ZERO,
        };
        self.wall_ahead.store(oncegate_core::time::millis(ahead), Ordering::Relaxed);
        self.say(|| format!("the wall clock is {ahead:?} ahead"));
    }

    /// The time that the wall clock shows.
    pub fn wall(&self) -> Timestamp {
        BEGINNING.plus(elapsed() + Duration::from_millis(self.wall_ahead.load(Ordering::Relaxed)))
    }

    /// When clients say they first sent an operation, in Unix seconds.
    pub fn first_sent(&self) -> u32 {
        u32::try_from(BEGINNING.as_secs()).expect("it is before 2106")
    }

    /// Records that a ledger's clock was started at this time.
    pub fn ledger_starts(&self, at: Timestamp) {
        let ahead = at.since(BEGINNING.plus(elapsed()));
        self.ledger_ahead.store(oncegate_core::time::millis(ahead), Ordering::Relaxed);
    }

    /// Ledger time.
    pub fn ledger_now(&self) -> Timestamp {
        BEGINNING.plus(elapsed() + Duration::from_millis(self.ledger_ahead.load(Ordering::Relaxed)))
    }
}

/// Locks. Every critical section here is a step that leaves its data whole.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
