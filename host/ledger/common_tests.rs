//! A route that refuses a changed principal: claims without a principal go with their operation.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use oncegate_core::{Key, Outcome, PrincipalId, Refusal, State, Timestamp, UnknownReason};
use oncegate_store::conformance::{completed, executing, id, on_a_runtime as run};
use oncegate_store::faulty::{Faulty, StoreFault};
use oncegate_store::{Memory, Store};
use std::sync::Arc;
use std::time::Duration;

type Bench = Arc<Ledger<Faulty<Memory>>>;

const COMMON: u64 = 9;

fn bench() -> Bench {
    let store = Faulty::new(Memory::new(1 << 20));
    Ledger::new(store, Clock::start(Timestamp::default()), None).0
}

/// The same operation under the key of this principal.
fn request(ledger: &Bench, principal: u8, lease: Duration) -> Request {
    let mut request = requests::request(ledger, id(principal.into()));
    request.claim.times.lease = lease;
    request.wait = Duration::from_secs(60);
    request.claim.origin.principal = PrincipalId([principal; 32]);
    request.derived.common = vec![Key { id: id(COMMON), ..request.only_key() }];
    request
}

async fn claim(ledger: &Bench, principal: u8) -> Claimed<Faulty<Memory>> {
    claim_for(ledger, principal, Duration::from_secs(60)).await
}

async fn claim_for(ledger: &Bench, principal: u8, lease: Duration) -> Claimed<Faulty<Memory>> {
    match ledger.begin(request(ledger, principal, lease)).await {
        Begun::Claim(claimant) => claimant.claim().await,
        begun => Claimed::Stands(begun),
    }
}

async fn permit(ledger: &Bench, principal: u8) -> Permit<Faulty<Memory>> {
    let Claimed::Won(permit) = claim(ledger, principal).await else { panic!("nothing is in its way") };
    assert!(permit.holds());
    permit
}

#[track_caller]
fn assert_refused(claimed: &Claimed<Faulty<Memory>>) {
    let refused = matches!(claimed, Claimed::Stands(Begun::Refuse(Refusal::PrincipalChanged, None)));
    assert!(refused, "{claimed:?}");
}

#[test]
fn another_is_refused_whatever_came_of_it_and_only_its_own_is_replayed() {
    for outcome in [
        Outcome::Completed(Arc::default()),
        Outcome::Consumed(oncegate_core::AnswerSummary::default()),
        Outcome::Unknown(UnknownReason::Broken),
    ] {
        run(async {
            let ledger = bench();
            let first = permit(&ledger, 1).await;
            assert_refused(&claim(&ledger, 2).await);
            first.settle(outcome.clone(), None).await.unwrap();
            assert_refused(&claim(&ledger, 2).await);
            assert_eq!((ledger.executing(), ledger.store().size().records), (0, 2));
            let own = claim(&ledger, 1).await;
            let refused = matches!(own, Claimed::Stands(Begun::Refuse(Refusal::PrincipalChanged, _)));
            assert!(!refused && !matches!(own, Claimed::Won(_)), "{own:?}");
        });
    }
}

#[test]
fn what_was_not_applied_leaves_nothing_in_the_way() {
    run(async {
        let ledger = bench();
        let first = permit(&ledger, 1).await;
        first.settle(Outcome::NotApplied, None).await.unwrap();
        assert_eq!(ledger.store().size().records, 0);
        let second = permit(&ledger, 2).await;
        assert_refused(&claim(&ledger, 1).await);
        second.settle(Outcome::Completed(Arc::default()), None).await.unwrap();
        assert_refused(&claim(&ledger, 1).await);
    });
}

