//! Cases that the model leaves out: fingerprints within one key, times, long chains, circles.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use super::*;
use crate::answer::{Answer, AnswerSummary};
use crate::decide::{Claim, Decision, Event, Refusal, Rules, WhenUnknown, WhileRunning, decide};
use crate::ids::{ExecutionId, Fingerprint, OperationId, PrincipalId, Recipe, SpaceNumber};
use crate::keyspaces::keys::{ClaimKeys, Key};
use crate::outcome::UnknownReason;
use crate::record::{Origin, Pointer, Record, State, Times, View};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_secs(1_000);
const LEASE: Duration = Duration::from_secs(60);
const LATER: Timestamp = Timestamp::from_secs(1_030);
const RULES: Rules = Rules { while_running: WhileRunning::Wait, when_unknown: WhenUnknown::Hold };

fn print(of: u8) -> Fingerprint {
    Fingerprint { recipe: Recipe::Request, hash: [of; 32] }
}

fn id(of: u8) -> OperationId {
    OperationId([of; 32])
}

/// A key in a space: number, key, fingerprint.
type Spot = (u32, u8, u8);

fn key((space, of, fingerprint): Spot) -> Key {
    Key {
        space: SpaceNumber(space),
        id: id(of),
        fingerprint: print(fingerprint),
        key_schema: format!("s/{space}").into(),
        key_epoch: 0,
    }
}

fn claim(execution: u8, fingerprint: u8) -> Claim {
    Claim {
        fingerprint: print(fingerprint),
        execution: ExecutionId([execution; 16]),
        times: Times {
            lease: LEASE,
            retention: Duration::from_secs(1000),
            tombstone: Duration::ZERO,
            unknown_retention: Duration::from_secs(1000),
            memory: Duration::from_secs(1000),
        },
        origin: Origin {
            route: "r".into(),
            policy: "p".into(),
            key_schema: "s/9".into(),
            key_epoch: 0,
            normalisation: 1,
            method: "POST".into(),
            authority: "a".into(),
            path: "/".into(),
            principal: PrincipalId([0; 32]),
            first_sent: None,
        },
        memo: None,
        clock: NOW,
        remembered_since: Timestamp::default(),
        came: Timestamp::MAX,
    }
}

/// A store.
#[derive(Default)]
struct Shelf {
    records: BTreeMap<OperationId, (u64, Arc<Record>)>,
    writes: u64,
    loads: u64,
}

impl Shelf {
    fn put(&mut self, of: u8, state: State, fingerprint: u8, execution: u8) {
        let claim = claim(execution, fingerprint);
        let Decision::Execute(record) = decide(&RULES, None, Event::Claim(&claim), NOW) else {
            unreachable!()
        };
        self.writes += 1;
        self.records.insert(id(of), (self.writes, Arc::new(Record { state, ..record })));
    }

    fn put_pointer(&mut self, of: u8, to: (u32, u8, u8), fingerprint: u8, lease_until: Timestamp) {
        let (space, target, target_fingerprint) = to;
        let pointer = Pointer {
            target: id(target),
            target_space: SpaceNumber(space),
            target_fingerprint: print(target_fingerprint),
            lease_until,
            look_at: lease_until,
        };
        self.put(of, State::Pointer(pointer), fingerprint, 99);
    }

    /// Claims to the end. `unclear`: the writes whose answers are lost, counted from 1.
    fn claim(
        &mut self,
        keys: &[Spot],
        rules: Rules,
        unclear: &[u64],
    ) -> (MultiKeyClaim<u64>, ClaimResult<u64>) {
        let last = keys.last().unwrap();
        self.claim_as(claim(1, last.2), keys, rules, unclear)
    }

    fn claim_as(
        &mut self,
        claim: Claim,
        keys: &[Spot],
        rules: Rules,
        unclear: &[u64],
    ) -> (MultiKeyClaim<u64>, ClaimResult<u64>) {
        self.claim_with(claim, (keys, &[]), rules, unclear)
    }

    /// A claim of this principal, under an own key and a common key.
    fn claim_of(
        &mut self,
        principal: u8,
        key: u8,
        common: u8,
        content: u8,
    ) -> (MultiKeyClaim<u64>, ClaimResult<u64>) {
        let mut claim = claim(self.writes as u8 + 100, content);
        claim.origin.principal = PrincipalId([principal; 32]);
        self.claim_with(claim, (&[(0, key, content)], &[(0, common, content)]), RULES, &[])
    }

