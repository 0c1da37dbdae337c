//! The promise of a key-schema, checked at each reload: what was one operation stays one, or the
//! reload is refused.

use crate::guests::{self, Guest};
use crate::policies::bad_components::put;
use crate::support::gateway::replace;
use crate::support::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A gateway whose policy is this component, in a file.
fn started(upstream: &Upstream, component: &[u8]) -> (Gateway, PathBuf) {
    let setup = Setup::new(&upstream.url());
    let file = put(&setup, "policy.wasm", component);
    (setup.component(&file).start(), file)
}

fn listed(gateway: &Gateway) -> Value {
    gateway.admin("GET", "/v1/policies").json()["policies"][0].clone()
}

/// Puts a component in the place of the active one.
fn reload(gateway: &Gateway, file: &Path, component: &[u8]) -> Reply {
    replace(file, component);
    gateway.admin("POST", "/v1/policies/keys/reload")
}

fn warnings(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["warnings"].to_string()
}

/// A request that both headers key.
fn request(key: &str) -> Request {
    Request::keyed("/charges", key)
        .field("X-Other", format!("other-{key}"))
        .field("Authorization", "Bearer s3cret")
}

#[test]
fn a_policy_that_changes_keys_and_does_not_say_so_is_refused_with_what_changed() {
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream, &Guest::default().component());
    let first = gateway.send(&request("the-key"));
    let before = listed(&gateway)["generation"].clone();
    let bypasses = guests::deciding("call $bypass");
    for (component, change) in [
        (guests::keyed_by_header("x-other", "toy/1"), "part 1 of 1 is another"),
        (bypasses, "is no longer guarded"),
        (guests::traps(), "the policy fails on it"),
        (guests::fingerprints_documents(), "gets another fingerprint"),
        (Guest { methods: vec!["PUT".into()], ..Guest::default() }.component(), "wants no part of it"),
    ] {
        let reply = reload(&gateway, &file, &component);
        let said = reply.text();
        assert_eq!(reply.status, 422, "{change}: {said}");
        for word in ["POST /charges (seen lately)", change, "toy/1", "policies.keys.key_epoch"] {
            assert!(said.contains(word), "{word:?} is not in {said}");
        }
        assert!(!said.contains("the-key") && !said.contains("s3cret"), "{said}");
        let entry = listed(&gateway);
        assert_eq!(entry["generation"], before);
        let last = &entry["last_load"]["steps"];
        let step = last.as_array().and_then(|steps| steps.last()).unwrap_or_else(|| panic!("{entry}"));
        assert_eq!((&step["step"], &step["ok"]), (&"promise".into(), &false.into()), "{entry}");
        gateway.send(&request("the-key")).assert_replay_of(&first);
    }
    assert!(!gateway.stderr().contains("the-key"), "{}", gateway.stderr());
    assert_eq!(upstream.count(), 1);
}

#[test]
fn what_a_policy_newly_refuses_is_a_warning_and_what_it_newly_guards_is_none() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let setup = gateway.setup.clone();
    let first = gateway.send(&request("a-long-key"));
    let with = |line: &str| {
        setup.clone().policy(line).write();
        gateway.admin("POST", "/v1/reload")
    };
    let said = warnings(&with("settings = { max = 4 }"));
    assert!(said.contains("now refuses"), "{said}");
    gateway.send(&request("a-long-key")).assert_problem(400, "key-malformed");
    // Back again: what was refused proves nothing.
    let reply = with("settings = { max = 200 }");
    assert!(!warnings(&reply).contains("refuses"), "{}", reply.text());
    gateway.send(&request("a-long-key")).assert_replay_of(&first);
    let reply = with("settings = { required = true }");
    assert!(!warnings(&reply).contains("refuses"), "{}", reply.text());
    gateway.send(&request("a-long-key")).assert_replay_of(&first);
}

#[test]
fn where_nothing_could_be_compared_it_is_said() {
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream, &Guest::default().component());
    let reply = reload(&gateway, &file, &guests::keyed_by_header("x-other", "toy/1"));
    assert!(warnings(&reply).contains("nothing could be compared"), "{}", reply.text());
    // What it only let pass is nothing to compare, either.
    gateway.send(&Request::post("/charges"));
    let reply = reload(&gateway, &file, &Guest::default().component());
    assert!(warnings(&reply).contains("nothing could be compared"), "{}", reply.text());
}

