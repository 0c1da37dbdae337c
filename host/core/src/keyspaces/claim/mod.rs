//! One claim under several keys at once: the rules of DESIGN §6, "Changing the keys".
//!
//! While a policy's keys change, an operation has a key in each key space on the ledger's list. It
//! is claimed under all of them, lowest number first, and executes only with all: the highest holds
//! state and answer, the others are pointers to it. [`MultiKeyClaim`] is that claim, as a machine that asks
//! for one load or one swap at a time and is told what came of it. With one key and nothing but
//! states in the way it asks for one swap and is done.
//!
//! What ended unknown is sent again where it is kept, which may be under a lower key: then that one is the
//! end, and the others, higher ones too, are claimed as pointers to it before. Who sends anything again
//! holds every key that who executes anew would hold.
//!
//! Where a changed principal is refused (DESIGN §7), the same keys without their principal are claimed
//! before all others, as pointers too. Nothing but these is shared by two principals: they turn a claim
//! away, or hold it up, and never let one execute that would not without them.
//!
//! Each rule here was found with the exhaustive model `model/keyspaces.py`; `model/keyspaces.rs` steps this
//! code through the model's scenes, and through its known-bad variants to see that they are caught.

use crate::decide::{Claim, Decision, Event, Refusal, Rules, WhenUnknown, WhileRunning, decide};
use crate::ids::{Fingerprint, OperationId, SpaceNumber};
use crate::record::{Origin, Pointer, Record, State, View};
use crate::time::Timestamp;
use std::sync::Arc;

/// At most four spaces are on a list: a longer chain of pointers spans lists that are long gone, and is
/// taken to live.
const LINKS_MAX: usize = 16;

/// An operation's key in one key space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The number of the space.
    pub space: SpaceNumber,
    /// The key.
    pub id: OperationId,
    /// What must be equal for a duplicate to be one, by that space's generation.
    pub fingerprint: Fingerprint,
    /// The key schema of the space.
    pub key_schema: Arc<str>,
    /// The key epoch of the space.
    pub key_epoch: u64,
}

/// A claim with all its keys.
#[derive(Clone, Copy, Debug)]
pub struct ClaimKeys<'a> {
    /// The keys in the spaces that this gateway derives, lowest number first; never empty.
    pub keys: &'a [Key],
    /// The same ones without the principal, where a changed one is refused; empty where not.
    pub common: &'a [Key],
    /// What the record under the highest of them would be.
    pub claim: &'a Claim,
    /// The rules of its route.
    pub rules: &'a Rules,
}

/// What a [`MultiKeyClaim`] wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask<V> {
    /// Load this record.
    Load(OperationId),
    /// Put `next`, expecting this version; none: expecting no record.
    Swap {
        /// Whose record.
        id: OperationId,
        /// The version that must stand there.
        expected: Option<V>,
        /// The record to put.
        next: Arc<Record>,
    },
    /// Nothing: this is how it ended.
    Nothing(ClaimResult<V>),
}

/// What came of what a [`MultiKeyClaim`] asked for.
#[derive(Clone, Debug)]
pub enum Reply<V> {
    /// To a load.
    Loaded(Option<(V, Arc<Record>)>),
    /// To a swap: it took effect, and the record stands there under this version.
    Swapped(V, Arc<Record>),
    /// To a swap: something else stands there.
    Conflict(Option<(V, Arc<Record>)>),
    /// To a swap: nobody knows whether it took effect.
    Unclear,
}

/// How a claim ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClaimResult<V> {
    /// All keys are claimed: it may execute, as long as [`MultiKeyClaim::holds_until`] is ahead.
    Won {
        /// Where the state is kept.
        id: OperationId,
        /// The write that put it there.
        version: V,
        /// The record under which it executes.
        record: Arc<Record>,
    },
    /// Something else stands there.
    NotWon {
        /// What the request is told.
        instead: NotWon,
        /// Where the record is, or would be.
        id: OperationId,
        /// The record that stands in the way, where one was found.
        record: Option<(V, Arc<Record>)>,
    },
}

/// What a request is told by a record that stands in its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotWon {
    /// Answer from it.
    Replay,
    /// It is being executed: wait.
    Wait,
    /// It is turned away.
    Refuse(Refusal),
}

