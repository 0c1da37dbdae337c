//! What strangers and odd services can do: a line for each kind, by the number that it has in issue E. Kinds that unit
//! tests show have their line in `tests/run`.

use super::{claim, tests_of};

/// Declares a test for each kind: its number, what is right, and the beginnings of the names of its tests.
macro_rules! kinds {
    ($($name:ident: $right:literal, [$($test:literal),+ $(,)?];)*) => {
        $(
            #[test]
            #[ignore = "tests/run accept faults"]
            fn $name() {
                let tests = [$($test),+];
                let number = stringify!($name).split('_').nth(1).unwrap_or_default();
                claim(
                    &format!("{number}. {}", $right),
                    "every test of these names passes",
                    &format!("tests/run {}", tests.join(" ")),
                    || tests_of(&tests),
                );
            }
        )*
    };
}

kinds! {
    kind_01_switches: "only listed protocols are switched to; tunnels are counted, bounded, idle out, and drain waits",
        ["edge::upgrades::"];
    kind_02_unreadable: "what a policy cannot read is refused where a key is required or a sender's mark is there",
        ["policies::shelf::what_cant_be_read", "policies::shelf::a_senders_mark", "policies::shelf::a_member"];
    kind_03_two_statuses: "the status that an answer's type says decides; two that disagree are unknown",
        ["answers::judging::grpc", "answers::judging::a_grpc_web"];
    kind_04_resend: "a policy's resend counts for PUT and DELETE alone",
        ["operating::operations::a_policys_resend"];
    kind_05_new_credentials: "schemes whose credential is new each time are refused with what to set",
        ["keys::principals::credentials", "keys::principals::schemes"];
    kind_06_paths: "a path in any writing is guarded or refused, and is one operation",
        ["edge::targets::"];
    kind_07_hosts: "a host in any writing is one, or 400",
        ["edge::targets::a_host", "edge::targets::a_request_without_host"];
    kind_09_principals_fields: "a principal's field is taken from nobody but trusted peers, on every route",
        [
            "keys::principals::no_stranger", "keys::principals::one_routes_field", "keys::principals::a_twin",
            "edge::passing::a_clients_trailers",
        ];
    kind_10_framing: "an answer's framing is made anew or refused",
        ["answers::upstreams::an_answers_framing", "answers::upstreams::an_answer_of_unreadable"];
    kind_12_late_bytes: "late bytes of a pooled connection are nobody's answer",
        ["answers::upstreams::late_bytes"];
    kind_13_cloud_events: "what is no CloudEvent is not taken for one",
        ["policies::shelf::what_is_no_cloud_event", "policies::shelf::standard_webhooks"];
    kind_14_receivers: "a delivery's key has what tells receivers apart",
        ["policies::shelf::each_receiver", "policies::shelf::a_delivery_is_one"];
    kind_15_forged: "whoever waits gets no stranger's refusal",
        ["policies::shelf::whoever_waits"];
    kind_16_early_answers: "an answer that has arrived is read though the write failed",
        ["answers::upstreams::an_answer_before", "answers::upstreams::a_connection_ends"];
    kind_17_heads: "a head that can be mended is mended",
        ["answers::upstreams::a_head_that_can_be_mended"];
    kind_18_keys_cut: "bare keys are whole or malformed; repeated ones malformed; a form and JSON are two",
        ["operating::bad_input::malformed_keys", "policies::shelf::a_form_and_json", "policies::shelf::a_json_rpc_replay"];
    kind_19_fields: "trailers, status lines, interim answers, long ids and cut answers",
        [
            "answers::upstreams::an_upstream_cannot_speak", "answers::upstreams::a_status_line",
            "answers::upstreams::of_an_answer_cut", "edge::passing::no_trailer", "edge::framing::trailers",
            "policies::shelf::a_json_rpc_id",
        ];
    kind_20_slow_readers: "idle begins when all is flushed; writes have a time of their own",
        ["edge::connections::a_slow_reader", "edge::connections::who_takes_nothing"];
    kind_21_bodies: "the budget of bodies can't be locked",
        ["edge::budget::"];
    kind_22_documents: "the host's work for a policy is bounded",
        ["policies::large_bodies::"];
    kind_23_memory: "what waits to be sent, and what is bypassed, is counted; who takes nothing is cut off",
        ["edge::budget::answers", "edge::budget::what_is_bypassed", "edge::budget::small", "edge::connections::who_takes"];
    kind_24_descriptors: "files are left for upstreams, the store and the admin interface",
        ["operating::descriptors::", "operating::upstream_places::"];
    kind_25_logs: "a log that nobody reads stops nothing",
        ["operating::logs::"];
    kind_26_clients_faults: "a client's fault is not the upstream's",
        ["edge::plain::a_broken_upload"];
    kind_27_times: "the times of plain proxying",
        ["edge::plain::"];
    kind_28_rollback: "strangers roll no policy back",
        ["policies::rollback::"];
    kind_29_variables: "variables that a Service injects stop no start",
        ["operating::commands::variables_of_a_service"];
    kind_33_purity: "a policy that remembers is refused before it serves",
        ["policies::bad_guests::one_that_keeps_state", "policies::kit::what_the_gateway_tries"];
    kind_34_memory_of_c: "a module's allocators share its memory",
        ["policies::kit::c_shares"];
    kind_35_labels: "a policy's labels reach metrics and log",
        ["operating::commands::a_policys_labels"];
    kind_37_full_disks: "a full disk heals without a restart, and a start on one is given room",
        ["faults::store_failure::"];
    kind_39_hanging_disks: "a disk that hangs is noticed, and nothing new waits",
        ["faults::store_trouble::a_disk_that_hangs"];
    kind_40_starts: "a start ends what was under way, in portions",
        ["faults::crash::a_start"];
    kind_43_torn_tails: "a torn tail is no damage, and a rotten journal is",
        ["faults::power_loss::a_torn_tail", "operating::commands::a_journal_that_rotted"];
    kind_44_copies: "a folder put back from a copy is noticed",
        ["operating::copies::"];
}