    fn claim_with(
        &mut self,
        claim: Claim,
        (keys, common): (&[Spot], &[Spot]),
        rules: Rules,
        unclear: &[u64],
    ) -> (MultiKeyClaim<u64>, ClaimResult<u64>) {
        let keys: Vec<Key> = keys.iter().map(|one| key(*one)).collect();
        let common: Vec<Key> = common.iter().map(|one| key(*one)).collect();
        let by = ClaimKeys { own: &keys, common: &common, claim: &claim, rules: &rules };
        let (mut multi_claim, mut swaps) = (MultiKeyClaim::of(by), 0);
        for _ in 0..100 {
            let reply = match multi_claim.ask(by, NOW) {
                Ask::Done(end) => return (multi_claim, end),
                Ask::Load(id) => {
                    self.loads += 1;
                    StoreReply::Loaded(self.records.get(&id).cloned())
                }
                Ask::Swap { id, expected, next } => {
                    let standing = self.records.get(&id).cloned();
                    match standing.as_ref().map(|(version, _)| *version) == expected {
                        true => {
                            swaps += 1;
                            self.writes += 1;
                            self.records.insert(id, (self.writes, next.clone()));
                            match unclear.contains(&swaps) {
                                true => StoreReply::Unclear,
                                false => StoreReply::Swapped(self.writes, next),
                            }
                        }
                        false => StoreReply::Conflict(standing),
                    }
                }
            };
            multi_claim.on_reply(by, reply, NOW);
        }
        panic!("the claim doesn't end: {multi_claim:?}");
    }

    fn state(&self, of: u8) -> View {
        self.records.get(&id(of)).map_or(View::Absent, |(_, record)| record.view(NOW))
    }
}

fn completed() -> State {
    State::Completed { at: NOW, answer: Arc::new(Answer::default()) }
}

fn unknown() -> State {
    State::Unknown { since: NOW, reason: UnknownReason::TimedOut }
}

fn instead_of(end: &ClaimResult<u64>) -> Option<NotWon> {
    match end {
        ClaimResult::NotWon { instead, .. } => Some(*instead),
        ClaimResult::Won { .. } => None,
    }
}

#[test]
fn one_key_costs_one_swap() {
    let mut shelf = Shelf::default();
    let (multi_claim, end) = shelf.claim(&[(0, 1, 7)], RULES, &[]);
    assert!(matches!(end, ClaimResult::Won { id: at, .. } if at == id(1)));
    assert_eq!((shelf.writes, shelf.loads, multi_claim.holds_until()), (1, 0, NOW.plus(LEASE)));
    let (_, end) = shelf.claim_as(claim(2, 7), &[(0, 1, 7)], RULES, &[]);
    assert_eq!((instead_of(&end), shelf.writes, shelf.loads), (Some(NotWon::Wait), 1, 0));
}

#[test]
fn lower_keys_point_to_the_highest() {
    let mut shelf = Shelf::default();
    let (_, end) = shelf.claim(&[(0, 1, 7), (2, 2, 8), (3, 3, 9)], RULES, &[2]);
    assert!(matches!(end, ClaimResult::Won { id: at, .. } if at == id(3)));
    assert_eq!([1, 2, 3].map(|of| shelf.state(of)), [View::Pointer, View::Pointer, View::Executing]);
    let (_, record) = &shelf.records[&id(1)];
    assert_eq!((&*record.origin.key_schema, record.fingerprint), ("s/0", print(7)));
    let State::Pointer(pointer) = &record.state else { unreachable!() };
    assert_eq!((pointer.target, pointer.target_fingerprint), (id(3), print(9)));
}

#[test]
fn a_gateway_behind_follows_a_chain() {
    for (state, expected) in [
        (completed(), NotWon::Replay),
        (unknown(), NotWon::Refuse(Refusal::Unknown)),
        (State::Consumed { at: NOW, summary: AnswerSummary::default() }, NotWon::Refuse(Refusal::Consumed)),
    ] {
        let mut shelf = Shelf::default();
        shelf.put_pointer(1, (1, 2, 8), 7, Timestamp::default());
        shelf.put_pointer(2, (2, 3, 9), 8, Timestamp::default());
        shelf.put(3, state, 9, 99);
        let (_, end) = shelf.claim(&[(0, 1, 7)], RULES, &[]);
        assert_eq!(instead_of(&end), Some(expected));
        assert!(matches!(end, ClaimResult::NotWon { id: at, .. } if at == id(3)));
        let (_, end) = shelf.claim(&[(0, 1, 77)], RULES, &[]);
        assert_eq!(instead_of(&end), Some(NotWon::Refuse(Refusal::KeyReused)), "another fingerprint");
    }
}

