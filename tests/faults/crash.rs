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

#[test]
fn a_start_ends_what_was_under_way_at_once() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
    let (setup, faults) = Faults::over(&Setup::new(&upstream.url()));
    let gateway = setup.start();
    let mut connections = Vec::new();
    for n in 0..UNDER_WAY {
        let mut connection = gateway.connect();
        connection.0.write(&Request::keyed("/charges", &format!("k{n}")).bytes()).expect("it is read");
        connections.push(connection);
    }
    upstream.await_count(UNDER_WAY);
    let setup = gateway.kill();
    gate.open();
    let before = faults.passages(Point::Synced);
    let gateway = setup.start();
    let syncs = faults.passages(Point::Synced) - before;
    assert!(syncs < UNDER_WAY as u64, "{syncs} syncs for {UNDER_WAY} operations");
    for n in 0..UNDER_WAY {
        gateway.send(&Request::keyed("/charges", &format!("k{n}"))).assert_problem(409, "outcome-unknown");
    }
    assert_eq!(upstream.count(), UNDER_WAY);
}
