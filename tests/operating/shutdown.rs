//! SIGTERM: what runs is finished and recorded, what comes late is turned away, exit 0.

use crate::support::*;
use rustix::process::Signal;
use std::net::TcpStream;

#[test]
fn a_running_execution_is_finished_recorded_and_replayed_by_the_next_gateway() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
    let mut gateway = Setup::new(&upstream.url()).start();
    let (reply, code) = std::thread::scope(|scope| {
        let address = gateway.address;
        let client =
            scope.spawn(move || crate::support::client::send(address, &Request::keyed("/charges", "k")));
        upstream.await_count(1);
        gateway.signal(Signal::TERM);
        eventually("the listener closes", || TcpStream::connect(address).err());
        gate.open();
        (client.join().unwrap(), gateway.wait().code())
    });
    reply.assert_executed(201);
    assert_eq!(code, Some(0), "{}", gateway.stderr());
    let next = gateway.setup.clone().start();
    next.send(&Request::keyed("/charges", "k")).assert_replay_of(&reply);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn what_is_not_done_at_the_end_of_the_grace_is_unknown() {
    let upstream = Upstream::start(|_| Script::silence());
    let mut gateway = Setup::new(&upstream.url()).server("shutdown_grace = \"300ms\"").start();
    let mut connection = gateway.connect();
    connection.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
    upstream.await_count(1);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.stderr());
    // The client was told something, or cut; never that it is done.
    if let Ok(reply) = connection.reply("POST") {
        assert!(reply.status >= 500 || !reply.whole, "{reply:?}");
    }
    let next = gateway.setup.clone().start();
    next.send(&Request::keyed("/charges", "k")).assert_problem(409, "outcome-unknown");
    assert_eq!(upstream.count(), 1);
}

/// Stopped, the gateway can't take what comes: it is all there when it learns that it has to end.
#[test]
fn what_is_queued_when_the_end_begins_is_answered() {
    let upstream = Upstream::numbering();
    let mut gateway = Setup::new(&upstream.url()).start();
    let mut kept_alive = gateway.connect();
    kept_alive.send(&Request::keyed("/charges", "before")).unwrap().assert_executed(201);
    gateway.signal(Signal::STOP);
    let mut queued: Vec<_> = (0..6).map(|_| gateway.connect()).collect();
    for (n, connection) in queued.iter_mut().enumerate() {
        connection.0.write(&Request::keyed("/charges", &format!("k{n}")).bytes()).unwrap();
    }
    kept_alive.0.write(&Request::keyed("/charges", "again").bytes()).unwrap();
    gateway.signal(Signal::TERM);
    gateway.signal(Signal::CONT);
    for (n, connection) in queued.iter_mut().enumerate() {
        let reply = connection.reply("POST").unwrap_or_else(|e| panic!("{n}: {e}\n{}", gateway.stderr()));
        reply.assert_executed(201);
    }
    kept_alive.reply("POST").expect("the kept-alive one, too").assert_executed(201);
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.stderr());
    assert_eq!(upstream.count(), 8);
}

#[test]
fn readiness_fails_first_and_every_step_is_told() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
    let mut gateway = Setup::new(&upstream.url()).start();
    assert_eq!(gateway.admin("GET", "/readyz").status, 200);
    let mut running = gateway.connect();
    running.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
    upstream.await_count(1);
    let mut duplicate = gateway.connect();
    duplicate.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
    gateway.signal(Signal::TERM);
    let unready = eventually("readiness fails", || {
        Some(gateway.admin("GET", "/readyz")).filter(|reply| reply.status != 200)
    });
    assert_eq!(unready.status, 503);
    assert!(unready.text().contains("draining"), "{unready:?}");
    assert_eq!(gateway.admin("GET", "/livez").status, 200);
    eventually("the listener closes", || TcpStream::connect(gateway.address).err());
    gate.open();
    let first = running.reply("POST").unwrap();
    first.assert_executed(201);
    assert_eq!(first.field("connection"), Some("close"), "a kept-alive connection ends: {first:?}");
    duplicate.reply("POST").unwrap().assert_replay_of(&first);
    assert_eq!(gateway.wait().code(), Some(0));
    let told = gateway.stderr();
    let steps = [
        "draining: not ready any more",
        "listeners are closed",
        "connections and executions have ended",
        "the store is flushed and closed",
    ];
    let at: Vec<_> =
        steps.iter().map(|step| told.find(step).unwrap_or_else(|| panic!("{step:?} in {told}"))).collect();
    assert!(at.is_sorted(), "{told}");
}

