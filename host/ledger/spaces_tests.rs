//! Two gateways on one store while the keys of a policy change: different versions of the list, a gateway
//! that doesn't renew its lease, claims and releases that end half-way.
//!
//! Long because it is one suite, and what it sets up is shared.

#![allow(clippy::unwrap_used, reason = "a test")]

mod older_keys;

use super::*;
use oncegate_core::keyspaces::list::{Blocker, Closed, Deriver};
use oncegate_core::{
    Claim, Fingerprint, Key, LostRecords, Outcome, Record, Refusal, Rules, SpaceNumber, State, Times,
    Timestamp, UnknownReason, WhenUnknown, WhileRunning,
};
use oncegate_keyspaces::{Numbers, SpacesError};
use oncegate_store::conformance::{executing, id, on_a_runtime as run};
use oncegate_store::faulty::{Faulty, StoreFault};
use oncegate_store::{Memory, Store};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The shortest time that ledger time tells apart.
const TICK: Duration = Duration::from_millis(1);
const LIST: Duration = Duration::from_secs(10);
/// Longer than [`LIST`], so that the list lease can lapse without this one.
const LEASE: Duration = Duration::from_secs(30);
const RETENTION: Duration = Duration::from_secs(100);
const POLICY: &str = "payments";
const HOLD: Rules = Rules { while_running: WhileRunning::Wait, when_unknown: WhenUnknown::Hold };

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::from_secs(1_000)) };
}

fn passes(span: Duration) {
    NOW.set(NOW.get() + span);
}

/// A gateway and the spaces in which it derives keys.
struct Gateway {
    ledger: Arc<Ledger<Faulty<Memory>>>,
    derives: Vec<u32>,
    decides: u32,
    term: u64,
}

fn deriver(epoch: u32) -> Deriver {
    Deriver {
        key_schema: "s/1".into(),
        key_epoch: epoch.into(),
        component: "c".into(),
        settings: format!("{epoch}").into(),
    }
}

impl Gateway {
    /// A gateway that decides by this key epoch.
    async fn start(store: &Arc<Memory>, epoch: u32) -> Self {
        let clock = Clock::following(Timestamp::default(), || NOW.get());
        let (ledger, _) = Ledger::new(Faulty::sharing(store.clone()), clock, None);
        ledger.key_spaces().join(Some(LIST)).await.unwrap();
        let mut gateway = Self { ledger, derives: Vec::new(), decides: 0, term: 0 };
        gateway.enter(epoch).await.unwrap();
        gateway
    }

    /// Reads the list and derives by it. No earlier request is in flight.
    async fn enter(&mut self, epoch: u32) -> Result<(), SpacesError> {
        let derivers = BTreeMap::from([(Arc::from(POLICY), deriver(epoch))]);
        let entered = self.ledger.key_spaces().enter(&derivers, &Numbers::new(), |_, _| true).await?;
        self.term = entered.term;
        self.decides = entered.numbers[POLICY].0;
        self.derives = self.on_list();
        Ok(())
    }

    async fn tend(&self) -> bool {
        let decides = Numbers::from([(POLICY.into(), BTreeSet::from([SpaceNumber(self.decides)]))]);
        self.ledger.key_spaces().tend(&decides).await.unwrap()
    }

    fn on_list(&self) -> Vec<u32> {
        let lists = self.ledger.key_spaces().lists();
        lists.list(POLICY).unwrap().numbers().into_iter().map(|number| number.0).collect()
    }

