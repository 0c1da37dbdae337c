//! Changes of how keys are made, under live traffic and across kills: nothing runs twice, and what
//! changed is shown until nothing needs the old keys any more (design/key-changes.md).

use crate::support::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread::scope;

/// Ways to make keys: a line of `[policies.keys]`, or another component. Requests carry both fields, so
/// that each of them guards.
pub(crate) fn ways(setup: &Setup) -> Vec<Setup> {
    let component = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/header-key/header-key.wasm");
    vec![
        setup.clone(),
        setup.clone().policy("settings = { from = [\"header:x-request-id\"] }"),
        setup.clone().policy("key_epoch = 7"),
        setup.clone().component(&component),
    ]
}

/// An operation that each way guards.
pub(crate) fn operation(id: &str) -> Request {
    Request::keyed("/charges", id).field("X-Request-Id", id)
}

#[track_caller]
pub(crate) fn change(gateway: &Gateway, to: &Setup) {
    to.write();
    let reply = gateway.admin("POST", "/v1/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// The key spaces of the policy, as the admin interface lists them.
#[track_caller]
fn spaces(gateway: &Gateway) -> Vec<Value> {
    let list = gateway.admin("GET", "/v1/policies").json();
    let entry = list["policies"].as_array().and_then(|all| all.iter().find(|one| one["name"] == "keys"));
    entry.and_then(|entry| entry["key_spaces"].as_array()).cloned().unwrap_or_else(|| panic!("{list}"))
}

pub(crate) fn numbers(gateway: &Gateway) -> Vec<u64> {
    spaces(gateway).iter().map(|space| space["number"].as_u64().expect("a number")).collect()
}

#[test]
fn an_answer_is_replayed_across_every_change_of_its_key_and_back() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let ways = ways(&setup);
    let gateway = ways[0].start();
    let mut firsts = vec![(operation("k0"), gateway.send(&operation("k0")))];
    for (n, to) in [(1, 1), (2, 2), (3, 3), (4, 0), (5, 3)] {
        change(&gateway, &ways[to]);
        for (request, first) in &firsts {
            gateway.send(request).assert_replay_of(first);
        }
        let request = operation(&format!("k{n}"));
        firsts.push((request.clone(), gateway.send(&request)));
        firsts[n].1.assert_executed(201);
    }
    assert_eq!(numbers(&gateway), [0, 1, 2, 3], "all have records");
    // And across a restart, in the middle of it all and with another change.
    let setup = gateway.kill();
    assert_eq!(setup.folder(), ways[2].folder());
    let gateway = ways[2].start();
    for (request, first) in &firsts {
        gateway.send(request).assert_replay_of(first);
    }
    assert_eq!(upstream.count(), firsts.len());
}

#[test]
fn what_is_in_flight_under_the_old_key_is_waited_for_under_the_new() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
    let setup = Setup::new(&upstream.url());
    let ways = ways(&setup);
    let gateway = ways[0].start();
    let (first, second) = scope(|scope| {
        let first = scope.spawn(|| gateway.send(&operation("k")));
        upstream.await_calls(|calls| calls.len() == 1);
        change(&gateway, &ways[1]);
        // The request in flight still decides by the old space.
        let old = &spaces(&gateway)[0];
        assert!(old["held_open_by"].to_string().contains("in flight"), "{old}");
        let second = scope.spawn(|| gateway.send(&operation("k")));
        gate.open();
        (first.join().expect("it ends"), second.join().expect("it ends"))
    });
    first.assert_executed(201);
    assert_eq!((second.status, &second.body), (first.status, &first.body), "{second:?}");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn an_unknown_outcome_is_held_under_the_new_key() {
    let upstream = Upstream::start(|_| Script::reset());
    let setup = Setup::new(&upstream.url());
    let ways = ways(&setup);
    let gateway = ways[0].start();
    gateway.send(&operation("k")).assert_problem(502, "upstream-broken");
    for to in [1, 2, 0] {
        change(&gateway, &ways[to]);
        gateway.send(&operation("k")).assert_problem(409, "outcome-unknown");
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn what_is_no_longer_guarded_never_runs_again_while_its_record_lives() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let ways = ways(&setup);
    let gateway = ways[0].start();
    // Without the field that the next way asks for.
    let only = Request::keyed("/charges", "k");
    let first = gateway.send(&only);
    change(&gateway, &ways[1]);
    for _ in 0..2 {
        gateway.send(&only).assert_replay_of(&first);
    }
    assert_eq!(upstream.count(), 1);
}

/// Both operations had one key and the same content under the old way: it took them for one.
#[test]
fn a_way_that_splits_a_live_key_is_told_key_reused_only_where_it_does() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.key() {
        "one" => Script::numbered(call).after(&held),
        _ => Script::numbered(call),
    });
    let setup = Setup::new(&upstream.url());
    let ways = ways(&setup);
    let gateway = ways[0].start();
    // It holds the old key space open.
    gateway.send(&operation("old")).assert_executed(201);
    change(&gateway, &ways[1]);
    let request = |id: &str| Request::keyed("/charges", "one").field("X-Request-Id", id);
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&request("a")));
        upstream.await_calls(|calls| calls.len() == 2);
        gateway.send(&request("b")).assert_problem(422, "key-reused");
        gate.open();
        let first = first.join().expect("it ends");
        first.assert_executed(201);
        gateway.send(&request("a")).assert_replay_of(&first);
        gateway.send(&request("b")).assert_problem(422, "key-reused");
    });
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_window_closes_when_no_record_needs_the_old_key() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url()).ledger("retention = \"3s\"\ntombstone = \"0s\"");
    let ways = ways(&setup);
    let gateway = ways[0].start();
    gateway.send(&operation("k")).assert_executed(201);
    change(&gateway, &ways[1]);
    assert_eq!(numbers(&gateway).last(), Some(&1));
    let held = eventually("only records hold it", || {
        let held = spaces(&gateway)[0]["held_open_by"].to_string();
        held.contains("records claimed").then_some(held)
    });
    assert!(held.contains("forgotten"), "it says how that ends: {held}");
    eventually("the old space has left", || (numbers(&gateway) == [1]).then_some(()));
    gateway.assert_logs(&["a key space has left"]);
    // Numbers are kept: going back to the first is not a third.
    change(&gateway, &ways[0]);
    assert_eq!(numbers(&gateway).first(), Some(&0));
    change(&gateway, &ways[2]);
    assert_eq!(numbers(&gateway).last(), Some(&2));
}

