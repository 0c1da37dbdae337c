//! The ledger's own rules, on a store in memory.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use oncegate_core::{
    Decision, Outcome, Record, Refusal, Rules, State, Timestamp, UnknownReason, WhenUnknown, WhileRunning,
};
use oncegate_store::conformance::{executing, id, on_a_runtime as run};
use oncegate_store::{AnyStore, Memory};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

fn ledger() -> Arc<Ledger> {
    Ledger::new(
        AnyStore::Memory(Arc::new(Memory::new(1 << 20))).untimed(),
        Clock::start(Timestamp::default()),
        None,
    )
    .0
}

/// A request under one key; `content` decides its fingerprint.
fn request(ledger: &Ledger, content: u8) -> Request {
    let mut request = requests::request(ledger, id(1));
    request.claim.fingerprint.hash = [content; 32];
    request.rules.when_unknown = WhenUnknown::Resend;
    request.wait = Duration::from_secs(60);
    request
}

async fn pending(future: &mut Pin<&mut impl Future<Output = Begun>>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

/// The result for a request that asked with `waiting` while `first` was being claimed, and looks again only
/// when that execution has ended with `outcome`.
async fn after(outcome: Outcome, first: u8, waiting: u8) -> Begun {
    let ledger = ledger();
    let Begun::Claim(claimant) = ledger.begin(request(&ledger, first)).await else { panic!("a free key") };
    let mut waiting = pin!(ledger.begin(request(&ledger, waiting)));
    assert!(pending(&mut waiting).await);
    let Claimed::Won(permit) = claimant.claim().await else { panic!("a claim that nobody contests") };
    permit.settle(outcome, Some(Arc::default())).await.unwrap();
    waiting.await
}

#[test]
fn who_waited_for_what_was_not_applied_gets_its_answer() {
    let begun = run(after(Outcome::NotApplied, 1, 1));
    assert!(matches!(begun, Begun::Shared(_)), "{begun:?}");
}

/// The waiter had joined before the claim was durable. So nothing had told it yet that the key was another
/// operation's, and it got the answer to another request.
#[test]
fn who_waited_with_another_request_never_gets_the_answer_to_the_first() {
    let begun = run(after(Outcome::NotApplied, 1, 2));
    assert!(matches!(begun, Begun::Claim(_)), "{begun:?}");
}

#[test]
fn who_waited_for_an_answer_gets_it_and_another_request_is_refused() {
    let completed = || Outcome::Completed(Arc::default());
    let begun = run(after(completed(), 1, 1));
    assert!(matches!(begun, Begun::Replay { waited: true, .. }), "{begun:?}");
    let begun = run(after(completed(), 1, 2));
    assert!(matches!(begun, Begun::Refuse(Refusal::KeyReused, _)), "{begun:?}");
}

#[test]
fn who_waited_for_what_ended_unknown_does_not_send_it_again() {
    let begun = run(after(Outcome::Unknown(UnknownReason::Broken), 1, 1));
    assert!(matches!(begun, Begun::Refuse(Refusal::Unknown, _)), "{begun:?}");
}

/// `first-sent` counts only where there is no record. Without a cache at hand nobody had looked for one, and
/// a duplicate of an operation that had its answer was told that it was too late.
#[test]
fn what_has_a_record_is_never_too_late() {
    run(async {
        let store = AnyStore::Memory(Arc::new(Memory::new(1 << 20))).untimed();
        let (ledger, _keeper) = Ledger::new(store, Clock::start(Timestamp::default()), Some(0));
        let asked = |first_sent| {
            let mut asked = request(&ledger, 1);
            asked.claim.origin.first_sent = Some(first_sent);
            asked.claim.remembered_since = Timestamp::from_secs(2_000);
            asked
        };
        let Begun::Claim(claimant) = ledger.begin(asked(3_000)).await else { panic!("a free key") };
        let Claimed::Won(permit) = claimant.claim().await else { panic!("a claim that nobody contests") };
        permit.settle(Outcome::Completed(Arc::default()), None).await.unwrap();
        let Begun::Claim(claimant) = ledger.begin(asked(1_000)).await else { panic!("nothing is at hand") };
        let claimed = claimant.claim().await;
        assert!(matches!(claimed, Claimed::Stands(Begun::Replay { .. })), "{claimed:?}");
    });
}

/// A record that was executing when it was read is judged by the time of the reading, for it may have been
/// renewed or settled on the answer's way. Any other record is judged by the time at which it is told.
#[test]
fn what_was_read_is_judged_by_when_it_was_asked_for_only_while_it_was_executing() {
    let ledger = ledger();
    let claim = request(&ledger, 1).claim;
    let now = ledger.clock().now();
    let asked = now.minus(Duration::from_secs(5));
    let lapsing = State::Executing { lease_until: now.minus(Duration::from_secs(1)) };
    let expiring = State::Completed { at: asked.minus(Duration::from_secs(1)), answer: Arc::default() };
    let times = oncegate_core::Times {
        retention: Duration::from_secs(3),
        tombstone: Duration::from_secs(60),
        ..claim.times
    };
    for (state, read_at, expected) in [
        (lapsing.clone(), asked, Decision::Wait),
        (lapsing, now, Decision::Refuse(Refusal::Unknown)),
        (expiring, asked, Decision::Refuse(Refusal::Expired)),
    ] {
        let record = Record { state, times, fingerprint: claim.fingerprint, ..(*executing(0)).clone() };
        let rules = Rules { when_unknown: WhenUnknown::Hold, ..request(&ledger, 1).rules };
        assert_eq!(ledger.decide_claim(&rules, Some(&record), &claim, read_at), expected);
    }
}

#[test]
fn clients_are_gone_when_none_waits_any_more() {
    run(async {
        let ledger = ledger();
        let Begun::Claim(claimant) = ledger.begin(request(&ledger, 1)).await else { panic!("a free key") };
        let client = claimant.interest();
        let Claimed::Won(permit) = claimant.claim().await else { panic!("a claim that nobody contests") };
        let mut clients_gone = Box::pin(permit.clients_gone());
        let mut waiting = [1, 1].map(|content| Box::pin(ledger.begin(request(&ledger, content))));
        for one in &mut waiting {
            assert!(poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx).is_pending())).await);
        }
        let mut no_client_is_left =
            async || poll_fn(|cx| Poll::Ready(clients_gone.as_mut().poll(cx).is_ready())).await;
        assert!(!no_client_is_left().await);
        drop(client);
        assert!(!no_client_is_left().await, "two are waiting");
        let [one, other] = waiting;
        drop(one);
        assert!(!no_client_is_left().await, "one is waiting");
        drop(other);
        assert!(no_client_is_left().await);
        // A request that was turned away left nothing behind.
        let mut other = Box::pin(ledger.begin(request(&ledger, 2)));
        assert!(matches!(other.as_mut().await, Begun::Refuse(Refusal::KeyReused, _)));
        assert!(no_clients_are_left(&permit).await);
    });
}

