#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::requests::request;
use crate::{Begun, Claimant, Claimed, Clock, Permit, PolicySpace, RouteTable};
use oncegate_core::keyspaces::list::{Deriver, Space};
use oncegate_core::{Origin, Outcome, Pointer, SpaceNumber, State, Timestamp};
use oncegate_store::conformance::{completed, executing, id, on_a_runtime as run, record};
use oncegate_store::faulty::Faulty;
use oncegate_store::{AnyStore, Memory};
use std::sync::Arc;
use std::time::Duration;

type OnMemory = Arc<Ledger>;

fn ledger() -> OnMemory {
    Ledger::new(
        AnyStore::Memory(Arc::new(Memory::new(1 << 20))).untimed(),
        Clock::start(Timestamp::default()),
        None,
    )
    .0
}

fn now(ledger: &OnMemory) -> u64 {
    ledger.clock().now().as_millis() / 1_000
}

/// All routes have this policy.
fn by(policy: &str) -> Identity {
    Identity {
        deployment: "default".into(),
        normalisation: 1,
        routes: RouteTable::all_to(policy),
        spaces: [(policy.to_owned(), PolicySpace { key_schema: "s/1".into(), key_epoch: 0 })].into(),
    }
}

fn origin() -> Origin {
    Origin { policy: "pay".into(), normalisation: 1, ..executing(0).origin.clone() }
}

async fn begin(ledger: &OnMemory, key: u64) -> Claimant {
    let mut request = request(ledger, id(key));
    request.claim.times.lease = Duration::from_secs(60);
    request.claim.origin = origin();
    request.derived.term = ledger.key_spaces().term();
    match ledger.begin(request).await {
        Begun::Claim(claimant) => claimant,
        begun => panic!("a free key: {begun:?}"),
    }
}

async fn claim(claimant: Claimant) -> Permit {
    match claimant.claim().await {
        Claimed::Won(permit) => permit,
        claimed => panic!("nobody contests it: {claimed:?}"),
    }
}

async fn put(ledger: &OnMemory, key: u64, record: &Record) {
    let record = Arc::new(Record { origin: origin(), ..record.clone() });
    ledger.store.swap(id(key), None, Some(record), ledger.clock().now()).await.unwrap();
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, IdentityError>, words: &[&str]) {
    let error = result.unwrap_err();
    let IdentityError::Changed(losses) = &error else { panic!("{error}") };
    for word in words {
        assert!(losses.iter().any(|loss| loss.contains(word)), "{word}: {losses:?}");
    }
}

#[test]
fn what_would_lose_a_live_record_is_refused_with_their_number_and_nothing_changes() {
    run(async {
        let ledger = ledger();
        assert!(ledger.agree(&by("pay"), LostRecords::Refuse).await.unwrap().is_empty());
        put(&ledger, 1, &completed(now(&ledger), 5)).await;
        put(&ledger, 2, &executing(now(&ledger))).await;
        for _ in 0..2 {
            refused(
                ledger.agree(&by("other"), LostRecords::Refuse).await,
                &["policy `pay` to policy `other`", "(2 live"],
            );
        }
        let moved = Identity { deployment: "blue".into(), ..by("pay") };
        refused(ledger.agree(&moved, LostRecords::Refuse).await, &["deployment", "(2 live"]);
        let later = Identity { normalisation: 9, ..by("pay") };
        refused(
            ledger.agree(&later, LostRecords::Refuse).await,
            &["as a later version of Oncegate does", "(2 live"],
        );
        assert!(ledger.agree(&by("pay"), LostRecords::Refuse).await.unwrap().is_empty());
        // A loss that was accepted once is told, and does not count against the way back.
        let given_up = ledger.agree(&by("other"), LostRecords::GiveUp).await.unwrap();
        assert!(given_up[0].contains("(2 live"), "{given_up:?}");
        assert!(ledger.agree(&by("pay"), LostRecords::Refuse).await.unwrap().is_empty());
    });
}