#[test]
fn at_the_end_of_the_grace_clients_are_told_that_nobody_knows() {
    let upstream = Upstream::start(|call| match call.target.as_str() {
        "/silent" => Script::silence(),
        _ => Script::answer(200, "first,second").chunked().pause_at(6, &Gate::new()),
    });
    let mut gateway = Setup::new(&upstream.url()).server("shutdown_grace = \"300ms\"").start();
    let mut silent = gateway.connect();
    silent.0.write(&Request::keyed("/silent", "k").bytes()).unwrap();
    let mut streamed = gateway.connect();
    streamed.0.write(&Request::keyed("/streamed", "k").bytes()).unwrap();
    streamed.0.await_bytes(b"first,").unwrap();
    upstream.await_count(2);
    gateway.signal(Signal::TERM);
    let problem = silent.reply("POST").unwrap().assert_problem(504, "upstream-timeout");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&"unknown".into(), &false.into()), "{problem}");
    assert_eq!(problem["title"], "The gateway shut down before the service answered");
    assert!(!streamed.reply("POST").unwrap().whole, "a stream is cut");
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.stderr());
    let log = gateway.stderr();
    assert!(log.contains("executions=2") && !log.contains("are cut connections=0"), "{log}");
    assert_eq!(
        log.matches("grace is over").count() + log.matches("`shutdown_grace` is over").count(),
        1,
        "{log}"
    );
    let next = gateway.setup.clone().start();
    for target in ["/silent", "/streamed"] {
        next.send(&Request::keyed(target, "k")).assert_problem(409, "outcome-unknown");
    }
    assert_eq!(upstream.count(), 2);
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let upstream = Upstream::numbering();
    let mut gateway = Setup::new(&upstream.url()).server("shutdown_grace = \"1h\"").start();
    let mut idle = gateway.connect();
    idle.send(&Request::keyed("/charges", "k")).unwrap().assert_executed(201);
    let _never_used = gateway.connect();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn other_signals_end_it_in_order_or_do_nothing() {
    for signal in [Signal::INT, Signal::QUIT] {
        let mut gateway = Setup::new("http://127.0.0.1:9").start();
        gateway.signal(signal);
        assert_eq!(gateway.wait().code(), Some(0), "{signal:?}");
        assert!(gateway.stderr().contains("the store is flushed and closed"), "{signal:?}");
    }
    let gateway = Setup::new("http://127.0.0.1:9").start();
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        gateway.signal(signal);
        gateway.assert_logs(&[&format!("signal=\"{name}\""), "this signal does nothing here"]);
    }
    assert_eq!(gateway.admin("GET", "/readyz").status, 200);
    assert_eq!(gateway.terminate().1, Some(0));
}

/// `timeout` and supervisors signal a process and its group: two signals come at once, and they are one.
#[test]
fn two_signals_at_once_are_one() {
    for (first, second) in
        [(Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::QUIT)]
    {
        let gate = Gate::new();
        let held = gate.clone();
        let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
        let mut gateway = Setup::new(&upstream.url()).start();
        let mut client = gateway.connect();
        client.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
        upstream.await_count(1);
        gateway.signal(Signal::STOP);
        gateway.signal(first);
        gateway.signal(second);
        gateway.signal(Signal::CONT);
        gateway.assert_logs(&["listeners are closed"]);
        gate.open();
        client.reply("POST").unwrap_or_else(|e| panic!("{e}\n{}", gateway.stderr())).assert_executed(201);
        assert_eq!(gateway.wait().code(), Some(0), "{first:?} {second:?}\n{}", gateway.stderr());
    }
}

