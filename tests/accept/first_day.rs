//! What a newcomer meets: the demo, usual clients, a second gateway, the first figures.

use super::{cases, claim, named};
use crate::answers::clients;
use crate::operating::commands;
use crate::support::*;
use std::time::Instant;

#[test]
#[ignore = "tests/run accept first-day"]
fn the_demo_tells_its_story_with_real_requests() {
    claim(
        "the demo tells its story with real requests",
        "exit 0, nothing left behind",
        "cargo run --release -- demo --once",
        commands::demo,
    );
}

#[test]
#[ignore = "tests/run accept first-day"]
fn curl_requests_fetch_and_stripes_sdk() {
    claim(
        "curl, Python requests, Node fetch and Stripe's SDK go through",
        "4 clients, replays equal, 1 execution a key",
        "tests/run answers::clients::",
        || {
            let checks = [clients::curl, clients::python_requests, clients::node_fetch, clients::stripe];
            let told: Vec<String> = checks.iter().map(|check| check().expect("the client is here")).collect();
            told.join("; ")
        },
    );
}

#[test]
#[ignore = "tests/run accept first-day"]
fn a_second_oncegate() {
    claim(
        "a second Oncegate on the same port or folder exits 1 and says so",
        "exit 1, named",
        "tests/run operating::commands::a_second_gateway",
        || {
            cases(named![
                commands::a_second_gateway_on_the_same_port_is_refused,
                commands::a_second_gateway_on_the_same_folder_is_refused,
            ])
        },
    );
}

#[test]
#[ignore = "tests/run accept first-day"]
fn figures_for_the_closing_note() {
    claim(
        "figures of the closing note that need no peer",
        "they can be had; the rest: tests/bench",
        "ls -l target/release/oncegate",
        || {
            let upstream = Upstream::numbering();
            let begun = Instant::now();
            let gateway = Setup::new(&upstream.url()).start();
            gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
            let start = begun.elapsed();
            let size = std::fs::metadata(crate::support::gateway::BINARY).expect("it runs").len();
            format!(
                "start to first answer {} ms, binary {} KiB, RSS {} KiB",
                start.as_millis(),
                size >> 10,
                gateway.rss()
            )
        },
    );
}
