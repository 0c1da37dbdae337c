//! A store that fails, or does not say what it did. No winner is told that it lost, no settlement that stands
//! is taken for a late one, and no decision is forgotten. The same holds on every store.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use oncegate_core::{
    AnswerSummary, Claim, Durability, ExecutionId, Outcome, Record, Refusal, Rules, State, Timestamp,
    Unchanged, UnknownReason, View, WhenUnknown, WhileRunning,
};
use oncegate_store::conformance::{completed, executing, id, on_a_runtime as run, put, record};
use oncegate_store::faulty::{Faulty, StoreFault};
use oncegate_store::{Embedded, Memory, Orphans, Store, StoreError, Version};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Both kinds of unclear result, once and twice in a row.
const UNCLEAR: [&[StoreFault]; 4] = [
    &[StoreFault::Written],
    &[StoreFault::Unwritten],
    &[StoreFault::Unwritten, StoreFault::Written],
    &[StoreFault::Unwritten, StoreFault::Unwritten],
];

struct Bed<S: Store> {
    ledger: Arc<Ledger<Faulty<S>>>,
    keeper: Option<Keeper<Faulty<S>>>,
}

impl<S: Store> Bed<S> {
    fn new(store: S) -> Self {
        let clock = Clock::start(Timestamp::default());
        let (ledger, keeper) = Ledger::new(Faulty::new(store), clock, Some(1 << 20));
        Self { ledger, keeper: Some(keeper) }
    }

    fn store(&self) -> &Faulty<S> {
        self.ledger.store()
    }

    fn request(&self, key: u64, lease: Duration) -> Request {
        let mut request = requests::request(&self.ledger, id(key));
        request.claim.times.lease = lease;
        request
    }

    async fn begin(&self, key: u64) -> Begun<Faulty<S>> {
        self.ledger.begin(self.request(key, Duration::from_secs(60))).await
    }

    async fn claim(&self, key: u64, lease: Duration) -> Claimed<Faulty<S>> {
        let Begun::Claim(claimant) = self.ledger.begin(self.request(key, lease)).await else {
            panic!("a free key")
        };
        claimant.claim().await
    }

    async fn permit(&self, key: u64) -> Permit<Faulty<S>> {
        let claimed = self.claim(key, Duration::from_secs(60)).await;
        let Claimed::Won(permit) = claimed else { panic!("{claimed:?}") };
        permit
    }

    async fn view(&self, key: u64) -> View {
        let standing = self.store().inner.load(id(key)).await.unwrap().value;
        standing.map_or(View::Absent, |standing| standing.record.view(self.ledger.clock().now()))
    }

