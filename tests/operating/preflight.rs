//! What `oncegate check` says of the ledger: the key spaces that the policies would have, and whether a
//! start would be refused; without doing anything to it.

use crate::guests::{self, Guest};
use crate::keys::changes::{numbers, operation};
use crate::support::gateway::{Ended, replace, run};
use crate::support::*;
use serde_json::Value;

fn check(setup: &Setup, flags: &[&str]) -> Ended {
    setup.write();
    let file = setup.file();
    let args = ["check", "--config", file.to_str().expect("a plain path")];
    run(&[&args[..], flags].concat(), setup.folder())
}

#[track_caller]
fn says(setup: &Setup, words: &[&str]) {
    let ended = check(setup, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for word in words {
        assert!(ended.stdout.contains(word), "{word:?} is not in:\n{}", ended.stdout);
    }
}

#[track_caller]
fn roles(setup: &Setup) -> Vec<(u64, String)> {
    let ended = check(setup, &["--output", "json"]);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {ended:?}"));
    let spaces = document["key_spaces"]["policies"]["keys"].as_array().cloned();
    let one = |space: &Value| {
        (space["number"].as_u64().expect("a number"), space["role"].as_str().expect("a word").to_owned())
    };
    spaces.unwrap_or_else(|| panic!("{document}")).iter().map(one).collect()
}

#[test]
fn a_check_tells_which_key_spaces_a_start_would_have_and_changes_none() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let changed = setup.clone().policy("key_epoch = 7");
    says(&setup, &["keys: begins with a key space (key-schema", "key_epoch 0)"]);
    assert!(!setup.data().exists());
    let gateway = setup.start();
    let first = gateway.send(&operation("k"));
    says(&setup, &["can't be looked at", "holds the data folder", "/v1/policies"]);
    gateway.kill();
    says(&setup, &["key space 0 (key-schema", "key_epoch 0), as before"]);
    says(
        &changed,
        &["key space 1 (key-schema", "key_epoch 7) is opened", "key_epoch 0) is derived beside it"],
    );
    assert_eq!(roles(&setup), [(0, "decides".to_owned())]);
    assert_eq!(roles(&changed), [(0, "reads".to_owned()), (1, "opens".to_owned())]);
    let gateway = setup.start();
    assert_eq!(numbers(&gateway), [0], "a check opens nothing");
    gateway.send(&operation("k")).assert_replay_of(&first);
    gateway.kill();
    // Without what made the old keys.
    let gateway = changed.start();
    gateway.kill();
    for file in std::fs::read_dir(setup.data().join("policies")).expect("it is there").flatten() {
        std::fs::remove_file(file.path()).expect("the test's own folder");
    }
    says(&changed, &["key space 0", "can't be derived, so that its routes refuse"]);
    assert_eq!(roles(&changed), [(0, "missing".to_owned()), (1, "decides".to_owned())]);
}

#[test]
fn a_check_tells_what_a_start_would_be_refused_for() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url()).path("/v1");
    let file = setup.folder().join("policy.wasm");
    replace(&file, &Guest::default().component());
    let setup = setup.component(&file);
    let gateway = setup.start();
    let first = gateway.send(&Request::keyed("/v1/charges", "k").field("X-Other", "o"));
    first.assert_executed(201);
    replace(&file, &guests::keyed_by_header("x-other", "toy/1"));
    assert_eq!(gateway.admin("POST", "/v1/policies/keys/reload").status, 422);
    gateway.kill();
    check(&setup, &[]).assert_refused(1, &["part 1 of 1 is another", "keeps that", "key_epoch"]);
    replace(&file, &Guest::default().component());
    let ended = check(&setup.clone().path("/v2"), &["--output", "json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {ended:?}"));
    let fault = &said["faults"][0];
    assert_eq!((&said["ok"], &fault["key"]), (&false.into(), &"ledger".into()), "{said}");
    let problem = fault["problem"].as_str().unwrap_or_default();
    for word in ["route `all`", "meet no route", "1 live record", "--accept-duplicates"] {
        assert!(problem.contains(word), "{word:?} is not in {problem}");
    }
    let gateway = setup.start();
    gateway.send(&Request::keyed("/v1/charges", "k").field("X-Other", "o")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 1);
}

/// A folder is one gateway's: the one that had it is gone, however lately.
#[test]
fn a_check_after_a_stop_names_no_other_gateway() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let gateway = setup.start();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    gateway.terminate();
    let ended = check(&setup.clone().path("/v2"), &[]);
    ended.assert_refused(1, &["would meet no route"]);
    assert!(!ended.stderr.contains("another gateway"), "{}", ended.stderr);
}
