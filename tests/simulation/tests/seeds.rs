//! Seeds that broke a promise once, each named for what was wrong; and that a seed is a whole run. The code
//! has changed its order of steps since, and with it what happens in a seed: that each of these faults is
//! caught again is what unit tests and `breaks/` hold.

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

/// Who waited by the highest key for what is sent again under a lower one judged its record by that, and
/// was told that the key stood for something else.
#[test]
fn who_waits_for_what_is_sent_again_under_an_older_key_is_not_told_that_it_was_reused() {
    holds(800);
}

/// The same where the record is in a space that has left, to which pointers lead.
#[test]
fn who_waits_for_what_is_sent_again_under_a_key_that_it_has_not_is_not_told_that_it_was_reused() {
    holds(63_284);
}

/// Another request had left its pointer on the way, and one too late to execute was told by that.
#[test]
fn anothers_pointer_does_not_hide_an_answer_from_who_is_too_late() {
    holds(29_921);
}

/// One that waited by a lower key sent again what ended unknown meanwhile.
#[test]
fn who_waits_by_an_older_key_does_not_send_again() {
    holds(34_268);
}

/// The clock was days ahead at one start: a space left, its record forgotten but not removed, and at the next
/// start the clock was back.
#[test]
fn a_space_leaves_for_good() {
    holds(62_297);
}

/// A claim that landed after its gateway's lease on the list was over stayed behind in a space that had left,
/// while the operation had its answer under another key.
#[test]
fn a_gateway_whose_lease_is_over_tells_nothing_of_what_was_left_behind() {
    holds(109_673);
}

/// The same, unknown and expired when the space had come back.
#[test]
fn an_unknown_that_expired_does_not_hide_an_answer() {
    holds(16_766);
}

/// The checker's own: ledger time was ahead when this was told to be too late, and was put back after it.
#[test]
fn a_wall_clock_that_is_put_back_makes_nothing_untrue() {
    holds(109_363);
}

/// The checker's own: an answer was read while it was kept, and told when it was forgotten and the operation had
/// run anew, as it may.
#[test]
fn an_answer_that_is_told_late_is_of_its_own_execution() {
    holds(75_196);
}

/// Another content under the same key was claimed by a gateway whose lease on the list was over, and was not
/// sent: nobody is told that the key was reused for that, where it leads to an answer.
#[test]
fn what_may_not_be_sent_is_no_reuse_of_its_key() {
    holds(91_902);
}

/// A request came while the operation executed, and its gateway's write to pin an older space took long. The
/// operation ended unknown meanwhile, and was sent again for that request, whose caller had not been told.
#[test]
fn what_ends_unknown_on_a_requests_way_is_not_resent() {
    holds(156_007);
}

/// A claim met a record under its own key and then looked at other keys. Its waiters judged that record by the
/// time of the last look, and were told that its lease had lapsed, though it was completed meanwhile.
#[test]
fn a_record_is_judged_by_when_its_own_key_was_asked() {
    holds(106_976);
}

/// What was sent again did not claim the common keys. Its own record had reached the store after its leases, when
/// another principal had them.
#[test]
fn a_resend_claims_the_common_keys_too() {
    holds(31_432);
}

/// A claim over a record that was over came between the two looks at a change of sources, and was not looked at.
#[test]
fn a_claim_over_a_dead_record_holds_a_change_up() {
    holds(84_447);
}

/// An operator had an operation forgotten while the store's word on its settlement was on its way. The next request
/// waited for that execution, and got its answer.
#[test]
fn what_is_being_settled_is_not_forgotten() {
    holds(92_810);
}

/// The checker's own: ledger time was two days ahead for a moment, an execution was forgotten in that time, and took
/// effect after the next one under its key was claimed. A probe told of it.
#[test]
fn a_probe_may_tell_of_what_was_forgotten() {
    holds(99_406);
}

/// The checker's own: an operator had one of two records of an operation forgotten, whose keys were made by another
/// source of principals.
#[test]
fn one_of_two_records_may_be_forgotten() {
    holds(93_311);
}
