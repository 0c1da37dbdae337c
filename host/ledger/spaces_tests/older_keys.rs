//! Operations that are kept, run again or guarded under an older key.

use super::*;

/// Waiters at the highest key judged the record by that key, though it is kept under a lower one. They were
/// told `key-reused`, and the upstream was given another id than before.
#[test]
fn who_waits_for_what_is_sent_again_under_an_older_key_gets_its_answer() {
    run(async {
        let (old, new) = apart().await;
        let permit = old.asks().await.unwrap();
        assert!(permit.holds());
        permit.settle(Outcome::Unknown(UnknownReason::Broken), None).await.unwrap();
        passes(TICK);
        let rules = Rules { when_unknown: WhenUnknown::Resend, ..HOLD };
        let request = || Request { rules, wait: Duration::from_secs(60), ..new.request() };
        let Begun::Claim(claimant) = new.ledger.begin(request()).await else { panic!("nothing is at hand") };
        let mut waiting = [0, 1].map(|_| Box::pin(new.ledger.begin(request())));
        for one in &mut waiting {
            assert!(poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx).is_pending())).await);
        }
        let Claimed::Won(permit) = claimant.claim().await else { panic!("it is sent again") };
        assert_eq!((permit.id(), permit.holds()), (id(0), true));
        let [claimed, settled] = waiting;
        // One waiter looks while the operation is executed, the other when it is over.
        let mut claimed = claimed;
        assert!(poll_fn(|cx| Poll::Ready(claimed.as_mut().poll(cx).is_pending())).await);
        permit.settle(completed(), None).await.unwrap();
        for waiting in [claimed, settled] {
            let begun = waiting.await;
            assert!(matches!(begun, Begun::Replay { waited: true, .. }), "{begun:?}");
        }
    });
}

/// A gateway that derives only the older key can't claim the key that has the record.
#[test]
fn what_is_unknown_under_a_key_that_is_not_derived_is_not_sent_again() {
    run(async {
        let (mut old, new) = apart().await;
        let permit = new.asks().await.unwrap();
        assert!(permit.holds());
        permit.settle(Outcome::Unknown(UnknownReason::Broken), None).await.unwrap();
        passes(TICK);
        old.derives = vec![0];
        let rules = Rules { when_unknown: WhenUnknown::Resend, ..HOLD };
        assert_eq!(old.goes(Request { rules, ..old.request() }).await.unwrap_err(), "unknown");
        let permit = new.goes(Request { rules, ..new.request() }).await.unwrap();
        assert_eq!((permit.id(), permit.holds()), (id(1), true));
    });
}

/// A claim under an older key landed late. While the operation is resent, a gateway that derives only the
/// newer key finds it executing, and gets its answer when it is over.
#[test]
fn what_is_sent_again_under_an_older_key_is_found_by_who_derives_the_newer_one_alone() {
    run(async {
        let (old, mut new) = apart().await;
        let permit = old.asks().await.unwrap();
        permit.settle(Outcome::Unknown(UnknownReason::Broken), None).await.unwrap();
        passes(TICK);
        let rules = Rules { when_unknown: WhenUnknown::Resend, ..HOLD };
        let permit = new.goes(Request { rules, ..new.request() }).await.unwrap();
        assert_eq!((permit.id(), permit.holds()), (id(0), true));
        new.derives = vec![1];
        assert_eq!(new.asks().await.unwrap_err(), "in flight");
        permit.settle(completed(), None).await.unwrap();
        assert_eq!(new.asks().await.unwrap_err(), "answer");
    });
}

/// One pointer leads down to an older key where an operation was resent, another leads up again after the
/// record was gone.
#[test]
fn pointers_in_a_circle_are_swept() {
    run(async {
        let (old, new) = apart().await;
        let permit = old.asks().await.unwrap();
        permit.settle(Outcome::Unknown(UnknownReason::Broken), None).await.unwrap();
        passes(TICK);
        let rules = Rules { when_unknown: WhenUnknown::Resend, ..HOLD };
        let permit = new.goes(Request { rules, ..new.request() }).await.unwrap();
        permit.settle(Outcome::Unknown(UnknownReason::Broken), None).await.unwrap();
        let standing = new.ledger.load(id(0)).await.unwrap().unwrap();
        new.ledger.resolve(id(0), standing.version, &Outcome::NotApplied, "told").await.unwrap();
        let down = new.ledger.load(id(1)).await.unwrap().unwrap();
        let State::Pointer(pointer) = down.record.state else { panic!("{down:?}") };
        let up = oncegate_core::Pointer { target: id(1), target_space: SpaceNumber(1), ..pointer };
        let up = Arc::new(Record { state: State::Pointer(up), ..(*down.record).clone() });
        new.ledger.store().swap(id(0), None, Some(up), new.ledger.clock().now()).await.unwrap();
        passes(LEASE);
        assert!(oncegate_keyspaces::pointers::sweep(&new.ledger.store, id(1), &down).await.unwrap());
        assert!(new.ledger.load(id(1)).await.unwrap().is_none());
    });
}