#[test]
fn a_fifth_key_space_is_refused_until_one_leaves() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let ways = ways(&setup);
    let gateway = ways[0].start();
    for (n, way) in ways.iter().enumerate() {
        change(&gateway, way);
        gateway.send(&operation(&format!("k{n}"))).assert_executed(201);
    }
    setup.clone().policy("key_epoch = 8").write();
    let reply = gateway.admin("POST", "/v1/reload");
    assert_eq!(reply.status, 422, "{reply:?}");
    assert!(reply.text().contains("4 key spaces"), "{}", reply.text());
    change(&gateway, &ways[1]);
    assert_eq!(numbers(&gateway), [0, 1, 2, 3]);
}

/// Nobody tends the list while the gateway is down.
#[test]
fn a_start_lets_spaces_leave_before_it_is_full() {
    let upstream = Upstream::numbering();
    let times = "retention = \"2s\"\ntombstone = \"0s\"";
    let setup = Setup::new(&upstream.url()).ledger(times);
    let ways = ways(&setup);
    let gateway = ways[0].start();
    for (n, way) in ways.iter().enumerate() {
        change(&gateway, way);
        gateway.send(&operation(&format!("k{n}"))).assert_executed(201);
    }
    assert_eq!(numbers(&gateway), [0, 1, 2, 3]);
    gateway.kill();
    let fifth = setup.policy("key_epoch = 8");
    let gateway = eventually("the records are gone", || match fifth.try_start() {
        Ok(gateway) => Some(gateway),
        Err(full) => {
            full.assert_refused(1, &["4 key spaces"]);
            None
        }
    });
    assert_eq!(numbers(&gateway).last(), Some(&4));
    gateway.send(&operation("k4")).assert_executed(201);
}

