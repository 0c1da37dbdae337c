//! What the last process on a store left executing: unknown from the first read on, recorded as that later,
//! and nobody's to end once this process has gone on from it.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use oncegate_core::{
    OperationId, Outcome, Probing, Record, Refusal, State, Timestamp, UnknownReason, View, WhenUnknown,
};
use oncegate_store::conformance::{completed, executing, id, on_a_runtime as run, put};
use oncegate_store::faulty::{Faulty, StoreFault};
use oncegate_store::{Memory, Orphans, ScanScope, Store, StoreError, Version};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::yield_now;

type FaultyLedger = Arc<Ledger<Faulty<Memory>>>;

/// A ledger whose last process left these executing, until that many seconds from now. Nothing is recorded of
/// that yet: no keeper runs.
async fn opened(left: &[(u64, i64)]) -> (FaultyLedger, Vec<OperationId>) {
    let (store, clock) = (Memory::new(1 << 20), Clock::start(Timestamp::default()));
    let mut orphans = Orphans::default();
    for (n, seconds) in left {
        let until = clock.now().as_secs().checked_add_signed(*seconds).unwrap();
        let version = put(&store, id(*n), None, Some(executing(until))).await;
        orphans.ids.push(id(*n));
        orphans.before = Version(version.0 + 1);
    }
    let ids = orphans.ids.clone();
    (Ledger::opened(Faulty::new(store), clock, None, orphans).0, ids)
}

/// A request that is a retry by somebody who was told that the outcome is unknown.
fn retry(ledger: &FaultyLedger, n: u64, when_unknown: WhenUnknown) -> Request {
    let mut request = requests::request(ledger, id(n));
    request.claim.came = request.claim.came.plus(Duration::from_secs(1));
    request.rules.when_unknown = when_unknown;
    request
}

async fn asked(ledger: &FaultyLedger, request: Request) -> Claimed<Faulty<Memory>> {
    match ledger.begin(request).await {
        Begun::Claim(claimant) => claimant.claim().await,
        begun => Claimed::Stands(begun),
    }
}

async fn won(ledger: &FaultyLedger, n: u64) -> Permit<Faulty<Memory>> {
    let claimed = asked(ledger, retry(ledger, n, WhenUnknown::Resend)).await;
    let Claimed::Won(permit) = claimed else { panic!("{n}: {claimed:?}") };
    permit
}

async fn stored(ledger: &FaultyLedger, n: u64) -> Arc<Record> {
    ledger.store().inner.load(id(n)).await.unwrap().value.unwrap().record
}

async fn assert_unknown(ledger: &FaultyLedger, n: u64) {
    let claimed = asked(ledger, retry(ledger, n, WhenUnknown::Hold)).await;
    assert!(matches!(&claimed, Claimed::Stands(Begun::Refuse(Refusal::Unknown, _))), "{n}: {claimed:?}");
}

fn is_crashed(record: &Record) -> bool {
    matches!(record.state, State::Unknown { reason: UnknownReason::Crashed, .. })
}