/// A newer way of making keys takes two operations for one. While the other operation ran here under their
/// common key, this one was told that its key was reused, though it had its answer under the older key.
#[test]
fn what_has_its_answer_under_an_older_key_is_not_told_that_the_newer_one_is_reused() {
    run(async {
        let (old, new) = apart().await;
        old.asks().await.unwrap().settle(completed(), None).await.unwrap();
        let mut other = new.request();
        other.claim.fingerprint.hash = [77; 32];
        other.derived.keys.clear();
        let permit = new.goes(other).await.unwrap();
        let Begun::Replay { .. } = new.ledger.begin(new.request()).await else { panic!("it has its answer") };
        drop(permit);
        let mut third = new.request();
        (third.derived.keys[0].id, third.derived.keys[0].fingerprint.hash) = (id(7), [78; 32]);
        third.claim.fingerprint.hash = [79; 32];
        let begun = new.ledger.begin(third).await;
        assert!(matches!(begun, Begun::Refuse(Refusal::KeyReused, _)), "{begun:?}");
    });
}

/// A request that waited at a lower key for an operation that ended unknown sent it again.
#[test]
fn who_waited_by_an_older_key_does_not_send_again_what_ended_unknown() {
    run(async {
        let store = shared();
        let mut gateway = Gateway::start(&store, 0).await;
        let permit = gateway.asks().await.unwrap();
        assert!(permit.holds());
        gateway.enter(1).await.unwrap();
        let rules = Rules { when_unknown: WhenUnknown::Resend, ..HOLD };
        let request = Request { rules, wait: Duration::from_secs(60), ..gateway.request() };
        let mut waiting = Box::pin(gateway.goes(request));
        assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
        permit.settle(Outcome::Unknown(UnknownReason::Broken), None).await.unwrap();
        assert_eq!(waiting.await.unwrap_err(), "unknown");
        passes(TICK);
        let request = Request { rules, ..gateway.request() };
        assert_eq!(gateway.goes(request).await.unwrap().id(), id(0), "who comes later does");
    });
}

/// By the list as one gateway had read it, another still decided by the older space. So the first guarded by
/// a key there an operation that its own policy doesn't guard. The space had left, and a gateway that entered
/// then did not know that key.
#[test]
fn what_is_guarded_by_an_older_key_alone_keeps_its_space_on_the_list() {
    run(async {
        let policy = Arc::from(POLICY);
        let place = |gateway: &Gateway| {
            (SpaceNumber(0), gateway.ledger.key_spaces().lists().list(POLICY).unwrap().version)
        };
        let store = shared();
        let (mut one, mut two) = (Gateway::start(&store, 0).await, Gateway::start(&store, 0).await);
        one.enter(1).await.unwrap();
        let at = place(&one);
        let pin = one
            .ledger
            .key_spaces()
            .stays_guarded(&policy, at, id(0))
            .await
            .unwrap()
            .expect("one decides by it");
        let stale = one.ledger.key_spaces().lists();
        two.enter(1).await.unwrap();
        two.tend().await;
        assert_eq!(two.on_list(), [0, 1]);
        assert!(two.ledger.key_spaces().stays_guarded(&policy, place(&two), id(0)).await.unwrap().is_none());
        let second = one
            .ledger
            .key_spaces()
            .stays_guarded(&policy, at, id(0))
            .await
            .unwrap()
            .expect("it has not read it yet");
        assert_eq!(one.ledger.key_spaces().lists(), stale, "that was written there already");
        drop(pin);
        one.tend().await;
        two.tend().await;
        assert_eq!(two.on_list(), [0, 1]);
        let stale = one.ledger.key_spaces().lists();
        drop(second);
        one.tend().await;
        assert_eq!(one.on_list(), [1]);
        assert!(one.ledger.key_spaces().stays_guarded(&policy, at, id(0)).await.unwrap().is_none());
        // The list is put back as if the gateway had not read the change.
        two.enter(0).await.unwrap();
        one.ledger.key_spaces().read().await.unwrap();
        assert_ne!(one.ledger.key_spaces().lists(), stale);
        assert!(
            one.ledger.key_spaces().stays_guarded(&policy, at, id(0)).await.is_err(),
            "others may know other keys"
        );
    });
}

/// A request that may not claim finds the answer under an older key, and through a pointer.
#[test]
fn a_look_without_a_claim_finds_every_key() {
    run(async {
        let (old, new) = apart().await;
        let look = async |request: Request| match new.ledger.standing(&request).await {
            None => "nothing",
            Some(Begun::Replay { .. }) => "answer",
            Some(Begun::Refuse(Refusal::Unknown, _)) => "unknown",
            Some(Begun::Unavailable(_)) => "unavailable",
            other => panic!("{other:?}"),
        };
        assert_eq!(look(new.request()).await, "nothing");
        let permit = old.asks().await.unwrap();
        permit.settle(Outcome::Unknown(UnknownReason::Broken), None).await.unwrap();
        assert_eq!(look(new.request()).await, "unknown");
        // Sent again by the newer gateway: the newer key is a pointer to the older one.
        passes(TICK);
        let rules = Rules { when_unknown: WhenUnknown::Resend, ..HOLD };
        assert_eq!(look(Request { rules, ..new.request() }).await, "nothing");
        let permit = new.goes(Request { rules, ..new.request() }).await.unwrap();
        permit.settle(completed(), None).await.unwrap();
        for keys in 0..2 {
            let mut request = new.request();
            request.derived.keys.drain(..keys);
            assert_eq!(look(request).await, "answer");
        }
        // A record that is no answer may be one under another key when the lease on the list has lapsed.
        let other = Request { id: id(7), ..new.request() };
        let mut other = Request { derived: Derived { keys: Vec::new(), ..other.derived }, ..other };
        let permit = new.goes(other.clone()).await.unwrap();
        permit.settle(Outcome::Unknown(UnknownReason::Broken), None).await.unwrap();
        assert_eq!(look(other.clone()).await, "unknown");
        other.derived.term += 1;
        assert_eq!(look(other).await, "unavailable");
    });
}
