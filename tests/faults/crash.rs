//! `kill -9` under load. The upstream's account stands outside and outlives every crash.

use crate::support::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::scope;
use std::time::{Duration, Instant};

const CLIENTS: usize = 6;
/// Executions that are certain to be in flight at each kill.
const HELD: usize = 4;

#[test]
fn no_kill_loses_an_acknowledged_answer_or_runs_anything_twice() {
    println!("{}", kills(20));
}

/// What the clients know.
#[derive(Default)]
struct Known {
    /// Keys whose answer ended, with the answer.
    acknowledged: BTreeMap<String, Reply>,
    /// Keys that were sent.
    sent: BTreeSet<String>,
}

/// So many kills at random moments; what was observed.
pub(crate) fn kills(rounds: usize) -> String {
    kills_of(|setup| setup, rounds)
}

/// The same of a gateway set up otherwise.
pub(crate) fn kills_of(set_up: fn(Setup) -> Setup, rounds: usize) -> String {
    crashes(Dice::thrown("crash"), rounds, |upstream| {
        let first = set_up(Setup::new(&upstream.url())).start();
        (first, Box::new(|killed: Setup| killed.start()))
    })
}

/// Starts a gateway anew after its kill.
pub(crate) type Restart = Box<dyn FnMut(Setup) -> Gateway>;

/// The same, with a way of one's own to start and to start anew.
pub(crate) fn crashes(
    mut dice: Dice,
    rounds: usize,
    start: impl FnOnce(&Upstream) -> (Gateway, Restart),
) -> String {
    let gates: Arc<Mutex<HashMap<String, Gate>>> = Arc::default();
    let held = gates.clone();
    let upstream = Upstream::start(move |call| {
        let script = Script::numbered(call);
        let gate =
            |round: &str| held.lock().expect("no holder panics").entry(round.to_owned()).or_default().clone();
        match call.target.strip_prefix("/held/") {
            Some(round) => script.after(&gate(round)),
            None => script,
        }
    });
    let (mut gateway, mut restart) = start(&upstream);
    let mut all = Known::default();
    let mut unknown = 0;
    for round in 0..rounds {
        let (setup, known) = load_and_kill(gateway, &upstream, &mut dice, round);
        for gate in gates.lock().expect("no holder panics").values() {
            gate.open();
        }
        gateway = restart(setup);
        unknown += verify(&gateway, round, &known);
        all.acknowledged.extend(known.acknowledged);
        all.sent.extend(known.sent);
    }
    for (key, first) in &all.acknowledged {
        gateway.send(&Request::keyed("/charges", key)).assert_replay_of(first);
    }
    let counts = upstream.count_by_key();
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "executed more than once: {twice:?}");
    format!(
        "{rounds} kills: {} acknowledged answers, none lost or changed; {} keys, at most {} execution each; \
         {unknown} in flight, all outcome-unknown",
        all.acknowledged.len(),
        all.sent.len() + rounds * HELD,
        counts.values().max().expect("there was load"),
    )
}

/// Loads the gateway and kills it at a moment that the dice choose.
fn load_and_kill(gateway: Gateway, upstream: &Upstream, dice: &mut Dice, round: usize) -> (Setup, Known) {
    let known = Mutex::new(Known::default());
    let acknowledged = AtomicUsize::new(0);
    let enough = usize::try_from(dice.roll(150)).expect("it is small");
    let spin = Duration::from_micros(dice.roll(5000));
    let seeds: Vec<u64> = (0..CLIENTS).map(|_| dice.roll(u64::MAX)).collect();
    let address = gateway.address;
    let setup = scope(|scope| {
        for n in 0..HELD {
            let request = Request::keyed(&format!("/held/{round}"), &held_key(round, n));
            scope.spawn(move || {
                let reply = client::try_send(address, &request);
                assert!(reply.is_err(), "an answer that the upstream never gave: {reply:?}");
            });
        }
        upstream.await_calls(|calls| {
            (0..HELD).all(|n| calls.iter().rev().take(HELD * 2).any(|call| call.key() == held_key(round, n)))
        });
        for (n, seed) in seeds.into_iter().enumerate() {
            let (known, acknowledged) = (&known, &acknowledged);
            scope.spawn(move || {
                one_client(address, &format!("{round}-{n}"), Dice::of(seed), known, acknowledged)
            });
        }
        eventually("so many answers are acknowledged", || {
            (acknowledged.load(Ordering::SeqCst) >= enough).then_some(())
        });
        // Not to wait for anything: to hit another moment each time.
        let begun = Instant::now();
        while begun.elapsed() < spin {
            std::hint::spin_loop();
        }
        gateway.kill()
    });
    (setup, known.into_inner().expect("no holder panics"))
}