#[test]
fn a_storm_of_retries_across_changes_and_kills_runs_nothing_twice() {
    println!("{}", storm(12));
}

/// What clients know of an operation.
#[derive(Default)]
struct Account {
    /// The answer that was acknowledged.
    answers: BTreeMap<String, Reply>,
    /// Told that nobody knows.
    unknown: BTreeSet<String>,
}

/// So many rounds of changes, up to three at a time, each with retries before, during and after it and
/// every third ended by a kill; what was observed.
pub(crate) fn storm(rounds: usize) -> String {
    const CLIENTS: usize = 4;
    const OPERATIONS: usize = 12;
    let mut dice = Dice::thrown("keychanges");
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let ways = ways(&setup);
    let mut gateway = ways[0].start();
    let account = Mutex::new(Account::default());
    let (mut changes, mut kills) = (0, 0);
    for round in 0..rounds {
        let done = AtomicBool::new(false);
        let address = RwLock::new(Some(gateway.address));
        let picks: Vec<usize> =
            (0..=dice.roll(3)).map(|_| usize::try_from(dice.roll(4)).expect("it is small")).collect();
        let seeds: Vec<u64> = (0..CLIENTS).map(|_| dice.roll(u64::MAX)).collect();
        gateway = scope(|scope| {
            for seed in seeds {
                let (done, address, account) = (&done, &address, &account);
                scope.spawn(move || {
                    let mut dice = Dice::of(seed);
                    let mut turns = 0;
                    while !done.load(Ordering::SeqCst) || turns < 2 * OPERATIONS {
                        turns += 1;
                        // Old operations, too: their keys are of spaces long past.
                        let of = dice.roll(round as u64 + 1);
                        let id = format!("r{of}-{}", dice.roll(OPERATIONS as u64));
                        let Some(address) = *address.read().expect("no holder panics") else { continue };
                        // A gateway that is killed answers nothing.
                        let Ok(reply) = client::try_send(address, &operation(&id)) else { continue };
                        take_note(account, &id, reply);
                    }
                });
            }
            for pick in &picks {
                change(&gateway, &ways[*pick]);
            }
            changes += picks.len();
            let next = if round % 3 == 2 {
                kills += 1;
                *address.write().expect("no holder panics") = None;
                gateway.kill();
                let way = &ways[usize::try_from(dice.roll(4)).expect("it is small")];
                let gateway = way.start();
                *address.write().expect("no holder panics") = Some(gateway.address);
                gateway
            } else {
                gateway
            };
            done.store(true, Ordering::SeqCst);
            next
        });
    }
    let account = account.into_inner().expect("no holder panics");
    for (id, first) in &account.answers {
        let reply = gateway.send(&operation(id));
        assert_eq!((reply.status, &reply.body), (first.status, &first.body), "{id}: {reply:?}");
    }
    let counts = upstream.count_by_key();
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "executed more than once: {twice:?}");
    format!(
        "{changes} changes of key spaces and {kills} kills: {} operations, at most one execution each; {} answers, \
         none lost or changed; {} told unknown",
        counts.len(),
        account.answers.len(),
        account.unknown.len()
    )
}

fn take_note(account: &Mutex<Account>, id: &str, reply: Reply) {
    let mut account = account.lock().expect("no holder panics");
    match reply.status {
        // Cut short by a kill: nothing was acknowledged.
        _ if !reply.whole => {}
        201 => match account.answers.get(id) {
            Some(first) => assert_eq!(first.body, reply.body, "two answers to {id}"),
            None => {
                account.answers.insert(id.to_owned(), reply);
            }
        },
        // No space here splits another's key, so that nothing is ever told to be reused.
        409 => {
            let code = reply.field("oncegate-problem").unwrap_or_default().to_owned();
            assert!(matches!(&*code, "in-flight" | "outcome-unknown"), "{id}: {reply:?}");
            if code == "outcome-unknown" {
                assert!(!account.answers.contains_key(id), "{id} was answered, and then told unknown");
                account.unknown.insert(id.to_owned());
            }
        }
        _ => panic!("{id}: {reply:?}"),
    }
}
