//! `kill -9` at named points of an operation's life, by a fault layer in the real binary. The
//! upstream's account stands outside: whatever the point, it counts at most one for each key.

use crate::support::client::try_send;
use crate::support::upstream::Call;
use crate::support::*;
use std::thread::scope;

/// What the client was told before the kill, and what must hold after it.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// No claim can have been made: it runs, for the first time.
    Runs,
    /// The claim may be recorded, and nothing was sent: it runs for the first time, or is unknown.
    RunsOrUnknown,
    /// Claimed, nothing sent: unknown, as nobody can know that.
    UnknownUnsent,
    /// Sent: unknown, never sent again.
    Unknown,
    /// Recorded: replayed, whether or not the client had it.
    Replays,
}

/// A point, at which passage of it after the operation begins, and what then holds.
type Place = (&'static str, Point, u64, Then);

const PLACES: &[Place] = &[
    ("before the claim is synced", Point::Syncing, 1, Then::RunsOrUnknown),
    ("before the claim is written", Point::Writing, 1, Then::Runs),
    ("after the claim is synced, before anybody knows", Point::Synced, 1, Then::UnknownUnsent),
    ("after the claim, before the upstream is called", Point::Connecting, 1, Then::UnknownUnsent),
    ("after the claim, connected, before sending", Point::Sending, 1, Then::UnknownUnsent),
    ("after sending", Point::Sent, 1, Then::Unknown),
    ("after the settlement, before the answer goes out", Point::Answering, 1, Then::Replays),
    ("after the answer went out", Point::Answered, 1, Then::Replays),
];

/// The same once the upstream has the request, so that no other write of the store comes before its settlement.
const ANSWERED: &[Place] = &[
    ("answered upstream, before the settlement is written", Point::Writing, 1, Then::Unknown),
    ("after the settlement is synced, before anybody knows", Point::Synced, 1, Then::Replays),
];
/// How often each.
const TIMES: usize = 1;

#[test]
fn a_kill_at_any_named_point_runs_nothing_twice_and_loses_no_answer() {
    println!("{}", kills_at_points(TIMES));
}

/// Kills at each point so often; what was observed.
pub(crate) fn kills_at_points(times: usize) -> String {
    let upstream = Upstream::start(in_one_piece);
    let (setup, faults) = Faults::over(&Setup::new(&upstream.url()));
    for round in 0..times {
        for (n, place) in PLACES.iter().enumerate() {
            kill_at(&setup, &faults, &upstream, &format!("{round}-{n}"), place);
        }
        ANSWERED.iter().for_each(kill_once_answered);
        upload_cut_by_a_kill(&setup, &faults, &upstream, &format!("upload-{round}"));
        kill_in_mid_answer();
    }
    let points = PLACES.len() + ANSWERED.len() + 2;
    format!("{points} points, {} kills: at most 1 execution for each key, answers replayed", times * points)
}

/// An answer that is all there at once, so that nothing of it goes out before it is recorded. (Of one
/// that comes in pieces all but the last go out at once.)
fn in_one_piece(call: &Call) -> Script {
    let body = format!("{{\"execution\":{}}}", call.number);
    let head = format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n", body.len());
    Script::raw(vec![Step::Write((head + &body).into_bytes())])
}

fn kill_at(setup: &Setup, faults: &Faults, upstream: &Upstream, key: &str, place: &Place) {
    let (what, point, passage, then) = *place;
    let request = Request::keyed("/charges", key);
    let before = upstream.count();
    let gateway = setup.start();
    faults.kill_at(point, passage);
    let told = try_send(gateway.address, &request).ok().filter(|reply| reply.whole);
    gateway.killed();
    faults.disarm();
    let sent = usize::from(matches!(then, Then::Unknown | Then::Replays));
    upstream.await_count(before + sent);
    let gateway = setup.start();
    let reply = gateway.send(&request);
    let runs = reply.replayed() == Some("false");
    match then {
        Then::Runs => reply.assert_executed(201),
        Then::RunsOrUnknown if runs => reply.assert_executed(201),
        Then::RunsOrUnknown | Then::UnknownUnsent | Then::Unknown => {
            reply.assert_problem(409, "outcome-unknown");
        }
        Then::Replays => {
            assert_eq!((reply.status, reply.replayed()), (201, Some("true")), "{what}: {reply:?}");
        }
    }
    match told {
        Some(first) => {
            assert!(then == Then::Replays, "{what}: told {first:?}");
            first.assert_executed(201);
            reply.assert_replay_of(&first);
        }
        None => assert!(point != Point::Answered, "{what}: the answer went out whole"),
    }
    assert_eq!(upstream.count() - before, sent + usize::from(runs), "{what}");
    gateway.kill();
}

fn kill_once_answered((what, point, passage, then): &Place) {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok".into();
        Script::raw(vec![Step::Pass(held.clone()), Step::Write(answer)])
    });
    let (setup, faults) = Faults::over(&Setup::new(&upstream.url()));
    let gateway = setup.start();
    let request = Request::keyed("/charges", "k");
    let mut connection = gateway.connect();
    connection.0.write(&request.bytes()).unwrap();
    upstream.await_count(1);
    faults.kill_at(*point, *passage);
    gate.open();
    let setup = gateway.killed();
    faults.disarm();
    assert!(connection.reply("POST").is_err(), "{what}: it was told");
    let gateway = setup.start();
    let reply = gateway.send(&request);
    match then {
        Then::Replays => {
            assert_eq!((reply.status, reply.replayed()), (201, Some("true")), "{what}: {reply:?}")
        }
        _ => _ = reply.assert_problem(409, "outcome-unknown"),
    }
    assert_eq!(upstream.count(), 1, "{what}");
}