#[test]
fn only_a_lapsed_chain_to_nothing_is_absent() {
    for (second, expected) in [(Timestamp::default(), None), (NOW.plus(LEASE), Some(NotWon::Wait))] {
        let mut shelf = Shelf::default();
        shelf.put_pointer(1, (1, 2, 8), 7, Timestamp::default());
        shelf.put_pointer(2, (2, 3, 9), 8, second);
        let (_, end) = shelf.claim(&[(0, 1, 7)], RULES, &[]);
        assert_eq!(instead_of(&end), expected);
    }
}

#[test]
fn another_fingerprint_at_the_target_is_another_operation() {
    let mut shelf = Shelf::default();
    shelf.put_pointer(1, (1, 2, 8), 7, Timestamp::default());
    shelf.put(2, completed(), 80, 99);
    let (_, end) = shelf.claim(&[(0, 1, 7)], RULES, &[]);
    assert_eq!(instead_of(&end), Some(NotWon::Refuse(Refusal::KeyReused)));
}

#[test]
fn a_split_key_in_flight_refuses_the_second() {
    let mut shelf = Shelf::default();
    shelf.claim(&[(0, 1, 7), (1, 2, 8)], RULES, &[]);
    let (_, end) = shelf.claim_as(claim(2, 8), &[(0, 1, 7), (1, 3, 8)], RULES, &[]);
    assert_eq!(instead_of(&end), Some(NotWon::Refuse(Refusal::KeyReused)));
    assert_eq!(shelf.state(3), View::Absent);
}

#[test]
fn an_answer_under_any_key_comes_first() {
    // Unknown records that expired and operations resolved by an operator have had no answer either.
    let expired = State::Unknown { since: Timestamp::default(), reason: UnknownReason::TimedOut };
    for other in [unknown(), expired, State::Consumed { at: NOW, summary: AnswerSummary::default() }] {
        let mut shelf = Shelf::default();
        shelf.put(1, other, 7, 98);
        shelf.put(2, completed(), 8, 99);
        let (_, end) = shelf.claim(&[(0, 1, 7), (1, 2, 8)], RULES, &[]);
        assert_eq!(instead_of(&end), Some(NotWon::Replay));
    }
    // Neither another operation's answer, nor an operator's word.
    for (state, fingerprint) in
        [(completed(), 80), (State::Consumed { at: NOW, summary: AnswerSummary::default() }, 8)]
    {
        let mut shelf = Shelf::default();
        shelf.put(1, unknown(), 7, 98);
        shelf.put(2, state, fingerprint, 99);
        let (_, end) = shelf.claim(&[(0, 1, 7), (1, 2, 8)], RULES, &[]);
        assert_eq!(instead_of(&end), Some(NotWon::Refuse(Refusal::Unknown)));
    }
}

#[test]
fn a_resend_stays_under_its_key() {
    let resend = Rules { when_unknown: WhenUnknown::Resend, ..RULES };
    for unclear in [&[][..], &[1], &[2]] {
        let mut shelf = Shelf::default();
        shelf.put(1, unknown(), 7, 99);
        let (_, end) = shelf.claim(&[(0, 1, 7), (1, 2, 8)], resend, unclear);
        let ClaimResult::Won { id: at, record, .. } = end else { panic!("{end:?}") };
        assert_eq!((at, record.resent, record.attempts), (id(1), true, 2));
        assert_eq!([1, 2].map(|of| shelf.state(of)), [View::Executing, View::Pointer]);
        // A gateway that derives only the higher key finds the record, too, and doesn't send the operation on
        // its own.
        shelf.put(1, unknown(), 7, 99);
        let (_, end) = shelf.claim_as(claim(2, 8), &[(1, 2, 8)], resend, &[]);
        assert_eq!(instead_of(&end), Some(NotWon::Refuse(Refusal::Unknown)));
    }
}

/// Another claim is on its way under the other key, or another execution there is unknown.
#[test]
fn no_resend_where_another_key_is_claimed() {
    let resend = Rules { when_unknown: WhenUnknown::Resend, ..RULES };
    let executing = State::Executing { lease_until: LATER };
    for (state, expected) in [(executing, NotWon::Wait), (unknown(), NotWon::Refuse(Refusal::Unknown))] {
        let mut shelf = Shelf::default();
        shelf.put(1, unknown(), 7, 98);
        shelf.put(2, state, 8, 99);
        let (_, end) = shelf.claim(&[(0, 1, 7), (1, 2, 8)], resend, &[]);
        assert_eq!((instead_of(&end), shelf.writes), (Some(expected), 2));
    }
}

