//! A data folder that is put back from a copy: noticed by the mark outside of it.

use crate::support::gateway::Ended;
use crate::support::*;
use rustix::io::Errno;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk that fails, and ends of the gateway that come after it or meanwhile.
const FAILURES: [fn(&Faults, bool); 3] = [
    |faults, fails| faults.fail_journals(fails.then_some(Errno::NOSPC)),
    |faults, fails| faults.fail_writes(fails.then_some(Errno::NOSPC)),
    |faults, fails| faults.fail_syncs(fails.then_some(Errno::IO)),
];
const ENDS: [(&str, u8); 3] = [("stopped", 3), ("killed", 1), ("stopped meanwhile", 1)];

/// The start is refused, with how many changes are missing.
#[track_caller]
fn assert_behind(ended: &Ended, missing: u64) {
    let missing = match missing {
        1 => "1 change of its records is missing, ".to_owned(),
        _ => format!("{missing} changes of its records are missing, "),
    };
    assert_is_behind(ended, &missing);
}

#[track_caller]
fn assert_is_behind(ended: &Ended, missing: &str) {
    ended.assert_refused(1, &["is older than its mark in", missing, "--accept-duplicates"]);
}

/// The number in the mark.
fn changes(setup: &Setup) -> u64 {
    let text = fs::read_to_string(mark(setup)).unwrap();
    text.lines().find_map(|line| line.strip_prefix("changes ")?.parse().ok()).unwrap()
}

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
    let first = changes(&setup);
    let gateway = setup.start();
    serve(&gateway, "b");
    stopped(gateway);
    let second = changes(&setup);
    assert!(second > first, "{first} {second}");
    let newest = setup.folder().join("newest");
    copy(&data, &newest);
    copy(&saved, &data);
    assert_behind(&refused(&setup), second - first);
    assert_behind(&setup.check(&[]), second - first);
    // The newest one is taken as before.
    copy(&newest, &data);
    let gateway = setup.start();
    gateway.send(&Request::keyed("/charges", "b"));
    stopped(gateway);
    assert_eq!(upstream.count(), 2);
    // Said aloud, the copy goes on. From then on it is the newest.
    copy(&saved, &data);
    let gateway = giving_up(&setup);
    gateway.assert_logs(&["WARN", "goes on by --accept-duplicates", &format!(": {} change", second - first)]);
    serve(&gateway, "b");
    assert_eq!(upstream.count(), 3);
    stopped(gateway);
    stopped(setup.start());
    copy(&newest, &data);
    assert_behind(&refused(&setup), changes(&setup) - second);
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
        assert_is_behind(&refused(&setup), "missing, made after");
    }
}

#[test]
fn a_folder_that_lost_all_is_refused() {
    let upstream = Upstream::numbering();
    let gateway = marked(&upstream).start();
    serve(&gateway, "a");
    let setup = stopped(gateway);
    fs::remove_dir_all(setup.data()).unwrap();
    for _ in 0..2 {
        assert_behind(&refused(&setup), changes(&setup));
        assert_is_behind(&refused(&setup), "missing, all of them, made until");
    }
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
        (Some(others.as_str()), "two gateways name one file"),
        (Some("# notes"), "is no mark of a ledger"),
        (Some(""), "is no mark of a ledger"),
    ] {
        fs::remove_file(mark(&setup)).unwrap();
        text.into_iter().for_each(|text| fs::write(mark(&setup), text).unwrap());
        refused(&setup).assert_refused(1, &[words]);
        fs::write(mark(&setup), &own).unwrap();
    }
    stopped(setup.start());
    fs::remove_file(mark(&setup)).unwrap();
    let gateway = giving_up(&setup);
    let last = format!("changes={}", changes(&setup));
    gateway.assert_logs(&["WARN", "is made anew by --accept-duplicates", &last, "until="]);
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
    let unmarked = || gateway.metric("oncegate_store_changes_unmarked");
    assert!(unmarked() > 0);
    fs::rename(setup.folder().join("gone"), setup.folder().join("elsewhere")).unwrap();
    gateway.assert_logs(&["mark is written again"]);
    assert_eq!(unmarked(), 0);
    stopped(gateway);
    assert_eq!(upstream.count(), 6);
}