#[test]
fn orphans_are_unknown_from_the_first_read() {
    run(async {
        let (ledger, ids) = opened(&[(1, 60), (2, -60), (3, 60), (4, 60)]).await;
        assert_unknown(&ledger, 1).await;
        assert_unknown(&ledger, 2).await;
        // Who came before it was unknown isn't told of it by a second execution.
        let mut early = requests::request(&ledger, id(1));
        early.claim.came = Timestamp::default();
        early.rules.when_unknown = WhenUnknown::Resend;
        let claimed = asked(&ledger, early).await;
        assert!(matches!(&claimed, Claimed::Stands(Begun::Refuse(Refusal::Unknown, _))), "{claimed:?}");
        let resent = won(&ledger, 3).await;
        assert!(resent.holds() && resent.record().resent);
        assert!(!won(&ledger, 9).await.record().resent, "a new key");
        for scope in [ScanScope::Executing, ScanScope::All] {
            let page = ledger.confirmed().scan(scope, None, 10).await.unwrap();
            let crashed: Vec<_> = page
                .into_iter()
                .filter(|(_, found)| found.as_ref().is_ok_and(|found| is_crashed(&found.record)))
                .collect();
            assert_eq!(crashed.len(), 3, "{scope:?}");
        }
        // An operator and the record's own reader see one and the same.
        let shown = ledger.find(id(4)).await.unwrap().unwrap();
        assert_eq!(shown.record.view(ledger.clock().now()), View::Unknown);
        let done =
            ledger.resolve(id(4), shown.version, &Outcome::Completed(Arc::default()), "told").await.unwrap();
        assert!(matches!(done, Intervention::Done(Some(_))), "{done:?}");
        let shown = ledger.find(id(1)).await.unwrap().unwrap().record;
        assert!(matches!(stored(&ledger, 1).await.state, State::Executing { .. }), "not recorded yet");
        ledger.recover(ids).await;
        assert_eq!(stored(&ledger, 1).await, shown);
        assert!(is_crashed(&*stored(&ledger, 2).await));
    });
}

/// What a key's orphan becomes before its recovery comes to it.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Resent,
    FreedAndClaimed,
    ForgottenAndClaimed,
    SweptAndResent,
}

/// Lets this process begin an execution under the key of an orphan.
async fn go_on(ledger: &FaultyLedger, how: Meanwhile) -> Permit<Faulty<Memory>> {
    let shown = async || ledger.load(id(1)).await.unwrap().unwrap().version;
    match how {
        Meanwhile::Resent => {}
        Meanwhile::FreedAndClaimed => {
            let freed = ledger.resolve(id(1), shown().await, &Outcome::NotApplied, "told").await.unwrap();
            assert!(matches!(freed, Intervention::Done(None)), "{freed:?}");
        }
        Meanwhile::ForgottenAndClaimed => {
            let consumed = Outcome::Completed(Arc::default());
            ledger.resolve(id(1), shown().await, &consumed, "told").await.unwrap();
            let forgotten = ledger.forget(id(1), shown().await).await.unwrap();
            assert!(matches!(forgotten, Intervention::Done(None)), "{forgotten:?}");
        }
        Meanwhile::SweptAndResent => _ = ledger.sweep(10).await.unwrap(),
    }
    won(ledger, 1).await
}

#[test]
fn recovery_ends_nothing_that_this_process_began() {
    use Meanwhile::{ForgottenAndClaimed, FreedAndClaimed, Resent, SweptAndResent};
    for how in [Resent, FreedAndClaimed, ForgottenAndClaimed, SweptAndResent] {
        for lease in [60, -60] {
            // The recovery comes after all of it, or has read the orphan before and writes after it.
            for has_read in [false, true] {
                run(async {
                    let (ledger, ids) = opened(&[(1, lease)]).await;
                    let recovering = ledger.clone();
                    let recovery = async move { recovering.recover(ids).await };
                    let permit = if has_read {
                        ledger.store().next(&[StoreFault::Late]);
                        let recovery = tokio::spawn(recovery);
                        // The recovery's task starts one for each orphan.
                        while ledger.store().to_come() > 0 {
                            yield_now().await;
                        }
                        let permit = go_on(&ledger, how).await;
                        recovery.await.unwrap();
                        permit
                    } else {
                        let permit = go_on(&ledger, how).await;
                        recovery.await;
                        permit
                    };
                    let case = format!("{how:?}, lease {lease}, read before: {has_read}");
                    let executing = stored(&ledger, 1).await;
                    assert_eq!(&*executing, permit.record(), "{case}");
                    assert!(permit.holds(), "{case}");
                    permit.settle(Outcome::Completed(Arc::default()), None).await.unwrap();
                    assert_eq!(ledger.late_settlements(id(1)), [], "{case}");
                    assert!(matches!(stored(&ledger, 1).await.state, State::Completed { .. }), "{case}");
                });
            }
        }
    }
}

