//! Seeds that once broke a promise, each named for what was wrong; and that a seed is a whole run.

use oncegate_simulation::run;

#[track_caller]
fn holds(seed: u64) {
    if let Some(violation) = run(seed, false).violation {
        panic!("{violation}\nto see it: tests/run simulate 1 --from {seed} --trace");
    }
}

/// A failing seed is worth something only if it fails again.
#[test]
fn a_seed_repeats_itself() {
    for seed in 0..50 {
        assert_eq!(run(seed, false).history, run(seed, false).history, "seed {seed}");
    }
}

/// `first-sent` was held against what is remembered before anybody had looked for a record.
#[test]
fn what_has_a_record_is_not_too_late() {
    holds(176);
}

/// Held up past its lease, an execution came too late to settle, and its client had its answer all the
/// same; the record said unknown.
#[test]
fn an_answer_that_the_record_did_not_take_is_not_told() {
    holds(1178);
}

/// A gateway that had stood still told from memory that its lease had lapsed, while another had freed
/// and completed the operation.
#[test]
fn a_lapsed_lease_in_memory_says_nothing() {
    holds(2);
}

/// A record that was executing when it was read arrived late, and was taken for lapsed.
#[test]
fn what_was_read_is_judged_by_when_it_was_asked_for() {
    holds(662);
}

/// Judged by when it was asked for, an expired answer was called consumed.
#[test]
fn an_expired_answer_is_not_called_consumed() {
    holds(2061);
}
