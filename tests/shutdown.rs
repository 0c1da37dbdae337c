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
fn sigint_ends_it_in_order_too() {
    let mut gateway = Setup::new("http://127.0.0.1:9").start();
    gateway.signal(Signal::INT);
    assert_eq!(gateway.wait().code(), Some(0));
}
