//! A gateway that stands still for longer than its leases: stopped as a whole, or held between its
//! claim and its first byte.

use crate::support::*;
use rustix::process::Signal;
use std::thread::scope;
use std::time::Duration;

/// Several leases. What is waited for here is time itself.
const PAUSE: Duration = Duration::from_millis(1000);
const LEASE: &str = "lease = \"200ms\"\nwait = \"100ms\"";

#[test]
fn a_gateway_stopped_for_longer_than_its_lease_settles_its_own_late_answer() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.target.as_str() {
        "/held" => Script::numbered(call).after(&held),
        _ => Script::numbered(call),
    });
    let gateway = Setup::new(&upstream.url()).ledger(LEASE).start();
    let request = Request::keyed("/held", "k");
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&request));
        upstream.await_count(1);
        gateway.signal(Signal::STOP);
        std::thread::sleep(PAUSE);
        gateway.signal(Signal::CONT);
        // Its lease has lapsed or was renewed just in time: unknown or in flight, and never free.
        let meanwhile = gateway.send(&Request::keyed("/held", "k"));
        assert_eq!(upstream.count(), 1, "{meanwhile:?}");
        gate.open();
        first.join().unwrap().assert_executed(201);
    });
    let reply = gateway.send(&request);
    assert_eq!((reply.status, reply.replayed()), (201, Some("true")), "{reply:?}");
    assert_eq!(upstream.count(), 1);
}

/// Held between the claim and the first byte until the lease is over: the claim is somebody else's to
/// judge by then, so nothing is sent.
#[test]
fn an_executor_that_was_held_up_past_its_lease_sends_nothing() {
    let upstream = Upstream::numbering();
    let (setup, faults) = Faults::over(&Setup::new(&upstream.url()).ledger(LEASE));
    let gateway = setup.start();
    let request = Request::keyed("/charges", "k");
    // The claim is on disk; its thread gets no further.
    faults.hold_at(Point::Synced, 1);
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&request));
        faults.await_held();
        std::thread::sleep(PAUSE);
        faults.release();
        let told = first.join().unwrap();
        assert_eq!(told.status, 503, "{told:?}");
        assert_eq!(told.json()["retryable"], true);
    });
    assert_eq!(upstream.count(), 0, "nothing was sent");
    let reply = gateway.send(&request);
    reply.assert_executed(201);
    gateway.send(&request).assert_replay_of(&reply);
    assert_eq!(upstream.count(), 1);
}
