//! A change of how keys are made is cut at every point, and whatever comes then, nothing runs twice.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::identity::Identity;
use crate::requests::request;
use crate::{Begun, Claimed, Clock, PolicySpace, RouteEntry, RouteKeys, RouteTable};
use oncegate_core::{LostRecords, Origin, Outcome, Timestamp};
use oncegate_store::Memory;
use oncegate_store::conformance::{id, on_a_runtime as run};
use oncegate_store::faulty::{Faulty, StoreFault};
use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

/// A way of making keys: the policy of all routes, and the source of their principals.
type Way = (&'static str, &'static str);

const OLD: Way = ("pay", "all");
/// Others, by which an operation has other keys than by the old way.
const NEW: [Way; 3] = [("other", "all"), ("pay", "cookie"), ("other", "cookie")];

fn identity((policy, principal): Way) -> Identity {
    let keys = RouteKeys { policy: policy.into(), principal: principal.into(), by_name: false };
    let (name, path) = ("all".to_owned(), String::new());
    let space = PolicySpace { key_schema: "s/1".into(), key_epoch: 0 };
    Identity {
        deployment: "default".into(),
        normalisation: 1,
        routes: RouteTable::new([RouteEntry {
            name,
            host: None,
            path,
            methods: Vec::new(),
            keys: Some(keys),
        }]),
        spaces: [(policy.to_owned(), space)].into(),
    }
}

/// The cut of a change.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The store fails. Where it never answers, the change is dropped.
    Write(StoreFault),
    /// The change is dropped before its routes are in force.
    Swap,
}

const CUTS: [Cut; 7] = [
    Cut::Write(StoreFault::Written),
    Cut::Write(StoreFault::Unwritten),
    Cut::Write(StoreFault::WrittenForEver),
    Cut::Write(StoreFault::UnwrittenForEver),
    Cut::Write(StoreFault::Unavailable),
    Cut::Write(StoreFault::Full),
    Cut::Swap,
];

/// A step after the cut.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A client asks for the one operation.
    Ask,
    /// The keeper looks.
    Keep,
    /// A reload with the new file, or with the old one.
    Reload(Way),
    /// A crash, and a start with one of the files.
    Restart(Way),
}

type Store = Faulty<Memory>;

struct World {
    store: Arc<Memory>,
    /// The ledger of the gateway that runs and its way; `None`: its start was refused.
    gateway: Option<(Arc<Ledger<Store>>, Way)>,
    executed: BTreeMap<u64, u32>,
}

impl World {
    fn new() -> Self {
        Self { store: Arc::new(Memory::new(1 << 20)), gateway: None, executed: BTreeMap::new() }
    }

    async fn start(&mut self, way: Way) {
        let store = Faulty::sharing(self.store.clone());
        let (ledger, _) = Ledger::new(store, Clock::start(Timestamp::default()), None);
        let started = ledger.agree(&identity(way), LostRecords::Refuse).await;
        self.gateway = started.is_ok().then_some((ledger, way));
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Ask => self.ask(1).await,
            Step::Keep => {
                let Some((ledger, _)) = &self.gateway else { return };
                ledger.undo_change().await.unwrap();
            }
            Step::Reload(way) => self.reload(way, LostRecords::Refuse, None).await,
            Step::Restart(way) => self.start(way).await,
        }
    }

    async fn reload(&mut self, next: Way, lost: LostRecords, cut: Option<Cut>) {
        let Some((ledger, way)) = &mut self.gateway else { return };
        let Ok(change) = ledger.examine(&identity(next), lost).await else { return };
        if let Some(Cut::Write(fault)) = cut {
            ledger.store().next_documents(&[fault]);
        }
        let made = tokio::select! {
            biased;
            made = change.take_effect() => Some(made),
            () = ready(()) => None,
        };
        if let Some(Ok(mut made)) = made
            && cut.is_none()
        {
            *way = next;
            made.complete();
        }
    }

    async fn ask(&mut self, key: u64) {
        let Some((ledger, way)) = &self.gateway else { return };
        let ways = [OLD, NEW[0], NEW[1], NEW[2]];
        let place = ways.iter().position(|one| one == way).unwrap() as u64;
        let mut request = request(ledger, id(100 * place + key));
        request.claim.origin = Origin { policy: way.0.into(), normalisation: 1, ..request.claim.origin };
        request.derived.term = ledger.key_spaces().term();
        let Begun::Claim(claimant) = ledger.begin(request).await else { return };
        let Claimed::Won(permit) = claimant.claim().await else { return };
        if !permit.holds() {
            return permit.settle(Outcome::NotApplied, None).await.unwrap();
        }
        *self.executed.entry(key).or_default() += 1;
        permit.settle(Outcome::Completed(Arc::default()), None).await.unwrap();
    }
}