/// The port takes clients before the ledger is open: a signal that comes meanwhile waits for the start.
#[test]
fn signals_during_the_start_wait_for_it() {
    let upstream = Upstream::numbering();
    let signals = [
        (Some(Signal::TERM), true),
        (Some(Signal::INT), true),
        (Some(Signal::QUIT), true),
        (Some(Signal::HUP), false),
        (Some(Signal::USR1), false),
        (Some(Signal::USR2), false),
        (None, false),
    ];
    for (signal, ends) in signals {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let setup = Setup::new(&upstream.url()).server(&format!("listen = [\"{port}\"]"));
        let (setup, faults) = Faults::over(&setup);
        faults.hold_at(Point::Syncing, 1);
        let mut client = None;
        let started = setup.try_start_meeting(|starting| {
            faults.await_held();
            let mut waiting = client::Connection::open(port).expect("it listens");
            waiting.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
            client = Some(waiting);
            signal.into_iter().for_each(|signal| starting.signal(signal));
            faults.release();
        });
        let mut gateway = started.unwrap_or_else(|ended| panic!("{signal:?}: {ended:?}"));
        let reply = client.unwrap().reply("POST");
        let reply = reply.unwrap_or_else(|e| panic!("{signal:?}: {e}\n{}", gateway.stderr()));
        assert_eq!(reply.status, 201, "{signal:?}");
        if signal == Some(Signal::HUP) {
            gateway.assert_logs(&["reloaded what=\"configuration\""]);
        }
        if !ends {
            gateway.signal(Signal::TERM);
        }
        assert_eq!(gateway.wait().code(), Some(0), "{signal:?}\n{}", gateway.stderr());
    }
}

/// Who told the gateway to end need not wait for a start that hangs.
#[test]
fn a_second_signal_ends_a_start() {
    let (setup, faults) = Faults::over(&Setup::new("http://127.0.0.1:9"));
    faults.hold_at(Point::Syncing, 1);
    let ended = setup.try_start_meeting(|starting| {
        faults.await_held();
        starting.insist(Signal::TERM);
    });
    faults.release_dead();
    let ended = ended.err().expect("it was ended");
    ended.assert_refused(1, &["once it has started", "a second signal"]);
}

/// What the last second is told when a disk hangs and nothing is admitted any more: what has a record is told
/// by it, wherever the record is, and only what has none is told to ask again.
#[test]
fn records_answer_when_nothing_is_admitted() {
    let upstream = Upstream::start(|call| match call.key() {
        "unknown" => Script::reset(),
        "consumed" => Script::answer(201, "x".repeat(3 << 20)),
        "last" => Script::silence(),
        _ => Script::numbered(call),
    });
    let setup = Setup::new(&upstream.url()).server("workers = 1\nshutdown_grace = \"200ms\"");
    let (setup, faults) = Faults::over(&setup.route("body_kept = \"1MiB\""));
    let gateway = setup.start();
    let first = gateway.send(&Request::keyed("/charges", "known"));
    first.assert_executed(201);
    gateway.send(&Request::keyed("/charges", "unknown")).assert_problem(502, "upstream-broken");
    assert_eq!(gateway.send(&Request::keyed("/charges", "consumed")).status, 201);
    assert_eq!(gateway.terminate().1, Some(0));

    // After a restart nothing is at hand. Heads come before the end begins, bodies after it.
    let mut gateway = setup.start();
    let begun = |key: &str, body: &str| {
        let (mut connection, bytes) = (gateway.connect(), Request::keyed("/charges", key).body(body).bytes());
        connection.0.write(&bytes[..bytes.len() - 1]).unwrap();
        (connection, bytes[bytes.len() - 1])
    };
    let body = "{\"amount\":1000}";
    let mut late = ["known", "known", "unknown", "consumed", "fresh"].map(|key| begun(key, body));
    let mut reused = begun("known", "{\"amount\":1}");
    let mut last = gateway.connect();
    last.0.write(&Request::keyed("/charges", "last").bytes()).unwrap();
    upstream.await_calls(|calls| calls.iter().any(|call| call.key() == "last"));
    // A reload changes the upstream under them.
    gateway.setup.clone().origin("connect_timeout = \"3s\"").write();
    assert_eq!(gateway.admin("POST", "/v1/reload").status, 200);
    faults.hold_at(Point::Syncing, 1);
    gateway.signal(Signal::TERM);
    gateway.assert_logs(&["`shutdown_grace` is over"]);
    let mut told = |(connection, rest): &mut (client::Connection, u8)| {
        connection.0.write(&[*rest]).unwrap();
        connection.reply("POST").unwrap_or_else(|e| panic!("{e}\n{}", gateway.stderr()))
    };
    let [known, again, unknown, consumed, fresh] = late.each_mut().map(&mut told);
    known.assert_replay_of(&first);
    again.assert_replay_of(&first);
    unknown.assert_problem(409, "outcome-unknown");
    consumed.assert_problem(409, "consumed");
    fresh.assert_problem(503, "draining");
    told(&mut reused).assert_problem(422, "key-reused");
    faults.release();
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.stderr());
    assert_eq!(upstream.count(), 4);
    let next = setup.start();
    next.send(&Request::keyed("/charges", "fresh")).assert_executed(201);
}

