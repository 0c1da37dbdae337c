//! The store fails, and clocks step.

use super::{claim, tests_of};
use crate::faults::store_failure;
use crate::faults::wall_clock;

#[test]
#[ignore = "tests/run accept store-and-time"]
fn store_failure() {
    claim(
        "store failure: EIO on sync, EIO and ENOSPC on writes, power loss after a failed sync, a full disk, a full \
         memory ledger, bypass",
        "new 503, known replayed, end withheld, red; then settled and resumed without a restart",
        "tests/run faults::store_failure:: faults::store_trouble::",
        || {
            let told = store_failure::every_failure();
            let disk = store_failure::full_disk().unwrap_or_else(|why| format!("not mounted, {why}"));
            let rooms = tests_of(&[
                "faults::store_failure::a_power_loss",
                "faults::store_failure::a_memory",
                "faults::store_trouble::",
            ]);
            format!("{told}; full disk: {disk}; {rooms}")
        },
    );
}

#[test]
#[ignore = "tests/run accept store-and-time"]
fn time() {
    claim(
        "time: the wall clock stepped by days both ways, running and across restarts; too-late; expiry",
        "nothing expires early, nothing revives, ledger time never runs backwards",
        "tests/run faults::wall_clock::",
        || {
            let rooms = tests_of(&[
                "faults::wall_clock::ledger_time",
                "faults::ledger_time::",
                "answers::outcomes::after_its_retention",
                "answers::outcomes::without_a_tombstone",
                "answers::outcomes::an_unknown_outcome_expires",
            ]);
            format!("{}; {rooms}", wall_clock::steps())
        },
    );
}
