//! Two principals with the same content under the same key, where a changed principal is refused
//! (`design/principal.md`). The search goes through every order of the steps of a few requests, with pauses
//! past leases, crashes at any point and lost answers of the store, up to the scenes' bounds. The claim is
//! the real [`MultiKeyClaim`]; a gateway's order around it is that of `ledger/execute.rs`.
//!
//! Known-bad variants of that order are here, to see that each is caught. The patches of
//! `tests/simulation/breaks` break rules of the claim itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use crate::answer::Answer;
use crate::decide::{Claim, Refusal, Rules, WhenUnknown, WhileRunning};
use crate::ids::{ExecutionId, Fingerprint, OperationId, PrincipalId, Recipe, SpaceNumber};
use crate::keyspaces::claim::{Ask, ClaimResult, MultiKeyClaim, NotWon, StoreReply};
use crate::keyspaces::keys::{ClaimKeys, Key};
use crate::outcome::UnknownReason;
use crate::record::{Origin, Record, State, Times};
use crate::time::Timestamp;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(60);

/// A request of a scene: its principal and its key spaces.
type Brought = (u8, &'static [u8]);

struct Scene {
    requests: &'static [Brought],
    /// How often a whole lease may go by.
    ticks: u8,
    crashes: u8,
    lost: u8,
    /// With [`WhenUnknown::Resend`] an operation may run more than once, but for one principal only.
    when_unknown: WhenUnknown,
}

/// The order of a gateway's steps, as it is or broken.
#[derive(Clone, Copy, Debug)]
struct Ways {
    /// The check before the first byte asks for the leases of the pointers, too.
    asks_all_leases: bool,
    /// A release takes the pointers away only where they are as the claim wrote them.
    guards_release: bool,
}

const RIGHT: Ways = Ways { asks_all_leases: true, guards_release: true };

#[derive(Clone, PartialEq, Eq, Hash)]
enum Stage {
    Waiting,
    Claim(MultiKeyClaim<u64>),
    Ready {
        end: OperationId,
        holds_until: Timestamp,
        lease_until: Timestamp,
        common: Vec<(OperationId, u64)>,
    },
    Sent {
        end: OperationId,
        common: Vec<(OperationId, u64)>,
    },
    Release(Vec<(OperationId, u64)>),
    Over,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    now: Timestamp,
    records: BTreeMap<OperationId, (u64, Arc<Record>)>,
    writes: u64,
    stages: Vec<Stage>,
    /// Requests that were sent and are not known to have been without effect.
    effects: Vec<usize>,
    /// Principals whose answer is recorded, and requests that began after that.
    answered: Vec<u8>,
    after_answer: Vec<usize>,
    ticks: u8,
    crashes: u8,
    lost: u8,
}

fn execution(request: usize) -> ExecutionId {
    ExecutionId([request as u8; 16])
}

fn claim(request: usize, principal: u8) -> Claim {
    Claim {
        fingerprint: Fingerprint { recipe: Recipe::Request, hash: [7; 32] },
        execution: execution(request),
        times: Times {
            lease: LEASE,
            retention: Duration::from_secs(1 << 20),
            tombstone: Duration::ZERO,
            unknown_retention: Duration::from_secs(1 << 20),
            memory: Duration::from_secs(1 << 20),
        },
        origin: Origin {
            route: "r".into(),
            policy: "p".into(),
            key_schema: "s".into(),
            key_epoch: 0,
            normalisation: 1,
            method: "POST".into(),
            authority: "a".into(),
            path: "/".into(),
            principal: PrincipalId([principal; 32]),
            first_sent: None,
        },
        memo: None,
        clock: Timestamp::default(),
        remembered_since: Timestamp::default(),
        came: Timestamp::MAX,
    }
}

/// The keys of a principal in these spaces; principal 0 has the common keys.
fn keys(principal: u8, spaces: &[u8]) -> Vec<Key> {
    let key = |space: &u8| Key {
        space: SpaceNumber((*space).into()),
        id: OperationId([principal * 16 + space; 32]),
        fingerprint: Fingerprint { recipe: Recipe::Request, hash: [7; 32] },
        key_schema: "s".into(),
        key_epoch: 0,
    };
    spaces.iter().map(key).collect()
}

struct Model<'a> {
    scene: &'a Scene,
    ways: Ways,
}