fn held_key(round: usize, n: usize) -> String {
    format!("held-{round}-{n}")
}

/// Sends new operations and duplicates of its own until the gateway is gone.
fn one_client(
    address: std::net::SocketAddr,
    name: &str,
    mut dice: Dice,
    known: &Mutex<Known>,
    acknowledged: &AtomicUsize,
) {
    let Ok(mut connection) = client::Connection::open(address) else { return };
    let mut mine: Vec<(String, Reply)> = Vec::new();
    for n in 0.. {
        if !mine.is_empty() && dice.roll(4) == 0 {
            let (key, first) = &mine[usize::try_from(dice.roll(mine.len() as u64)).expect("it is small")];
            match connection.send(&Request::keyed("/charges", key)) {
                Ok(reply) if reply.whole => reply.assert_replay_of(first),
                _ => return,
            }
            continue;
        }
        let key = format!("{name}-{n}");
        known.lock().expect("no holder panics").sent.insert(key.clone());
        match connection.send(&Request::keyed("/charges", &key)) {
            Ok(reply) if reply.whole => {
                reply.assert_executed(201);
                known.lock().expect("no holder panics").acknowledged.insert(key.clone(), reply.clone());
                acknowledged.fetch_add(1, Ordering::SeqCst);
                mine.push((key, reply));
            }
            _ => return,
        }
    }
}

/// After the restart: what the promises say of each key of the round. How many are unknown.
fn verify(gateway: &Gateway, round: usize, known: &Known) -> usize {
    let mut unknown = 0;
    for n in 0..HELD {
        let reply = gateway.send(&Request::keyed(&format!("/held/{round}"), &held_key(round, n)));
        reply.assert_problem(409, "outcome-unknown");
        unknown += 1;
    }
    let mut connection = gateway.connect();
    for key in &known.sent {
        let reply = connection.send(&Request::keyed("/charges", key)).expect("it runs");
        match known.acknowledged.get(key) {
            Some(first) => reply.assert_replay_of(first),
            // Recorded but not acknowledged, or never claimed: then this is its first execution.
            None if reply.status == 201 => assert!(reply.replayed().is_some(), "{reply:?}"),
            None => {
                reply.assert_problem(409, "outcome-unknown");
                unknown += 1;
            }
        }
    }
    unknown
}

/// How many executions are under way at a kill.
const UNDER_WAY: usize = 48;

fn orphan(n: usize) -> Request {
    Request::keyed("/charges", &format!("k{n}"))
}

/// A gateway that was killed with so many executions under way.
fn killed_with_orphans(setup: &Setup, upstream: &Upstream) -> Setup {
    let gateway = setup.start();
    let mut connections = Vec::new();
    for n in 0..UNDER_WAY {
        let mut connection = gateway.connect();
        connection.0.write(&orphan(n).bytes()).expect("it is read");
        connections.push(connection);
    }
    upstream.await_count(UNDER_WAY);
    gateway.kill()
}

#[test]
fn a_start_ends_what_was_under_way_at_once() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
    let (setup, faults) = Faults::over(&Setup::new(&upstream.url()));
    let setup = killed_with_orphans(&setup, &upstream);
    gate.open();
    let before = faults.passages(Point::Synced);
    let gateway = setup.start();
    recorded(&gateway);
    let syncs = faults.passages(Point::Synced) - before;
    assert!(syncs < UNDER_WAY as u64, "{syncs} syncs for {UNDER_WAY} operations");
    for n in 0..UNDER_WAY {
        gateway.send(&orphan(n)).assert_problem(409, "outcome-unknown");
    }
    assert_eq!(upstream.count(), UNDER_WAY);
}

/// How many records say that they are executing.
fn stored_as_executing(gateway: &Gateway) -> u64 {
    gateway.metric("oncegate_records{state=\"executing\"}")
}