impl NotWon {
    /// Whether it is what an execution gave; anything else is told only when no key leads to that.
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Replay | Self::Refuse(Refusal::Consumed | Refusal::Expired))
    }

    /// It is told only where there is no record at all.
    const fn is_without_record(self) -> bool {
        matches!(self, Self::Refuse(Refusal::TooLate | Refusal::Ahead))
    }
}

/// A claim on its way. `V` is the store's version of a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MultiKeyClaim<V> {
    /// The key that is being claimed.
    pub(crate) step: usize,
    pub(crate) phase: Phase<V>,
    pub(crate) holds_until: Timestamp,
    /// What it wrote under keys without principal, and nobody but this claim relies on.
    pub(crate) common: Vec<(OperationId, V)>,
    /// What is sent again, when all other keys are claimed.
    pub(crate) again: Option<Again<V>>,
}

/// A record that ended unknown and is sent again, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Again<V> {
    /// Under which of the keys.
    pub(crate) key: usize,
    version: V,
    record: Arc<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase<V> {
    /// Before anything is claimed: is there a record under the own key numbered so? Asked where there are
    /// keys without principal: what the caller itself has begun is its own, whoever came since. And where
    /// several keys are to point to what is sent again.
    Own(usize),
    /// Write at the present key, over what was seen there.
    Write(Option<Over<V>>),
    /// Read the present key again: a swap's answer was lost, or a chain of pointers changed.
    Reread,
    /// Follow a pointer that was found at the present key.
    Follow(PointerChain<V>),
    /// Nothing is at the chain's end. See that no pointer on it but the first, which a swap will
    /// compare, was written over meanwhile.
    Check {
        chain: PointerChain<V>,
        next: usize,
        live: bool,
    },
    /// Before `otherwise` is told or done: does any key lead to an answer? `via`: the pointers followed
    /// from the key numbered `key`.
    Look {
        otherwise: Box<Self>,
        key: usize,
        via: Option<PointerChain<V>>,
    },
    /// Execute once more what ended unknown, where it is kept: all other keys are claimed.
    Resend,
    /// The answer of that swap was lost: read it again.
    Resent,
    Ended(Box<ClaimResult<V>>),
}

/// What a write replaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Over<V> {
    version: V,
    /// A pointer's lease: the one that replaces it ends no earlier, for its claimant relies on it.
    lease_until: Timestamp,
}

/// Pointers followed from one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PointerChain<V> {
    links: Vec<Link<V>>,
    target: OperationId,
    /// It came back to where it had been: nothing but pointers are there.
    returns: bool,
    /// The operation's fingerprint at the target, by who wrote the last pointer.
    fingerprint: Fingerprint,
    /// It leads to another operation: another principal's; or one of the fingerprints on the way differs,
    /// or a pointer names another key in a space which this gateway derives. What is told of it.
    other: Option<Refusal>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Link<V> {
    id: OperationId,
    version: V,
    target: OperationId,
    lease_until: Timestamp,
}

impl<V: Clone + Eq> MultiKeyClaim<V> {
    /// A claim with these keys that has done nothing yet.
    pub const fn of(by: ClaimKeys<'_>) -> Self {
        Self { step: 0, phase: Self::first(by), holds_until: Timestamp::MAX, common: Vec::new(), again: None }
    }

    /// One that claims nothing: it tells this, unless one of the keys leads to an answer.
    pub fn looking(by: ClaimKeys<'_>, end: ClaimResult<V>) -> Self {
        let mut multi_claim = Self::of(by);
        multi_claim.end_with(by, end);
        multi_claim
    }

    const fn first(by: ClaimKeys<'_>) -> Phase<V> {
        let resends = matches!(by.rules.when_unknown, WhenUnknown::Resend) && by.keys.len() > 1;
        if resends || !by.common.is_empty() { Phase::Own(0) } else { Phase::Write(None) }
    }

    /// What it wrote under keys without principal and is to be removed again when the operation turns out
    /// not to be applied, if it still stands so: then no other claim relies on it.
    pub fn common(&self) -> &[(OperationId, V)] {
        &self.common
    }

