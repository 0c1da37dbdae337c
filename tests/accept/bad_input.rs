//! Bad input of every kind is refused, names its cure and leaves nothing behind.

use super::{cases, claim, named};
use crate::answers::dedup;
use crate::answers::outcomes;
use crate::operating::bad_input;
use crate::operating::commands;
use crate::policies::bad_components;
use crate::policies::bad_guests;
use crate::policies::reload;

#[test]
#[ignore = "tests/run accept bad-input"]
fn bad_requests() {
    claim(
        "bad requests: keys, payload, body, upload, Connection, framing",
        "each refused, nothing executed or left",
        "tests/run operating::bad_input::",
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
#[ignore = "tests/run accept bad-input"]
fn bad_configuration_and_data() {
    claim(
        "bad configuration and data: unknown keys, damaged folder",
        "exit 1 with line and suggestion, no panic",
        "tests/run operating::commands::",
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
#[ignore = "tests/run accept bad-input"]
fn bad_components() {
    claim(
        "bad components: truncated, core module, other world",
        "exit 1 or the old one stays, named",
        "tests/run policies::bad_components::",
        || {
            cases(named![
                bad_components::a_truncated_component_is_refused,
                bad_components::a_core_module_is_refused_and_told_apart_from_a_component,
                bad_components::a_component_that_exports_no_policy_is_refused,
                bad_components::a_component_that_asks_for_more_is_refused_by_the_imports_name,
                reload::a_broken_file_leaves_the_old_policy_running_and_the_list_says_why,
            ])
        },
    );
}

#[test]
#[ignore = "tests/run accept bad-input"]
fn bad_guests() {
    claim(
        "components that trap, loop, eat memory or break the rules",
        "503 policy-failed for their own requests, nothing sent, the other routes unharmed",
        "tests/run policies::bad_guests::",
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
#[ignore = "tests/run accept bad-input"]
fn bad_upstreams() {
    claim(
        "bad upstreams: unreachable, silent, broken, stopping in mid-answer",
        "key free only where nothing was sent, else outcome-unknown",
        "tests/run answers::outcomes::",
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
