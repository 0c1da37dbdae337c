//! A ledger that is full or whose disk fails (design/promises.md, design/store.md): new operations are refused, what is
//! known is replayed, nothing runs twice, and it goes on by itself once the cause is gone.

use crate::support::*;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::thread::scope;

/// From now on the gateway's files can't grow, as on a full disk; or they can again.
fn disk_is_full(gateway: &Gateway, full: bool) {
    let limit = Rlimit { current: full.then_some(1), maximum: None };
    let pid = i32::try_from(gateway.pid()).ok().and_then(Pid::from_raw);
    prlimit(pid, Resource::Fsize, limit).expect("it is our child");
}

#[track_caller]
fn await_ready(gateway: &Gateway, ready: bool) {
    let status = if ready { 200 } else { 503 };
    eventually("readiness", || (gateway.admin("GET", "/readyz").status == status).then_some(()));
}

/// The end of the answer did not come: where its head was not sent yet, a problem came instead.
#[track_caller]
fn assert_withheld(reply: &Reply) {
    if reply.status == 201 {
        assert!(!reply.whole, "{reply:?}");
        return;
    }
    let problem = reply.assert_problem(503, "ledger-unavailable");
    assert_eq!((&problem["retryable"], &problem["outcome"]), (&true.into(), &"unknown".into()));
}

#[test]
fn a_failing_disk_stops_what_is_new_and_nothing_else_and_needs_no_restart() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| {
        let script = Script::numbered(call);
        if call.key() == "under way" { script.after(&held) } else { script }
    });
    let gateway = Setup::new(&upstream.url()).ledger("wait = \"0.1s\"\nlease = \"0.3s\"").start();
    let known = gateway.send(&Request::keyed("/charges", "known"));
    known.assert_executed(201);
    scope(|scope| {
        let under_way = scope.spawn(|| gateway.send(&Request::keyed("/charges", "under way")));
        upstream.await_count(2);
        disk_is_full(&gateway, true);

        // Nothing of a new operation is sent.
        let refused = gateway.send(&Request::keyed("/charges", "new"));
        let problem = refused.assert_problem(503, "ledger-unavailable");
        assert_eq!(problem["retryable"], true, "{problem}");
        await_ready(&gateway, false);
        gateway.send(&Request::keyed("/charges", "known")).assert_replay_of(&known);

        // What was under way ran, and nobody is told its end before it is recorded.
        gate.open();
        assert_withheld(&under_way.join().expect("it asserts nothing"));
        gateway.send(&Request::keyed("/charges", "under way")).assert_problem(409, "in-flight");
        assert_eq!(upstream.count(), 2);
    });

    disk_is_full(&gateway, false);
    await_ready(&gateway, true);
    let told = eventually("its outcome is recorded", || {
        Some(gateway.send(&Request::keyed("/charges", "under way"))).filter(|reply| reply.status == 201)
    });
    assert_eq!(told.replayed(), Some("true"), "{told:?}");
    gateway.send(&Request::keyed("/charges", "known")).assert_replay_of(&known);
    // The one that was refused was never sent, and its key is free.
    let first = gateway.send(&Request::keyed("/charges", "new"));
    first.assert_executed(201);
    let counts = upstream.count_by_key();
    assert!(counts.len() == 3 && counts.values().all(|count| *count == 1), "{counts:?}");

    // And all of it is there for the next process.
    let setup = gateway.kill();
    let gateway = setup.start();
    for (key, first) in [("known", &known), ("under way", &told), ("new", &first)] {
        let replay = gateway.send(&Request::keyed("/charges", key));
        assert_eq!(
            (replay.status, &replay.body, replay.replayed()),
            (201, &first.body, Some("true")),
            "{key}"
        );
    }
    assert_eq!(upstream.count(), 3);
}

/// A sync or write that does not return gives no error: only the time tells.
#[test]
fn a_disk_that_hangs_is_noticed_and_nothing_new_waits() {
    for point in [Point::Syncing, Point::Writing, Point::Synced] {
        let upstream = Upstream::numbering();
        let (setup, faults) = Faults::over(&Setup::new(&upstream.url()));
        let gateway = setup.start();
        let known = gateway.send(&Request::keyed("/charges", "known"));
        known.assert_executed(201);
        faults.hold_at(point, 1);
        scope(|scope| {
            let waits = scope.spawn(|| gateway.send(&Request::keyed("/charges", "waits")));
            faults.await_held();
            await_ready(&gateway, false);
            let refused = gateway.send(&Request::keyed("/charges", "new"));
            let problem = refused.assert_problem(503, "ledger-unavailable");
            assert_eq!(problem["retryable"], true, "{problem}");
            gateway.send(&Request::keyed("/charges", "known")).assert_replay_of(&known);
            assert_eq!(upstream.count(), 1);
            faults.release();
            waits.join().expect("it asserts nothing").assert_executed(201);
        });
        await_ready(&gateway, true);
        gateway.send(&Request::keyed("/charges", "new")).assert_executed(201);
        assert_eq!(upstream.count(), 3);
    }
}

