//! Two gateways on one store, each with its own policies and its own archive of derivers. One gateway changes
//! a policy's keys to keys that the other gateway can't derive.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::activation::{ActivationError, Archive, Occasion, start};
use crate::config::{Flags, Source};
use crate::gateway::{Retirement, Shared};
use crate::keyspaces::{ActiveSpaces, RetryMissing, tend_once};
use crate::ledger::{Begun, Claimed, Derived, Ledger, Permit, Request};
use crate::policy::{Engine, Generation};
use crate::store::conformance::{executing, id};
use crate::store::{AnyStore, Clock, Memory};
use oncegate_core::keyspaces::list::Blocker;
use oncegate_core::{
    Claim, Fingerprint, Key, LostRecords, Origin, Outcome, Refusal, SpaceNumber, Times, Timestamp,
};
use std::cell::Cell;
use std::time::Duration;

/// The time for which a gateway stays on the list without tending it.
const LIST: Duration = Duration::from_secs(30);
const RETENTION: Duration = Duration::from_secs(100);

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::from_secs(1_000)) };
}

fn passes(span: Duration) {
    NOW.set(NOW.get() + span);
}

fn run(scene: impl AsyncFnOnce(Arc<Memory>)) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(scene(Arc::new(Memory::new(1 << 22))));
}

struct Gateway {
    reloader: Reloader,
    folder: tempfile::TempDir,
}

/// A configuration whose policy `keys` makes keys in this way; the other policies' way stays.
fn config(way: u32) -> String {
    let field = if way == 0 { "idempotency-key".to_owned() } else { format!("x-key-{way}") };
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"off\"\n[ledger]\nstore = \"memory\"\n\
         [upstreams.origin]\nurls = [\"http://127.0.0.1:9\"]\n\
         [policies.keys]\ncomponent = \"builtin:idempotency-key\"\nkey_epoch = {way}\n\
         settings = {{ from = [\"header:{field}\"] }}\n\
         [policies.others]\ncomponent = \"builtin:idempotency-key\"\n\
         [[routes]]\nname = \"charges\"\npath = \"/charges\"\nupstream = \"origin\"\npolicy = \"keys\"\n\
         [[routes]]\nname = \"others\"\npath = \"/others\"\nupstream = \"origin\"\npolicy = \"others\"\n"
    )
}

impl Gateway {
    async fn start(store: &Arc<Memory>, way: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("oncegate.toml");
        std::fs::write(&file, config(way)).unwrap();
        let source = Source { file: Some(file), flags: Flags::default(), env: Vec::new() };
        let config = crate::config::load(&source).unwrap();
        let archive = Archive::within(folder.path().join("policies"));
        let clock = Clock::following(Timestamp::default(), || NOW.get());
        let (ledger, _) = Ledger::new(AnyStore::Memory(store.clone()).untimed(), clock, None);
        let engine = Engine::new(1).unwrap();
        let shared = start(config, engine, ledger, &archive, Some(LIST), LostRecords::Refuse);
        let mut reloader = Reloader::new(source, Arc::new(shared.await.unwrap()), Retirement::default());
        reloader.archive = archive;
        Self { reloader, folder }
    }

    fn shared(&self) -> &Shared {
        &self.reloader.shared
    }

    fn ledger(&self) -> &Arc<Ledger> {
        &self.shared().ledger
    }

    /// Changes the policy's keys to another way.
    async fn changes(&self, way: u32) -> Result<(), ActivationError> {
        std::fs::write(self.folder.path().join("oncegate.toml"), config(way)).unwrap();
        self.reloader.reload(LostRecords::Refuse, Occasion::SIGHUP).await.map(|_| ())
    }

    /// Tends as a gateway does from time to time. `again`: long after the last try to load what couldn't be
    /// loaded.
    async fn tends(&self, again: bool) {
        let retry = if again { RetryMissing::Yes } else { RetryMissing::No };
        tend_once(&self.reloader, retry).await.unwrap();
    }

