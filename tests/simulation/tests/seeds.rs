//! Seeds that break a promise where a fix is taken back, each named for what was wrong; and that a seed is
//! a whole run.

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
    for seed in 0..200 {
        assert_eq!(run(seed, false).history, run(seed, false).history, "seed {seed}");
    }
}

/// Held up past its lease, an execution came too late to settle, and its client had its answer all the
/// same; the record said unknown.
#[test]
fn an_answer_that_the_record_did_not_take_is_not_told() {
    holds(514);
}

/// A gateway that had stood still told from memory that its lease had lapsed, while another had freed
/// and completed the operation.
#[test]
fn a_lapsed_lease_in_memory_says_nothing() {
    holds(744);
}

/// Judged by when it was asked for, an expired answer was called consumed.
#[test]
fn an_expired_answer_is_not_called_consumed() {
    holds(5461);
}

/// The removal of its record was long on its way back. Another gateway executed and completed the
/// operation meanwhile, and who came then was told here that nothing had happened.
#[test]
fn who_comes_when_the_key_is_free_already_is_not_told_that_nothing_happened() {
    holds(25_599);
}

/// The checker's own: ledger time was ahead when this was told to be too late, and was put back after it.
#[test]
fn a_wall_clock_that_is_put_back_makes_nothing_untrue() {
    holds(109_363);
}
