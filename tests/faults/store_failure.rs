//! The store fails under the real binary: syncs and writes that return errors, a disk that is full.
//! Nothing new is executed, what can be read is replayed, what was executed is settled once the cause
//! is gone, and all that without a restart (design/answers.md).

use crate::support::client::try_send;
use crate::support::*;
use rustix::io::Errno;
use std::path::PathBuf;
use std::process::Command;
use std::thread::scope;

/// What fails, and how it is mended.
type Failure = (&'static str, fn(&Faults), fn(&Faults));

const SYNCS: Failure =
    ("syncs: EIO", |faults| faults.fail_syncs(Some(Errno::IO)), |faults| faults.fail_syncs(None));
const WRITES: Failure =
    ("writes: EIO", |faults| faults.fail_writes(Some(Errno::IO)), |faults| faults.fail_writes(None));
const ROOM: Failure =
    ("writes: ENOSPC", |faults| faults.fail_writes(Some(Errno::NOSPC)), |faults| faults.fail_writes(None));

#[test]
fn while_the_store_fails_nothing_new_runs_and_service_resumes_without_a_restart() {
    for failure in [SYNCS, WRITES, ROOM] {
        println!("{}", failing(failure));
    }
}

/// An upstream whose answers to `/held` wait for the gate, each of them in one piece.
fn held() -> (Upstream, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.target.as_str() {
        "/held" => Script::numbered(call).after(&held),
        "/stream" => Script::answer(200, "first,second").chunked().pause_at(6, &held),
        _ => Script::numbered(call),
    });
    (upstream, gate)
}

pub(crate) fn every_failure() -> String {
    [SYNCS, WRITES, ROOM].map(failing).join("; ")
}

fn failing((what, fail, mend): Failure) -> String {
    let (upstream, gate) = held();
    let setup = Setup::new(&upstream.url()).ledger("wait = \"200ms\"");
    let (setup, faults) = Faults::over(&setup);
    let gateway = setup.start();
    let keyed = |key: &str| Request::keyed("/charges", key);
    let done = gateway.send(&keyed("done"));
    done.assert_executed(201);
    let waiting = Request::keyed("/held", "waiting");
    let streamed = Request::keyed("/stream", "streamed");
    let mut stream = gateway.connect();
    stream.0.write(&streamed.bytes()).unwrap();
    stream.0.await_bytes(b"first,").unwrap();
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&waiting));
        upstream.await_calls(|calls| calls.iter().any(|call| call.key() == "waiting"));
        fail(&faults);
        gate.open();
        // Executed, and not recorded: neither its end nor its outcome is told.
        assert_withheld(&first.join().unwrap(), what);
    });
    let cut = stream.reply("POST").unwrap();
    assert!(!cut.whole, "{what}: an end before it was durable: {cut:?}");
    for _ in 0..3 {
        gateway.send(&waiting).assert_problem(409, "in-flight");
        gateway.send(&keyed("new")).assert_problem(503, "ledger-unavailable");
        gateway.send(&keyed("done")).assert_replay_of(&done);
    }
    assert_eq!(upstream.count(), 3, "{what}: nothing new was sent");
    eventually("readiness is red", || (gateway.admin("GET", "/readyz").status == 503).then_some(()));
    mend(&faults);
    eventually("readiness is green", || (gateway.admin("GET", "/readyz").status == 200).then_some(()));
    for (request, body) in [(&waiting, "\"target\":\"/held\""), (&streamed, "first,second")] {
        let settled = gateway.send(request);
        assert_eq!(settled.replayed(), Some("true"), "{what}: {settled:?}");
        assert!(settled.text().contains(body), "{what}: {settled:?}");
    }
    // Its claim was refused before anything was sent: whatever the journal has of it, it is free or,
    // at worst, unknown.
    let new = gateway.send(&keyed("new"));
    assert!(new.status == 201 || new.field("oncegate-problem") == Some("outcome-unknown"), "{what}: {new:?}");
    let later = gateway.send(&keyed("later"));
    later.assert_executed(201);
    let gateway = gateway.kill().start();
    gateway.send(&keyed("later")).assert_replay_of(&later);
    gateway.send(&keyed("done")).assert_replay_of(&done);
    assert_eq!(gateway.send(&waiting).replayed(), Some("true"), "{what}");
    assert!(upstream.count_by_key().values().all(|count| *count == 1), "{what}");
    format!("{what}: refused, replayed, red, settled, resumed; the new one then {}", new.status)
}