    /// Until when all that it has claimed is its own: the earliest of the leases, as it wrote them.
    pub const fn holds_until(&self) -> Timestamp {
        self.holds_until
    }

    /// What it wants next. `now` goes along with the reply to [`heard`](Self::heard).
    pub fn ask(&mut self, by: ClaimKeys<'_>, now: Timestamp) -> Ask<V> {
        if let Phase::Write(over) = &self.phase {
            let over = over.clone();
            match self.next_record(by, over.as_ref(), now) {
                Ok(next) => {
                    let expected = over.map(|over| over.version);
                    return Ask::Swap { id: self.present(by).id, expected, next: Arc::new(next) };
                }
                Err(refusal) => {
                    let id = self.end(by).id;
                    let end = ClaimResult::NotWon { instead: NotWon::Refuse(refusal), id, record: None };
                    self.phase = Phase::look(Phase::Ended(Box::new(end)));
                }
            }
        }
        if let (Phase::Resend, Some(Again { key, version, record })) = (&self.phase, &self.again) {
            let Key { id, fingerprint, .. } = by.keys[*key];
            match judge(by, record, fingerprint, now) {
                Decision::Execute(next) => {
                    return Ask::Swap { id, expected: Some(version.clone()), next: Arc::new(next) };
                }
                // It expired meanwhile.
                decision => {
                    let record = Some((version.clone(), record.clone()));
                    self.end_with(by, ClaimResult::NotWon { instead: instead_of(decision), id, record });
                }
            }
        }
        match &self.phase {
            Phase::Write(_) | Phase::Resend => unreachable!("they were handled above"),
            Phase::Own(key) => Ask::Load(by.keys[*key].id),
            Phase::Reread => Ask::Load(self.present(by).id),
            Phase::Resent => Ask::Load(self.end(by).id),
            Phase::Follow(chain) => Ask::Load(chain.target),
            Phase::Check { chain, next, .. } => Ask::Load(chain.links[*next].id),
            Phase::Look { via: Some(chain), .. } => Ask::Load(chain.target),
            Phase::Look { key, .. } => Ask::Load(by.keys[*key].id),
            Phase::Ended(end) => Ask::Nothing((**end).clone()),
        }
    }

    /// Takes in what came of what it asked for. `asked`: the time that was given to
    /// [`ask`](Self::ask), which is before the store looked.
    pub fn heard(&mut self, by: ClaimKeys<'_>, reply: Reply<V>, asked: Timestamp) {
        // The place is taken only for this call: every branch puts the next phase there.
        match (std::mem::replace(&mut self.phase, Phase::Reread), reply) {
            (Phase::Own(key), Reply::Loaded(found)) => self.own(by, key, found, asked),
            (Phase::Write(over), Reply::Swapped(version, record)) => {
                // Over a live one: its claimant may still be on its way, and relies on this one now.
                let alone = over.is_none_or(|over| over.lease_until <= asked) || bend::is(bend::FreesOver);
                if self.step < by.common.len() && alone {
                    self.common.push((self.present(by).id, version.clone()));
                }
                self.wrote(by, version, record, asked);
            }
            (Phase::Resend, Reply::Swapped(version, record)) => self.resent(by, version, record),
            (Phase::Resend, Reply::Unclear) => self.phase = Phase::Resent,
            (Phase::Resend, Reply::Conflict(Some((version, record))))
            | (Phase::Resent, Reply::Loaded(Some((version, record))))
                if record.execution == by.claim.execution =>
            {
                self.resent(by, version, record);
            }
            // Somebody was quicker.
            (Phase::Resend | Phase::Resent, _) => self.begin_anew(by),
            (Phase::Write(_), Reply::Conflict(Some((version, record)))) => {
                self.found(by, version, record, asked);
            }
            (Phase::Write(_), Reply::Conflict(None)) => self.phase = Phase::Write(None),
            // A lost answer: see what stands at the present key.
            (Phase::Write(_), _) => {}
            (Phase::Reread, Reply::Loaded(Some((version, record)))) => {
                self.found(by, version, record, asked);
            }
            (Phase::Reread, _) => self.phase = Phase::Write(None),
            (Phase::Follow(chain), Reply::Loaded(found)) => self.follow(by, chain, found, asked),
            (Phase::Check { chain, next, live }, Reply::Loaded(found)) => {
                self.check(by, chain, next, live, found, asked);
            }
            (Phase::Look { otherwise, key, via }, Reply::Loaded(found)) => {
                self.look(by, otherwise, (key, via), found, asked);
            }
            (phase, _) => self.phase = phase,
        }
    }

