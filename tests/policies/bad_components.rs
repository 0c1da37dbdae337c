//! Components that are none, or none of ours: refused at start and at reload, by name.
//!
//! Guests that trap, loop, eat memory or break the interface's rules are in `bad_guests`.

use crate::support::gateway::Ended;
use crate::support::*;
use std::path::PathBuf;

/// The built-in policy's component, as it is committed.
pub(crate) fn builtin() -> Vec<u8> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/idempotency-key/idempotency-key.wasm");
    std::fs::read(file).expect("it is committed beside its source")
}

/// Writes a component into the setup's folder.
pub(crate) fn put(setup: &Setup, name: &str, bytes: &[u8]) -> PathBuf {
    let file = setup.folder().join(name);
    crate::support::gateway::replace(&file, bytes);
    file
}

fn start_with(bytes: &[u8]) -> Ended {
    let setup = Setup::new("http://127.0.0.1:9");
    let file = put(&setup, "policy.wasm", bytes);
    match setup.component(file).try_start() {
        Ok(_) => panic!("it started"),
        Err(ended) => ended,
    }
}

#[test]
fn the_built_in_component_loads_from_a_file_too() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let file = put(&setup, "policy.wasm", &builtin());
    let gateway = setup.component(file).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    first.assert_executed(201);
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
}

#[test]
pub(crate) fn a_truncated_component_is_refused() {
    let whole = builtin();
    for keep in [8, 100, whole.len() / 2, whole.len() - 1] {
        start_with(&whole[..keep]).assert_refused(1, &["policy.wasm"]);
    }
}

#[test]
fn an_empty_file_or_one_that_is_no_webassembly_is_refused() {
    start_with(b"").assert_refused(1, &["policy.wasm"]);
    start_with(b"#!/bin/sh\necho hello\n").assert_refused(1, &["policy.wasm"]);
}

#[test]
pub(crate) fn a_core_module_is_refused_and_told_apart_from_a_component() {
    let module = wat::parse_str("(module (func (export \"decide\")))").unwrap();
    start_with(&module).assert_refused(1, &["policy.wasm", "core module", "component"]);
}

#[test]
pub(crate) fn a_component_that_exports_no_policy_is_refused() {
    let component = wat::parse_str("(component)").unwrap();
    start_with(&component).assert_refused(1, &["policy.wasm", "oncegate:policy/policy"]);
}

#[test]
pub(crate) fn a_component_that_asks_for_more_is_refused_by_the_imports_name() {
    let component = wat::parse_str("(component (import \"acme:net/sockets@1.0.0\" (instance)))").unwrap();
    start_with(&component).assert_refused(1, &["policy.wasm", "acme:net/sockets"]);
}

#[test]
fn a_missing_component_is_refused() {
    let setup = Setup::new("http://127.0.0.1:9").component("nowhere.wasm");
    setup.try_start().map(|_| ()).expect_err("it can't").assert_refused(1, &["nowhere.wasm"]);
}

#[test]
fn an_unknown_built_in_is_refused() {
    let setup = Setup::new("http://127.0.0.1:9").component("builtin:idempotency-keys");
    setup.try_start().map(|_| ()).expect_err("it can't").assert_refused(1, &["builtin:idempotency-key"]);
}

#[test]
fn a_component_with_another_digest_than_the_pinned_one_is_refused() {
    let setup = Setup::new("http://127.0.0.1:9").policy(&format!("sha256 = \"{}\"", "0".repeat(64)));
    let file = put(&setup, "policy.wasm", &builtin());
    let ended = setup.component(file).try_start().map(|_| ()).expect_err("it can't");
    ended.assert_refused(1, &["policy.wasm", "sha256"]);
}

#[test]
fn wrong_settings_are_refused_with_the_setting_named() {
    let setup = Setup::new("http://127.0.0.1:9").policy("settings = { requird = true }");
    setup.try_start().map(|_| ()).expect_err("it can't").assert_refused(1, &["requird"]);
}

#[test]
fn a_setting_that_the_components_schema_refuses_is_told_with_its_line() {
    let bad = "settings = { from = [\"header:x\", \"heder:y\"], max = 9000 }";
    let setup = Setup::new("http://127.0.0.1:9").policy(bad);
    setup.write();
    let text = setup.text();
    let line = text.lines().position(|line| line == bad).expect("it is in the file") + 1;
    let column = |of: &str| bad.find(of).expect("it is in the line") + 1;
    let places = [("heder", "settings.from[1]"), ("9000", "settings.max")].map(|(value, key)| {
        let at =
            bad[..column(value)].rfind('"').filter(|_| value == "heder").map_or(column(value), |at| at + 1);
        (format!("oncegate.toml:{line}:{at}"), format!("policies.keys.{key}"))
    });
    let words: Vec<&str> = places.iter().flat_map(|(place, key)| [place.as_str(), key.as_str()]).collect();
    setup.try_start().map(|_| ()).expect_err("it can't").assert_refused(1, &words);
    let checked =
        crate::support::gateway::run(&["check", "--config", setup.file().to_str().unwrap()], setup.folder());
    checked.assert_refused(1, &words);
    let gateway = Setup::new("http://127.0.0.1:9").start();
    gateway.setup.clone().policy(bad).write();
    let reply = gateway.admin("POST", "/v1/reload");
    assert_eq!(reply.status, 422, "{}", reply.text());
    let last = gateway.admin("GET", "/v1/policies").json()["policies"][0]["last_load"].clone();
    for word in words {
        assert!(reply.text().contains(word), "{word:?} is not in {}", reply.text());
        assert!(
            last["error"].as_str().is_some_and(|error| error.contains(word)),
            "{word:?} is not in {last}"
        );
    }
}