/// The end of an answer that could not be recorded: 503 instead of it, or, where it came in pieces and
/// its head was on its way by then, the answer cut short.
#[track_caller]
fn assert_withheld(told: &Reply, what: &str) {
    if told.whole {
        let problem = told.assert_problem(503, "ledger-unavailable");
        assert_eq!(problem["outcome"], "unknown", "{what}: {problem}");
    }
}

/// After a failed sync the system may forget what it could not write and call the next one a success.
/// What the gateway acknowledges after it has opened its store anew is on the disk nevertheless.
#[test]
fn a_power_loss_after_a_failed_sync_takes_nothing_that_was_acknowledged() {
    let (upstream, gate) = held();
    let (setup, mut faults) = Faults::over(&Setup::new(&upstream.url()).ledger("wait = \"200ms\""));
    let (journalled, session) = faults.journalled(&setup);
    let gateway = journalled.start();
    let done = gateway.send(&Request::keyed("/charges", "done"));
    let waiting = Request::keyed("/held", "waiting");
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&waiting));
        upstream.await_calls(|calls| calls.iter().any(|call| call.key() == "waiting"));
        faults.fail_syncs(Some(Errno::IO));
        gate.open();
        assert_withheld(&first.join().unwrap(), "a failed sync");
    });
    gateway.send(&Request::keyed("/charges", "new")).assert_problem(503, "ledger-unavailable");
    faults.fail_syncs(None);
    eventually("readiness is green", || (gateway.admin("GET", "/readyz").status == 200).then_some(()));
    let settled = gateway.send(&waiting);
    assert_eq!(settled.replayed(), Some("true"), "{settled:?}");
    let new = try_send(gateway.address, &Request::keyed("/charges", "new")).unwrap();
    gateway.kill();
    session.cut(&Keep::Nothing);
    let gateway = setup.start();
    gateway.send(&Request::keyed("/charges", "done")).assert_replay_of(&done);
    gateway.send(&waiting).assert_replay_of(&settled);
    let again = gateway.send(&Request::keyed("/charges", "new"));
    match new.status {
        201 => again.assert_replay_of(&new),
        _ => drop(again.assert_problem(409, "outcome-unknown")),
    }
    assert!(upstream.count_by_key().values().all(|count| *count == 1), "{:?}", upstream.count_by_key());
}

/// What somebody puts a copy in the place of: a part of the data folder, and whether acknowledged at once is on disk.
const REPLACED: [(&str, &str, &str); 4] = [
    ("", "sync", "was replaced or taken away"),
    ("", "async", "was replaced or taken away"),
    ("db", "sync", "and was on disk until"),
    ("oncegate.lock", "sync", "was replaced or taken away"),
];

/// A copy that is put in place while the store fails lacks what was acknowledged since.
#[test]
fn a_copy_put_in_place_is_not_opened() {
    for (part, durability, words) in REPLACED {
        let upstream = Upstream::numbering();
        let setup = Setup::new(&upstream.url()).ledger(&format!("durability = {durability:?}"));
        let (setup, faults) = Faults::over(&setup);
        let gateway = setup.start();
        let keyed = |key: &str| Request::keyed("/charges", key);
        gateway.send(&keyed("before")).assert_executed(201);
        let [copy, bad] = ["copy", "bad"].map(|name| setup.folder().join(name));
        let place = setup.data().join(part);
        let copied = Command::new("cp").arg("-a").args([&place, &copy]).status().unwrap();
        assert!(copied.success());
        let since = gateway.send(&keyed("since"));
        since.assert_executed(201);
        faults.fail_writes(Some(Errno::IO));
        gateway.send(&keyed("new"));
        eventually("readiness is red", || (gateway.admin("GET", "/readyz").status == 503).then_some(()));
        std::fs::rename(&place, &bad).unwrap();
        std::fs::rename(&copy, &place).unwrap();
        faults.fail_writes(None);
        eventually(words, || {
            assert!(
                !gateway.stderr().contains("store is open again"),
                "{part:?}, {durability}: a copy was opened"
            );
            gateway.stderr().contains(words).then_some(())
        });
        let asked = gateway.send(&keyed("since"));
        assert!(asked.status == 503 || asked.replayed() == Some("true"), "{part:?}: {asked:?}");
        assert_eq!(gateway.admin("GET", "/readyz").status, 503);
        std::fs::rename(&place, &copy).unwrap();
        std::fs::rename(&bad, &place).unwrap();
        eventually("readiness is green", || (gateway.admin("GET", "/readyz").status == 200).then_some(()));
        gateway.send(&keyed("since")).assert_replay_of(&since);
        let gateway = gateway.kill().start();
        gateway.send(&keyed("since")).assert_replay_of(&since);
        assert!(upstream.count_by_key().values().all(|count| *count == 1), "{:?}", upstream.count_by_key());
    }
}