    /// The key that is being claimed: those without principal first and lowest number first, so that
    /// two claims with two keys in common don't each hold one of them.
    fn present<'a>(&self, by: ClaimKeys<'a>) -> &'a Key {
        match self.step.checked_sub(by.common.len()) {
            None => &by.common[self.step],
            Some(step) if bend::is(bend::HighestFirst) => &by.keys[by.keys.len() - 1 - step],
            Some(step) if self.again.as_ref().is_some_and(|again| again.key <= step) => &by.keys[step + 1],
            Some(step) => &by.keys[step],
        }
    }

    /// The key to which the others point: the highest, or where what is sent again is kept.
    fn end<'a>(&self, by: ClaimKeys<'a>) -> &'a Key {
        &by.keys[self.again.as_ref().map_or(by.keys.len() - 1, |again| again.key)]
    }

    /// Claims the other keys for what ended unknown under the key numbered `key`, and then sends it again.
    fn send_again(&mut self, by: ClaimKeys<'_>, key: usize, (version, record): (V, Arc<Record>)) {
        self.again = Some(Again { key, version, record });
        // Those without principal lead there already.
        self.step = by.common.len();
        self.holds_until = Timestamp::MAX;
        let alone = by.keys.len() == 1 || bend::is(bend::ResendsAlone);
        self.phase = if alone { Phase::Resend } else { Phase::Write(None) };
    }

    fn begin_anew(&mut self, by: ClaimKeys<'_>) {
        *self = Self { common: std::mem::take(&mut self.common), ..Self::of(by) };
    }

    /// What stands under an own key, before anything is claimed.
    fn own(&mut self, by: ClaimKeys<'_>, key: usize, found: Option<(V, Arc<Record>)>, now: Timestamp) {
        let here = &by.keys[key];
        let is_state = |record: &Record| !matches!(record.view(now), View::Absent | View::Pointer);
        if let Some(standing) = found.filter(|(_, record)| is_state(record)) {
            return self.duplicate(by, here.id, standing, here.fingerprint, now);
        }
        self.phase = if key + 1 < by.keys.len() { Phase::Own(key + 1) } else { Phase::Write(None) };
    }

    /// The record for the present key; or, where it is the first and the operation is too old or
    /// ahead of its time, that.
    fn next_record(
        &self,
        by: ClaimKeys<'_>,
        over: Option<&Over<V>>,
        now: Timestamp,
    ) -> Result<Record, Refusal> {
        // What is sent again has a record, and so is never too late.
        let ageless;
        let claim = match &self.again {
            None => by.claim,
            Some(_) => {
                ageless = Claim {
                    clock: Timestamp::MAX,
                    remembered_since: Timestamp::default(),
                    ..by.claim.clone()
                };
                &ageless
            }
        };
        let record = match decide(by.rules, None, Event::Claim(claim), now) {
            Decision::Execute(record) => record,
            Decision::Refuse(refusal) => return Err(refusal),
            _ => unreachable!(
                "without a record a claim executes or is refused; the table of decide() shows it"
            ),
        };
        let (key, end) = (self.present(by), self.end(by));
        if key.id == end.id {
            return Ok(record);
        }
        let own = now.plus(by.claim.times.lease);
        let floor = over.map_or(own, |over| over.lease_until);
        let lease_until = if bend::is(bend::OwnLease) { own } else { own.max(floor) };
        Ok(Record {
            fingerprint: key.fingerprint,
            origin: Origin {
                key_schema: key.key_schema.clone(),
                key_epoch: key.key_epoch,
                ..record.origin.clone()
            },
            memo: None,
            probing: None,
            state: State::Pointer(Pointer {
                target: end.id,
                target_space: end.space,
                target_fingerprint: end.fingerprint,
                lease_until,
                look_at: lease_until,
            }),
            ..record
        })
    }

    /// The present key is ours.
    fn wrote(&mut self, by: ClaimKeys<'_>, version: V, record: Arc<Record>, asked: Timestamp) {
        let own = asked.plus(by.claim.times.lease);
        self.holds_until = self.holds_until.min(lease_of(&record, asked).min(own));
        self.step += 1;
        let again = usize::from(self.again.is_some());
        self.phase = match self.step < by.common.len() + by.keys.len() - again {
            true => Phase::Write(None),
            false if again > 0 => Phase::Resend,
            false => Phase::Ended(Box::new(ClaimResult::Won { id: self.end(by).id, version, record })),
        };
    }

    /// What was unknown is claimed once more, where it is kept.
    fn resent(&mut self, by: ClaimKeys<'_>, version: V, record: Arc<Record>) {
        self.holds_until = self.holds_until.min(lease_of(&record, Timestamp::default()));
        self.phase = Phase::Ended(Box::new(ClaimResult::Won { id: self.end(by).id, version, record }));
    }

    /// What stands at the present key: perhaps what it wrote itself, in a swap whose answer was lost.
    fn found(&mut self, by: ClaimKeys<'_>, version: V, record: Arc<Record>, asked: Timestamp) {
        // A pointer that it wrote before it knew where it ends may have been written over another's, who
        // relies on it: then it is as good as another's.
        let elsewhere = matches!(&record.state, State::Pointer(pointer) if pointer.target != self.end(by).id);
        match record.execution == by.claim.execution && !elsewhere {
            true => self.wrote(by, version, record, asked),
            false => self.meet(by, version, record, asked),
        }
    }

    /// What stands there is somebody else's.
    fn meet(&mut self, by: ClaimKeys<'_>, version: V, record: Arc<Record>, now: Timestamp) {
        let key = self.present(by);
        if record.view(now) == View::Absent {
            self.phase = Phase::Write(Some(Over { version, lease_until: Timestamp::default() }));
            return;
        }
        let State::Pointer(pointer) = &record.state else {
            self.duplicate(by, key.id, (version, record), key.fingerprint, now);
            return;
        };
        let end = self.end(by);
        let same = record.origin.principal == by.claim.origin.principal
            && record.fingerprint == key.fingerprint
            && pointer.target_fingerprint == end.fingerprint;
        let own = by.keys.iter().any(|key| key.space == pointer.target_space && key.id == pointer.target);
        let lives = now < pointer.lease_until;
        // Who claims the same keys up to the same end writes the pointer itself, also over a live one:
        // were it to rely on another's, that one's claimant could die and its lease end.
        let same_end = own && (pointer.target_space == end.space || bend::is(bend::OwnKey));
        let foreign = !by.keys.iter().any(|key| key.space == pointer.target_space);
        if same && same_end && key.id != end.id {
            if lives && bend::is(bend::Joined) {
                let holds_until = self.holds_until;
                self.wrote(by, version, record, now);
                self.holds_until = holds_until;
                return;
            }
            self.phase = Phase::Write(Some(Over { version, lease_until: pointer.lease_until }));
        } else if (foreign && bend::is(bend::FollowKnown)) || (!lives && bend::is(bend::LapsedAlone)) {
            self.phase = Phase::Write(Some(Over { version, lease_until: pointer.lease_until }));
        } else {
            self.phase = Phase::Follow(PointerChain::from(by, key, version, &record, pointer));
        }
    }

    /// A state stands there: the operation is a duplicate of what it tells.
    fn duplicate(
        &mut self,
        by: ClaimKeys<'_>,
        id: OperationId,
        standing: (V, Arc<Record>),
        fingerprint: Fingerprint,
        now: Timestamp,
    ) {
        let decision = judge(by, &standing.1, fingerprint, now);
        if matches!(decision, Decision::Execute(_)) && self.again.is_none() {
            // Under a key that this gateway doesn't derive, or where two are unknown, it stays so.
            if let Some(key) = by.keys.iter().position(|key| key.id == id) {
                return self.send_again(by, key, standing);
            }
        }
        let instead = instead_of(decision);
        self.end_with(by, ClaimResult::NotWon { instead, id, record: Some(standing) });
    }

    /// Tells it; what no execution gave only after a look at all keys.
    fn end_with(&mut self, by: ClaimKeys<'_>, end: ClaimResult<V>) {
        let is_final = matches!(&end, ClaimResult::NotWon { instead, record: Some((_, record)), .. }
            if instead.is_final() && is_answer(record));
        // With one key there is nothing but what was just read.
        let end = Phase::Ended(Box::new(end));
        self.phase = match is_final || by.keys.len() == 1 || bend::is(bend::FirstMet) {
            true => end,
            false => Phase::look(end),
        };
    }

    fn follow(
        &mut self,
        by: ClaimKeys<'_>,
        mut chain: PointerChain<V>,
        found: Option<(V, Arc<Record>)>,
        asked: Timestamp,
    ) {
        let found = found.filter(|(_, record)| record.view(asked) != View::Absent && !chain.is_past(record));
        // Judged by a time before the target was read: a pointer that lapsed only afterwards may have
        // had its claimant arrive there in between.
        let live = chain.lives(self.end(by), asked);
        match found {
            Some((version, record)) => match &record.state {
                State::Pointer(_) if chain.links.len() >= LINKS_MAX => self.nothing(by, chain, true),
                State::Pointer(pointer) => {
                    chain.push(by, version, &record, pointer);
                    let live = chain.lives(self.end(by), asked);
                    self.phase = match chain.returns {
                        true => Phase::Check { chain, next: 1, live },
                        false => Phase::Follow(chain),
                    };
                }
                _ => match chain.fingerprint_of(by, &record) {
                    Some(fingerprint) => {
                        self.duplicate(by, chain.target, (version, record), fingerprint, asked);
                    }
                    None => self.refuse(by, &chain, Some((version, record))),
                },
            },
            None if live && bend::is(bend::TargetBefore) => {
                self.phase = Phase::Check { chain, next: 0, live };
            }
            None if chain.links.len() > 1 => self.phase = Phase::Check { chain, next: 1, live },
            None => self.nothing(by, chain, live),
        }
    }

    fn check(
        &mut self,
        by: ClaimKeys<'_>,
        chain: PointerChain<V>,
        next: usize,
        live: bool,
        found: Option<(V, Arc<Record>)>,
        asked: Timestamp,
    ) {
        if let Some((_, record)) = found.as_ref().filter(|_| bend::is(bend::TargetBefore)) {
            let lives = matches!(&record.state, State::Pointer(pointer) if asked < pointer.lease_until);
            self.nothing(by, chain, lives);
            return;
        }
        if found.is_none_or(|(version, _)| version != chain.links[next].version) {
            // Something moved on the way: begin again at the present key.
            self.phase = Phase::Reread;
            return;
        }
        match next + 1 < chain.links.len() {
            true => self.phase = Phase::Check { chain, next: next + 1, live },
            false => self.nothing(by, chain, live),
        }
    }

    /// Nothing is at the end of the chain.
    fn nothing(&mut self, by: ClaimKeys<'_>, chain: PointerChain<V>, live: bool) {
        if !live {
            let link = &chain.links[0];
            let over = Over { version: link.version.clone(), lease_until: link.lease_until };
            self.phase = Phase::Write(Some(over));
            return;
        }
        if chain.other.is_some() {
            return self.refuse(by, &chain, None);
        }
        let instead = match by.rules.while_running {
            WhileRunning::Wait => NotWon::Wait,
            WhileRunning::Reject => NotWon::Refuse(Refusal::InFlight),
        };
        self.end_with(by, ClaimResult::NotWon { instead, id: chain.target, record: None });
    }

    /// The chain leads to another operation. Another principal's is not shown.
    fn refuse(&mut self, by: ClaimKeys<'_>, chain: &PointerChain<V>, standing: Option<(V, Arc<Record>)>) {
        let refused =
            |refusal, id, record| ClaimResult::NotWon { instead: NotWon::Refuse(refusal), id, record };
        let end = match chain.other {
            Some(Refusal::PrincipalChanged) => {
                refused(Refusal::PrincipalChanged, by.keys[by.keys.len() - 1].id, None)
            }
            _ => refused(Refusal::KeyReused, chain.target, standing),
        };
        self.end_with(by, end);
    }

    /// One key after the other: does it lead to an answer?
    fn look(
        &mut self,
        by: ClaimKeys<'_>,
        mut otherwise: Box<Phase<V>>,
        (key, via): (usize, Option<PointerChain<V>>),
        found: Option<(V, Arc<Record>)>,
        now: Timestamp,
    ) {
        let found = found.filter(|(_, record)| record.view(now) != View::Absent);
        if let Some((version, record)) = found {
            let here = &by.keys[key];
            if let State::Pointer(pointer) = &record.state {
                let chain = match via {
                    None => Some(PointerChain::from(by, here, version, &record, pointer)),
                    Some(mut chain) if chain.links.len() < LINKS_MAX => {
                        chain.push(by, version, &record, pointer);
                        Some(chain)
                    }
                    Some(_) => None,
                };
                if let Some(chain) = chain.filter(|chain| !chain.returns) {
                    self.phase = Phase::Look { otherwise, key, via: Some(chain) };
                    return;
                }
            } else {
                let (id, fingerprint) = match &via {
                    None => (here.id, Some(here.fingerprint)),
                    Some(chain) => (chain.target, chain.fingerprint_of(by, &record)),
                };
                let instead = fingerprint.map(|fingerprint| instead_of(judge(by, &record, fingerprint, now)));
                let without_record = otherwise.is_without_record();
                let end = || {
                    let instead = instead.unwrap_or(NotWon::Refuse(Refusal::KeyReused));
                    Phase::Ended(Box::new(ClaimResult::NotWon {
                        instead,
                        id,
                        record: Some((version, record.clone())),
                    }))
                };
                if instead.is_some_and(NotWon::is_final) && is_answer(&record) {
                    self.phase = end();
                    return;
                }
                if without_record {
                    *otherwise = end();
                }
            }
        }
        self.phase = match key + 1 < by.keys.len() {
            true => Phase::Look { otherwise, key: key + 1, via: None },
            false => *otherwise,
        };
    }
}