/// Waits until what was left executing is recorded as unknown.
fn recorded(gateway: &Gateway) {
    eventually("all orphans are recorded", || (stored_as_executing(gateway) == 0).then_some(()));
}

/// A gateway that has started and can't record what was left, because its disk takes no sync.
fn started_with_held_disk(setup: &Setup, upstream: &Upstream) -> (Gateway, Faults) {
    let (setup, faults) = Faults::over(setup);
    // The first start makes the folder, the second its ballast.
    setup.start().kill();
    setup.start().kill();
    // What a start itself syncs when there is nothing to record.
    let before = faults.passages(Point::Syncing);
    let gateway = setup.start();
    let own = faults.passages(Point::Syncing) - before;
    gateway.kill();
    let setup = killed_with_orphans(&setup, upstream);
    faults.hold_at(Point::Syncing, own + 1);
    let gateway = setup.start();
    faults.await_held();
    assert_eq!(stored_as_executing(&gateway), UNDER_WAY as u64);
    (gateway, faults)
}

/// The answers to these requests and to retries of all orphans, which come while nothing can be recorded.
fn asked_meanwhile<const N: usize>(gateway: &Gateway, faults: &Faults, first: [Request; N]) -> Vec<Reply> {
    let requests: Vec<Request> = first.into_iter().chain((0..UNDER_WAY).map(orphan)).collect();
    let mut connections: Vec<_> = requests.iter().map(|_| gateway.connect()).collect();
    for (connection, request) in connections.iter_mut().zip(&requests) {
        connection.0.write(&request.bytes()).expect("it is read");
    }
    faults.release();
    connections.iter_mut().map(|connection| connection.reply("POST").expect("it is answered")).collect()
}

#[test]
fn a_start_answers_before_orphans_are_recorded() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.key() {
        "new" => Script::numbered(call),
        _ => Script::numbered(call).after(&held),
    });
    let (gateway, faults) = started_with_held_disk(&Setup::new(&upstream.url()), &upstream);
    gate.open();
    let listed = |state: &str| {
        let list = gateway.admin("GET", &format!("/v1/operations?state={state}")).json();
        list["operations"].as_array().expect("a list").clone()
    };
    assert_eq!((listed("unknown").len(), listed("executing").len()), (UNDER_WAY, 0));
    let shown = listed("unknown").swap_remove(0);
    let one = format!("/v1/operations/{}", shown["operation"].as_str().expect("an id"));
    let looked_at = gateway.admin("GET", &one).json();
    for member in ["state", "reason", "unknown_since", "version"] {
        assert_eq!(looked_at[member], shown[member], "{member}");
    }
    assert_eq!(shown["reason"], "crashed");
    // They ask while nothing is recorded. The disk is one for all.
    let [new, retries @ ..] = &*asked_meanwhile(&gateway, &faults, [Request::keyed("/charges", "new")])
    else {
        panic!("each is answered")
    };
    new.assert_executed(201);
    for retry in retries {
        retry.assert_problem(409, "outcome-unknown");
    }
    recorded(&gateway);
    let now = gateway.admin("GET", &one).json();
    assert_eq!((&now["state"], &now["unknown_since"]), (&shown["state"], &shown["unknown_since"]));
    assert_eq!((listed("unknown").len(), upstream.count()), (UNDER_WAY, UNDER_WAY + 1));
}

/// An orphan is sent again, and settles, before its recovery has come to it. It isn't ended by that.
#[test]
fn orphans_that_are_resent_meanwhile_are_not_ended() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.field("oncegate-attempt") {
        Some("1") => Script::numbered(call).after(&held),
        _ => Script::answer(201, "again"),
    });
    let setup =
        Setup::new(&upstream.url()).route("when_unknown = \"resend\"").origin("accept_repeats = true");
    let (gateway, faults) = started_with_held_disk(&setup, &upstream);
    let resent = asked_meanwhile(&gateway, &faults, []);
    gate.open();
    recorded(&gateway);
    for (n, first) in resent.iter().enumerate() {
        first.assert_executed(201);
        assert_eq!(first.text(), "again");
        gateway.send(&orphan(n)).assert_replay_of(first);
    }
    assert_eq!(upstream.count(), 2 * UNDER_WAY);
    assert!(upstream.count_by_key().values().all(|count| *count == 2));
}
