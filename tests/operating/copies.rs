//! A data folder that is put back from a copy: noticed by the mark outside of it.

use crate::support::gateway::{Ended, run};
use crate::support::*;
use rustix::io::Errno;
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk that fails, and ends of the gateway that come after it or meanwhile.
const FAILURES: [fn(&Faults, bool); 2] = [
    |faults, fails| faults.fail_writes(fails.then_some(Errno::NOSPC)),
    |faults, fails| faults.fail_syncs(fails.then_some(Errno::IO)),
];
const ENDS: [(&str, u8); 3] = [("stopped", 3), ("killed", 1), ("stopped meanwhile", 1)];

/// Words of a start that is refused, and of what it says to do.
const BEHIND: [&str; 3] =
    ["is older than its mark in", "changes of its records are missing", "--accept-duplicates"];

fn mark(setup: &Setup) -> PathBuf {
    setup.folder().join("elsewhere/mark")
}

fn marked(upstream: &Upstream) -> Setup {
    let setup = Setup::new(&upstream.url());
    fs::create_dir(setup.folder().join("elsewhere")).unwrap();
    let line = format!("mark_file = {:?}", mark(&setup));
    setup.ledger(&line)
}

fn copy(from: &Path, to: &Path) {
    let _none_there = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn serve(gateway: &Gateway, key: &str) {
    gateway.send(&Request::keyed("/charges", key)).assert_executed(201);
}

fn stopped(gateway: Gateway) -> Setup {
    let (setup, code) = gateway.terminate();
    assert_eq!(code, Some(0));
    setup
}

/// Starts with permission to give up what is missing.
fn giving_up(setup: &Setup) -> Gateway {
    let file = setup.file();
    let args = ["serve", "--accept-duplicates", "--config", file.to_str().unwrap()];
    Gateway::start(&args, setup.clone()).unwrap()
}

#[track_caller]
fn refused(setup: &Setup) -> Ended {
    setup.try_start().err().expect("the start is refused")
}

/// Waits until the mark is another one than before.
fn await_mark(setup: &Setup, before: &str) {
    eventually("the mark is written", || (fs::read_to_string(mark(setup)).ok()? != before).then_some(()));
}

#[test]
fn a_folder_put_back_is_refused_with_what_is_missing() {
    let upstream = Upstream::numbering();
    let gateway = marked(&upstream).start();
    serve(&gateway, "a");
    let setup = stopped(gateway);
    let (data, saved) = (setup.data(), setup.folder().join("saved"));
    copy(&data, &saved);
    let gateway = setup.start();
    serve(&gateway, "b");
    stopped(gateway);
    let newest = setup.folder().join("newest");
    copy(&data, &newest);
    copy(&saved, &data);
    refused(&setup).assert_refused(1, &BEHIND);
    let config = setup.file();
    let check = run(&["check", "--config", config.to_str().unwrap()], setup.folder());
    check.assert_refused(1, &BEHIND);
    // The newest one is taken as before.
    copy(&newest, &data);
    let gateway = setup.start();
    gateway.send(&Request::keyed("/charges", "b"));
    stopped(gateway);
    assert_eq!(upstream.count(), 2);
    // Said aloud, the copy goes on. From then on it is the newest.
    copy(&saved, &data);
    let gateway = giving_up(&setup);
    serve(&gateway, "b");
    assert_eq!(upstream.count(), 3);
    stopped(gateway);
    stopped(setup.start());
    copy(&newest, &data);
    refused(&setup).assert_refused(1, &BEHIND);
}

/// A copy of the disk while the gateway runs, which is killed later.
#[test]
fn a_snapshot_put_back_is_refused() {
    let upstream = Upstream::numbering();
    for durability in ["sync", "async"] {
        let setup = marked(&upstream).ledger(&format!("durability = {durability:?}"));
        let gateway = setup.start();
        let fresh = fs::read_to_string(mark(&setup)).unwrap();
        serve(&gateway, &format!("{durability} a"));
        await_mark(&setup, &fresh);
        let before = fs::read_to_string(mark(&setup)).unwrap();
        gateway.signal(Signal::STOP);
        let saved = setup.folder().join("saved");
        copy(&setup.data(), &saved);
        gateway.signal(Signal::CONT);
        serve(&gateway, &format!("{durability} b"));
        await_mark(&setup, &before);
        let setup = gateway.kill();
        // The folder that was killed is not behind.
        setup.start().kill();
        copy(&saved, &setup.data());
        refused(&setup).assert_refused(1, &BEHIND);
    }
}

#[test]
fn a_folder_that_lost_all_is_refused() {
    let upstream = Upstream::numbering();
    let gateway = marked(&upstream).start();
    serve(&gateway, "a");
    let setup = stopped(gateway);
    fs::remove_dir_all(setup.data()).unwrap();
    refused(&setup).assert_refused(1, &BEHIND);
    refused(&setup).assert_refused(1, &BEHIND);
    serve(&giving_up(&setup), "a");
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_mark_that_tells_nothing_is_refused() {
    let upstream = Upstream::numbering();
    let gateway = marked(&upstream).start();
    serve(&gateway, "a");
    let setup = stopped(gateway);
    let own = fs::read_to_string(mark(&setup)).unwrap();
    let other = stopped(marked(&upstream).start());
    let others = fs::read_to_string(mark(&other)).unwrap();
    for (text, words) in [
        (None, "is missing: there is no"),
        (Some(others.as_str()), "is that of another ledger"),
        (Some("# notes"), "is no mark of a ledger"),
        (Some(""), "is no mark of a ledger"),
    ] {
        fs::remove_file(mark(&setup)).unwrap();
        text.into_iter().for_each(|text| fs::write(mark(&setup), text).unwrap());
        refused(&setup).assert_refused(1, &[words]);
        fs::write(mark(&setup), &own).unwrap();
    }
    stopped(setup.start());
    for (place, words) in [("data/mark", "inside of the data folder"), ("nowhere/mark", "can't be used")] {
        let setup = Setup::new(&upstream.url());
        let setup = setup.clone().ledger(&format!("mark_file = {:?}", setup.folder().join(place)));
        refused(&setup).assert_refused(1, &[words]);
    }
}

/// What loses nothing is never refused: ends of all kinds, a copy without later changes, a mark that comes later.
#[test]
fn a_folder_that_lost_nothing_starts() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    serve(&gateway, "before");
    let plain = stopped(gateway);
    fs::create_dir(plain.folder().join("elsewhere")).unwrap();
    let setup = plain.clone().ledger(&format!("mark_file = {:?}", mark(&plain)));
    for n in 0..4 {
        let gateway = setup.start();
        serve(&gateway, &n.to_string());
        gateway.kill();
    }
    stopped(setup.start());
    let saved = setup.folder().join("saved");
    copy(&setup.data(), &saved);
    stopped(setup.start());
    copy(&saved, &setup.data());
    let gateway = setup.start();
    // A disk that goes away meanwhile stops nothing.
    fs::rename(setup.folder().join("elsewhere"), setup.folder().join("gone")).unwrap();
    serve(&gateway, "while it is gone");
    gateway.assert_logs(&["mark can't be written"]);
    fs::rename(setup.folder().join("gone"), setup.folder().join("elsewhere")).unwrap();
    gateway.assert_logs(&["mark is written again"]);
    stopped(gateway);
    assert_eq!(upstream.count(), 6);
}

/// A change that its disk refused is no change, whether a later write, the last sync or nothing comes after it.
#[test]
fn a_store_that_failed_meanwhile_lost_nothing() {
    let upstream = Upstream::numbering();
    for (n, (durability, fail)) in ["sync", "async"]
        .into_iter()
        .flat_map(|durability| FAILURES.map(|fail| (durability, fail)))
        .enumerate()
    {
        let setup = marked(&upstream).ledger(&format!("durability = {durability:?}"));
        let (setup, faults) = Faults::over(&setup);
        for (end, times) in ENDS {
            let gateway =
                setup.try_start().unwrap_or_else(|e| panic!("{durability} {n}, before {end}: {e:?}"));
            serve(&gateway, &format!("{n} {end} {times}"));
            let ready = |status| (gateway.admin("GET", "/readyz").status == status).then_some(());
            for time in 0..times {
                fail(&faults, true);
                gateway.send(&Request::keyed("/charges", &format!("{n} {end} {times} fails {time}")));
                eventually("readiness is red", || ready(503));
                if end != "stopped meanwhile" {
                    fail(&faults, false);
                    eventually("readiness is green", || ready(200));
                }
            }
            match end {
                "killed" => drop(gateway.kill()),
                _ => drop(gateway.terminate()),
            }
            fail(&faults, false);
        }
        stopped(setup.start());
    }
}