/// Killed while its disk fails: what nobody could record is unknown, never free.
#[test]
fn an_outcome_that_could_never_be_recorded_is_unknown_after_a_restart() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
    let gateway = Setup::new(&upstream.url()).start();
    scope(|scope| {
        let client = scope.spawn(|| gateway.send(&Request::keyed("/charges", "k")));
        upstream.await_count(1);
        disk_is_full(&gateway, true);
        gate.open();
        assert_withheld(&client.join().expect("it asserts nothing"));
    });
    let gateway = gateway.kill().start();
    gateway.send(&Request::keyed("/charges", "k")).assert_problem(409, "outcome-unknown");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_route_that_bypasses_a_failed_ledger_says_so_and_counts() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).route("on_error = \"bypass\"").start();
    let known = gateway.send(&Request::keyed("/charges", "known"));
    known.assert_executed(201);
    disk_is_full(&gateway, true);
    let bypassed = gateway.send(&Request::keyed("/charges", "new"));
    assert_eq!((bypassed.status, bypassed.replayed()), (201, None), "{bypassed:?}");
    // Even then nothing that is known runs again.
    gateway.send(&Request::keyed("/charges", "known")).assert_replay_of(&known);
    assert_eq!(upstream.count(), 2);
    let metrics = gateway.admin("GET", "/metrics").text();
    let series = "oncegate_requests_total{route=\"all\",result=\"bypassed\"} 1";
    assert!(metrics.contains(series), "{series} is not in:\n{metrics}");
}

#[test]
fn a_full_memory_store_refuses_what_is_new_replays_what_is_known_and_has_room_again_later() {
    let upstream = Upstream::start(|call| Script::answer(201, format!("{:060000}", call.key().len())));
    let gateway = Setup::new(&upstream.url())
        .memory()
        .ledger("memory = \"1MiB\"\nretention = \"5s\"\ntombstone = \"0.1s\"")
        .start();
    let mut answered = Vec::new();
    let full = (0..200).find_map(|n| {
        let request = Request::keyed("/charges", &format!("k{n}"));
        let reply = gateway.send(&request);
        if reply.status == 201 {
            answered.push((request, reply));
            return None;
        }
        Some((request, reply))
    });
    let (request, refused) = full.expect("1 MiB holds fewer than 200 answers of 60 kB");
    await_ready(&gateway, false);
    assert!(gateway.admin("GET", "/readyz").text().contains("memory is full"));
    let problem = refused.assert_problem(503, "ledger-unavailable");
    assert_eq!(problem["retryable"], true, "{problem}");
    let count = upstream.count();
    assert_eq!(count, answered.len(), "what is refused is not sent");
    let (last, reply) = answered.last().expect("one at least");
    gateway.send(last).assert_replay_of(reply);
    let executed = eventually("there is room again", || {
        Some(gateway.send(&request)).filter(|reply| reply.status == 201)
    });
    executed.assert_executed(201);
    assert_eq!(upstream.count(), count + 1);
    await_ready(&gateway, true);
}

/// A new operation of somebody whose credential is made up.
fn made_up(number: usize) -> Request {
    Request::keyed("/charges", &format!("s{number}"))
        .field("Authorization", format!("Bearer made-up-{number}"))
}

fn customers(key: &str) -> Request {
    Request::keyed("/charges", key).field("Authorization", "Bearer customer")
}

/// A gateway whose ledger has room for a mebibyte, and a service that does something for one customer only.
fn small_ledger(refusing: fn() -> Script, ledger: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(move |call| match call.field("authorization") {
        Some("Bearer customer") => Script::numbered(call),
        _ => refusing(),
    });
    let setup = Setup::new(&upstream.url()).memory().route("on_error = \"bypass\"");
    let gateway = setup.ledger(&format!("memory = \"1MiB\"\n{ledger}")).start();
    gateway.send(&customers("first")).assert_executed(201);
    (upstream, gateway)
}

/// The answers to so many requests until one is refused, and its problem.
fn until_refused(gateway: &Gateway, request: impl Fn(usize) -> Request) -> (Vec<Reply>, serde_json::Value) {
    let mut answered = Vec::new();
    loop {
        assert!(answered.len() < 5_000, "nothing is refused");
        let reply = gateway.send(&request(answered.len()));
        if reply.field("oncegate-problem") == Some("overloaded") {
            assert!(reply.field("retry-after").is_some_and(|seconds| seconds != "0"), "{reply:?}");
            return (answered, reply.assert_problem(503, "overloaded"));
        }
        answered.push(reply);
    }
}

/// Not found, with a body or without; refused content; and outcomes that nobody knows.
#[test]
fn who_has_nothing_done_fills_no_ledger() {
    for refusing in [
        || Script::answer(404, ""),
        || Script::answer(404, [b'x'; 6_000]),
        || Script::answer(422, [b'x'; 2_000]),
        || Script::reset(),
    ] as [fn() -> Script; 4]
    {
        let (upstream, gateway) = small_ledger(refusing, "");
        let (answered, problem) = until_refused(&gateway, made_up);
        assert_eq!(problem["retryable"], true, "{problem}");
        assert_eq!(upstream.count(), 1 + answered.len(), "what is refused is not sent");
        gateway.assert_logs(&["have their share of the ledger"]);
        // What is recorded stays, and the customer goes on.
        let again = gateway.send(&made_up(0));
        match answered[0].status {
            404 | 422 => again.assert_replay_of(&answered[0]),
            _ => drop(again.assert_problem(409, "outcome-unknown")),
        }
        for number in 0..20 {
            gateway.send(&customers(&number.to_string())).assert_executed(201);
        }
        assert_eq!(gateway.admin("GET", "/readyz").status, 200);
    }
}

