//! The issue's *done when*, measured. Each test prints one line that `tests/run accept A` shows:
//! `ACCEPT PASS|FAIL <what> — observed …; bound …; by hand: <command>`. They are ignored in an
//! ordinary run, which has the same checks as tests of their rooms.

use crate::support::*;
use crate::{
    bad_guests, bad_input, bad_policies, clients, commands, crash, dedup, inflight, outcomes, reload,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Runs a check and prints its line; a check that failed fails the test too.
pub(crate) fn claim(what: &str, bound: &str, by_hand: &str, check: impl FnOnce() -> String) {
    let result = catch_unwind(AssertUnwindSafe(check));
    let (word, observed) = match &result {
        Ok(observed) => ("PASS", observed.clone()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
            ("FAIL", text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect())
        }
    };
    println!("\nACCEPT {word} {what} — observed {observed}; bound {bound}; by hand: {by_hand}");
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Runs cases, all of them; how many passed, and a panic that names those which did not.
fn cases(cases: &[(&str, fn())]) -> String {
    let failed: Vec<&str> =
        cases.iter().filter(|(_, case)| catch_unwind(case).is_err()).map(|(name, _)| *name).collect();
    assert!(
        failed.is_empty(),
        "{} of {} cases; not: {}",
        cases.len() - failed.len(),
        cases.len(),
        failed.join(", ")
    );
    format!("{0} of {0} cases", cases.len())
}

macro_rules! named {
    ($($case:path),* $(,)?) => { &[$((stringify!($case), $case as fn())),*] };
}

#[test]
#[ignore = "tests/run accept A"]
fn a1_the_demo_tells_its_story_with_real_requests() {
    claim(
        "the demo tells its story with real requests",
        "exit 0, nothing left behind",
        "cargo run --release -- demo --once",
        commands::demo,
    );
}

#[test]
#[ignore = "tests/run accept A"]
fn a2_curl_requests_fetch_and_stripes_sdk() {
    claim(
        "curl, Python requests, Node fetch and Stripe's SDK go through",
        "4 clients, replays equal, 1 execution a key",
        "tests/run clients::",
        || {
            let checks = [clients::curl, clients::python_requests, clients::node_fetch, clients::stripe];
            let told: Vec<String> = checks.iter().map(|check| check().expect("the client is here")).collect();
            told.join("; ")
        },
    );
}

#[test]
#[ignore = "tests/run accept A"]
fn a3_two_hundred_concurrent_identical_requests() {
    claim(
        "200 concurrent identical requests, ten rounds",
        "1 execution a round, 2000 coherent answers",
        "tests/run inflight::two_hundred",
        || inflight::burst(10),
    );
}

#[test]
#[ignore = "tests/run accept A"]
fn a4_twenty_kills_under_load() {
    claim(
        "kill -9 under load, twenty times at random moments",
        "0 lost or changed, at most 1 execution a key, in flight: outcome-unknown",
        "tests/run crash::",
        || crash::kills(20),
    );
}

#[test]
#[ignore = "tests/run accept A"]
fn a5_a_thousand_reloads_under_load() {
    claim(
        "1,000 policy reloads under load",
        "0 failed, 0 second executions, RSS at most +5 % over the hundredth's",
        "tests/run accept A a5",
        || reload::swaps(1000, 100, 5),
    );
}

#[test]
#[ignore = "tests/run accept A"]
fn a6_a_second_oncegate() {
    claim(
        "a second Oncegate on the same port or folder exits 1 and says so",
        "exit 1, named",
        "tests/run commands::a_second_gateway",
        || {
            cases(named![
                commands::a_second_gateway_on_the_same_port_is_refused,
                commands::a_second_gateway_on_the_same_folder_is_refused,
            ])
        },
    );
}

#[test]
#[ignore = "tests/run accept A"]
fn a7_bad_requests() {
    claim(
        "bad requests: keys, payload, body, upload, Connection, framing",
        "each refused, nothing executed or left",
        "tests/run bad_input::",
        || {
            cases(named![
                bad_input::malformed_keys_are_refused,
                bad_input::a_missing_key_is_refused_where_one_is_required,
                dedup::another_payload_under_the_same_key_is_refused,
                bad_input::an_oversize_body_is_refused_and_leaves_nothing_behind,
                bad_input::a_cut_upload_leaves_nothing_behind,
                bad_input::fields_that_decide_cannot_be_switched_off_by_connection,
                bad_input::ambiguous_framing_is_refused,
                bad_input::connect_is_refused,
            ])
        },
    );
}

#[test]
#[ignore = "tests/run accept A"]
fn a7_bad_configuration_and_data() {
    claim(
        "bad configuration and data: unknown keys, damaged folder",
        "exit 1 with line and suggestion, no panic",
        "tests/run commands::",
        || {
            cases(named![
                commands::an_unknown_key_is_named_with_its_line_and_what_was_meant,
                commands::a_file_that_is_no_toml_or_is_not_there_is_refused,
                commands::unknown_flags_and_commands_are_usage_errors,
                commands::a_damaged_data_folder_is_refused_in_words,
                commands::a_data_folder_that_is_a_file_is_refused_in_words,
            ])
        },
    );
}

#[test]
#[ignore = "tests/run accept A"]
fn a7_bad_components() {
    claim(
        "bad components: truncated, core module, other world",
        "exit 1 or the old one stays, named",
        "tests/run bad_policies::",
        || {
            cases(named![
                bad_policies::a_truncated_component_is_refused,
                bad_policies::a_core_module_is_refused_and_told_apart_from_a_component,
                bad_policies::a_component_that_exports_no_policy_is_refused,
                bad_policies::a_component_that_asks_for_more_is_refused_by_the_imports_name,
                reload::a_broken_file_leaves_the_old_policy_running_and_the_list_says_why,
            ])
        },
    );
}

#[test]
#[ignore = "tests/run accept A"]
fn a7_bad_guests() {
    claim(
        "components that trap, loop, eat memory or break the rules",
        "503 policy-failed for their own requests, nothing sent, the other routes unharmed",
        "tests/run bad_guests::",
        || {
            cases(named![
                bad_guests::one_that_traps_costs_only_its_own_requests,
                bad_guests::one_that_loops_costs_only_its_own_requests,
                bad_guests::one_that_eats_memory_costs_only_its_own_requests,
                bad_guests::one_that_breaks_the_rules_costs_only_its_own_requests,
                bad_guests::one_that_returns_an_err_costs_only_its_own_requests,
                bad_guests::one_that_traps_at_load_is_refused,
                bad_guests::one_that_loops_at_load_is_refused,
                bad_guests::one_that_refuses_its_settings_is_refused_in_its_own_words,
                bad_guests::a_component_of_another_world_is_refused,
            ])
        },
    );
}

#[test]
#[ignore = "tests/run accept A"]
fn a7_bad_upstreams() {
    claim(
        "bad upstreams: unreachable, silent, broken, stopping in mid-answer",
        "key free only where nothing was sent, else outcome-unknown",
        "tests/run outcomes::",
        || {
            cases(named![
                outcomes::an_unreachable_upstream_leaves_the_key_free,
                outcomes::silence_is_a_timeout_and_then_unknown,
                outcomes::a_reset_after_sending_is_broken_and_then_unknown,
                outcomes::an_answer_cut_in_the_head_is_broken_and_then_unknown,
                outcomes::an_answer_cut_in_the_body_arrives_cut_and_is_unknown,
                outcomes::a_body_that_stops_flowing_is_cut_and_unknown,
            ])
        },
    );
}

#[test]
#[ignore = "tests/run accept A"]
fn a8_figures_for_the_closing_note() {
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