    /// A request for the operation, with its keys: number and key are one here.
    fn request(&self) -> Request {
        let like = executing(0);
        let key = |space: u32| Key {
            space: SpaceNumber(space),
            id: id(space.into()),
            fingerprint: Fingerprint { hash: [u8::try_from(space).unwrap(); 32], ..like.fingerprint },
            key_schema: "s/1".into(),
            key_epoch: space.into(),
        };
        let keys: Vec<Key> = self.derives.iter().copied().map(key).collect();
        let highest = keys.last().unwrap().clone();
        Request {
            id: highest.id,
            claim: Claim {
                fingerprint: highest.fingerprint,
                execution: self.ledger.execution_id(),
                times: Times {
                    lease: LEASE,
                    retention: RETENTION,
                    tombstone: RETENTION,
                    unknown_retention: RETENTION,
                    memory: RETENTION * 2,
                },
                origin: oncegate_core::Origin {
                    policy: POLICY.into(),
                    key_schema: highest.key_schema.clone(),
                    key_epoch: highest.key_epoch,
                    ..like.origin.clone()
                },
                memo: None,
                clock: self.ledger.clock().now(),
                remembered_since: Timestamp::default(),
                came: self.ledger.clock().now(),
            },
            rules: HOLD,
            wait: Duration::ZERO,
            waiting_room: None,
            derived: Derived {
                space: highest.space,
                keys: if keys.len() > 1 { keys } else { Vec::new() },
                term: self.term,
                ..Derived::default()
            },
        }
    }

    /// The result of a request: a permit, or the refusal's word.
    async fn asks(&self) -> Result<Permit<Faulty<Memory>>, &'static str> {
        self.goes(self.request()).await
    }

    async fn goes(&self, request: Request) -> Result<Permit<Faulty<Memory>>, &'static str> {
        let claimed = match self.ledger.begin(request).await {
            Begun::Claim(claimant) => claimant.claim().await,
            begun => Claimed::Stands(begun),
        };
        Err(match claimed {
            Claimed::Won(permit) => return Ok(permit),
            Claimed::Elsewhere(..) => "in flight",
            Claimed::Stands(Begun::Replay { .. }) => "answer",
            Claimed::Stands(Begun::Refuse(Refusal::Unknown, _)) => "unknown",
            Claimed::Stands(Begun::Refuse(Refusal::Expired, _)) => "expired",
            Claimed::Stands(Begun::Refuse(Refusal::InFlight, _)) => "in flight",
            Claimed::Stands(Begun::Unavailable(_)) => "unavailable",
            other => panic!("{other:?}"),
        })
    }
}

fn completed() -> Outcome {
    Outcome::Completed(Arc::default())
}

fn shared() -> Arc<Memory> {
    Arc::new(Memory::new(1 << 20))
}

/// Two gateways, of which the first derives by the list as it was before the second came with another space.
async fn apart() -> (Gateway, Gateway) {
    let store = shared();
    let old = Gateway::start(&store, 0).await;
    let new = Gateway::start(&store, 1).await;
    assert_eq!((&old.derives[..], &new.derives[..]), (&[0][..], &[0, 1][..]));
    (old, new)
}

#[test]
fn the_newer_list_finds_what_the_older_one_executes() {
    run(async {
        let (old, new) = apart().await;
        let permit = old.asks().await.unwrap();
        assert!(permit.holds());
        assert_eq!(new.asks().await.unwrap_err(), "in flight");
        permit.settle(completed(), None).await.unwrap();
        assert_eq!(new.asks().await.unwrap_err(), "answer");
    });
}

#[test]
fn the_older_list_finds_what_the_newer_one_executes() {
    run(async {
        let (mut old, new) = apart().await;
        let permit = new.asks().await.unwrap();
        assert!(permit.holds());
        assert_eq!(old.asks().await.unwrap_err(), "in flight");
        permit.settle(Outcome::Unknown(UnknownReason::Broken), None).await.unwrap();
        // The time is long after the pointer's lease, too.
        passes(LEASE * 2);
        old.enter(0).await.unwrap();
        old.derives = vec![0];
        assert_eq!(old.asks().await.unwrap_err(), "unknown");
    });
}

#[test]
fn what_was_claimed_before_a_break_of_the_lease_on_the_list_is_not_sent() {
    run(async {
        let (mut old, _new) = apart().await;
        let claimed = old.asks().await.unwrap();
        passes(LIST);
        assert!(!claimed.holds(), "the lease on the list is over");
        claimed.settle(Outcome::NotApplied, None).await.unwrap();
        assert_eq!(old.asks().await.unwrap_err(), "unavailable");
        // This request derived its keys before the break, and comes to claim after it.
        let late = old.request();
        old.enter(0).await.unwrap();
        assert_eq!(old.goes(late).await.unwrap_err(), "unavailable");
        let permit = old.asks().await.unwrap();
        assert!(permit.holds(), "keys that were derived since then may be sent");
        passes(LIST);
        assert!(permit.holds(), "whoever has a key in common finds the record of what was begun");
    });
}