impl<V> Phase<V> {
    /// A look at all keys before this.
    fn look(otherwise: Self) -> Self {
        Self::Look { otherwise: Box::new(otherwise), key: 0, via: None }
    }

    fn is_without_record(&self) -> bool {
        let Self::Ended(end) = self else { return false };
        matches!(&**end, ClaimResult::NotWon { instead, .. } if instead.is_without_record())
    }
}

impl<V> PointerChain<V> {
    fn from(by: ClaimKeys<'_>, key: &Key, version: V, record: &Record, pointer: &Pointer) -> Self {
        let (target, fingerprint) = (key.id, key.fingerprint);
        let mut chain = Self { links: Vec::new(), target, returns: false, fingerprint, other: None };
        chain.push(by, version, record, pointer);
        chain
    }

    /// The pointer that was found at the target so far.
    fn push(&mut self, by: ClaimKeys<'_>, version: V, record: &Record, pointer: &Pointer) {
        let in_space = by.keys.iter().find(|key| key.space == pointer.target_space);
        if record.origin.principal != by.claim.origin.principal {
            self.other = Some(Refusal::PrincipalChanged);
        } else if record.fingerprint != self.fingerprint
            || in_space.is_some_and(|key| key.id != pointer.target)
        {
            self.other = self.other.or(Some(Refusal::KeyReused));
        }
        let Pointer { target, lease_until, .. } = *pointer;
        self.links.push(Link { id: self.target, version, target, lease_until });
        self.target = pointer.target;
        self.returns = self.links.iter().any(|link| link.id == pointer.target);
        self.fingerprint = pointer.target_fingerprint;
    }