#[test]
fn a_components_own_vectors_are_compared_before_any_request_came() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/header-key/header-key.wasm");
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream, &std::fs::read(own).unwrap());
    let schema = listed(&gateway)["key_schema"].as_str().unwrap().to_owned();
    let reply = reload(&gateway, &file, &guests::keyed_by_header("x-other", &schema));
    assert_eq!(reply.status, 422, "{}", reply.text());
    assert!(reply.text().contains("(the vector `"), "{}", reply.text());
}

#[test]
fn a_rollback_keeps_the_promise_too() {
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream, &guests::keyed_by_header("x-other", "toy/1"));
    warnings(&reload(&gateway, &file, &Guest::default().component()));
    let first = gateway.send(&request("k"));
    let reply = gateway.admin("POST", "/v1/policies/keys/rollback");
    assert_eq!(reply.status, 422, "{}", reply.text());
    gateway.send(&request("k")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 1);
}

/// A restart has seen no operation lately, and these components have no vectors: what it knows is kept.
#[test]
fn what_was_refused_is_refused_after_a_restart_with_the_same_words() {
    let upstream = Upstream::numbering();
    let (good, bad) = (Guest::default().component(), guests::keyed_by_header("x-other", "toy/1"));
    let (gateway, file) = started(&upstream, &good);
    let first = gateway.send(&request("k"));
    assert_eq!(reload(&gateway, &file, &bad).status, 422);
    let setup = gateway.kill();
    let words =
        ["POST /charges (seen lately)", "part 1 of 1 is another", "policies.keys.key_epoch", "keeps that"];
    setup.try_start().map(|_| ()).expect_err("it is refused").assert_refused(1, &words);
    replace(&file, &good);
    let gateway = setup.start();
    for _ in 0..2 {
        let reply = reload(&gateway, &file, &bad);
        assert_eq!(reply.status, 422, "{}", reply.text());
        for word in words {
            assert!(reply.text().contains(word), "{word:?} is not in {}", reply.text());
        }
        let steps = &listed(&gateway)["last_load"]["steps"];
        let last = steps.as_array().and_then(|steps| steps.last()).cloned().unwrap_or_default();
        assert_eq!((&last["step"], &last["ok"]), (&"promise".into(), &false.into()), "{steps}");
    }
    let kept = &listed(&gateway)["refused_makers"];
    assert!(kept[0]["why"].to_string().contains("is another") && kept[1].is_null(), "{kept}");
    // What is active never is refused, however often it comes.
    replace(&file, &good);
    assert_eq!(gateway.admin("POST", "/v1/reload").status, 200);
    gateway.send(&request("k")).assert_replay_of(&first);
    // And an epoch says that keys change.
    let setup = gateway.kill();
    replace(&file, &bad);
    let setup = setup.policy("key_epoch = 1");
    let gateway = setup.start();
    gateway.send(&request("k")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_start_with_another_component_is_held_to_the_promise_too() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/header-key");
    let upstream = Upstream::numbering();
    let named = |id: &str| Request::post("/charges").field("X-Request-Id", id).field("X-Other", "o");
    let (gateway, file) = started(&upstream, &std::fs::read(own.join("header-key.wasm")).unwrap());
    let schema = listed(&gateway)["key_schema"].as_str().unwrap().to_owned();
    let first = gateway.send(&named("k"));
    first.assert_executed(201);
    let setup = gateway.kill();
    replace(&file, &guests::keyed_by_header("x-other", &schema));
    for word in ["(the vector `", "keeps that"] {
        let ended = setup.try_start().map(|_| ()).expect_err("it would make other keys");
        ended.assert_refused(1, &[word, &schema, "key_epoch"]);
    }
    // One that makes the same keys is as good.
    replace(&file, &std::fs::read(own.join("header-key-v2.wasm")).unwrap());
    let gateway = setup.start();
    gateway.send(&named("k")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 1);
}

/// Its space is on the list still, derived by a reader: what goes back to it must make its keys.
#[test]
fn who_goes_back_to_a_key_space_with_another_component_is_held_to_the_promise_of_its_reader() {
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream, &Guest::default().component());
    let first = gateway.send(&request("k"));
    warnings(&reload(&gateway, &file, &guests::keyed_by_header("x-other", "toy/2")));
    gateway.send(&request("k")).assert_replay_of(&first);
    gateway.send(&request("l")).assert_executed(201);
    let reply = reload(&gateway, &file, &guests::keyed_by_header("x-request-id", "toy/1"));
    assert_eq!(reply.status, 422, "{}", reply.text());
    assert!(reply.text().contains("toy/1") && reply.text().contains("key_epoch"), "{}", reply.text());
    warnings(&reload(&gateway, &file, &Guest::default().component()));
    gateway.send(&request("k")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 2);
}