impl Model<'_> {
    fn principal(&self, request: usize) -> u8 {
        self.scene.requests[request].0
    }

    const fn rules(&self) -> Rules {
        Rules { while_running: WhileRunning::Wait, when_unknown: self.scene.when_unknown }
    }

    /// One exchange of the claim with the store.
    fn claims(
        &self,
        world: &mut World,
        i: usize,
        mut multi_claim: MultiKeyClaim<u64>,
        lost: bool,
    ) -> Result<(), String> {
        let (principal, spaces) = self.scene.requests[i];
        let (own, common, claim) = (keys(principal, spaces), keys(0, spaces), claim(i, principal));
        let by = ClaimKeys { own: &own, common: &common, claim: &claim, rules: &self.rules() };
        let now = world.now;
        let asked = multi_claim.ask(by, now);
        let reply = match asked {
            Ask::Done(ClaimResult::Won { id: end, record, .. }) => {
                let State::Executing { lease_until } = record.state else { unreachable!() };
                let common = multi_claim.common().to_vec();
                let holds_until = multi_claim.holds_until();
                world.stages[i] = Stage::Ready { end, holds_until, lease_until, common };
                return Ok(());
            }
            Ask::Done(ClaimResult::NotWon { instead, record, .. }) => {
                world.stages[i] = Stage::Over;
                let foreign = record.is_some_and(|(_, record)| record.origin.principal.0[0] != principal);
                return match instead {
                    _ if foreign => Err("another principal's record was handed out".into()),
                    instead if world.after_answer.contains(&i) && instead != NotWon::Replay => {
                        Err(format!("{instead:?} was told after an answer of its own"))
                    }
                    // The claim's pointers go with it.
                    NotWon::Refuse(Refusal::PrincipalChanged | Refusal::KeyReused) => {
                        world.stages[i] = Stage::Release(multi_claim.common().to_vec());
                        Ok(())
                    }
                    _ => Ok(()),
                };
            }
            Ask::Load(id) => StoreReply::Loaded(world.records.get(&id).cloned()),
            Ask::Swap { id, expected, next } => {
                let standing = world.records.get(&id).cloned();
                match standing.as_ref().map(|(version, _)| *version) == expected {
                    true => {
                        world.writes += 1;
                        world.records.insert(id, (world.writes, next.clone()));
                        if lost { StoreReply::Unclear } else { StoreReply::Swapped(world.writes, next) }
                    }
                    false => StoreReply::Conflict(standing),
                }
            }
        };
        multi_claim.on_reply(by, reply, now);
        world.stages[i] = Stage::Claim(multi_claim);
        Ok(())
    }

    fn first_byte(&self, world: &mut World, i: usize) -> Result<(), String> {
        let Stage::Ready { end, holds_until, lease_until, common } = world.stages[i].clone() else {
            unreachable!()
        };
        let holds = world.now < lease_until && (!self.ways.asks_all_leases || world.now < holds_until);
        if !holds {
            Self::free(world, i, end, common);
            return Ok(());
        }
        let resends = self.scene.when_unknown == WhenUnknown::Resend;
        let is_bad = |other: &usize| !resends || self.principal(*other) != self.principal(i);
        let before = world.effects.iter().copied().find(is_bad);
        world.effects.push(i);
        world.stages[i] = Stage::Sent { end, common };
        match before {
            Some(other) => Err(format!("request {i} ran though request {other} may have")),
            None => Ok(()),
        }
    }

    /// The operation was not applied.
    fn free(world: &mut World, i: usize, end: OperationId, common: Vec<(OperationId, u64)>) {
        world.effects.retain(|sent| *sent != i);
        world.stages[i] = Stage::Release(common);
        let Some((version, record)) = world.records.get(&end).cloned() else { return };
        match record.execution == execution(i) {
            // What was sent before may have been applied.
            true if record.resent => {
                let state = State::Unknown { since: world.now, reason: UnknownReason::Ambiguous };
                let record = Arc::new(Record { state, ..(*record).clone() });
                world.records.insert(end, (version + 100, record));
                world.stages[i] = Stage::Over;
            }
            true => drop(world.records.remove(&end)),
            false => {}
        }
    }

    fn release(&self, world: &mut World, common: &[(OperationId, u64)]) {
        for (id, written) in common {
            let stands = world.records.get(id).is_some_and(|(version, _)| version == written);
            if stands || !self.ways.guards_release {
                world.records.remove(id);
            }
        }
    }

    fn next(&self, world: &World) -> Vec<(String, World, Result<(), String>)> {
        let mut out = Vec::new();
        let mut add = |label: String, change: &dyn Fn(&mut World) -> Result<(), String>| {
            let mut after = world.clone();
            let result = change(&mut after);
            out.push((label, after, result));
        };
        for (i, stage) in world.stages.iter().enumerate() {
            match stage {
                Stage::Waiting => add(format!("{i} comes"), &|world| {
                    let (principal, spaces) = self.scene.requests[i];
                    let (own, common, claim) =
                        (keys(principal, spaces), keys(0, spaces), claim(i, principal));
                    let by = ClaimKeys { own: &own, common: &common, claim: &claim, rules: &self.rules() };
                    world.stages[i] = Stage::Claim(MultiKeyClaim::of(by));
                    if world.answered.contains(&principal) {
                        world.after_answer.push(i);
                    }
                    Ok(())
                }),
                Stage::Claim(multi_claim) => {
                    add(format!("{i} claims"), &|world| self.claims(world, i, multi_claim.clone(), false));
                    if world.lost > 0 {
                        add(format!("{i} claims, and the store fails"), &|world| {
                            world.lost -= 1;
                            world.stages[i] = Stage::Release(multi_claim.common().to_vec());
                            Ok(())
                        });
                        add(format!("{i} claims, and the store doesn't say"), &|world| {
                            world.lost -= 1;
                            self.claims(world, i, multi_claim.clone(), true)
                        });
                    }
                }
                Stage::Ready { .. } => add(format!("{i} sends"), &|world| self.first_byte(world, i)),
                Stage::Sent { end, common } => {
                    add(format!("{i} completes"), &|world| {
                        let (version, record) = world.records.get(end).cloned().unwrap();
                        if record.execution != execution(i) {
                            // Its lease was over, and it was sent again.
                            world.stages[i] = Stage::Over;
                            return match self.scene.when_unknown {
                                WhenUnknown::Resend => Ok(()),
                                WhenUnknown::Hold | WhenUnknown::Probe => {
                                    Err(format!("the record of {i} is another's"))
                                }
                            };
                        }
                        let state = State::Completed { at: world.now, answer: Arc::new(Answer::default()) };
                        let record = Arc::new(Record { state, ..(*record).clone() });
                        world.records.insert(*end, (version + 100, record));
                        world.answered.push(self.scene.requests[i].0);
                        world.stages[i] = Stage::Over;
                        Ok(())
                    });
                    add(format!("{i} is not applied"), &|world| {
                        Self::free(world, i, *end, common.clone());
                        Ok(())
                    });
                }
                Stage::Release(common) => add(format!("{i} releases"), &|world| {
                    self.release(world, common);
                    world.stages[i] = Stage::Over;
                    Ok(())
                }),
                Stage::Over => {}
            }
            if world.crashes > 0 && !matches!(stage, Stage::Waiting | Stage::Over) {
                add(format!("{i} is killed"), &|world| {
                    world.crashes -= 1;
                    world.stages[i] = Stage::Over;
                    Ok(())
                });
            }
        }
        if world.ticks > 0 {
            add("a lease goes by".into(), &|world| {
                world.ticks -= 1;
                world.now = world.now.plus(LEASE);
                Ok(())
            });
        }
        out
    }

    /// After all requests ended and every lease lapsed, either principal can run an operation that was never
    /// sent.
    fn is_stuck(&self, world: &World) -> Option<String> {
        if !world.effects.is_empty() {
            return None;
        }
        for principal in [1, 2] {
            // An operation that was begun and not sent is unknown to its own principal, as after any crash.
            let begun = |(_, record): &(u64, Arc<Record>)| {
                record.origin.principal.0[0] == principal && !matches!(record.state, State::Pointer(_))
            };
            let any_state = |(_, record): &(u64, Arc<Record>)| !matches!(record.state, State::Pointer(_));
            if world.records.values().any(begun) || world.records.values().any(any_state) {
                continue;
            }
            let mut alone = World { now: world.now.plus(LEASE * 2), ..world.clone() };
            alone.stages.push(Stage::Waiting);
            let (own, common, claim) = (keys(principal, &[0]), keys(0, &[0]), claim(99, principal));
            let by = ClaimKeys { own: &own, common: &common, claim: &claim, rules: &self.rules() };
            let mut multi_claim = MultiKeyClaim::of(by);
            loop {
                let reply = match multi_claim.ask(by, alone.now) {
                    Ask::Done(ClaimResult::Won { .. }) => break,
                    Ask::Done(ClaimResult::NotWon { instead, .. }) => {
                        return Some(format!("{principal}: {instead:?}"));
                    }
                    Ask::Load(id) => StoreReply::Loaded(alone.records.get(&id).cloned()),
                    Ask::Swap { id, expected, next } => {
                        let standing = alone.records.get(&id).cloned();
                        match standing.as_ref().map(|(version, _)| *version) == expected {
                            true => {
                                alone.writes += 1;
                                alone.records.insert(id, (alone.writes, next.clone()));
                                StoreReply::Swapped(alone.writes, next)
                            }
                            false => StoreReply::Conflict(standing),
                        }
                    }
                };
                multi_claim.on_reply(by, reply, alone.now);
            }
        }
        None
    }

    /// Searches for the first fault, and returns it with the way there.
    fn explore(&self) -> Result<usize, String> {
        let first = World {
            now: Timestamp::from_secs(1_000),
            records: BTreeMap::new(),
            writes: 0,
            stages: vec![Stage::Waiting; self.scene.requests.len()],
            effects: Vec::new(),
            answered: Vec::new(),
            after_answer: Vec::new(),
            ticks: self.scene.ticks,
            crashes: self.scene.crashes,
            lost: self.scene.lost,
        };
        let mut seen = HashSet::from([first.clone()]);
        let mut open = vec![(first, Vec::<String>::new())];
        while let Some((world, way)) = open.pop() {
            let steps = self.next(&world);
            if world.stages.iter().all(|stage| matches!(stage, Stage::Over))
                && let Some(why) = self.is_stuck(&world)
            {
                return Err(format!("stuck: {why}, after {way:?}"));
            }
            for (label, after, result) in steps {
                let mut way = way.clone();
                way.push(label);
                if let Err(why) = result {
                    return Err(format!("{why}, after {way:?}"));
                }
                if seen.insert(after.clone()) {
                    open.push((after, way));
                }
            }
        }
        Ok(seen.len())
    }
}