/// A gateway whose lease was over judged by the one key that it had, though the operation had its answer
/// under another key by then.
#[test]
fn whose_lease_on_the_list_is_over_tells_nothing_but_answers() {
    for (outcome, expected) in
        [(completed(), "answer"), (Outcome::Unknown(UnknownReason::Broken), "unavailable")]
    {
        run(async {
            let (old, _new) = apart().await;
            let permit = old.asks().await.unwrap();
            assert!(permit.holds());
            permit.settle(outcome, None).await.unwrap();
            passes(LIST);
            assert_eq!(old.asks().await.unwrap_err(), expected);
        });
    }
}

/// The same holds for a request that waits for a claim that was made before the break.
#[test]
fn who_waits_beyond_the_lease_on_the_list_is_told_nothing_but_answers() {
    for (outcome, expected) in
        [(completed(), "answer"), (Outcome::Unknown(UnknownReason::Broken), "in flight")]
    {
        run(async {
            let (old, _new) = apart().await;
            let permit = old.asks().await.unwrap();
            assert!(permit.holds());
            let request = Request { wait: Duration::from_secs(60), ..old.request() };
            let mut waiting = Box::pin(old.goes(request));
            assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
            passes(LIST);
            permit.settle(outcome, None).await.unwrap();
            assert_eq!(waiting.await.unwrap_err(), expected);
        });
    }
}

/// No keys are derived yet by a list that was entered by a swap of unclear result, and nothing that was
/// derived by the list before may be sent.
#[test]
fn a_lease_that_came_back_unnoticed_is_a_new_term() {
    run(async {
        let (mut old, new) = apart().await;
        let before = old.term;
        passes(LIST);
        assert!(!old.tend().await, "it has to enter again");
        // A swap whose answer was lost entered for this gateway.
        let (gateway, again) = (old.ledger.key_spaces().gateway(), NOW.get() + LIST * 2);
        let (version, bytes) = old.ledger.store.load_meta("key-spaces").await.unwrap().unwrap();
        let mut spaces = oncegate_core::keyspaces::codec::decode(&bytes).unwrap();
        spaces.renew(gateway, Timestamp::default().plus(again));
        old.ledger
            .store()
            .swap_meta("key-spaces", Some(version), oncegate_core::keyspaces::codec::encode(&spaces).into())
            .await
            .unwrap();
        let _ = old.tend().await;
        assert_ne!(old.ledger.key_spaces().term(), before);
        assert_eq!(old.asks().await.unwrap_err(), "unavailable");
        old.enter(0).await.unwrap();
        assert!(old.asks().await.unwrap().holds());
        drop(new);
    });
}

#[test]
fn a_space_stays_while_a_gateway_that_lives_is_behind() {
    run(async {
        let (old, mut new) = apart().await;
        // The first gateway doesn't know of the second's space and decides by its own.
        assert!(new.tend().await);
        let blockers = new.ledger.key_spaces().blockers(POLICY, SpaceNumber(0));
        assert_eq!(blockers, [Blocker::Decides(old.ledger.key_spaces().gateway())]);
        passes(LIST - Duration::from_secs(1));
        assert!(new.tend().await);
        assert_eq!(new.on_list(), [0, 1]);
        // The first gateway didn't renew its lease.
        passes(Duration::from_secs(2));
        assert!(new.tend().await);
        assert!(new.tend().await);
        assert_eq!(new.on_list(), [1]);
        assert!(!old.tend().await);
        assert_eq!(old.asks().await.unwrap_err(), "unavailable");
        new.enter(1).await.unwrap();
        assert_eq!(new.derives, [1]);
    });
}