/// A store that fails meanwhile is tried again, and one record that fails holds up no others.
#[test]
fn what_fails_is_recovered_later() {
    let gone = StoreError::Unavailable("a bad sector".into());
    for failing in [&[1_u64][..], &[1, 2, 3], &[3], &[]] {
        run(async {
            let (ledger, ids) = opened(&[(1, 60), (2, 60), (3, 60)]).await;
            ledger.store().damage_by(&failing.iter().map(|n| id(*n)).collect::<Vec<_>>(), &gone);
            ledger.store().next(&[StoreFault::Unavailable]);
            let recovering = ledger.clone();
            let recovery = tokio::spawn(async move { recovering.recover(ids).await });
            for n in (1..=3).filter(|n| !failing.contains(n)) {
                while !is_crashed(&*stored(&ledger, n).await) {
                    yield_now().await;
                }
            }
            ledger.store().damage(&[]);
            recovery.await.unwrap();
            for n in 1..=3 {
                assert!(is_crashed(&*stored(&ledger, n).await), "{n} of {failing:?}");
            }
        });
    }
}

/// One rotten record kept the gateway from starting.
#[test]
fn unreadable_orphans_keep_their_keys() {
    for damaged in [&[1_u64][..], &[1, 2, 3], &[3], &[]] {
        run(async {
            let (ledger, ids) = opened(&[(1, 60), (2, 60), (3, 60)]).await;
            ledger.store().damage(&damaged.iter().map(|n| id(*n)).collect::<Vec<_>>());
            ledger.recover(ids).await;
            for n in 1..=3 {
                assert_eq!(
                    is_crashed(&*stored(&ledger, n).await),
                    !damaged.contains(&n),
                    "{n} of {damaged:?}"
                );
                assert_unknown(&ledger, n).await;
            }
            // Nor once it can be read again.
            ledger.store().damage(&[]);
            for n in damaged {
                assert_unknown(&ledger, *n).await;
            }
        });
    }
}

/// By what is stored, a lapsed orphan is due, again and again.
#[test]
fn the_sweep_records_orphans_whose_lease_is_over() {
    run(async {
        let (ledger, _) = opened(&[(1, -60), (2, -60), (3, 60)]).await;
        assert_eq!((ledger.sweep(10).await.unwrap(), ledger.sweep(10).await.unwrap()), (2, 0));
        assert!(is_crashed(&*stored(&ledger, 1).await) && is_crashed(&*stored(&ledger, 2).await));
        assert!(matches!(stored(&ledger, 3).await.state, State::Executing { .. }));
    });
}

/// The turn to ask the upstream comes as soon as the outcome is recorded, and not when the lease is over.
#[test]
fn probes_of_an_orphan_begin_with_its_recovery() {
    run(async {
        let (store, clock) = (Memory::new(1 << 20), Clock::start(Timestamp::default()));
        let record =
            Record { probing: Some(Probing::begun()), ..(*executing(clock.now().as_secs() + 60)).clone() };
        let left = put(&store, id(1), None, Some(Arc::new(record))).await;
        let orphans = Orphans { ids: vec![id(1)], before: Version(left.0 + 1) };
        let (ledger, _) = Ledger::opened(Faulty::new(store), clock, None, orphans);
        let mut turns = ledger.turns(4);
        ledger.recover(vec![id(1)]).await;
        ledger.sweep(10).await.unwrap();
        assert!(turns.try_recv().is_ok());
    });
}

/// A version that this process may have written is never taken for an older one.
#[test]
fn nothing_is_an_orphan_in_a_store_without_a_past() {
    run(async {
        let (ledger, _) = opened(&[]).await;
        let permit = won(&ledger, 1).await;
        put(&*ledger.store().inner, id(2), None, Some(completed(ledger.clock().now().as_secs(), 10))).await;
        ledger.recover(vec![id(1), id(2), id(3)]).await;
        assert_eq!(&*stored(&ledger, 1).await, permit.record());
        assert!(matches!(stored(&ledger, 2).await.state, State::Completed { .. }));
    });
}
