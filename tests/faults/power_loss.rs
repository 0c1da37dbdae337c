//! The machine loses power. Of what was not synced an arbitrary part survives; the rules are
//! `tests/faults/layer/journal.c`'s.

use crate::faults::crash;
use crate::support::client::try_send;
use crate::support::power::Loss;
use crate::support::*;
use std::cell::RefCell;
use std::rc::Rc;

/// Cuts in the life of one data folder.
const CUTS: usize = 2;

#[test]
fn no_power_loss_loses_an_acknowledged_answer_or_runs_anything_twice() {
    println!("{}", cuts(10));
}

/// So many seeds; what was observed.
pub(crate) fn cuts(seeds: u64) -> String {
    let mut told = String::new();
    let mut total = Loss::default();
    for seed in seeds_of("power loss", seeds) {
        let loss = Rc::<RefCell<Loss>>::default();
        let summed = loss.clone();
        told = crash::crashes(Dice::of(seed), CUTS, |upstream| {
            let (setup, mut faults) = Faults::over(&Setup::new(&upstream.url()));
            let (journalled, session) = faults.journalled(&setup);
            let mut session = Some(session);
            let mut dice = Dice::of(seed);
            let restart = move |_killed| {
                let keep = Keep::Seeded(dice.roll(u64::MAX));
                summed.borrow_mut().add(session.take().expect("put back below").cut(&keep));
                let (journalled, next) = faults.journalled(&setup);
                session = Some(next);
                journalled.start()
            };
            (journalled.start(), Box::new(restart))
        });
        total.add(loss.take());
    }
    assert!(total.lost > 0, "no cut took anything: {total:?}");
    format!(
        "{seeds} seeds, {CUTS} cuts each: {} changes were not synced, {} of them lost, {} folders went back; the \
         last seed: {told}",
        total.unsynced, total.lost, total.folders
    )
}

/// Seeds in a row, each said aloud before it is used.
fn seeds_of(test: &str, count: u64) -> impl Iterator<Item = u64> {
    let first = Dice::thrown(test).roll(1 << 32);
    let test = test.to_owned();
    (first..first + count).inspect(move |seed| println!("{test}: seed {seed}"))
}

/// The last write before a cut may be there in part, in any sectors. That is no damage: it was never
/// acknowledged.
#[test]
fn a_torn_tail_is_no_damage() {
    // Of many sectors, and nothing that the database could make smaller.
    let mut dice = Dice::of(1);
    let body: Vec<u8> = (0..9000).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect();
    let upstream = Upstream::start(move |_| Script::answer(201, &body));
    for seed in seeds_of("torn tail", 12) {
        let (setup, mut faults) = Faults::over(&Setup::new(&upstream.url()));
        let (journalled, session) = faults.journalled(&setup);
        let gateway = journalled.start();
        let request = Request::keyed("/charges", &seed.to_string());
        let first = gateway.send(&Request::keyed("/charges", &format!("first-{seed}")));
        first.assert_executed(201);
        // The claim is synced, the settlement is not.
        faults.kill_at(Point::Syncing, 2);
        let told = try_send(gateway.address, &request).ok().filter(|reply| reply.whole);
        assert!(told.is_none(), "an end before it was durable: {told:?}");
        gateway.killed();
        faults.disarm();
        session.cut(&Keep::Seeded(seed));
        let gateway = setup.start();
        let reply = gateway.send(&request);
        match reply.status {
            201 => assert_eq!((reply.body.len(), reply.replayed()), (9000, Some("true"))),
            _ => drop(reply.assert_problem(409, "outcome-unknown")),
        }
        gateway.send(&Request::keyed("/charges", &format!("first-{seed}"))).assert_replay_of(&first);
    }
    assert!(upstream.count_by_key().values().all(|count| *count == 1));
}