    fn keep_house(&mut self) {
        tokio::spawn(self.keeper.take().expect("once").run());
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let patience = Instant::now() + Duration::from_secs(30);
        while !holds().await {
            assert!(Instant::now() < patience, "{what} never held");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn outcomes() -> [(Outcome, View); 4] {
    let Outcome::Completed(answer) = completed_outcome() else { unreachable!("as it is made") };
    [
        (Outcome::Completed(answer), View::Completed),
        (Outcome::Consumed(AnswerSummary { status: Some(202), ..AnswerSummary::default() }), View::Consumed),
        (Outcome::NotApplied, View::Absent),
        (Outcome::Unknown(UnknownReason::Broken), View::Unknown),
    ]
}

fn completed_outcome() -> Outcome {
    let State::Completed { answer, .. } = &completed(1, 50).state else { unreachable!("as it is made") };
    Outcome::Completed(answer.clone())
}

/// All tests below, on a new store each time.
fn all<S: Store>(make: impl Fn() -> S) {
    run(async {
        for faults in UNCLEAR {
            a_claim_that_stands_is_won(Bed::new(make()), faults).await;
            a_settlement_that_stands_is_no_late_one(Bed::new(make()), faults).await;
            a_renewal_that_stands_counts(Bed::new(make()), faults).await;
            a_sweep_is_done(Bed::new(make()), faults).await;
            what_was_left_executing_is_unknown(make(), faults).await;
            what_an_operator_did_is_done(Bed::new(make()), faults).await;
        }
        for fault in [StoreFault::Written, StoreFault::Unwritten] {
            a_claim_that_nobody_confirms_is_undone(Bed::new(make()), fault).await;
            what_was_never_sent_is_never_told_as_unknown(Bed::new(make()), fault).await;
            a_settlement_waits_for_the_store_and_is_not_in_doubt_meanwhile(Bed::new(make()), fault).await;
        }
        a_settlement_waits_for_the_store_and_is_not_in_doubt_meanwhile(
            Bed::new(make()),
            StoreFault::Unavailable,
        )
        .await;
        for fault in [StoreFault::WrittenForEver, StoreFault::UnwrittenForEver] {
            for (outcome, expected) in outcomes() {
                a_settlement_that_nobody_polls_is_not_lost(Bed::new(make()), fault, outcome, expected).await;
            }
        }
        who_comes_when_the_key_is_free_already_asks_again(Bed::new(make())).await;
        what_can_be_read_is_replayed(Bed::new(make())).await;
        without_room_an_answer_is_consumed(Bed::new(make())).await;
        a_record_that_is_not_at_hand_answers_before_any_time_is_compared(Bed::new(make())).await;
        a_late_settlement_of_another_execution_changes_nothing(Bed::new(make())).await;
        who_was_paused_past_its_lease_sends_nothing_and_settles(Bed::new(make())).await;
    });
}

#[test]
fn on_the_memory_store() {
    all(|| Memory::new(1 << 20));
}

#[test]
fn on_the_embedded_store() {
    let folders = std::cell::RefCell::new(Vec::new());
    all(|| {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Embedded::open(folder.path(), Durability::Async).unwrap();
        folders.borrow_mut().push(folder);
        store
    });
}

async fn a_claim_that_stands_is_won<S: Store>(bed: Bed<S>, faults: &[StoreFault]) {
    bed.store().next(faults);
    let permit = bed.permit(1).await;
    assert!(permit.holds(), "{faults:?}");
    let standing = bed.store().inner.load(id(1)).await.unwrap().value.unwrap();
    assert_eq!(&*standing.record, permit.record(), "{faults:?}");
    permit.settle(completed_outcome(), None).await.unwrap();
    assert_eq!((bed.view(1).await, bed.store().to_come()), (View::Completed, 0));
}

async fn a_settlement_that_stands_is_no_late_one<S: Store>(bed: Bed<S>, faults: &[StoreFault]) {
    for (n, (outcome, expected)) in (1..).zip(outcomes()) {
        let permit = bed.permit(n).await;
        bed.store().next(faults);
        permit.settle(outcome.clone(), None).await.unwrap();
        assert_eq!(bed.view(n).await, expected, "{faults:?} {outcome:?}");
        assert_eq!(bed.ledger.late_settlements(id(n)), [], "{faults:?} {outcome:?}");
        assert_eq!((bed.ledger.executing(), bed.ledger.settlements_overdue()), (0, 0));
        let duplicate = bed.begin(n).await;
        match (expected, &duplicate) {
            (View::Completed, Begun::Replay { .. })
            | (View::Consumed, Begun::Refuse(Refusal::Consumed, _))
            | (View::Absent | View::Unknown, Begun::Claim(_)) => {}
            _ => panic!("{faults:?} {outcome:?}: {duplicate:?}"),
        }
    }
}

async fn a_renewal_that_stands_counts<S: Store>(bed: Bed<S>, faults: &[StoreFault]) {
    let permit = bed.permit(1).await;
    let flight = bed.ledger.flights.get(&id(1)).unwrap().clone();
    let before = flight.known().unwrap();
    // The lease ends later only once the clock has gone on.
    bed.until("a millisecond passes", async || bed.ledger.clock().now() > before.record.first_attempt).await;
    bed.store().next(faults);
    // The first renewal may leave the lease to the next look.
    while bed.store().to_come() > 0 {
        bed.ledger.renew(id(1), &flight).await.unwrap();
    }
    bed.ledger.renew(id(1), &flight).await.unwrap();
    let (after, standing) =
        (flight.known().unwrap(), bed.store().inner.load(id(1)).await.unwrap().value.unwrap());
    assert_eq!((after.version, &after.record), (standing.version, &standing.record), "{faults:?}");
    assert!(after.record.due_at() > before.record.due_at(), "{faults:?}");
    permit.settle(completed_outcome(), None).await.unwrap();
    assert_eq!(bed.ledger.late_settlements(id(1)), []);
}

async fn a_sweep_is_done<S: Store>(bed: Bed<S>, faults: &[StoreFault]) {
    let now = bed.ledger.clock().now();
    // The first record is expired, the second long forgotten.
    put(&*bed.store().inner, id(1), None, Some(completed(now.as_secs() - 620, 10))).await;
    put(&*bed.store().inner, id(2), None, Some(completed(1, 10))).await;
    bed.store().next(faults);
    assert_eq!(bed.ledger.sweep(10).await.unwrap(), 2);
    let swept = bed.store().inner.load(id(1)).await.unwrap().value.unwrap();
    assert!(matches!(swept.record.state, State::Consumed { .. }), "{faults:?} {swept:?}");
    assert!(bed.store().inner.load(id(2)).await.unwrap().value.is_none(), "{faults:?}");
}

async fn what_was_left_executing_is_unknown<S: Store>(store: S, faults: &[StoreFault]) {
    let clock = Clock::start(Timestamp::default());
    let left = put(&store, id(1), None, Some(executing(clock.now().as_secs() + 60))).await;
    let orphans = Orphans { ids: vec![id(1)], before: Version(left.0 + 1) };
    let (ledger, keeper) = Ledger::opened(Faulty::new(store), clock, Some(1 << 20), orphans.clone());
    let bed = Bed { ledger, keeper: Some(keeper) };
    bed.store().next(faults);
    bed.ledger.recover(orphans.ids).await;
    let standing = bed.store().inner.load(id(1)).await.unwrap().value.unwrap();
    let crashed = matches!(standing.record.state, State::Unknown { reason: UnknownReason::Crashed, .. });
    assert!(crashed, "{faults:?} {standing:?}");
}

async fn what_an_operator_did_is_done<S: Store>(bed: Bed<S>, faults: &[StoreFault]) {
    // Changes by hand are not tried again: an unwritten change is reported, and the record shown again.
    let faults = &faults[..1];
    let unknown = record(State::Unknown { since: bed.ledger.clock().now(), reason: UnknownReason::Broken });
    let shown = put(&*bed.store().inner, id(1), None, Some(unknown)).await;
    bed.store().next(faults);
    let did = bed.ledger.resolve(id(1), shown, &completed_outcome(), "told").await.unwrap();
    let expected = faults == [StoreFault::Written];
    assert_eq!(matches!(did, Intervention::Done(_)), expected, "{faults:?} {did:?}");
    assert_eq!(bed.view(1).await == View::Completed, expected, "{faults:?}");
}

/// Nobody is told that it won, so nothing is sent; and a claim that may have been written does not hold the
/// key.
async fn a_claim_that_nobody_confirms_is_undone<S: Store>(mut bed: Bed<S>, fault: StoreFault) {
    bed.store().next(&[fault]);
    bed.store().unreadable(true);
    let claimed = bed.claim(1, Duration::from_secs(60)).await;
    let unclear = |claimed: &Claimed<_>| {
        matches!(claimed, Claimed::Stands(Begun::Unavailable(StoreError::Indeterminate(_))))
    };
    assert!(unclear(&claimed), "{fault:?} {claimed:?}");
    assert_eq!(bed.view(1).await == View::Executing, fault == StoreFault::Written);
    assert_eq!(bed.ledger.settlements_overdue(), 1, "it is not well");
    bed.keep_house();
    bed.store().unreadable(false);
    bed.until("it is undone", async || bed.ledger.settlements_overdue() == 0).await;
    assert_eq!(bed.view(1).await, View::Absent);
    bed.permit(1).await.settle(completed_outcome(), None).await.unwrap();
}

/// The claim may stand, and its lease lapses before it is undone: its record looks as if something had been sent.
async fn what_was_never_sent_is_never_told_as_unknown<S: Store>(mut bed: Bed<S>, fault: StoreFault) {
    bed.store().next(&[fault]);
    bed.store().unreadable(true);
    let begun = bed.ledger.clock().now();
    let claimed = bed.claim(1, Duration::from_millis(5)).await;
    assert!(matches!(claimed, Claimed::Stands(Begun::Unavailable(_))), "{fault:?} {claimed:?}");
    bed.store().unreadable(false);
    bed.until("its lease lapses", async || bed.ledger.clock().now() > begun.plus(Duration::from_millis(20)))
        .await;
    for _ in 0..3 {
        let duplicate = bed.begin(1).await;
        assert!(matches!(duplicate, Begun::Refuse(Refusal::InFlight, _)), "{fault:?} {duplicate:?}");
    }
    bed.keep_house();
    bed.until("it is undone", async || bed.ledger.settlements_overdue() == 0).await;
    bed.permit(1).await.settle(completed_outcome(), None).await.unwrap();
}

async fn a_settlement_waits_for_the_store_and_is_not_in_doubt_meanwhile<S: Store>(
    mut bed: Bed<S>,
    fault: StoreFault,
) {
    let claimed = bed.claim(1, Duration::from_millis(5)).await;
    let Claimed::Won(permit) = claimed else { panic!("{claimed:?}") };
    bed.store().unreadable(true);
    bed.store().next(&[fault]);
    permit.settle(completed_outcome(), None).await.unwrap_err();
    bed.until("its lease lapses", async || {
        let claimed_at = bed.ledger.flights.get(&id(1)).unwrap().running().unwrap().first_attempt;
        bed.ledger.clock().now() > claimed_at.plus(Duration::from_millis(5))
    })
    .await;
    // The operation ran, and its answer is here: it will be told.
    let duplicate = bed.begin(1).await;
    assert!(matches!(duplicate, Begun::Refuse(Refusal::InFlight, _)), "{fault:?} {duplicate:?}");
    assert_eq!(bed.ledger.settlements_overdue(), 1, "it is not well");
    bed.keep_house();
    bed.store().unreadable(false);
    bed.until("it is recorded", async || bed.ledger.settlements_overdue() == 0).await;
    assert_eq!(
        (bed.view(1).await, bed.ledger.late_settlements(id(1))),
        (View::Completed, vec![]),
        "{fault:?}"
    );
    let duplicate = bed.begin(1).await;
    assert!(matches!(duplicate, Begun::Replay { .. }), "{fault:?} {duplicate:?}");
}

/// The store hangs, and the gateway ends meanwhile: it tells how many outcomes aren't recorded, and the keeper
/// goes on with them as long as it runs.
async fn a_settlement_that_nobody_polls_is_not_lost<S: Store>(
    mut bed: Bed<S>,
    fault: StoreFault,
    outcome: Outcome,
    expected: View,
) {
    let permit = bed.permit(1).await;
    bed.store().next(&[fault]);
    let word = outcome.disposition().word();
    let hangs = tokio::time::timeout(Duration::from_millis(1), permit.settle(outcome, None)).await;
    assert!(hangs.is_err(), "{fault:?} {word}");
    assert_eq!(bed.ledger.settlements_overdue(), 1, "{fault:?} {word}");
    bed.keep_house();
    bed.until("it is recorded", async || bed.ledger.settlements_overdue() == 0).await;
    assert_eq!(
        (bed.view(1).await, bed.ledger.late_settlements(id(1)), bed.ledger.executing()),
        (expected, vec![], 0),
        "{fault:?} {word}"
    );
}

/// The key was free before this gateway knew. Another gateway had executed and completed the operation, and a
/// request that came then was told here that it was not applied.
async fn who_comes_when_the_key_is_free_already_asks_again<S: Store>(mut bed: Bed<S>) {
    let permit = bed.permit(1).await;
    bed.store().unreadable(true);
    bed.store().next(&[StoreFault::Written]);
    permit.settle(Outcome::NotApplied, Some(Arc::default())).await.unwrap_err();
    assert_eq!(bed.view(1).await, View::Absent);
    let now = bed.ledger.clock().now().as_secs();
    put(&*bed.store().inner, id(1), None, Some(completed(now + 1, 10))).await;
    let patient = Request { wait: Duration::from_secs(60), ..bed.request(1, Duration::from_secs(60)) };
    let mut coming = std::pin::pin!(bed.ledger.begin(patient));
    let waits =
        std::future::poll_fn(|context| std::task::Poll::Ready(coming.as_mut().poll(context).is_pending()));
    assert!(waits.await);
    bed.ledger.store().unreadable(false);
    tokio::spawn(bed.keeper.take().expect("once").run());
    let begun = coming.await;
    assert!(matches!(begun, Begun::Claim(_)), "{begun:?}");
}

async fn what_can_be_read_is_replayed<S: Store>(bed: Bed<S>) {
    let now = bed.ledger.clock().now().as_secs();
    put(&*bed.store().inner, id(1), None, Some(completed(now, 10))).await;
    let request = Request {
        claim: Claim {
            fingerprint: completed(now, 10).fingerprint,
            ..bed.request(1, Duration::from_secs(60)).claim
        },
        ..bed.request(1, Duration::from_secs(60))
    };
    bed.store().next(&[StoreFault::Unavailable]);
    let Begun::Claim(claimant) = bed.ledger.begin(request).await else { panic!("nothing is at hand") };
    let claimed = claimant.claim().await;
    assert!(matches!(claimed, Claimed::Stands(Begun::Replay { .. })), "{claimed:?}");
    // A missing record is refused: it can't be claimed.
    bed.store().next(&[StoreFault::Unavailable]);
    let claimed = bed.claim(2, Duration::from_secs(60)).await;
    let refused = matches!(claimed, Claimed::Stands(Begun::Unavailable(StoreError::Unavailable(_))));
    assert!(refused, "{claimed:?}");
}

/// A claim used to be compared with its own time before anybody had looked for a record. So after a restart
/// an operation could be too late that was still replayed.
async fn a_record_that_is_not_at_hand_answers_before_any_time_is_compared<S: Store>(bed: Bed<S>) {
    let now = bed.ledger.clock().now();
    put(&*bed.store().inner, id(1), None, Some(completed(now.as_secs(), 10))).await;
    for (key, answered) in [(1, true), (2, false)] {
        let mut request = bed.request(key, Duration::from_secs(60));
        request.claim.origin.first_sent = Some(1_000_000);
        request.claim.remembered_since = now;
        let Begun::Claim(claimant) = bed.ledger.begin(request).await else { panic!("nothing is at hand") };
        let claimed = claimant.claim().await;
        let as_it_should = match &claimed {
            Claimed::Stands(Begun::Replay { .. }) => answered,
            Claimed::Stands(Begun::Refuse(Refusal::TooLate, None)) => !answered,
            _ => false,
        };
        assert!(as_it_should, "{key}: {claimed:?}");
    }
}

async fn without_room_an_answer_is_consumed<S: Store>(bed: Bed<S>) {
    let permit = bed.permit(1).await;
    bed.store().next(&[StoreFault::Full]);
    permit.settle(completed_outcome(), None).await.unwrap();
    let standing = bed.store().inner.load(id(1)).await.unwrap().value.unwrap();
    let State::Consumed { summary, .. } = &standing.record.state else { panic!("{standing:?}") };
    assert_eq!(summary.status, Some(201));
}

async fn a_late_settlement_of_another_execution_changes_nothing<S: Store>(bed: Bed<S>) {
    let permit = bed.permit(1).await;
    let own = permit.record().execution;
    // Another gateway resent the operation.
    let standing = bed.store().inner.load(id(1)).await.unwrap().value.unwrap();
    let other = Record { execution: ExecutionId([77; 16]), attempts: 2, ..(*standing.record).clone() };
    let version = put(&*bed.store().inner, id(1), Some(standing.version), Some(Arc::new(other))).await;
    let settled = permit.settle(completed_outcome(), None).await;
    // Nobody may be told an outcome that isn't on the record.
    assert!(matches!(settled, Err(Unsettled::Overtaken)), "{settled:?}");
    assert_eq!(bed.store().inner.load(id(1)).await.unwrap().value.unwrap().version, version, "unchanged");
    let late = bed.ledger.late_settlements(id(1));
    let [late] = &late[..] else { panic!("{late:?}") };
    assert_eq!((late.execution, late.status), (own, Some(201)));
    assert_eq!(late.reason, Unchanged::OtherExecution);
    assert_eq!(bed.ledger.late_settlements(id(2)), []);
}

/// The pause ends the execution's lease before the first byte: nothing may be sent. The execution's own word
/// that nothing was sent counts, though the sweep called the record lapsed meanwhile.
async fn who_was_paused_past_its_lease_sends_nothing_and_settles<S: Store>(bed: Bed<S>) {
    for (n, (outcome, expected)) in (1..).zip(outcomes()) {
        let claimed = bed.claim(n, Duration::from_millis(2)).await;
        let Claimed::Won(permit) = claimed else { panic!("{claimed:?}") };
        bed.until("its lease lapses", async || !permit.holds()).await;
        bed.ledger.sweep(10).await.unwrap();
        let standing = bed.store().inner.load(id(n)).await.unwrap().value.unwrap();
        let lapsed = matches!(standing.record.state, State::Unknown { reason: UnknownReason::Lapsed, .. });
        assert!(lapsed, "{standing:?}");
        permit.settle(outcome, None).await.unwrap();
        assert_eq!((bed.view(n).await, bed.ledger.late_settlements(id(n))), (expected, vec![]));
    }
}

/// After retention and tombstone a key that says when it was made is too late, and never free again.
#[test]
fn with_first_sent_a_forgotten_operation_is_too_late_and_never_runs_again() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    fn monotonic() -> Duration {
        Duration::from_secs(NOW.load(Ordering::Relaxed))
    }
    run(async {
        // The start is ahead of the wall clock, so that it is the later of both.
        let start = Clock::wall().plus(Duration::from_secs(86_400));
        let clock = Clock::following(start, monotonic);
        let (ledger, _keeper) = Ledger::new(Faulty::new(Memory::new(1 << 20)), clock, None);
        let like = executing(0);
        let request = || {
            let clock = ledger.clock().latest();
            let first_sent = start.as_secs();
            let origin = oncegate_core::Origin { first_sent: Some(first_sent as u32), ..like.origin.clone() };
            let since = ledger.remembered_since(
                ("charges", &like.origin.policy),
                like.times.memory,
                Timestamp::from_secs(first_sent),
                clock,
            );
            Request {
                id: id(1),
                claim: Claim {
                    fingerprint: like.fingerprint,
                    execution: ledger.execution_id(),
                    times: like.times,
                    origin,
                    memo: None,
                    clock,
                    remembered_since: since,
                    came: clock,
                },
                rules: Rules { while_running: WhileRunning::Wait, when_unknown: WhenUnknown::Hold },
                wait: Duration::ZERO,
                waiting_room: None,
                derived: Derived::default(),
            }
        };
        let Begun::Claim(claimant) = ledger.begin(request()).await else { panic!("a free key") };
        let Claimed::Won(permit) = claimant.claim().await else { panic!("a free key") };
        permit.settle(completed_outcome(), None).await.unwrap();
        let mut seen = Vec::new();
        // The times are: retention 600 s, tombstone 60 s, tolerance of the clocks 300 s; and years.
        for seconds in [0, 599, 600, 959, 961, 2_000, 100_000_000] {
            NOW.store(seconds, Ordering::Relaxed);
            ledger.sweep(10).await.unwrap();
            seen.push(match ledger.begin(request()).await {
                Begun::Replay { .. } => "replay",
                Begun::Refuse(Refusal::Expired, _) => "expired",
                Begun::Claim(claimant) => match claimant.claim().await {
                    Claimed::Stands(Begun::Refuse(Refusal::TooLate, None)) => "too late",
                    claimed => panic!("{seconds}: {claimed:?}"),
                },
                begun => panic!("{seconds}: {begun:?}"),
            });
        }
        assert_eq!(seen, ["replay", "replay", "expired", "expired", "too late", "too late", "too late"]);
        assert_eq!(ledger.store().size().records, 0, "nothing of it is left");
    });
}
