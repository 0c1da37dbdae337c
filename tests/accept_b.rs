//! Issue B, measured: a line for each thing that it delivers, in the form of `accept_a`. What has
//! rooms of its own is run from there, each room in full; what is a figure is measured here. The
//! simulation, the fuzz targets and the golden bytes are other programs: `tests/run` has their lines.

use crate::accept_a::claim;
use crate::{crash, points, power_loss, store_failure, time};
use std::process::Command;

/// Runs all tests whose names begin so, of each of these beginnings; how many passed.
pub(crate) fn rooms(beginnings: &[&str]) -> String {
    let told: Vec<String> = beginnings.iter().map(|beginning| room(beginning)).collect();
    told.join(", ")
}

fn room(beginning: &str) -> String {
    let program = std::env::current_exe().expect("it runs");
    let listed = output(Command::new(&program).args(["--list", beginning]));
    let tests: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| name.starts_with(beginning))
        .collect();
    assert!(!tests.is_empty(), "there is no test {beginning}");
    let told = output(Command::new(&program).args(["--exact", "--test-threads", "2"]).args(&tests));
    let passed = told.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    let failed: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect();
    assert!(failed.is_empty() && passed > 0, "of {beginning} failed: {}", failed.join(", "));
    format!("{passed} of {beginning}")
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("it is this program");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "tests/run accept B"]
fn b1_outcomes_and_their_evidence() {
    claim(
        "outcomes: the table, the operator's rules, settle, gRPC; evidence of not-applied on real sockets",
        "every test of the rooms passes",
        "tests/run outcomes:: judging:: settlements::",
        || rooms(&["outcomes::", "judging::", "settlements::"]),
    );
}

#[test]
#[ignore = "tests/run accept B"]
fn b2_unknown_and_the_ways_out_of_it() {
    claim(
        "unknown: held; probes, resend, the operator, the client's look-up",
        "every test of the rooms passes",
        "tests/run probes:: operations::",
        || rooms(&["probes::", "operations::"]),
    );
}

#[test]
#[ignore = "tests/run accept B"]
fn b3_leases() {
    claim(
        "leases: stopped past the lease its own late answer settles; held up before the first byte nothing is sent",
        "every test of the rooms passes",
        "tests/run pauses:: ledger_time::an_execution",
        || rooms(&["pauses::", "ledger_time::an_execution"]),
    );
}

#[test]
#[ignore = "tests/run accept B"]
fn b4_store_failure() {
    claim(
        "store failure: EIO on sync, EIO and ENOSPC on writes, power loss after a failed sync, a full disk, a full \
         memory ledger, bypass",
        "new 503, known replayed, end withheld, red; then settled and resumed without a restart",
        "tests/run store_failure:: store_trouble::",
        || {
            let told = store_failure::every_failure();
            let disk = store_failure::full_disk().unwrap_or_else(|why| format!("not mounted, {why}"));
            let rooms = rooms(&["store_failure::a_power_loss", "store_failure::a_memory", "store_trouble::"]);
            format!("{told}; full disk: {disk}; {rooms}")
        },
    );
}

#[test]
#[ignore = "tests/run accept B"]
fn b5_replay_fidelity() {
    claim(
        "replay fidelity: fields, trailers, codings, framings, HTTP/1.0, large answers, streams",
        "every test of the rooms passes",
        "tests/run framing:: answers::",
        || rooms(&["framing::", "answers::"]),
    );
}

#[test]
#[ignore = "tests/run accept B"]
fn b6_time() {
    claim(
        "time: the wall clock stepped by days both ways, running and across restarts; too-late; expiry",
        "nothing expires early, nothing revives, ledger time never runs backwards",
        "tests/run time::",
        || {
            let rooms = rooms(&[
                "time::ledger_time",
                "ledger_time::",
                "outcomes::after_its_retention",
                "outcomes::without_a_tombstone",
                "outcomes::an_unknown_outcome_expires",
            ]);
            format!("{}; {rooms}", time::steps())
        },
    );
}

#[test]
#[ignore = "tests/run accept B"]
fn b7_detachment_and_drain() {
    claim(
        "clients that leave cancel nothing; client_gone; shutdown in order",
        "every test of the rooms passes",
        "tests/run inflight:: shutdown::",
        || rooms(&["inflight::", "shutdown::"]),
    );
}

#[test]
#[ignore = "tests/run accept B"]
fn b8_kills_at_named_points() {
    claim(
        "kill -9 at named points of an operation and at every third step of a start",
        "at most 1 execution a key, answers replayed, in flight unknown",
        "tests/run points::",
        || {
            let operation = points::kills_at_points(3);
            format!(
                "{operation}; {}; {}",
                points::kills_at_start(3),
                rooms(&["points::nobody", "points::nothing"])
            )
        },
    );
}

#[test]
#[ignore = "tests/run accept B"]
fn b8_a_hundred_kills_at_random() {
    claim(
        "kill -9 under load, a hundred times at random moments",
        "0 lost or changed, at most 1 execution a key, in flight: outcome-unknown",
        "tests/run crash::",
        || crash::kills(100),
    );
}

#[test]
#[ignore = "tests/run accept B"]
fn b8_power_loss() {
    claim(
        "power loss under load, at every fourth step of a start, in the last write; with async as the table says",
        "10 seeds: nothing acknowledged lost, nothing run twice, the folder opens every time",
        "tests/run power_loss::",
        || {
            let cuts = power_loss::cuts(10);
            format!(
                "{cuts}; {}; {}",
                power_loss::cuts_at_start(4),
                rooms(&["power_loss::a_torn", "power_loss::with_async"])
            )
        },
    );
}

#[test]
#[ignore = "tests/run accept B"]
fn b9_the_readmes_table() {
    claim(
        "the README's table, store × durability × fault → promise, and what gives a promise up",
        "each store, durability and fault is in it, and every setting that gives one up is named",
        "grep -A40 'What is promised' README.md",
        || {
            let readme = include_str!("../README.md");
            let (_, promised) = readme.split_once("## What is promised").expect("the section");
            let promised = promised.split("\n## ").next().unwrap_or_default();
            let words = [
                "| memory |",
                "| embedded | sync |",
                "| embedded | async |",
                "killed",
                "power",
                "clock",
                "disk",
                "stands still",
                "`memory`",
                "`async`",
                "bypass",
                "`dedupes`",
                "`accept_repeats`",
                "`outcomes`",
                "`settle_after`",
                "operator",
                "tombstone",
                "bearer token",
            ];
            let missing: Vec<_> = words.iter().filter(|word| !promised.contains(**word)).collect();
            assert!(missing.is_empty(), "not said: {missing:?}");
            let rows = promised.lines().filter(|line| line.starts_with("| ")).count();
            format!("{rows} rows, {} words found", words.len())
        },
    );
}