/// When the resent record is gone, the pointer down to it and a new one up lead in a circle.
#[test]
fn pointers_in_a_circle_are_absent() {
    let keys = [(0, 1, 7), (1, 2, 8)];
    for claims in [&keys[..], &keys[1..], &keys[..1]] {
        // A claimant that is on its way to this claim's end is met there.
        for other in [NOW, LATER] {
            let mut shelf = Shelf::default();
            let (up, down) = if claims.len() == 1 && claims[0].0 == 0 { (NOW, other) } else { (other, NOW) };
            shelf.put_pointer(1, (1, 2, 8), 7, up);
            shelf.put_pointer(2, (0, 1, 7), 8, down);
            let (_, end) = shelf.claim(claims, RULES, &[]);
            let ClaimResult::Won { id: at, .. } = end else { panic!("{claims:?}: {end:?}") };
            assert_eq!(at, id(claims[claims.len() - 1].1));
        }
        let mut shelf = Shelf::default();
        shelf.put_pointer(1, (1, 2, 8), 7, LATER);
        shelf.put_pointer(2, (0, 1, 7), 8, LATER);
        assert_eq!(
            instead_of(&shelf.claim(claims, RULES, &[]).1),
            Some(NotWon::Wait),
            "one may still be sent"
        );
    }
}

/// Another request under the same key leaves a pointer of its own before it meets the key's operation. A
/// request too late to execute got `key-reused` because of that pointer, and not its answer.
#[test]
fn another_pointer_does_not_hide_the_answer() {
    let keys = |reused: u8| [(0, 1, 7 + reused), (1, 2, 8 + reused), (2, 3, 9 + reused)];
    for (highest, first_sent) in [(1, None), (2, None), (1, Some(1)), (2, Some(1))] {
        let mut shelf = Shelf::default();
        shelf.put(2, completed(), 8, 99);
        let (_, end) = shelf.claim(&keys(10)[..2], RULES, &[]);
        assert_eq!(instead_of(&end), Some(NotWon::Refuse(Refusal::KeyReused)));
        assert_eq!(shelf.state(1), View::Pointer);
        let claim = claim(1, keys(0)[highest].2);
        let origin = Origin { first_sent, ..claim.origin.clone() };
        let claim = Claim { remembered_since: NOW, origin, ..claim };
        let (_, end) = shelf.claim_as(claim, &keys(0)[..=highest], RULES, &[]);
        assert_eq!(instead_of(&end), Some(NotWon::Replay), "{highest} {first_sent:?}");
    }
}

/// A claim under which nothing was sent can be left in a space that left and came back, while the operation
/// has its answer under another key.
#[test]
fn no_resend_where_another_key_has_the_answer() {
    let resend = Rules { when_unknown: WhenUnknown::Resend, ..RULES };
    let mut shelf = Shelf::default();
    shelf.put(1, unknown(), 7, 98);
    shelf.put(2, completed(), 8, 99);
    let (_, end) = shelf.claim(&[(0, 1, 7), (1, 2, 8)], resend, &[]);
    assert_eq!((instead_of(&end), shelf.writes), (Some(NotWon::Replay), 2));
}

#[test]
fn too_late_only_where_no_key_has_a_record() {
    let late = |fingerprint| Claim {
        remembered_since: NOW,
        origin: Origin { first_sent: Some(1), ..claim(1, 0).origin },
        ..claim(1, fingerprint)
    };
    let keys = [(0, 1, 7), (1, 2, 8)];
    let mut shelf = Shelf::default();
    let (_, end) = shelf.claim_as(late(8), &keys, RULES, &[]);
    assert_eq!((instead_of(&end), shelf.writes), (Some(NotWon::Refuse(Refusal::TooLate)), 0));
    shelf.put(2, completed(), 8, 99);
    let (_, end) = shelf.claim_as(late(8), &keys, RULES, &[]);
    assert_eq!(instead_of(&end), Some(NotWon::Replay));
    let (_, end) = shelf.claim_as(late(8), &keys[1..], RULES, &[]);
    assert_eq!(instead_of(&end), Some(NotWon::Replay), "with one key, too");
}

