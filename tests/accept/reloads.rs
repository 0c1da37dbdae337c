//! Reloads under traffic, refused where they would break a promise, and taken back.

use super::{claim, tests_of};
use crate::policies::reload;
use std::time::{Duration, Instant};

#[test]
#[ignore = "tests/run accept reloads"]
fn a_thousand_reloads_in_a_minute() {
    claim(
        "1,000 reloads under load, one after the other",
        "60 s; 0 failed requests, 0 second executions, RSS at most +5 % of the hundredth's",
        "tests/run accept reloads a_thousand",
        || {
            let begun = Instant::now();
            let told = reload::swaps(1000, 100, 5);
            let took = begun.elapsed();
            assert!(took <= Duration::from_secs(60), "{took:?}: {told}");
            format!("{:.0} s; {told}", took.as_secs_f64())
        },
    );
}

#[test]
#[ignore = "tests/run accept reloads"]
fn safe_reload() {
    claim(
        "safe reload: steps, settings by schema, the key-schema's promise, rollback, automatic rollback",
        "every test of these names passes",
        "tests/run policies::reload:: policies::promise:: policies::rollback::",
        || tests_of(&["policies::reload::", "policies::promise::", "policies::rollback::"]),
    );
}