/// What the README says of `durability = "async"`: a cut takes what was not synced yet, and its keys
/// run again; what was synced stays.
#[test]
fn with_async_a_cut_takes_what_was_not_synced_and_nothing_else() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url()).ledger("durability = \"async\"");
    let (setup, mut faults) = Faults::over(&setup);
    let (journalled, session) = faults.journalled(&setup);
    let gateway = journalled.start();
    let (synced, unsynced) = (Request::keyed("/charges", "synced"), Request::keyed("/charges", "unsynced"));
    let first = gateway.send(&synced);
    let before = faults.passages(Point::Synced);
    let mut others = (0..).map(|n| Request::keyed("/charges", &format!("other-{n}")));
    // The next sync may have begun before the answer; the one after it did not.
    eventually("two more syncs are done", || {
        gateway.send(&others.next()?).assert_executed(201);
        (faults.passages(Point::Synced) >= before + 2).then_some(())
    });
    faults.hold_at(Point::Syncing, 1);
    let lost = gateway.send(&unsynced);
    lost.assert_executed(201);
    faults.await_held();
    gateway.kill();
    session.cut(&Keep::Nothing);
    faults.release_dead();
    let gateway = setup.start();
    gateway.send(&synced).assert_replay_of(&first);
    gateway.send(&unsynced).assert_executed(201);
    assert_eq!(upstream.count_by_key()["unsynced"], 2, "what the table says of `async`");
    assert_eq!(upstream.count_by_key()["synced"], 1);
}

/// However much was not synced: the folder opens, and no answer comes back changed.
#[test]
fn with_async_the_folder_opens_after_every_cut() {
    let upstream = Upstream::numbering();
    for seed in seeds_of("async", 10) {
        let setup = Setup::new(&upstream.url()).ledger("durability = \"async\"");
        let (setup, mut faults) = Faults::over(&setup);
        let (journalled, session) = faults.journalled(&setup);
        let gateway = journalled.start();
        let mut connection = gateway.connect();
        let keys: Vec<_> = (0..60).map(|n| format!("{seed}-{n}")).collect();
        let first: Vec<_> =
            keys.iter().map(|key| connection.send(&Request::keyed("/charges", key)).unwrap()).collect();
        gateway.kill();
        let loss = session.cut(&Keep::Seeded(seed));
        println!("{loss:?}");
        let gateway = setup.start();
        for (key, first) in keys.iter().zip(&first) {
            let reply = gateway.send(&Request::keyed("/charges", key));
            match reply.replayed() {
                Some("true") => reply.assert_replay_of(first),
                // Its settlement was lost, its claim was not.
                None => drop(reply.assert_problem(409, "outcome-unknown")),
                _ => reply.assert_executed(201),
            }
        }
    }
}

/// Power lost at every step of a start, the first one and a recovery.
#[test]
fn a_cut_at_any_step_of_a_start_leaves_a_folder_that_opens() {
    println!("{}", cuts_at_start(29));
}

/// Cuts each start after so many more steps than the last; what was observed.
pub(crate) fn cuts_at_start(stride: usize) -> String {
    let upstream = Upstream::numbering();
    let mut cuts = 0;
    for with_records in [false, true] {
        for (n, passage) in (1..).step_by(stride).enumerate() {
            let (setup, mut faults) = Faults::over(&Setup::new(&upstream.url()));
            let request = Request::keyed("/charges", &format!("{with_records}-{n}"));
            let first = with_records.then(|| {
                let gateway = setup.start();
                let first = gateway.send(&request);
                gateway.kill();
                first
            });
            let (journalled, session) = faults.journalled(&setup);
            faults.kill_at(Point::Touching, passage);
            // One that was not killed is when its step never came.
            let killed = journalled.try_start().map(Gateway::kill).is_err();
            faults.disarm();
            session.cut(&Keep::Seeded(passage));
            let reply = setup.start().send(&request);
            match first {
                Some(first) => reply.assert_replay_of(&first),
                None => reply.assert_executed(201),
            }
            if !killed {
                break;
            }
            cuts += 1;
        }
    }
    assert!(upstream.count_by_key().values().all(|count| *count == 1));
    format!("{cuts} cuts during starts: every folder opened, nothing lost or run twice")
}