#[test]
fn executions_stay_counted_when_a_reload_changes_their_upstream() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
    let gateway = Setup::new(&upstream.url()).start();
    let counted = || {
        let page = gateway.admin("GET", "/v1/upstreams").json();
        (page["upstreams"][0]["executions"].clone(), page["upstreams"][0]["waiters"].clone())
    };
    let mut clients = [0, 1].map(|_| gateway.connect());
    for client in &mut clients {
        client.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
    }
    eventually("one executes and one waits", || (counted() == (1.into(), 1.into())).then_some(()));
    for changed in ["connect_timeout = \"3s\"", "response_timeout = \"50s\"", ""] {
        gateway.setup.clone().origin(changed).write();
        assert_eq!(gateway.admin("POST", "/v1/reload").status, 200);
        assert_eq!(counted(), (1.into(), 1.into()), "{changed}");
    }
    gate.open();
    let [first, second] = clients.each_mut().map(|client| client.reply("POST").unwrap());
    assert_eq!((first.status, second.status, first.body == second.body), (201, 201, true));
    assert_eq!(counted(), (0.into(), 0.into()));
}

/// The reload waits for a disk that hangs; the gateway does not wait for the reload.
#[test]
fn signals_are_heard_while_a_reload_waits() {
    let upstream = Upstream::numbering();
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)]
    {
        let setup = Setup::new(&upstream.url()).server("shutdown_grace = \"1h\"");
        let (setup, faults) = Faults::over(&setup);
        let mut gateway = setup.start();
        // Held open by a request that does not end.
        let mut open = gateway.connect();
        open.0
            .write(
                b"POST /charges HTTP/1.1\r\nHost: a\r\nIdempotency-Key: \"k\"\r\nContent-Length: 9\r\n\r\n",
            )
            .unwrap();
        faults.hold_at(Point::Syncing, 1);
        setup.clone().policy("key_epoch = 1").write();
        gateway.signal(Signal::HUP);
        faults.await_held();
        gateway.signal(first);
        eventually("readiness fails", || (gateway.admin("GET", "/readyz").status == 503).then_some(()));
        eventually("the listener closes", || TcpStream::connect(gateway.address).err());
        assert_eq!(gateway.insist(second).code(), Some(1));
        let told = "executions=0 connections=1";
        let log = gateway.stderr();
        assert!(log.lines().any(|line| line.contains("a second signal") && line.contains(told)), "{log}");
        faults.release_dead();
    }
}

/// The first signal waits for the disk, because the store is closed in order; the second one does not.
#[test]
fn a_second_signal_ends_what_waits_for_the_disk() {
    let upstream = Upstream::numbering();
    for (executes, grace) in [(true, "100ms"), (false, "60s")] {
        let setup = Setup::new(&upstream.url()).server(&format!("shutdown_grace = {grace:?}"));
        let (setup, faults) = Faults::over(&setup);
        let mut gateway = setup.start();
        gateway.send(&Request::keyed("/charges", "before"));
        faults.hold_at(Point::Syncing, 1);
        let mut client = gateway.connect();
        if executes {
            client.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
            faults.await_held();
        }
        gateway.signal(Signal::TERM);
        gateway.assert_logs(&[if executes { "`shutdown_grace` is over" } else { "executions have ended" }]);
        // Closing the store syncs it.
        faults.await_held();
        assert_eq!(gateway.insist(Signal::TERM).code(), Some(1));
        faults.release_dead();
        let next = setup.start();
        next.send(&Request::keyed("/charges", "before"));
        assert_eq!(upstream.count_by_key()["before"], 1 + usize::from(!executes));
    }
}