async fn no_clients_are_left(permit: &Permit) -> bool {
    let mut clients_gone = pin!(permit.clients_gone());
    poll_fn(|cx| Poll::Ready(clients_gone.as_mut().poll(cx).is_ready())).await
}

/// A waiting room for one request.
#[derive(Debug, Default)]
struct Bench(Arc<()>);

impl WaitingRoom for Bench {
    fn enter(&self) -> Option<WaitingPlace> {
        (Arc::strong_count(&self.0) == 1).then(|| Box::new(self.0.clone()) as WaitingPlace)
    }
}

#[test]
fn a_request_waits_only_where_there_is_room() {
    run(async {
        let (ledger, bench) = (ledger(), Arc::new(Bench::default()));
        let asking = || Request { waiting_room: Some(bench.clone()), ..request(&ledger, 1) };
        let Begun::Claim(claimant) = ledger.begin(asking()).await else { panic!("a free key") };
        assert!(bench.enter().is_some(), "an execution waits for nobody");
        let mut waiting = pin!(ledger.begin(asking()));
        assert!(pending(&mut waiting).await);
        let turned_away = ledger.begin(asking()).await;
        assert!(matches!(turned_away, Begun::Refuse(Refusal::InFlight, None)), "{turned_away:?}");
        drop(claimant);
        assert!(matches!(waiting.await, Begun::Claim(_)));
        assert!(bench.enter().is_some(), "its place is free again");
    });
}

/// A request that is not admitted may not claim. What has a record is told by it all the same, though nothing is
/// at hand.
#[test]
fn a_record_answers_whoever_may_not_claim() {
    let hold = Rules { while_running: WhileRunning::Wait, when_unknown: WhenUnknown::Hold };
    let resend = Rules { when_unknown: WhenUnknown::Resend, ..hold };
    let unknown = || Outcome::Unknown(UnknownReason::Broken);
    let cases: [(Option<Outcome>, u8, Rules, &str); 7] = [
        (None, 1, hold, "nothing"),
        (Some(Outcome::Completed(Arc::default())), 1, hold, "a replay"),
        (Some(Outcome::Completed(Arc::default())), 2, hold, "KeyReused"),
        (Some(Outcome::Consumed(oncegate_core::AnswerSummary::default())), 1, hold, "Consumed"),
        (Some(unknown()), 1, hold, "Unknown"),
        // It would be sent again, and nothing is sent now.
        (Some(unknown()), 1, resend, "nothing"),
        (Some(unknown()), 2, resend, "KeyReused"),
    ];
    for (outcome, content, rules, expected) in cases {
        run(async {
            let store = AnyStore::Memory(Arc::new(Memory::new(1 << 20))).untimed();
            let (ledger, _keeper) = Ledger::new(store, Clock::start(Timestamp::default()), Some(0));
            if let Some(outcome) = outcome.clone() {
                let Begun::Claim(claimant) = ledger.begin(request(&ledger, 1)).await else { panic!("free") };
                let Claimed::Won(permit) = claimant.claim().await else { panic!("nobody contests it") };
                permit.settle(outcome, None).await.unwrap();
            }
            let mut no_room =
                Request { rules, waiting_room: Some(Arc::new(Full)), ..request(&ledger, content) };
            // It comes after what is unknown became so.
            no_room.claim.came = no_room.claim.came.plus(Duration::from_millis(2));
            let Begun::Claim(claimant) = ledger.begin(no_room.clone()).await else { panic!("not at hand") };
            assert_eq!(word(claimant.standing().await), expected, "{outcome:?}");
            // Another one meanwhile is told the same, and not to come again.
            let meanwhile = ledger.begin(no_room).await;
            let expected = if expected == "nothing" { "InFlight" } else { expected };
            assert_eq!(word(Some(meanwhile)), expected, "{outcome:?}");
        });
    }
}

fn word(begun: Option<Begun>) -> String {
    match begun {
        None => "nothing".into(),
        Some(Begun::Replay { .. }) => "a replay".into(),
        Some(Begun::Refuse(refusal, _)) => format!("{refusal:?}"),
        other => panic!("{other:?}"),
    }
}

/// A waiting room without a place.
#[derive(Debug)]
struct Full;

impl WaitingRoom for Full {
    fn enter(&self) -> Option<WaitingPlace> {
        None
    }
}
