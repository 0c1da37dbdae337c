//! The wall clock is set wrong by days, both ways, while the gateway runs and across a restart: nothing
//! expires early, nothing revives, no lease lapses.

use crate::support::*;
use std::thread::scope;

const DAY: i64 = 86_400;

#[test]
fn a_step_of_the_wall_clock_neither_expires_nor_revives_anything() {
    println!("{}", steps());
}

/// What was observed.
pub(crate) fn steps() -> String {
    let steps = [30 * DAY, -30 * DAY, 400 * DAY, -3 * DAY, 0];
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.target.as_str() {
        "/held" => Script::numbered(call).after(&held),
        _ => Script::numbered(call),
    });
    // `short` is for a second, the rest for a day.
    let setup = Setup::new(&upstream.url()).ledger("lease = \"20s\"\nretention = \"24h\"").extra(
        "[[routes]]\nname = \"short\"\npath = \"/short\"\nupstream = \"origin\"\npolicy = \"keys\"\nretention = \"1s\"",
    );
    let (setup, faults) = Faults::over(&setup);
    let mut gateway = setup.start();
    let lasting = Request::keyed("/charges", "lasting");
    let first = gateway.send(&lasting);
    first.assert_executed(201);
    let expired = Request::keyed("/short", "expired");
    gateway.send(&expired).assert_executed(201);
    eventually("it has expired", || (gateway.send(&expired).status == 410).then_some(()));
    for (n, seconds) in steps.into_iter().enumerate() {
        let running = Request::keyed("/held", &format!("held-{n}"));
        scope(|scope| {
            let executing = scope.spawn(|| gateway.send(&running));
            upstream.await_calls(|calls| calls.iter().any(|call| call.key() == format!("held-{n}")));
            faults.step_clock(seconds);
            gateway.send(&lasting).assert_replay_of(&first);
            gateway.send(&expired).assert_problem(410, "expired");
            // What begins under the wrong time lives and ends as ever.
            let short = Request::keyed("/short", &format!("short-{n}"));
            gateway.send(&short).assert_executed(201);
            eventually("it expires in its time", || (gateway.send(&short).status == 410).then_some(()));
            gate.open();
            executing.join().unwrap().assert_executed(201);
        });
        gateway.send(&running).json()["execution"].as_u64().expect("its own answer");
        gateway = gateway.kill().start();
        gateway.send(&lasting).assert_replay_of(&first);
        gateway.send(&expired).assert_problem(410, "expired");
        gateway.send(&Request::keyed("/charges", &format!("new-{n}"))).assert_executed(201);
    }
    assert!(upstream.count_by_key().values().all(|count| *count == 1));
    format!("{} steps of up to 400 days, running and across a restart each", steps.len())
}

/// Ledger time as the operation's page tells it never runs backwards, whatever the wall clock does.
#[test]
fn ledger_time_never_runs_backwards() {
    let upstream = Upstream::numbering();
    let (setup, faults) = Faults::over(&Setup::new(&upstream.url()));
    let mut gateway = setup.start();
    let mut last = String::new();
    for (n, seconds) in [0, -5 * DAY, 5 * DAY, -20 * DAY].into_iter().enumerate() {
        faults.step_clock(seconds);
        for when in ["running", "restarted"] {
            let reply = gateway.send(&Request::keyed("/charges", &format!("{when}-{n}")));
            let page = gateway.send(&Request::get(&format!("/.oncegate/operations/{}", reply.operation())));
            // To the second, in UTC: they compare as text.
            let at = page.json()["completed"].as_str().expect("when it completed").to_owned();
            assert!(at >= last, "{at} after {last}: {when}, {seconds} s");
            last = at;
            if when == "running" {
                gateway = gateway.kill().start();
            }
        }
    }
}