#[test]
fn what_no_record_would_lose_is_free() {
    run(async {
        let ledger = ledger();
        ledger.agree(&by("pay"), LostRecords::Refuse).await.unwrap();
        // A forgotten record, one of another policy, and a pointer.
        put(&ledger, 1, &completed(1, 5)).await;
        let others = record(completed(now(&ledger), 5).state.clone());
        ledger.store.swap(id(2), None, Some(others), ledger.clock().now()).await.unwrap();
        ledger.agree(&by("other"), LostRecords::Refuse).await.unwrap();
        ledger.agree(&by("pay"), LostRecords::Refuse).await.unwrap();
    });
}

#[test]
fn what_is_claimed_while_it_is_looked_at_holds_a_change_up() {
    run(async {
        let ledger = ledger();
        ledger.agree(&by("pay"), LostRecords::Refuse).await.unwrap();
        // The claim's flight stands, and its record does not yet.
        let early = begin(&ledger, 1).await;
        let change = ledger.examine(&by("other"), LostRecords::Refuse).await.unwrap();
        let permit = claim(early).await;
        refused(change.take_effect().await, &["(1 live"]);
        assert!(permit.holds(), "it goes on as before");
        permit.settle(Outcome::NotApplied, None).await.unwrap();

        let change = ledger.examine(&by("other"), LostRecords::Refuse).await.unwrap();
        let permit = claim(begin(&ledger, 2).await).await;
        refused(change.take_effect().await, &["(1 live"]);
        permit.settle(Outcome::NotApplied, None).await.unwrap();

        let change = ledger.examine(&by("other"), LostRecords::Refuse).await.unwrap();
        change.take_effect().await.unwrap().complete();
    });
}

/// A claim may still come over a record that is over, or over a pointer, when the change was first looked at.
#[test]
fn what_is_claimed_over_a_dead_record_is_seen() {
    let lapsed = State::Pointer(Pointer {
        target: id(9),
        target_space: SpaceNumber(0),
        target_fingerprint: completed(1, 5).fingerprint,
        lease_until: Timestamp::from_secs(1),
        look_at: Timestamp::from_secs(1),
    });
    for dead in [completed(1, 5).state.clone(), lapsed] {
        run(async {
            let ledger = ledger();
            ledger.agree(&by("pay"), LostRecords::Refuse).await.unwrap();
            put(&ledger, 1, &record(dead.clone())).await;
            let claimant = begin(&ledger, 1).await;
            let change = ledger.examine(&by("other"), LostRecords::Refuse).await.unwrap();
            let early = change.look(BTreeSet::new()).await.unwrap();
            let permit = claim(claimant).await;
            refused(change.look(early).await, &["(1 live"]);
            permit.settle(Outcome::NotApplied, None).await.unwrap();
        });
    }
}

/// The request derived its key by the old routes, and its record comes when nobody looks any more.
#[test]
fn what_was_derived_before_a_change_is_never_sent_after_it() {
    run(async {
        let ledger = ledger();
        ledger.agree(&by("pay"), LostRecords::Refuse).await.unwrap();
        let (late, later) = (begin(&ledger, 1).await, begin(&ledger, 2).await);
        let change = ledger.examine(&by("other"), LostRecords::Refuse).await.unwrap();
        let mut taken = change.take_effect().await.unwrap();
        assert!(matches!(late.claim().await, Claimed::Stands(Begun::Unavailable(_))), "while it is made");
        taken.complete();
        drop(taken);
        assert!(matches!(later.claim().await, Claimed::Stands(Begun::Unavailable(_))), "and after it");
        assert!(claim(begin(&ledger, 3).await).await.holds(), "what is derived from then on goes on");
    });
}

#[test]
fn a_change_that_takes_nothing_holds_nobody_up() {
    run(async {
        let ledger = ledger();
        ledger.agree(&by("pay"), LostRecords::Refuse).await.unwrap();
        let permit = claim(begin(&ledger, 1).await).await;
        let mut more = by("pay");
        more.spaces.insert("more".into(), PolicySpace { key_schema: "m".into(), key_epoch: 0 });
        let change = ledger.examine(&more, LostRecords::Refuse).await.unwrap();
        let early = begin(&ledger, 2).await;
        let mut taken = change.take_effect().await.unwrap();
        assert!(permit.holds() && claim(early).await.holds());
        taken.complete();
        drop(taken);
        assert!(permit.holds());
    });
}