/// Answers, tombstones and unknown outcomes hold a space open, whatever gateway claimed them.
#[test]
fn a_space_stays_while_a_record_of_it_is_left() {
    for outcome in [completed(), Outcome::Unknown(UnknownReason::Broken)] {
        run(async {
            let (mut old, mut new) = apart().await;
            let permit = old.asks().await.unwrap();
            assert!(permit.holds());
            permit.settle(outcome, None).await.unwrap();
            old.enter(1).await.unwrap();
            new.enter(1).await.unwrap();
            let mut span = Duration::ZERO;
            // First the retention passes, then the tombstone.
            while span < RETENTION * 2 {
                assert_eq!((old.tend().await, new.tend().await), (true, true));
                assert_eq!(new.on_list(), [0, 1], "after {span:?}");
                assert!(new.asks().await.is_err(), "after {span:?}");
                passes(LIST / 2);
                span += LIST / 2;
            }
            let _ = (old.tend().await, new.tend().await, old.tend().await);
            assert_eq!(old.on_list(), [1]);
            // A clock that was ahead may go back at the next start, and a record that is left would live
            // again.
            assert!(old.ledger.load(id(0)).await.unwrap().is_none(), "it is gone for good");
        });
    }
}

/// There are three spaces, and the claimant ends after its first pointer or its second. Until the pointer
/// lapses the operation may be executing; then it never began.
#[test]
fn pointers_of_a_claimant_that_died_lapse() {
    for written in 1..=2 {
        run(async {
            let (mut old, _) = apart().await;
            let store = &old.ledger.store().inner.clone();
            let newest = Gateway::start(store, 2).await;
            assert_eq!(newest.derives, [0, 1, 2]);
            let mut faults = vec![StoreFault::None; written];
            faults.push(StoreFault::Unavailable);
            newest.ledger.store().next(&faults);
            assert_eq!(newest.asks().await.unwrap_err(), "unavailable");
            assert_eq!(old.asks().await.unwrap_err(), "in flight");
            passes(LEASE);
            old.enter(0).await.unwrap();
            old.derives = vec![0];
            let permit = old.asks().await.unwrap();
            assert!(permit.holds());
            permit.settle(completed(), None).await.unwrap();
            let newest = Gateway::start(store, 2).await;
            assert_eq!(newest.asks().await.unwrap_err(), "answer");
        });
    }
}

/// A release takes the state away and leaves the pointers, on which others may stand by then. A release whose
/// answer is lost has the same effect.
#[test]
fn a_release_leaves_its_pointers_to_lapse() {
    for fault in [StoreFault::None, StoreFault::Written, StoreFault::Unwritten] {
        run(async {
            let (mut old, new) = apart().await;
            let permit = new.asks().await.unwrap();
            assert!(permit.holds());
            new.ledger.store().next(&[fault]);
            permit.settle(Outcome::NotApplied, None).await.unwrap();
            assert!(new.ledger.load(id(0)).await.unwrap().is_some(), "the pointer");
            assert!(new.ledger.load(id(1)).await.unwrap().is_none(), "the state");
            assert_eq!(old.asks().await.unwrap_err(), "in flight", "somebody may stand on it");
            let again = new.asks().await.unwrap();
            assert!(again.holds(), "who claims the same keys writes the pointer anew");
            again.settle(Outcome::NotApplied, None).await.unwrap();
            passes(LEASE);
            old.enter(0).await.unwrap();
            old.derives = vec![0];
            assert!(old.asks().await.unwrap().holds());
        });
    }
}

/// Pointers are written over by claimants up to the same end. The claimant that wrote a pointer first relies
/// on it only as long as its own would have stood.
#[test]
fn no_claim_outlives_the_pointers_that_it_wrote() {
    run(async {
        let (mut old, mut new) = apart().await;
        let permit = new.asks().await.unwrap();
        passes(LIST / 2);
        assert!(new.tend().await);
        passes(LEASE - LIST / 2);
        new.enter(1).await.unwrap();
        assert!(!permit.holds(), "the pointer has lapsed");
        permit.settle(Outcome::NotApplied, None).await.unwrap();
        old.enter(0).await.unwrap();
        old.derives = vec![0];
        assert!(old.asks().await.unwrap().holds());
    });
}