    /// Whether one of its claimants may still be on its way. Who is on the way to `end`, to where this claim
    /// goes, too, is met there by a swap; only the pointer that is to be written over must not live.
    fn lives(&self, end: &Key, now: Timestamp) -> bool {
        let mut lives = self.links.iter().enumerate().filter(|(_, link)| now < link.lease_until);
        lives.any(|(n, link)| n == 0 || link.target != end.id)
    }

    /// Whether the state at its end is another operation than the one of another principal that the
    /// pointer was written for, which therefore is gone.
    fn is_past(&self, record: &Record) -> bool {
        self.other == Some(Refusal::PrincipalChanged)
            && !matches!(record.state, State::Pointer(_))
            && record.fingerprint != self.fingerprint
    }

    /// By which fingerprint the state at its end is the operation; none: it is another's.
    fn fingerprint_of(&self, by: ClaimKeys<'_>, record: &Record) -> Option<Fingerprint> {
        let own = by.keys.iter().find(|key| key.id == self.target).map(|key| key.fingerprint);
        let here = own.unwrap_or(self.fingerprint);
        (self.other.is_none() && record.fingerprint == self.fingerprint && here == record.fingerprint)
            .then_some(here)
    }
}

/// How long a claim's record stands; `otherwise` where it is none.
fn lease_of(record: &Record, otherwise: Timestamp) -> Timestamp {
    match &record.state {
        State::Pointer(pointer) => pointer.lease_until,
        State::Executing { lease_until } => *lease_until,
        State::Completed { .. } | State::Consumed { .. } | State::Unknown { .. } => otherwise,
    }
}