#[test]
fn another_secret_takes_the_place_of_the_ledgers_only_where_nothing_lives() {
    run(async {
        let ledger = ledger();
        ledger.secret(Some([1; 32]), LostRecords::Refuse).await.unwrap();
        put(&ledger, 1, &completed(1, 5)).await;
        ledger.secret(Some([2; 32]), LostRecords::Refuse).await.unwrap();
        put(&ledger, 2, &completed(now(&ledger), 5)).await;
        let error = ledger.secret(Some([3; 32]), LostRecords::Refuse).await.unwrap_err();
        assert!(error.to_string().contains("operations (1 live record)"), "{error}");
        ledger.secret(Some([3; 32]), LostRecords::GiveUp).await.unwrap();
        assert!(ledger.secret(Some([2; 32]), LostRecords::Refuse).await.is_err());
        ledger.secret(None, LostRecords::Refuse).await.unwrap();
    });
}

/// Nobody knows whether it lives. Its id is told, and an operator gets on.
#[test]
fn what_cannot_be_read_may_lose_its_key() {
    for damaged in [&[1][..], &[1, 2], &[2, 3], &[1, 2, 3]] {
        run(async {
            let store = Faulty::new(Memory::new(1 << 20));
            let (ledger, _keeper) = Ledger::new(store, Clock::start(Timestamp::default()), None);
            ledger.agree(&by("pay"), LostRecords::Refuse).await.unwrap();
            ledger.secret(Some([1; 32]), LostRecords::Refuse).await.unwrap();
            for (key, at) in [(1, 1), (2, ledger.clock().now().as_millis() / 1_000), (3, 1)] {
                let record = Record { origin: origin(), ..Record::clone(&completed(at, 5)) };
                ledger.store.swap(id(key), None, Some(Arc::new(record)), ledger.clock().now()).await.unwrap();
            }
            ledger.store().damage(&damaged.iter().map(|key| id(*key)).collect::<Vec<_>>());
            let words: Vec<_> = damaged.iter().map(|key| id(*key).to_string()).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            refused(ledger.agree(&by("other"), LostRecords::Refuse).await, &words);
            let secret = ledger.secret(Some([2; 32]), LostRecords::Refuse).await.unwrap_err().to_string();
            assert!(words.iter().all(|word| secret.contains(word)), "{secret}");
            let deriver =
                Deriver { key_schema: "s/1".into(), key_epoch: 9, component: "".into(), settings: "".into() };
            let space = Space { number: SpaceNumber(7), deriver, closing_since: None };
            assert!(
                ledger.key_spaces().has_records(&"pay".into(), &space).await.unwrap(),
                "it may be of any"
            );
            let given_up = ledger.agree(&by("other"), LostRecords::GiveUp).await.unwrap().join("; ");
            assert!(words.iter().all(|word| given_up.contains(word)), "{given_up}");
            ledger.store().damage(&[]);
            assert!(!ledger.key_spaces().has_records(&"pay".into(), &space).await.unwrap());
        });
    }
}

#[test]
fn of_many_that_cannot_be_read_some_are_named() {
    run(async {
        let store = Faulty::new(Memory::new(1 << 20));
        let (ledger, _keeper) = Ledger::new(store, Clock::start(Timestamp::default()), None);
        for key in 0..20 {
            ledger.store.swap(id(key), None, Some(completed(1, 5)), ledger.clock().now()).await.unwrap();
        }
        ledger.store().damage(&(0..20).map(id).collect::<Vec<_>>());
        let losses = in_words(&ledger.survey(|_| None).await.unwrap());
        assert_eq!(losses.len(), 9, "{losses:?}");
        assert!(losses.iter().any(|loss| loss.ends_with("others (12 live records)")), "{losses:?}");
    });
}