    /// Copies the derivers from the other gateway's archive.
    fn gets_what_is_kept_at(&self, other: &Self) {
        let policies = |gateway: &Self| gateway.folder.path().join("policies");
        for file in std::fs::read_dir(policies(other)).unwrap().flatten() {
            std::fs::copy(file.path(), policies(self).join(file.file_name())).unwrap();
        }
    }

    /// Why its policy refuses requests that it would guard, if it does.
    fn refuses_because(&self) -> Option<String> {
        let active = self.shared().active.load();
        let unavailable =
            active.spaces.unavailable.get("keys").map(|unavailable| unavailable.why.to_string());
        for route in active.routes.iter() {
            let expected = &*route.config.name == "charges" && unavailable.is_some();
            assert_eq!(
                (route.is_unavailable, route.spaces.is_none()),
                (expected, expected),
                "{}",
                route.config.name
            );
        }
        assert!(!active.spaces.unavailable.contains_key("others"));
        unavailable
    }

    fn spaces(&self, policy: &str) -> Option<(Arc<Generation>, ActiveSpaces<Arc<Generation>>)> {
        let active = self.shared().active.load();
        Some((active.generations[policy].clone(), active.spaces.open.get(policy)?.clone()))
    }

    fn on_list(&self) -> Vec<u32> {
        let numbers =
            self.ledger().key_spaces().lists().list("keys").map(|list| list.numbers()).unwrap_or_default();
        numbers.into_iter().map(|number| number.0).collect()
    }

    async fn asks(&self, policy: &str) -> Result<Permit, &'static str> {
        self.goes(policy, &self.spaces(policy).ok_or("unavailable")?).await
    }

    /// The result of the policy's only operation, under keys that were derived in this way.
    async fn goes(
        &self,
        policy: &str,
        (generation, spaces): &(Arc<Generation>, ActiveSpaces<Arc<Generation>>),
    ) -> Result<Permit, &'static str> {
        let request = request(self.ledger(), policy, generation, spaces);
        let claimed = match self.ledger().begin(request).await {
            Begun::Claim(claimant) => claimant.claim().await,
            begun => Claimed::Stands(begun),
        };
        Err(match claimed {
            Claimed::Won(permit) if permit.holds() => return Ok(permit),
            Claimed::Won(_) => "may not be sent",
            Claimed::Elsewhere(..) | Claimed::Stands(Begun::Refuse(Refusal::InFlight, _)) => "in flight",
            Claimed::Stands(Begun::Replay { .. }) => "answer",
            other => panic!("{other:?}"),
        })
    }

    /// Executes an operation that has a key in the present space only, and changes to another way.
    async fn executes_and_changes(&self, way: u32) {
        let (generation, mut spaces) = self.spaces("keys").unwrap();
        spaces.older.clear();
        let permit = self.goes("keys", &(generation, spaces)).await.unwrap();
        permit.settle(Outcome::Completed(Arc::default()), None).await.unwrap();
        self.changes(way).await.unwrap();
    }

    async fn executes(&self) {
        self.asks("keys").await.unwrap().settle(Outcome::Completed(Arc::default()), None).await.unwrap();
    }
}

/// A request whose keys have their space's number as id. Each policy has ids of its own.
fn request(
    ledger: &Arc<Ledger>,
    policy: &str,
    generation: &Generation,
    spaces: &ActiveSpaces<Arc<Generation>>,
) -> Request {
    let like = executing(0);
    let key = |number: SpaceNumber, generation: &Generation| Key {
        space: number,
        id: id(u64::from(number.0) + if policy == "keys" { 0 } else { 100 }),
        fingerprint: Fingerprint { hash: [number.0 as u8; 32], ..like.fingerprint },
        key_schema: generation.plan().key_schema.clone(),
        key_epoch: generation.key_epoch(),
    };
    let mut keys = vec![key(spaces.guard.number, generation)];
    keys.extend(spaces.older.iter().map(|older| key(older.number, &older.generation)));
    keys.sort_by_key(|key| key.space);
    let highest = keys.last().unwrap().clone();
    Request {
        id: highest.id,
        claim: Claim {
            fingerprint: highest.fingerprint,
            execution: ledger.execution_id(),
            times: Times {
                lease: RETENTION,
                retention: RETENTION,
                tombstone: RETENTION,
                unknown_retention: RETENTION,
                memory: RETENTION * 2,
            },
            origin: Origin {
                policy: policy.into(),
                key_schema: highest.key_schema.clone(),
                key_epoch: highest.key_epoch,
                ..like.origin.clone()
            },
            memo: None,
            clock: ledger.clock().now(),
            remembered_since: Timestamp::default(),
            came: ledger.clock().now(),
        },
        rules: oncegate_core::Rules {
            while_running: oncegate_core::WhileRunning::Wait,
            when_unknown: oncegate_core::WhenUnknown::Hold,
        },
        wait: Duration::ZERO,
        waiting_room: None,
        derived: Derived {
            space: highest.space,
            keys: if keys.len() > 1 { keys } else { Vec::new() },
            term: spaces.term,
            ..Derived::default()
        },
    }
}