#[test]
fn a_fifth_space_waits_and_going_back_never_does() {
    run(async {
        let store = shared();
        let mut gateway = Gateway::start(&store, 0).await;
        for epoch in 1..4 {
            gateway.enter(epoch).await.unwrap();
        }
        assert!(matches!(gateway.enter(4).await, Err(SpacesError::Closed(_, Closed::Full))));
        gateway.enter(1).await.unwrap();
        assert_eq!((gateway.decides, &gateway.derives[..]), (1, &[0, 1, 2, 3][..]));
        let _ = gateway.tend().await;
        assert_eq!(gateway.on_list(), [1], "without records nothing holds the others");
        gateway.enter(4).await.unwrap();
        assert_eq!(gateway.derives, [1, 4], "numbers are never given twice");
    });
}

#[test]
fn what_one_gateway_refuses_no_other_takes_but_where_it_is_active_it_goes_on() {
    run(async {
        let store = shared();
        let (mut one, two) = (Gateway::start(&store, 1).await, Gateway::start(&store, 1).await);
        let by = |component: &str| {
            BTreeMap::from([(Arc::from(POLICY), Deriver { component: component.into(), ..deriver(1) })])
        };
        let enter = async |gateway: &Gateway, component: &str| {
            gateway.ledger.key_spaces().enter(&by(component), &Numbers::new(), |_, _| true).await
        };
        // The second gateway has the deriver active when the first sees that it makes other keys.
        enter(&two, "other").await.unwrap();
        one.enter(1).await.unwrap();
        for component in ["bad", "other", "c"] {
            let refused = &by(component)[POLICY];
            one.ledger
                .key_spaces()
                .refuse(&POLICY.into(), refused, "POST /x gets another key")
                .await
                .unwrap();
        }
        let third = Gateway::start(&store, 1).await;
        for (gateway, component) in [(&two, "bad"), (&third, "bad"), (&third, "other")] {
            let refused = enter(gateway, component).await.unwrap_err();
            let SpacesError::Closed(_, Closed::Refused(why)) = refused else { panic!("{refused}") };
            assert_eq!(&*why, "POST /x gets another key");
        }
        enter(&two, "other").await.unwrap();
        assert!(enter(&third, "c").await.is_ok(), "what the list goes by is not refused");
    });
}

#[test]
fn how_keys_are_made_does_not_change_while_another_gateway_goes_by_what_was() {
    let before = Identity { routes: RouteTable::all_to("a"), ..Identity::default() };
    let routes = Identity { routes: RouteTable::all_to("b"), ..before.clone() };
    let deployment = Identity { deployment: "other".into(), ..before.clone() };
    let normalisation = Identity { normalisation: 1, ..before.clone() };
    for next in [routes, deployment, normalisation] {
        run(async {
            let (mut one, two) = apart().await;
            one.ledger.agree(&before, LostRecords::Refuse).await.unwrap();
            // No record stands in the way, but one may come at any time.
            let refused = one.ledger.agree(&next, LostRecords::Refuse).await.unwrap_err().to_string();
            assert!(refused.contains(&two.ledger.key_spaces().gateway().to_string()), "{refused}");
            drop(two);
            passes(LIST);
            one.enter(1).await.unwrap();
            one.ledger.agree(&next, LostRecords::Refuse).await.unwrap();
        });
    }
}

/// A gateway without records isn't alone: the other would go on by the secret that it has.
#[test]
fn the_secret_is_not_replaced_while_another_gateway_goes_by_it() {
    run(async {
        let (one, two) = apart().await;
        let made = one.ledger.secret(Some([1; 32]), LostRecords::Refuse).await.unwrap();
        assert_eq!(two.ledger.secret(None, LostRecords::Refuse).await.unwrap(), made);
        for lost in [LostRecords::Refuse, LostRecords::GiveUp] {
            let refused = two.ledger.secret(Some([2; 32]), lost).await.unwrap_err().to_string();
            assert!(refused.contains(&one.ledger.key_spaces().gateway().to_string()), "{refused}");
        }
        assert!(two.ledger.may_get_secret(&[2; 32]).await.is_err());
        assert_eq!(two.ledger.secret(Some([1; 32]), LostRecords::Refuse).await.unwrap(), made);
        drop(one);
        passes(LIST);
        assert_ne!(two.ledger.secret(Some([2; 32]), LostRecords::Refuse).await.unwrap(), made);
    });
}