/// What a state tells a claim whose fingerprint there would be `fingerprint`.
fn judge(by: ClaimKeys<'_>, record: &Record, fingerprint: Fingerprint, now: Timestamp) -> Decision {
    match fingerprint == by.claim.fingerprint {
        true => decide(by.rules, Some(record), Event::Claim(by.claim), now),
        false => {
            let claim = Claim { fingerprint, ..by.claim.clone() };
            decide(by.rules, Some(record), Event::Claim(&claim), now)
        }
    }
}

fn instead_of(decision: Decision) -> NotWon {
    match decision {
        Decision::Replay => NotWon::Replay,
        Decision::Wait => NotWon::Wait,
        Decision::Refuse(refusal) => NotWon::Refuse(refusal),
        // What would be sent again is unknown, to one that only looks.
        Decision::Execute(_) => NotWon::Refuse(Refusal::Unknown),
        Decision::Follow | Decision::Put(_) | Decision::Remove | Decision::Keep(_) => {
            unreachable!("these don't answer a claim on a state; the table of decide() shows it")
        }
    }
}

/// Whether an execution gave this, and not an operator's word alone.
fn is_answer(record: &Record) -> bool {
    match &record.state {
        State::Completed { .. } => true,
        State::Consumed { summary, .. } => summary.status.is_some(),
        State::Executing { .. } | State::Unknown { .. } | State::Pointer(_) => false,
    }
}