/// A disk of its own, in memory.
struct Disk(PathBuf);

impl Disk {
    /// None where this user may not mount one.
    fn mount(path: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path).output();
        done.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }

    /// Takes all the room but so much.
    fn fill_but(&self, bytes: u64) {
        let (taken, spare) = (self.0.join("lost+found"), self.0.join("oncegate.spare"));
        std::fs::write(&spare, vec![1; usize::try_from(bytes).unwrap()]).unwrap();
        let mut file = std::fs::File::create(taken).unwrap();
        let full = std::io::copy(&mut std::io::repeat(1), &mut file).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        std::fs::remove_file(spare).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("lost+found")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _told_by_the_folder_that_stays = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A file system that is really full. Where this user may mount none, the errors above stand for it,
/// even where no test may be skipped.
#[test]
fn a_full_disk_refuses_what_is_new_and_takes_it_again_when_there_is_room() {
    if let Err(why) = full_disk() {
        external::tell_skipped("store_failure::a_full_disk", &why);
    }
}

/// What was observed; an error where no disk can be mounted.
pub(crate) fn full_disk() -> Result<String, String> {
    let gates = [[Gate::new(), Gate::new()], [Gate::new(), Gate::new()]];
    let mut dice = Dice::of(1);
    let large: Vec<u8> = (0..100_000).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect();
    let held = gates.clone();
    let upstream = Upstream::start(move |call| match call.key() {
        "little room 0" => Script::numbered(call).after(&held[0][0]),
        "little room 1" => Script::numbered(call).after(&held[1][0]),
        // Larger than what is left of the last block of its journal.
        "no room 0" => Script::answer(201, &large).after(&held[0][1]),
        "no room 1" => Script::answer(201, &large).after(&held[1][1]),
        key if key.starts_with("large") => Script::answer(201, &large),
        _ => Script::numbered(call),
    });
    let setup = Setup::new(&upstream.url()).ledger("wait = \"200ms\"");
    let disk = Disk::mount(setup.data(), "64m").ok_or("this user may not mount a file system")?;
    let gateway = setup.start();
    gateway.send(&Request::keyed("/charges", "done")).assert_executed(201);
    let [first, second] = &gates;
    let mut resumed = vec![fills_up(&upstream, &gateway, &disk, first, 0)];
    // Now the journal is so long that what is given back has no room for a copy of it.
    for n in 0..120 {
        gateway.send(&Request::keyed("/charges", &format!("large {n}"))).assert_executed(201);
    }
    resumed.push(fills_up(&upstream, &gateway, &disk, second, 1));
    assert!(upstream.count_by_key().values().all(|count| *count == 1));
    drop(gateway.kill());
    Ok(format!("both under way were recorded, twice; the refused ones then {resumed:?}"))
}

/// The disk fills up while two operations are under way, and has room again after that. Returns the status of
/// one that was refused meanwhile.
fn fills_up(upstream: &Upstream, gateway: &Gateway, disk: &Disk, gates: &[Gate; 2], round: usize) -> u16 {
    let keyed = |key: &str| Request::keyed("/charges", key);
    let mut numbers = 0..;
    let ballast = disk.0.join("oncegate.ballast");
    eventually("room is held", || {
        gateway.send(&keyed(&format!("before {round} {}", numbers.next()?)));
        // Of what was given back the last part was kept.
        std::fs::metadata(&ballast).is_ok_and(|found| found.len() >= 8 << 20).then_some(())
    });
    let under_way = ["little", "no"].map(|room| Request::keyed("/held", &format!("{room} room {round}")));
    let mut refuses = || {
        // What the disk has room for is looked up once in a while, so the first few may still run.
        eventually("a new one is refused before anything is sent", || {
            let before = upstream.count();
            let request = keyed(&format!("after {round} {}", numbers.next()?));
            let reply = gateway.send(&request);
            (reply.status != 201 && upstream.count() == before).then(|| {
                reply.assert_problem(503, "ledger-unavailable");
                request
            })
        })
    };
    let refused = scope(|scope| {
        let [little, none] = under_way.each_ref().map(|request| scope.spawn(|| gateway.send(request)));
        upstream.await_calls(|calls| {
            calls.iter().filter(|call| call.target == "/held").count() == 2 * (round + 1)
        });
        // With little room what is under way is still recorded.
        disk.fill_but(8 << 20);
        refuses();
        gates[0].open();
        little.join().unwrap().assert_executed(201);
        disk.fill_but(0);
        let refused = refuses();
        assert_eq!(gateway.send(&keyed("done")).replayed(), Some("true"));
        gates[1].open();
        assert_withheld(&none.join().unwrap(), "no room");
        refused
    });
    // With none, what the store held back is enough.
    let none = &under_way[1];
    eventually("it is recorded", || Some(gateway.send(none)).filter(|reply| reply.status == 201));
    assert!(
        std::fs::metadata(&ballast).map_or(true, |held| held.len() <= 2 << 20),
        "it is given back, but the last"
    );
    eventually("readiness is red", || (gateway.admin("GET", "/readyz").status == 503).then_some(()));
    refuses();
    disk.free();
    eventually("readiness is green", || (gateway.admin("GET", "/readyz").status == 200).then_some(()));
    for request in &under_way {
        let settled = gateway.send(request);
        assert_eq!((settled.status, settled.replayed()), (201, Some("true")), "{settled:?}");
    }
    gateway.send(&keyed(&format!("later {round}"))).assert_executed(201);
    let resumed = gateway.send(&refused);
    assert!(matches!(resumed.status, 201 | 409), "{resumed:?}");
    resumed.status
}

/// Somebody else fills the disk to the last byte, before and after the gateway ends.
#[test]
fn a_start_on_a_full_disk_is_given_room() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let Some(disk) = Disk::mount(setup.data(), "64m") else {
        return external::tell_skipped("store_failure::a_start", "this user may not mount a file system");
    };
    let keyed = |key: &str| Request::keyed("/charges", key);
    let (mut gateway, ballast) = (setup.start(), disk.0.join("oncegate.ballast"));
    gateway.send(&keyed("done")).assert_executed(201);
    for round in 0..3 {
        let mut numbers = 0..;
        eventually("room is held", || {
            gateway.send(&keyed(&format!("before {round} {}", numbers.next()?)));
            // Of what was given back the last part was kept.
            std::fs::metadata(&ballast).is_ok_and(|found| found.len() >= 8 << 20).then_some(())
        });
        disk.fill_but(0);
        let setup = gateway.kill();
        disk.fill_but(0);
        gateway = setup.try_start().expect("it is given room");
        assert!(
            std::fs::metadata(&ballast).map_or(true, |held| held.len() <= 2 << 20),
            "it is given back, but the last"
        );
        assert_eq!(gateway.send(&keyed("done")).replayed(), Some("true"));
        gateway.send(&keyed("new")).assert_problem(503, "ledger-unavailable");
        disk.free();
        eventually("readiness is green", || (gateway.admin("GET", "/readyz").status == 200).then_some(()));
    }
}