const BOTH: &[u8] = &[0, 1];
const HOLD: Scene = Scene { requests: &[], ticks: 1, crashes: 1, lost: 0, when_unknown: WhenUnknown::Hold };
const TWO: Scene = Scene { requests: &[(1, &[0]), (2, &[0])], ticks: 2, crashes: 2, lost: 1, ..HOLD };
const THREE: Scene = Scene { requests: &[(1, &[0]), (2, &[0]), (1, &[0])], ..HOLD };
/// One gateway derives one space more than the other.
const STAIRS: Scene = Scene { requests: &[(1, &[0]), (2, BOTH)], ticks: 2, ..HOLD };
const PAIR: Scene = Scene { requests: &[(1, BOTH), (2, BOTH)], ..HOLD };
/// What ended unknown is sent again.
const RESEND: Scene = Scene { ticks: 2, when_unknown: WhenUnknown::Resend, ..THREE };
/// A resend meets a failing store.
const RESEND_FAILS: Scene = Scene { ticks: 1, lost: 1, ..RESEND };
const RESEND_STAIRS: Scene = Scene { requests: &[(1, &[0]), (2, &[0]), (1, BOTH)], ..RESEND };

#[test]
fn no_order_runs_twice_or_waits_for_ever() {
    for scene in [TWO, THREE, STAIRS, PAIR, RESEND, RESEND_FAILS, RESEND_STAIRS] {
        let explored = Model { scene: &scene, ways: RIGHT }.explore();
        assert!(explored.as_ref().is_ok_and(|states| *states > 1_000), "{explored:?}");
    }
}

#[test]
fn each_rule_of_the_order_is_needed() {
    for ways in [Ways { asks_all_leases: false, ..RIGHT }, Ways { guards_release: false, ..RIGHT }] {
        let found = Model { scene: &THREE, ways }.explore();
        assert!(found.as_ref().is_err_and(|what| what.contains("ran though")), "{ways:?}: {found:?}");
    }
}