/// Two gateways: the first can't derive the keys of the second, and knows it.
async fn unavailable(store: &Arc<Memory>) -> (Gateway, Gateway) {
    let (one, other) = (Gateway::start(store, 0).await, Gateway::start(store, 0).await);
    assert_eq!(one.refuses_because(), None);
    other.changes(1).await.unwrap();
    one.tends(false).await;
    assert!(one.refuses_because().is_some());
    (one, other)
}

#[test]
fn a_policy_is_shut_where_another_gateways_keys_cannot_be_derived_and_no_other_is() {
    run(async |store| {
        let (one, other) = unavailable(&store).await;
        let why = one.refuses_because().unwrap();
        for word in
            ["policy `keys`", "key space 1", &other.ledger().key_spaces().gateway().to_string(), ".json"]
        {
            assert!(why.contains(word), "{word:?} is not in {why}");
        }
        assert!(!why.contains("--accept-duplicates"), "it would not do while the other lives: {why}");
        assert_eq!(one.shared().unready(), None, "the others are served");
        drop(one.asks("others").await.unwrap());
        // The first gateway goes on like this, and doesn't hold up the other: nobody has a record of the old
        // keys.
        one.tends(true).await;
        other.tends(false).await;
        assert_eq!(other.on_list(), [1]);
        other.executes().await;
        assert!(one.refuses_because().is_some());
    });
}

#[test]
fn it_guards_again_as_soon_as_the_others_keys_can_be_derived() {
    run(async |store| {
        let (one, other) = unavailable(&store).await;
        other.executes().await;
        one.gets_what_is_kept_at(&other);
        one.tends(true).await;
        assert_eq!(one.refuses_because(), None);
        assert_eq!(one.asks("keys").await.unwrap_err(), "answer");
    });
}

/// The gateway used to wait for the next try to load what can't be loaded, a minute later.
#[test]
fn it_guards_again_as_soon_as_the_other_has_gone_back_and_nothing_of_its_keys_is_left() {
    run(async |store| {
        let (one, other) = unavailable(&store).await;
        other.executes().await;
        other.changes(0).await.unwrap();
        assert_eq!(other.asks("keys").await.unwrap_err(), "answer");
        let mut span = Duration::ZERO;
        // The retention passes, then the tombstone's time.
        while span < RETENTION * 2 {
            other.tends(false).await;
            one.tends(true).await;
            let why = one.refuses_because().unwrap();
            assert!(why.contains("key space 1"), "after {span:?}: {why}");
            passes(LIST / 3);
            span += LIST / 3;
        }
        other.tends(false).await;
        other.tends(false).await;
        assert_eq!(other.on_list(), [0]);
        one.tends(false).await;
        assert_eq!(one.refuses_because(), None);
        drop(one.asks("keys").await.unwrap());
    });
}