/// The sweep notes on a pointer when to look again, and so gives it another version.
#[test]
fn a_pointer_that_was_swept_meanwhile_goes_all_the_same() {
    run(async {
        let ledger = bench();
        let Claimed::Won(first) = claim_for(&ledger, 1, Duration::from_millis(1)).await else { panic!() };
        let written = ledger.load(id(COMMON)).await.unwrap().unwrap().version;
        while ledger.load(id(COMMON)).await.unwrap().unwrap().version == written {
            ledger.sweep(10).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        first.settle(Outcome::NotApplied, None).await.unwrap();
        assert_eq!(ledger.store().size().records, 0);
    });
}

/// The pointer used to stand until an unknown outcome would have been forgotten, months after an operation
/// that took longer than its lease.
#[test]
fn the_pointer_to_a_long_operation_goes_when_that_is_forgotten() {
    run(async {
        let ledger = bench();
        let Claimed::Won(first) = claim_for(&ledger, 1, Duration::from_millis(1)).await else { panic!() };
        let times = first.record().times;
        let look_at = loop {
            ledger.sweep(10).await.unwrap();
            let State::Pointer(pointer) = ledger.load(id(COMMON)).await.unwrap().unwrap().record.state else {
                panic!("it only leads there")
            };
            if pointer.look_at > pointer.lease_until {
                break pointer.look_at;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(times.memory < times.unknown_retention);
        assert!(look_at <= ledger.clock().now().plus(times.memory), "{look_at}");
        drop(first);
    });
}

#[test]
fn a_claim_that_fails_half_way_leaves_nothing_in_the_way() {
    run(async {
        for fault in [StoreFault::Full, StoreFault::Unavailable] {
            let ledger = bench();
            ledger.store().next(&[StoreFault::None, fault]);
            let failed = claim(&ledger, 1).await;
            assert!(matches!(failed, Claimed::Stands(Begun::Unavailable(_))), "{failed:?}");
            assert_eq!(ledger.store().size().records, 0);
            permit(&ledger, 2).await;
        }
    });
}

/// An outcome that the store took late leaves what it leaves when it is taken at once.
#[test]
fn what_was_recorded_late_leaves_nothing_in_the_way() {
    use StoreFault::{Full, Unavailable};
    for refusals in [&[Unavailable][..], &[Full], &[Unavailable, Unavailable, Full]] {
        run(async {
            let store = Faulty::new(Memory::new(1 << 20));
            let (ledger, keeper) = Ledger::new(store, Clock::start(Timestamp::default()), None);
            let first = permit(&ledger, 1).await;
            ledger.store().next(refusals);
            assert!(first.settle(Outcome::NotApplied, None).await.is_err());
            tokio::spawn(keeper.run());
            while ledger.settlements_overdue() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(ledger.store().size().records, 0, "{refusals:?}");
            permit(&ledger, 2).await;
        });
    }
}

#[test]
fn a_claim_whose_writes_are_unclear_wins_by_reading_back() {
    run(async {
        for faults in [[StoreFault::Written, StoreFault::None], [StoreFault::Unwritten, StoreFault::Written]]
        {
            let ledger = bench();
            ledger.store().next(&faults);
            let first = permit(&ledger, 1).await;
            assert_refused(&claim(&ledger, 2).await);
            drop(first);
        }
    });
}

/// Before the first byte: the pointer lapsed while this claim stood still, and another claim may have come.
#[test]
fn nothing_is_sent_once_the_key_without_principal_may_be_anothers() {
    run(async {
        let ledger = bench();
        let Claimed::Won(first) = claim_for(&ledger, 1, Duration::from_millis(1)).await else { panic!() };
        let lapsed = first.record().first_attempt.plus(Duration::from_millis(2));
        while ledger.clock().now() < lapsed {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!first.holds());
    });
}

/// The records are older than the setting: a principal with an operation of its own gets the result of that.
#[test]
fn a_record_of_its_own_comes_first() {
    run(async {
        let ledger = bench();
        let done = completed(ledger.clock().now().as_secs(), 10);
        ledger.store().swap(id(2), None, Some(done), Timestamp::default()).await.unwrap();
        permit(&ledger, 1).await.settle(Outcome::Completed(Arc::default()), None).await.unwrap();
        let own = claim(&ledger, 2).await;
        assert!(matches!(own, Claimed::Stands(Begun::Replay { .. })), "{own:?}");
    });
}

/// A shared store brings its own time with each answer.
#[test]
fn a_stores_time_moves_the_ledgers_clock() {
    run(async {
        let ledger = bench();
        let later = ledger.clock().now().plus(Duration::from_secs(3_600));
        ledger.store().says_it_is(later);
        assert!(ledger.clock().now() < later, "nothing was asked yet");
        ledger.load(id(1)).await.unwrap();
        assert!(ledger.clock().now() >= later);
        // By the store's time a lease is over that would stand by this process's clock.
        let lapsing = executing(later.minus(Duration::from_secs(60)).as_secs());
        ledger.store().swap(id(2), None, Some(lapsing), later).await.unwrap();
        let claimed = claim(&ledger, 2).await;
        assert!(matches!(claimed, Claimed::Stands(Begun::Refuse(Refusal::Unknown, _))), "{claimed:?}");
    });
}