fn steps(new: Way) -> Vec<Vec<Step>> {
    let all =
        [Step::Ask, Step::Keep, Step::Reload(new), Step::Reload(OLD), Step::Restart(new), Step::Restart(OLD)];
    let mut found = vec![Vec::new()];
    for _ in 0..3 {
        let longer = |steps: &Vec<Step>| all.map(|step| [&steps[..], &[step]].concat());
        found = found.iter().flat_map(longer).collect();
    }
    found
}

#[test]
fn a_change_cut_anywhere_lets_nothing_run_twice() {
    run(async {
        for (new, cut) in NEW.into_iter().flat_map(|new| CUTS.map(|cut| (new, cut))) {
            for steps in steps(new) {
                let mut world = World::new();
                world.start(OLD).await;
                world.reload(new, LostRecords::Refuse, Some(cut)).await;
                for step in &steps {
                    world.step(*step).await;
                }
                world.step(Step::Ask).await;
                assert!(world.executed.values().all(|count| *count == 1), "{new:?} {cut:?} {steps:?}");
            }
        }
    });
}

/// What is given up is what was there when the operator said so, and nothing later.
#[test]
fn a_change_that_gave_up_and_broke_off_gives_up_nothing_more() {
    for cut in CUTS {
        run(async {
            let mut world = World::new();
            world.start(OLD).await;
            world.ask(1).await;
            world.reload(NEW[0], LostRecords::GiveUp, Some(cut)).await;
            world.step(Step::Keep).await;
            world.ask(2).await;
            world.reload(NEW[0], LostRecords::Refuse, None).await;
            world.ask(2).await;
            assert_eq!(world.executed[&2], 1, "{cut:?}");
        });
    }
}

#[test]
fn requests_are_taken_again_once_the_old_way_is_written() {
    for new in NEW {
        for cut in CUTS {
            run(async {
                let mut world = World::new();
                world.start(OLD).await;
                world.reload(new, LostRecords::Refuse, Some(cut)).await;
                world.ask(1).await;
                assert!(world.executed.is_empty(), "{cut:?}: nobody knows what the document names");
                let (ledger, _) = world.gateway.clone().unwrap();
                // The store fails on.
                ledger.store().next_documents(&[StoreFault::Full, StoreFault::Written]);
                for _ in 0..2 {
                    let failed = ledger.undo_change().await.unwrap_err();
                    assert!(matches!(failed, IdentityError::Document(_)), "{cut:?}: {failed}");
                    world.ask(1).await;
                    assert!(world.executed.is_empty(), "{cut:?}");
                }
                world.step(Step::Keep).await;
                world.ask(1).await;
                assert_eq!(world.executed[&1], 1, "{cut:?}");
                // The old file starts, as if nothing had been.
                world.start(OLD).await;
                assert!(world.gateway.is_some(), "{cut:?}");
            });
        }
    }
}

#[test]
fn the_keeper_undoes_what_broke_off() {
    run(async {
        let mut world = World::new();
        world.start(OLD).await;
        let store = Faulty::sharing(world.store.clone());
        let (ledger, keeper) = Ledger::new(store, Clock::start(Timestamp::default()), None);
        world.gateway = Some((ledger.clone(), OLD));
        world.reload(NEW[0], LostRecords::Refuse, Some(Cut::Write(StoreFault::Written))).await;
        assert!(ledger.in_doubt.broken_off().is_some());
        let undone = async {
            while ledger.in_doubt.broken_off().is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = keeper.run() => {}
            () = undone => {}
        }
        assert_eq!(ledger.identity().await.unwrap().unwrap().1, identity(OLD));
    });
}

/// A write that comes late finds another version.
#[test]
fn a_write_that_comes_late_is_lost() {
    run(async {
        let mut world = World::new();
        world.start(OLD).await;
        let (ledger, _) = world.gateway.clone().unwrap();
        let (version, _) = ledger.identity().await.unwrap().unwrap();
        world.reload(NEW[0], LostRecords::Refuse, Some(Cut::Write(StoreFault::Unwritten))).await;
        world.step(Step::Keep).await;
        let late = ledger.write_identity(Some(version), &identity(NEW[0])).await;
        assert!(matches!(late, Err(IdentityError::Overtaken)), "{late:?}");
    });
}