#[test]
fn what_was_under_way_is_claimed_by_the_old_keys_and_the_other_finds_it() {
    run(async |store| {
        let (one, other) = (Gateway::start(&store, 0).await, Gateway::start(&store, 0).await);
        let under_way = one.spaces("keys").unwrap();
        other.changes(1).await.unwrap();
        one.tends(false).await;
        one.tends(true).await;
        other.tends(false).await;
        let own = one.ledger().key_spaces().gateway();
        assert_eq!(other.ledger().key_spaces().blockers("keys", SpaceNumber(0)), [Blocker::Decides(own)]);
        let permit = one.goes("keys", &under_way).await.unwrap();
        assert_eq!(other.asks("keys").await.unwrap_err(), "in flight");
        permit.settle(Outcome::Completed(Arc::default()), None).await.unwrap();
        assert_eq!(other.asks("keys").await.unwrap_err(), "answer");
        drop(under_way);
        one.tends(false).await;
        other.tends(false).await;
        assert!(matches!(
            other.ledger().key_spaces().blockers("keys", SpaceNumber(0))[..],
            [Blocker::Records(_)]
        ));
        assert_eq!(other.on_list(), [0, 1]);
    });
}

/// A gateway did not look for records that the other one executed while the policy guarded nothing here. So
/// their key space left the list with its records.
#[test]
fn what_the_other_executed_since_then_holds_its_key_space_open_when_it_is_gone() {
    run(async |store| {
        let (one, other) = unavailable(&store).await;
        passes(Duration::from_secs(1));
        one.tends(true).await;
        other.tends(false).await;
        assert_eq!(other.on_list(), [1], "the last key in common has left");
        other.executes().await;
        drop(other);
        let mut span = Duration::ZERO;
        while span < RETENTION * 2 {
            one.tends(true).await;
            let why = one.refuses_because().expect("an operation would run again");
            assert!(why.contains("key space 1"), "after {span:?}: {why}");
            passes(LIST / 3);
            span += LIST / 3;
        }
        one.tends(true).await;
        one.tends(true).await;
        assert_eq!(one.refuses_because(), None);
        drop(one.asks("keys").await.unwrap());
    });
}

/// A key space was given up while a live gateway still executed by it.
#[test]
fn keys_by_which_another_gateway_executes_are_not_given_up() {
    run(async |store| {
        let (one, other) = unavailable(&store).await;
        other.executes().await;
        let report = one.reloader.reload(LostRecords::GiveUp, Occasion::SIGHUP).await.unwrap();
        assert!(one.refuses_because().is_some());
        let told = report.warnings.join("; ");
        assert!(told.contains(&other.ledger().key_spaces().gateway().to_string()), "{told}");
        other.tends(false).await;
        assert_eq!(other.asks("keys").await.unwrap_err(), "answer");
        drop(other);
        for _ in 0..3 {
            passes(LIST / 2);
            one.tends(false).await;
        }
        let report = one.reloader.reload(LostRecords::GiveUp, Occasion::SIGHUP).await.unwrap();
        assert!(report.warnings.join("; ").contains("may run again"), "{report:?}");
        assert_eq!((one.on_list(), one.refuses_because()), (vec![0], None));
    });
}

/// One policy whose key space had no room on its list kept the gateway from following all lists, and from
/// coming back after a break of its lease.
#[test]
fn one_whose_key_space_the_list_takes_no_more_holds_up_no_other() {
    run(async |store| {
        let (one, other) = unavailable(&store).await;
        one.tends(true).await;
        other.tends(false).await;
        for way in 2..5 {
            other.executes_and_changes(way).await;
        }
        other.tends(false).await;
        assert_eq!(other.on_list(), [1, 2, 3, 4]);
        one.gets_what_is_kept_at(&other);
        one.tends(true).await;
        let why = one.refuses_because().unwrap();
        assert!(why.contains("4 key spaces open") && why.contains("going back to one of them"), "{why}");
        passes(LIST * 2);
        other.tends(false).await;
        one.tends(false).await;
        drop(one.asks("others").await.unwrap());
        assert!(one.refuses_because().is_some());
        // The operator changes to a way whose key space is on the list.
        one.changes(4).await.unwrap();
        assert_eq!(one.refuses_because(), None);
        assert_eq!(one.asks("keys").await.unwrap_err(), "answer");
    });
}
