//! At most one execution for each key, and an outcome that nobody knows is held.

use super::{claim, tests_of};
use crate::answers::inflight;
use crate::faults::crash;
use crate::faults::points;
use crate::faults::power_loss;

#[test]
#[ignore = "tests/run accept never-twice"]
fn two_hundred_concurrent_identical_requests() {
    claim(
        "200 concurrent identical requests, ten rounds",
        "1 execution a round, 2000 coherent answers",
        "tests/run answers::inflight::two_hundred",
        || inflight::burst(10),
    );
}

#[test]
#[ignore = "tests/run accept never-twice"]
fn outcomes_and_their_evidence() {
    claim(
        "outcomes: the table, the operator's rules, settle, gRPC; evidence of not-applied on real sockets",
        "every test of these names passes",
        "tests/run answers::outcomes:: answers::judging:: faults::settlements::",
        || tests_of(&["answers::outcomes::", "answers::judging::", "faults::settlements::"]),
    );
}

#[test]
#[ignore = "tests/run accept never-twice"]
fn unknown_and_the_ways_out_of_it() {
    claim(
        "unknown: held; probes, resend, the operator, the client's look-up",
        "every test of these names passes",
        "tests/run operating::probes:: operating::operations::",
        || tests_of(&["operating::probes::", "operating::operations::"]),
    );
}

#[test]
#[ignore = "tests/run accept never-twice"]
fn leases() {
    claim(
        "leases: stopped past the lease its own late answer settles; held up before the first byte nothing is sent",
        "every test of these names passes",
        "tests/run faults::pauses:: faults::ledger_time::an_execution",
        || tests_of(&["faults::pauses::", "faults::ledger_time::an_execution"]),
    );
}

#[test]
#[ignore = "tests/run accept never-twice"]
fn kills_at_named_points() {
    claim(
        "kill -9 at named points of an operation and at every third step of a start",
        "at most 1 execution a key, answers replayed, in flight unknown",
        "tests/run faults::points::",
        || {
            let operation = points::kills_at_points(3);
            format!(
                "{operation}; {}; {}",
                points::kills_at_start(3),
                tests_of(&["faults::points::nobody", "faults::points::nothing"])
            )
        },
    );
}

#[test]
#[ignore = "tests/run accept never-twice"]
fn a_hundred_kills_at_random() {
    claim(
        "kill -9 under load, a hundred times at random moments",
        "0 lost or changed, at most 1 execution a key, in flight: outcome-unknown",
        "tests/run faults::crash::",
        || crash::kills(100),
    );
}

#[test]
#[ignore = "tests/run accept never-twice"]
fn power_loss() {
    claim(
        "power loss under load, at every fourth step of a start, in the last write; with async as the table says",
        "10 seeds: nothing acknowledged lost, nothing run twice, the folder opens every time",
        "tests/run faults::power_loss::",
        || {
            let cuts = power_loss::cuts(10);
            format!(
                "{cuts}; {}; {}",
                power_loss::cuts_at_start(4),
                tests_of(&["faults::power_loss::a_torn", "faults::power_loss::with_async"])
            )
        },
    );
}

#[test]
#[ignore = "tests/run accept never-twice"]
fn the_readmes_table() {
    claim(
        "the README's table, store × durability × fault → promise, and what gives a promise up",
        "each store, durability and fault is in it, and every setting that gives one up is named",
        "grep -A40 'What is promised' README.md",
        || {
            let readme = include_str!("../../README.md");
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
