//! Keys change under live traffic.

use super::{claim, tests_of};
use crate::keys::changes;
use crate::keys::lost;

#[test]
#[ignore = "tests/run accept key-changes"]
fn key_migration() {
    claim(
        "keys change under live traffic: component, setting, epoch, rollback, several at a time, with kills",
        "0 second executions; key-reused only where a live key is split",
        "tests/run keys::changes:: keys::older_generations:: operating::preflight::",
        || {
            format!(
                "{}; {}",
                changes::storm(12),
                tests_of(&["keys::changes::", "keys::older_generations::", "operating::preflight::"])
            )
        },
    );
}

#[test]
#[ignore = "tests/run accept key-changes"]
fn changes_that_lose_keys() {
    claim(
        "routes, policies' names and principals' sources change amid requests: refused where a live record would lose \
         its key",
        "0 second executions; --accept-duplicates gives it up",
        "tests/run keys::lost::",
        || format!("{}; {}", lost::race(60), tests_of(&["keys::lost::"])),
    );
}