/// A start that finds no room says what is wrong and what helps.
#[test]
fn a_full_disk_is_named_with_its_cure() {
    let upstream = Upstream::numbering();
    for room in [0, 4_096] {
        let setup = Setup::new(&upstream.url());
        let Some(disk) = Disk::mount(setup.data(), "64m") else {
            return external::tell_skipped(
                "store_failure::a_full_disk",
                "this user may not mount a file system",
            );
        };
        disk.fill_but(room);
        let refused = setup.try_start().err().expect("it has no room");
        refused.assert_refused(1, &["is full", "make room on it", "No space left"]);
        disk.free();
        drop(setup.start().kill());
    }
}

/// A memory ledger at its limit forgets nothing that lives: it refuses what is new until there is room.
#[test]
fn a_memory_ledger_at_its_limit_refuses_what_is_new_and_still_replays() {
    let body = "x".repeat(100_000);
    let upstream = Upstream::start(move |_| Script::answer(201, &body));
    let setup = Setup::new(&upstream.url()).memory().ledger("memory = \"1MiB\"");
    let gateway = setup.ledger("retention = \"3s\"\ntombstone = \"0s\"").start();
    let first = gateway.send(&Request::keyed("/charges", "0"));
    let mut numbers = 1..;
    let (refused, reply) = eventually("it is full", || {
        let request = Request::keyed("/charges", &numbers.next()?.to_string());
        let reply = gateway.send(&request);
        (reply.status != 201).then_some((request, reply))
    });
    reply.assert_problem(503, "ledger-unavailable");
    let sent = upstream.count();
    let replay = gateway.send(&Request::keyed("/charges", "0"));
    assert_eq!(replay.replayed(), Some("true"), "{:?}", replay.status);
    assert!(replay.body == first.body);
    assert_eq!(upstream.count(), sent, "nothing new was sent");
    // Room comes with the end of what is kept.
    eventually("there is room again", || (gateway.send(&refused).status == 201).then_some(()));
}