#[test]
fn one_stranger_with_many_keys_is_bounded() {
    let (_upstream, gateway) = small_ledger(|| Script::answer(404, [b'x'; 6_000]), "");
    until_refused(&gateway, |number| Request::keyed("/charges", &number.to_string()));
    gateway.send(&customers("k")).assert_executed(201);
}

/// Nothing of them was counted before the first had settled.
#[test]
fn strangers_at_once_fill_no_ledger() {
    for (refusing, count) in [
        (|| Script::answer(404, [b'x'; 200_000]), 40),
        (|| Script::answer(422, [b'x'; 60_000]), 60),
        (|| Script::answer(409, [b'x'; 20_000]), 90),
    ] as [(fn() -> Script, usize); 3]
    {
        let gate = Gate::new();
        let held = gate.clone();
        let upstream = Upstream::start(move |call| match call.field("authorization") {
            Some("Bearer customer") => Script::numbered(call),
            _ => refusing().after(&held),
        });
        // Each worker may keep one answer beyond the share.
        let setup = Setup::new(&upstream.url()).server("workers = 1");
        let gateway = setup.memory().ledger("memory = \"1MiB\"").start();
        gateway.send(&customers("first")).assert_executed(201);
        let firsts: Vec<Reply> = scope(|scope| {
            let clients: Vec<_> = (0..count)
                .map(|number| {
                    scope.spawn({
                        let gateway = &gateway;
                        move || gateway.send(&made_up(number))
                    })
                })
                .collect();
            upstream.await_count(1 + count);
            gate.open();
            clients.into_iter().map(|client| client.join().expect("it asserts nothing")).collect()
        });
        let mut kept = 0;
        for (number, first) in firsts.iter().enumerate() {
            assert_eq!(first.replayed(), Some("false"), "each has its answer: {first:?}");
            let again = gateway.send(&made_up(number));
            if again.status == first.status && again.replayed() == Some("true") {
                again.assert_replay_of(first);
                kept += first.body.len();
            } else {
                again.assert_problem(409, "consumed");
            }
        }
        assert!((1..=1 << 18).contains(&kept), "{kept} bytes are kept");
        assert_eq!(upstream.count(), 1 + count, "nothing runs again");
        for number in 0..20 {
            gateway.send(&customers(&number.to_string())).assert_executed(201);
        }
        assert_eq!(gateway.admin("GET", "/readyz").status, 200);
    }
}

/// Some were forgotten for others, were refused, and could never be known again.
#[test]
fn none_of_many_customers_is_a_stranger() {
    const CUSTOMERS: usize = 1_200;
    let upstream = Upstream::start(|call| match call.field("authorization") {
        Some(who) if who.starts_with("Bearer customer") => Script::numbered(call),
        _ => Script::answer(404, [b'x'; 6_000]),
    });
    let setup = Setup::new(&upstream.url()).memory().server("access_log = \"json\"");
    let gateway = setup.ledger("memory = \"4MiB\"").start();
    let mut connection = gateway.connect();
    let mut all_have = |key: &str| {
        for number in 0..CUSTOMERS {
            let customer = format!("Bearer customer {number}");
            let request = Request::keyed("/charges", key).field("Authorization", customer);
            connection.send(&request).unwrap().assert_executed(201);
        }
    };
    all_have("first");
    until_refused(&gateway, made_up);
    all_have("second");
    gateway.send(&made_up(9_999)).assert_problem(503, "overloaded");
    gateway.assert_logs(&["\"reason\":\"its caller is unproven"]);
}

#[test]
fn the_share_of_the_unproven_is_free_again() {
    let times = "retention = \"5s\"\ntombstone = \"0.1s\"";
    let (upstream, gateway) = small_ledger(|| Script::answer(404, [b'x'; 20_000]), times);
    let (answered, _) = until_refused(&gateway, made_up);
    eventually("there is room again", || {
        (gateway.send(&made_up(answered.len())).status == 404).then_some(())
    });
    assert_eq!(upstream.count(), 2 + answered.len());
}

/// `on_error` speaks of the ledger and of policies that are not loaded, not of one that fails.
#[test]
fn a_policy_that_loops_is_not_bypassed() {
    let upstream = Upstream::numbering();
    let setup =
        Setup::new(&upstream.url()).route("on_error = \"bypass\"").policy("limits = { time = \"20ms\" }");
    let gateway = setup
        .clone()
        .component(crate::policies::bad_components::put(&setup, "loops.wasm", &crate::guests::loops()))
        .start();
    gateway.send(&Request::keyed("/charges", "k")).assert_problem(503, "policy-failed");
    assert_eq!(upstream.count(), 0);
}