const CHANGED: Option<NotWon> = Some(NotWon::Refuse(Refusal::PrincipalChanged));

#[test]
fn a_changed_principal_is_refused_in_every_state() {
    for state in [
        None,
        Some(completed()),
        Some(unknown()),
        Some(State::Consumed { at: NOW, summary: AnswerSummary::default() }),
        Some(State::Unknown { since: Timestamp::default(), reason: UnknownReason::TimedOut }),
    ] {
        let mut shelf = Shelf::default();
        let (multi_claim, end) = shelf.claim_of(1, 11, 10, 7);
        assert!(matches!(end, ClaimResult::Won { id: at, .. } if at == id(11)), "{end:?}");
        assert_eq!((multi_claim.common().len(), multi_claim.holds_until()), (1, NOW.plus(LEASE)));
        if let Some(state) = state {
            let (version, record) = shelf.records[&id(11)].clone();
            shelf.records.insert(id(11), (version, Arc::new(Record { state, ..(*record).clone() })));
        }
        let writes = shelf.writes;
        let (_, end) = shelf.claim_of(2, 12, 10, 7);
        assert_eq!(end, ClaimResult::NotWon { instead: CHANGED.unwrap(), id: id(12), record: None });
        assert_eq!(shelf.writes, writes, "nothing is left behind");
    }
}

/// The same key with other content concerns only each principal itself.
#[test]
fn other_content_has_another_common_key() {
    let mut shelf = Shelf::default();
    shelf.claim_of(1, 11, 10, 7);
    let (_, end) = shelf.claim_of(2, 12, 20, 8);
    assert!(matches!(end, ClaimResult::Won { .. }), "{end:?}");
    // The principal's own reuse is found before anything is claimed.
    let writes = shelf.writes;
    let (_, end) = shelf.claim_of(1, 11, 20, 8);
    assert_eq!(instead_of(&end), Some(NotWon::Refuse(Refusal::KeyReused)));
    assert_eq!(shelf.writes, writes);
}

#[test]
fn what_a_caller_began_stays_its_own() {
    for (state, expected) in [(completed(), NotWon::Replay), (unknown(), NotWon::Refuse(Refusal::Unknown))] {
        let mut shelf = Shelf::default();
        // The record was written before the route refused a changed principal.
        shelf.put(12, state, 7, 99);
        shelf.claim_of(1, 11, 10, 7);
        let (_, end) = shelf.claim_of(2, 12, 10, 7);
        assert_eq!(instead_of(&end), Some(expected));
    }
}

#[test]
fn a_dead_claim_holds_others_for_its_lease() {
    for (lease_until, expected) in [(NOW.plus(LEASE), CHANGED), (NOW, None)] {
        let mut shelf = Shelf::default();
        shelf.put_pointer(10, (0, 11, 7), 7, lease_until);
        let (_, end) = shelf.claim_of(2, 12, 10, 7);
        assert_eq!(instead_of(&end), expected);
        // The caller itself goes on at once.
        let mut shelf = Shelf::default();
        shelf.put_pointer(10, (0, 11, 7), 7, lease_until);
        let (multi_claim, end) = shelf.claim_of(0, 11, 10, 7);
        assert!(matches!(end, ClaimResult::Won { .. }), "{end:?}");
        assert!(
            multi_claim.common().is_empty(),
            "another claim may rely on it, or a record to which it leads"
        );
    }
}

/// No record of that content is left, though the key lives with other content.
#[test]
fn other_content_of_another_principal_stops_nobody() {
    let mut shelf = Shelf::default();
    shelf.put_pointer(10, (0, 11, 7), 7, Timestamp::default());
    shelf.put(11, completed(), 8, 99);
    let (_, end) = shelf.claim_of(2, 12, 10, 7);
    assert!(matches!(end, ClaimResult::Won { .. }), "{end:?}");
}

#[test]
fn a_replacing_pointer_ends_no_earlier() {
    let mut shelf = Shelf::default();
    let long = NOW.plus(LEASE * 5);
    shelf.put_pointer(1, (1, 2, 8), 7, long);
    let (multi_claim, end) = shelf.claim(&[(0, 1, 7), (1, 2, 8)], RULES, &[]);
    assert!(matches!(end, ClaimResult::Won { .. }));
    let State::Pointer(pointer) = &shelf.records[&id(1)].1.state else { unreachable!() };
    assert_eq!((pointer.lease_until, multi_claim.holds_until()), (long, NOW.plus(LEASE)));
}