/// All that a gateway wrote to a small disk expires: the disk comes back, and new keys are taken.
#[test]
fn a_small_disk_that_filled_itself_comes_back() {
    for (size, bytes, has_ballast) in [
        (60, 20_000, true),
        (60, 200_000, true),
        (60, 20_000, false),
        (110, 60_000, true),
        (110, 60_000, false),
        (300, 200_000, true),
    ] {
        if let Err(why) = fills_itself(size, bytes, has_ballast) {
            external::tell_skipped("store_failure::a_small_disk", &why);
        }
    }
}

fn fills_itself(size: usize, bytes: usize, has_ballast: bool) -> Result<(), String> {
    let mut dice = Dice::of(1);
    let answer: Vec<u8> = (0..bytes).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect();
    let upstream = Upstream::start(move |_| Script::answer(201, &answer));
    let times = "durability = \"async\"\nretention = \"3s\"\ntombstone = \"0s\"";
    let setup = Setup::new(&upstream.url()).ledger(times);
    let disk =
        Disk::mount(setup.data(), &format!("{size}m")).ok_or("this user may not mount a file system")?;
    let gateway = setup.start();
    // The disk four times over: what has expired makes room meanwhile.
    let each = (size << 20) * 4 / bytes / 6;
    let is_refused = &|caller: usize| {
        let key = |n: usize| Request::keyed("/charges", &format!("{caller} {n}"));
        (0..each).any(|n| gateway.send(&key(n)).status != 201)
    };
    let refused = scope(|scope| {
        let callers: Vec<_> = (0..6).map(|caller| scope.spawn(move || is_refused(caller))).collect();
        callers
            .into_iter()
            .map(|caller| usize::from(caller.join().expect("it asserts nothing")))
            .sum::<usize>()
    });
    // The journal alone is larger than the smaller disks.
    assert!(refused > 0 || size > 110, "{size}m were never full");
    if !has_ballast {
        let _it_may_be_gone = std::fs::remove_file(disk.0.join("oncegate.ballast"));
        let waits = "oncegate_store_flushes_waiting 0";
        eventually("nothing is flushed", || {
            gateway.admin("GET", "/metrics").text().contains(waits).then_some(())
        });
        disk.fill_but(2_900_000);
    }
    let mut numbers = 0..;
    eventually(&format!("{size}, {bytes}: a new key is taken"), || {
        let reply = gateway.send(&Request::keyed("/charges", &format!("new {}", numbers.next()?)));
        (reply.status == 201 && gateway.admin("GET", "/readyz").status == 200).then_some(())
    });
    Ok(())
}
