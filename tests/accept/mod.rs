//! Capabilities, measured. Each test prints one line that `tests/run accept NAME` shows:
//! `ACCEPT PASS|FAIL <what> — observed …; bound …; by hand: <command>`. They are ignored in an
//! ordinary run, which has the same checks as tests of their own. Other programs (the simulation,
//! fuzzing, benchmarks) have their lines in `tests/run`.

mod answers;
mod bad_input;
mod faults;
mod first_day;
mod house;
mod key_changes;
mod never_twice;
mod policies;
mod reloads;
mod store_and_time;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

/// Runs a check and prints its line; a check that failed fails the test too.
fn claim(what: &str, bound: &str, by_hand: &str, check: impl FnOnce() -> String) {
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
use named;

/// Runs all tests whose names begin so, of each of these beginnings; how many passed.
fn tests_of(beginnings: &[&str]) -> String {
    let told: Vec<String> = beginnings.iter().map(|beginning| passed_of(beginning)).collect();
    told.join(", ")
}

fn passed_of(beginning: &str) -> String {
    let program = std::env::current_exe().expect("it runs");
    let listed = output(Command::new(&program).args(["--list", beginning]));
    let tests: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| name.starts_with(beginning))
        .collect();
    assert!(!tests.is_empty(), "there is no test {beginning}");
    let told = output(Command::new(&program).args(["--exact", "--test-threads", "2"]).args(&tests));
    let passed = told.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    let failed: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect();
    assert!(failed.is_empty() && passed > 0, "of {beginning} failed: {}", failed.join(", "));
    format!("{passed} of {beginning}")
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("it is this program");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