/// A link leads to another disk before its end is there, too, and stays a link.
#[test]
fn a_link_of_a_mark_is_followed() {
    let upstream = Upstream::numbering();
    let linked = |target: &Path| {
        let setup = Setup::new(&upstream.url());
        let link = setup.folder().join("link");
        symlink(target, &link).unwrap();
        (setup.ledger(&format!("mark_file = {link:?}")), link)
    };
    for target in ["elsewhere/mark", "./elsewhere/../elsewhere/mark"] {
        let (setup, link) = linked(Path::new(target));
        fs::create_dir(setup.folder().join("elsewhere")).unwrap();
        stopped(setup.start());
        assert!(link.is_symlink() && mark(&setup).is_file(), "{target}");
    }
    let other = tempfile::tempdir().unwrap();
    let (setup, link) = linked(&other.path().join("mark"));
    stopped(setup.start());
    assert!(link.is_symlink() && other.path().join("mark").is_file());
    for (target, words) in [
        ("gone/mark", "No such file"),
        ("data/mark", "inside of the data folder"),
        ("socket", "it is no regular file"),
    ] {
        let (setup, link) = linked(Path::new(target));
        let _socket = UnixListener::bind(setup.folder().join("socket")).unwrap();
        refused(&setup).assert_refused(1, &[words]);
        assert!(link.is_symlink(), "{target}");
    }
}

/// Only a file that tells of all changes must be written at a start: an older one is behind as it is while it runs.
#[test]
fn an_old_mark_on_a_full_disk_stops_no_start() {
    let upstream = Upstream::numbering();
    let setup = stopped(marked(&upstream).start());
    let before = fs::read_to_string(mark(&setup)).unwrap();
    let gateway = setup.start();
    serve(&gateway, "a");
    let setup = stopped(gateway);
    fs::write(mark(&setup), before).unwrap();
    let new = setup.folder().join("elsewhere/mark.new");
    fs::create_dir(&new).unwrap();
    let gateway = setup.start();
    gateway.assert_logs(&["mark can't be written"]);
    fs::remove_dir(&new).unwrap();
    serve(&gateway, "b");
    gateway.assert_logs(&["mark is written again"]);
    stopped(gateway);
}

/// Who forgets to name the mark is told, and what is changed meanwhile counts.
#[test]
fn a_start_without_its_mark_is_warned_of() {
    let upstream = Upstream::numbering();
    let without = Setup::new(&upstream.url());
    fs::create_dir(without.folder().join("elsewhere")).unwrap();
    let setup = without.clone().ledger(&format!("mark_file = {:?}", mark(&without)));
    stopped(setup.start());
    let gateway = without.start();
    gateway.assert_logs(&["WARN", "has had a mark, and `ledger.mark_file` is not set"]);
    serve(&gateway, "meanwhile");
    stopped(gateway);
    let saved = setup.folder().join("saved");
    copy(&setup.data(), &saved);
    let gateway = setup.start();
    serve(&gateway, "later");
    let setup = stopped(gateway);
    copy(&saved, &setup.data());
    assert_behind(&refused(&setup), 2);
}

/// Nobody can tell it from a folder that has lost all.
#[test]
fn a_second_ledger_at_a_mark_is_told_both() {
    let upstream = Upstream::numbering();
    let gateway = marked(&upstream).start();
    serve(&gateway, "a");
    let first = stopped(gateway);
    let second = Setup::new(&upstream.url()).ledger(&format!("mark_file = {:?}", mark(&first)));
    for _ in 0..2 {
        let both =
            ["put back from a copy", "another gateway's ledger", "a file of its own in `ledger.mark_file`"];
        refused(&second).assert_refused(1, &both);
    }
    stopped(first.start());
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
                    // By then the failed handle is closed, and what it held back is lost.
                    gateway.assert_logs(&["can't be opened again yet"]);
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

/// What is recorded is its owner's to read.
#[test]
fn a_folder_others_can_read_is_told() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    assert_eq!(mode(&gateway.setup.data()), 0o700);
    let setup = stopped(gateway);
    let told = "other users can read the data folder";
    for (given, is_told) in [(0o755, true), (0o750, false), (0o700, false)] {
        fs::set_permissions(setup.data(), fs::Permissions::from_mode(given)).unwrap();
        let gateway = setup.start();
        if is_told {
            gateway.assert_logs(&["WARN", told]);
        }
        assert_eq!((mode(&setup.data()), gateway.stderr().contains(told)), (given, is_told));
        stopped(gateway);
    }
}
