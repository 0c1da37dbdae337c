//! Programs of others that a test runs: curl, Python, Node. A missing program is reported past the test
//! harness's capture, so that a skipped test never looks like a passed one.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program of the machine, or of the environment that `tests/run` makes.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    if name == "python3" {
        let made = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-env/bin/python3"));
        return Some(std::env::var_os("ONCEGATE_TEST_PYTHON").map_or(made, PathBuf::from))
            .filter(|p| p.exists());
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// A script of `tests/clients`.
pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Says that a test did not run, and why. `tests/run` collects these lines.
pub(crate) fn skip(test: &str, why: &str) {
    tell_skipped(test, why);
    assert!(std::env::var_os("ONCEGATE_NO_SKIPS").is_none(), "{test} must run here: {why}");
}

/// Says that a test did not run, and why, if something else stands in for the test.
pub(crate) fn tell_skipped(test: &str, why: &str) {
    let line = format!("\nSKIPPED {test}: {why}\n");
    // The harness swallows `eprintln!` when a test passes, so the line is written directly.
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is there");
}

/// Runs a program and returns its stdout. A failure of the program fails the test.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    // A proxy of the environment has no business between loopback and loopback.
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let output = command.env("NO_PROXY", "*").stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{told}", output.status);
    String::from_utf8(output.stdout).expect("our scripts write text")
}
