//! Duplicates get the first answer as it was, whoever leaves meanwhile.

use super::{claim, tests_of};

#[test]
#[ignore = "tests/run accept answers"]
fn replay_fidelity() {
    claim(
        "replay fidelity: fields, trailers, codings, framings, HTTP/1.0, large answers, streams",
        "every test of these names passes",
        "tests/run edge::framing:: answers::fidelity::",
        || tests_of(&["edge::framing::", "answers::fidelity::"]),
    );
}

#[test]
#[ignore = "tests/run accept answers"]
fn detachment_and_drain() {
    claim(
        "clients that leave cancel nothing; client_gone; shutdown in order",
        "every test of these names passes",
        "tests/run answers::inflight:: operating::shutdown::",
        || tests_of(&["answers::inflight::", "operating::shutdown::"]),
    );
}