/// Killed when half of the upload is in: nothing is left behind.
fn upload_cut_by_a_kill(setup: &Setup, faults: &Faults, upstream: &Upstream, key: &str) {
    let before = upstream.count();
    let gateway = setup.start();
    let mut connection = gateway.connect();
    let request = Request::keyed("/charges", key).body("x".repeat(100));
    let bytes = request.bytes();
    faults.kill_at(Point::Received, 1);
    connection.0.write(&bytes[..bytes.len() - 50]).unwrap();
    gateway.killed();
    faults.disarm();
    assert_eq!(upstream.count(), before);
    setup.start().send(&request).assert_executed(201);
}

/// Killed when the first part of a streamed answer has gone to the client, and the rest is not there.
fn kill_in_mid_answer() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| Script::answer(200, "first,second").chunked().pause_at(6, &held));
    let (setup, faults) = Faults::over(&Setup::new(&upstream.url()));
    let gateway = setup.start();
    let request = Request::keyed("/stream", "k");
    let mut connection = gateway.connect();
    connection.0.write(&request.bytes()).unwrap();
    connection.0.await_bytes(b"first,").unwrap();
    faults.kill_at(Point::Syncing, 1);
    gate.open();
    let setup = gateway.killed();
    faults.disarm();
    let told = connection.reply("POST").unwrap();
    assert!(!told.whole, "an end before it was durable: {told:?}");
    let gateway = setup.start();
    let reply = gateway.send(&request);
    // Written but not synced: `kill -9` alone takes nothing from the system's cache.
    match reply.status {
        200 => assert_eq!((reply.text().as_str(), reply.replayed()), ("first,second", Some("true"))),
        _ => drop(reply.assert_problem(409, "outcome-unknown")),
    }
    assert_eq!(upstream.count(), 1);
}

/// What the end of an answer waits for is the disk, and nothing else gives it away.
#[test]
fn nobody_sees_the_end_of_an_answer_before_it_is_synced() {
    let upstream = Upstream::numbering();
    let (setup, faults) = Faults::over(&Setup::new(&upstream.url()).ledger("wait = \"100ms\""));
    let gateway = setup.start();
    let request = Request::keyed("/charges", "k");
    // The claim's sync is the first.
    faults.hold_at(Point::Syncing, 2);
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&request));
        faults.await_held();
        gateway.send(&request).assert_problem(409, "in-flight");
        assert!(!first.is_finished());
        let answers = faults.passages(Point::Answered);
        assert_eq!(upstream.count(), 1);
        faults.release();
        let first = first.join().unwrap();
        first.assert_executed(201);
        assert!(faults.passages(Point::Answered) > answers);
        gateway.send(&request).assert_replay_of(&first);
    });
}

/// Nothing goes upstream before the claim is on disk.
#[test]
fn nothing_is_sent_before_the_claim_is_synced() {
    let upstream = Upstream::numbering();
    let (setup, faults) = Faults::over(&Setup::new(&upstream.url()));
    let gateway = setup.start();
    faults.hold_at(Point::Syncing, 1);
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&Request::keyed("/charges", "k")));
        faults.await_held();
        assert_eq!((faults.passages(Point::Connecting), upstream.count()), (0, 0));
        faults.release();
        first.join().unwrap().assert_executed(201);
    });
}

/// Killed at every change of the data folder that a start makes, the first start and a recovery.
#[test]
fn a_kill_at_any_step_of_a_start_leaves_a_folder_that_opens() {
    println!("{}", kills_at_start(29));
}

/// Kills each start after so many more steps than the last; what was observed.
pub(crate) fn kills_at_start(stride: u64) -> String {
    let upstream = Upstream::numbering();
    let mut kills = 0;
    for with_records in [false, true] {
        for passage in (1..).step_by(usize::try_from(stride).expect("it is small")) {
            let (setup, faults) = Faults::over(&Setup::new(&upstream.url()));
            let key = format!("{with_records}-{passage}");
            let request = Request::keyed("/charges", &key);
            let first = with_records.then(|| {
                let gateway = setup.start();
                let first = gateway.send(&request);
                gateway.kill();
                first
            });
            faults.kill_at(Point::Touching, passage);
            let ended = setup.try_start().err();
            faults.disarm();
            let killed = ended.is_some();
            if let Some(ended) = ended {
                assert_eq!(ended.code, None, "it was killed: {ended:?}");
                kills += 1;
            }
            let reply = setup.start().send(&request);
            match first {
                Some(first) => reply.assert_replay_of(&first),
                None => reply.assert_executed(201),
            }
            if !killed {
                break;
            }
        }
    }
    assert!(upstream.count_by_key().values().all(|count| *count == 1));
    format!("{kills} kills during starts: every folder opened, nothing lost or run twice")
}
