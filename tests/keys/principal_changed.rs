//! The same key and content under another principal (design/principal.md): counted, or refused.

use crate::support::*;
use std::thread::scope;

fn of(who: &str, key: &str) -> Request {
    Request::keyed("/charges", key).field("Authorization", format!("Bearer {who}")).body("one charge")
}

fn refusing(upstream: &Upstream) -> Setup {
    Setup::new(&upstream.url()).route("principal_changed = \"refuse\"")
}

/// Turned away, and told nothing of the other's operation.
#[track_caller]
fn assert_refused(gateway: &Gateway, request: &Request, other: &Reply) {
    let reply = gateway.send(request);
    let problem = reply.assert_problem(409, "principal-changed");
    assert_eq!(problem["retryable"], false, "{problem}");
    assert!(problem["outcome"].is_null() && problem["first"].is_null(), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("principal.from")), "{problem}");
    assert_ne!(problem["operation"], other.operation(), "{problem}");
    assert!(!reply.text().contains(other.operation()), "{problem}");
}

fn changed(gateway: &Gateway) -> u64 {
    let metrics = gateway.admin("GET", "/metrics").text();
    let name = "oncegate_principal_changed_total{route=\"all\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{metrics}"))
}

#[test]
fn what_runs_again_for_another_principal_is_counted_and_told_once() {
    let upstream = Upstream::numbering();
    let mut gateway = Setup::new(&upstream.url()).start();
    assert_eq!(changed(&gateway), 0, "it is there from the start");
    for who in ["alice", "bob", "carol"] {
        let first = gateway.send(&of(who, "secret-key"));
        first.assert_executed(201);
        gateway.send(&of(who, "secret-key")).assert_replay_of(&first);
    }
    // Neither another key nor other content is the same.
    gateway.send(&of("alice", "another")).assert_executed(201);
    gateway.send(&of("bob", "third").body("two")).assert_executed(201);
    gateway.send(&of("alice", "third")).assert_executed(201);
    assert_eq!((changed(&gateway), upstream.count()), (2, 6));
    let told = "under another principal";
    // What it says at the end comes behind all of it.
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait();
    let end = |log: &String| log.contains("the store is flushed and closed");
    let log = eventually("the log ends", || Some(gateway.stderr()).filter(end));
    assert_eq!(log.matches(told).count(), 1, "{log}");
    assert!(log.contains("principal.from"), "{log}");
    for secret in ["secret-key", "alice", "bob", "carol"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn another_principal_is_refused_and_the_first_gets_its_answer() {
    let upstream = Upstream::numbering();
    let gateway = refusing(&upstream).start();
    let first = gateway.send(&of("alice", "k"));
    first.assert_executed(201);
    // A token that was refreshed between two attempts, or somebody else.
    assert_refused(&gateway, &of("alice-refreshed", "k"), &first);
    assert_refused(&gateway, &Request::keyed("/charges", "k").body("one charge"), &first);
    gateway.send(&of("alice", "k")).assert_replay_of(&first);
    // The key with other content is no business of the first.
    gateway.send(&of("bob", "k").body("another charge")).assert_executed(201);
    gateway.send(&of("alice", "k").body("a third")).assert_problem(422, "key-reused");
    assert_eq!((upstream.count(), changed(&gateway)), (2, 2));
    // Neither the look-up nor the list shows more than the operations.
    let looked = Request::get(&format!("/.oncegate/operations/{}", first.operation()));
    assert_eq!(gateway.send(&looked.field("Authorization", "Bearer bob")).status, 404);
    let listed = gateway.admin("GET", "/v1/operations").json();
    assert_eq!(listed["operations"].as_array().map(Vec::len), Some(2), "{listed}");
    // And across a restart.
    let gateway = gateway.kill().start();
    assert_refused(&gateway, &of("dave", "k"), &first);
    gateway.send(&of("alice", "k")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn another_principal_does_not_wait_for_what_runs_and_comes_in_when_it_was_not_applied() {
    for memory in [false, true] {
        let gate = Gate::new();
        let held = gate.clone();
        let upstream = Upstream::start(move |call| match call.number {
            0 => Script::answer(429, "later").after(&held),
            _ => Script::numbered(call),
        });
        let setup = refusing(&upstream);
        let gateway = if memory { setup.memory() } else { setup }.start();
        scope(|scope| {
            let first = scope.spawn(|| gateway.send(&of("alice", "k")));
            upstream.await_count(1);
            gateway.send(&of("bob", "k")).assert_problem(409, "principal-changed");
            gate.open();
            assert_eq!(first.join().expect("it ends").status, 429);
        });
        let second = gateway.send(&of("bob", "k"));
        second.assert_executed(201);
        assert_refused(&gateway, &of("alice", "k"), &second);
        assert_eq!(upstream.count(), 2);
    }
}

#[test]
fn of_many_callers_at_once_one_has_it_executed() {
    for memory in [false, true] {
        let upstream = Upstream::numbering();
        let setup = refusing(&upstream);
        let gateway = if memory { setup.memory() } else { setup }.start();
        for round in 0..10 {
            let key = format!("k{round}");
            let callers = ["alice", "bob", "carol"].into_iter().flat_map(|who| [who; 4]);
            let replies: Vec<(&str, Reply)> = scope(|scope| {
                let (gateway, key) = (&gateway, &key);
                let send = |who| scope.spawn(move || (who, gateway.send(&of(who, key))));
                let all: Vec<_> = callers.map(send).collect();
                all.into_iter().map(|one| one.join().expect("it ends")).collect()
            });
            assert_eq!(upstream.count(), round + 1);
            let (winner, _) = replies.iter().find(|(_, reply)| reply.status == 201).expect("one of them");
            for (who, reply) in &replies {
                match who == winner {
                    true => assert_eq!(reply.status, 201, "{reply:?}"),
                    false => _ = reply.assert_problem(409, "principal-changed"),
                }
            }
        }
    }
}

#[test]
fn an_unknown_outcome_keeps_others_out_until_it_is_resolved() {
    let upstream = Upstream::start(|call| match call.number {
        0 => Script::reset(),
        _ => Script::numbered(call),
    });
    let gateway = refusing(&upstream).ledger("lease = \"2s\"").start();
    let lost = gateway.send(&of("alice", "k")).assert_problem(502, "upstream-broken");
    gateway.send(&of("bob", "k")).assert_problem(409, "principal-changed");
    gateway.send(&of("alice", "k")).assert_problem(409, "outcome-unknown");
    let id = lost["operation"].as_str().expect("it has one");
    let version = gateway.version_of(id);
    let args = ["ops", "resolve", id, "--version", &version, "--outcome", "not-applied"];
    let args = [&args[..], &["--reason", "it is not in the books", "--admin"]].concat();
    let admin = format!("http://{}", gateway.admin.expect("it has one"));
    let resolved = crate::support::gateway::run(&[&args[..], &[&admin]].concat(), gateway.setup.folder());
    assert_eq!(resolved.code, Some(0), "{resolved:?}");
    // When the lease of the first claim is over.
    let second = eventually("the other is let in", || {
        let reply = gateway.send(&of("bob", "k"));
        (reply.status != 409).then_some(reply)
    });
    second.assert_executed(201);
    assert_refused(&gateway, &of("alice", "k"), &second);
    assert_eq!(upstream.count(), 2);
}

/// Between the two writes of a claim, at each of the points around them.
#[test]
fn a_kill_between_the_claims_blocks_nobody_for_ever_and_runs_nothing_twice() {
    let upstream = Upstream::numbering();
    let (setup, faults) = Faults::over(&refusing(&upstream).ledger("lease = \"2s\""));
    let places = [(Point::Synced, 1, true), (Point::Writing, 2, true), (Point::Synced, 2, false)];
    for (n, (point, passage, is_free)) in places.into_iter().enumerate() {
        for returns in ["alice", "bob"] {
            let key = format!("{n}-{returns}");
            let before = upstream.count();
            let gateway = setup.start();
            faults.kill_at(point, passage);
            let told = crate::support::client::try_send(gateway.address, &of("alice", &key));
            assert!(told.is_err(), "nothing was answered: {told:?}");
            gateway.killed();
            faults.disarm();
            assert_eq!(upstream.count(), before, "nothing was sent");
            let gateway = setup.start();
            match (is_free, returns) {
                // Nothing of its own stands, so it goes on at once.
                (true, "alice") => {
                    let first = gateway.send(&of("alice", &key));
                    first.assert_executed(201);
                    assert_refused(&gateway, &of("bob", &key), &first);
                }
                (true, _) => {
                    let first = eventually("the other is let in", || {
                        let reply = gateway.send(&of("bob", &key));
                        (reply.status != 409).then_some(reply)
                    });
                    first.assert_executed(201);
                    assert_refused(&gateway, &of("alice", &key), &first);
                    gateway.send(&of("bob", &key)).assert_replay_of(&first);
                }
                // Claimed whole, and nobody knows that nothing was sent.
                (false, _) => {
                    gateway.send(&of("alice", &key)).assert_problem(409, "outcome-unknown");
                    gateway.send(&of("bob", &key)).assert_problem(409, "principal-changed");
                }
            }
            assert_eq!(upstream.count(), before + usize::from(is_free));
            gateway.kill();
        }
    }
}

#[test]
fn it_holds_across_a_change_of_keys_and_begins_and_ends_with_the_setting() {
    let upstream = Upstream::numbering();
    let counting = Setup::new(&upstream.url());
    let refusing = counting.clone().route("principal_changed = \"refuse\"");
    let renewed = refusing.clone().policy("key_epoch = 7");
    let gateway = counting.start();
    let change = |to: &Setup| {
        to.write();
        let reply = gateway.admin("POST", "/v1/reload");
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    let before = gateway.send(&of("alice", "before"));
    before.assert_executed(201);
    change(&refusing);
    // What began before the setting is as it was: of whoever began it.
    let other = gateway.send(&of("bob", "before"));
    other.assert_executed(201);
    gateway.send(&of("alice", "before")).assert_replay_of(&before);
    assert_refused(&gateway, &of("carol", "before"), &other);
    let first = gateway.send(&of("alice", "k"));
    first.assert_executed(201);
    change(&renewed);
    assert_refused(&gateway, &of("bob", "k"), &first);
    gateway.send(&of("alice", "k")).assert_replay_of(&first);
    let second = gateway.send(&of("bob", "l"));
    second.assert_executed(201);
    assert_refused(&gateway, &of("alice", "l"), &second);
    gateway.send(&of("bob", "l")).assert_replay_of(&second);
    change(&counting.clone().policy("key_epoch = 7"));
    gateway.send(&of("bob", "k")).assert_executed(201);
    gateway.send(&of("alice", "k")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 5);
}

#[test]
fn no_kill_loses_an_answer_where_each_operation_has_two_records() {
    println!("{}", crate::faults::crash::kills_of(|setup| setup.route("principal_changed = \"refuse\""), 5));
}