/// The model's known-bad rules, for the test that sees them caught.
pub(crate) mod bend {
    #![allow(non_upper_case_globals, reason = "they read as the names of rules that are broken")]

    /// A live pointer that names any own key is written over, not only one with the same end.
    pub const OwnKey: u8 = 1;
    /// A pointer written over another has its own lease, though the other's may be longer.
    pub const OwnLease: u8 = 2;
    /// What isn't an answer is told as first met.
    pub const FirstMet: u8 = 3;
    /// A live pointer with the same end is relied on, not written anew.
    pub const Joined: u8 = 4;
    /// A pointer into a space that this gateway doesn't derive is ignored.
    pub const FollowKnown: u8 = 5;
    /// A lapsed pointer is absent whatever is at its target.
    pub const LapsedAlone: u8 = 6;
    /// Whether a pointer had lapsed is looked at after its target was.
    pub const TargetBefore: u8 = 7;
    /// The highest key is claimed first.
    pub const HighestFirst: u8 = 8;
    /// A pointer without principal that was written over a live one goes with the operation.
    pub const FreesOver: u8 = 9;
    /// What is sent again is claimed where it is kept, and nowhere else.
    pub const ResendsAlone: u8 = 10;

    #[cfg(test)]
    std::thread_local! {
        pub static BENT: std::cell::Cell<u8> = const { std::cell::Cell::new(0) };
    }

    /// Whether this rule is broken at the moment; outside of that test none ever is.
    #[cfg(test)]
    pub fn is(rule: u8) -> bool {
        BENT.get() == rule
    }

    /// Whether this rule is broken at the moment; outside of that test none ever is.
    #[cfg(not(test))]
    pub const fn is(_rule: u8) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
