//! What made keys before can't be loaded any more: nobody can tell then whether an operation ran, so
//! that its routes refuse, and no others; until it is put back, isn't needed any more, or is given up.

use crate::keys::changes::{change, numbers, operation, ways};
use crate::support::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A gateway that was killed after a change of keys, with an operation of the old ones; and where it
/// keeps what made them, which is gone.
fn without_its_reader(upstream: &Upstream, setup: Setup) -> (Setup, Reply, Vec<(PathBuf, Vec<u8>)>) {
    let ways = ways(&setup);
    let gateway = ways[3].start();
    let first = gateway.send(&operation("k"));
    first.assert_executed(201);
    change(&gateway, &ways[0]);
    gateway.kill();
    let folder = setup.data().join("policies");
    let kept = std::fs::read_dir(&folder).expect("what makes keys is kept here").flatten();
    let is_component = |path: &PathBuf| path.extension().is_some_and(|end| end == "wasm");
    let gone: Vec<_> = (kept.map(|file| file.path()).filter(is_component))
        .map(|path| {
            let bytes = std::fs::read(&path).expect("it is there");
            std::fs::remove_file(&path).expect("the test's own folder");
            (path, bytes)
        })
        .collect();
    assert_eq!(upstream.count(), 1);
    (setup, first, gone)
}

#[track_caller]
fn refuses_because(gateway: &Gateway, policy: &str) -> Value {
    let list = gateway.admin("GET", "/v1/policies").json();
    let all = list["policies"].as_array().cloned().unwrap_or_default();
    all.iter().find(|one| one["name"] == policy).unwrap_or_else(|| panic!("{list}"))["refuses_because"]
        .clone()
}

fn put_back(gone: &[(PathBuf, Vec<u8>)]) {
    for (path, bytes) in gone {
        crate::support::gateway::replace(path, bytes);
    }
}

/// A policy and a route that have nothing to do with it.
const OTHERS: &str = "[[routes]]\nname = \"others\"\npath = \"/others\"\nupstream = \"origin\"\n\
                      policy = \"others\"\n[policies.others]\ncomponent = \"builtin:idempotency-key\"\n";

#[test]
fn a_reader_that_is_gone_refuses_its_own_routes_until_it_is_put_back() {
    let upstream = Upstream::numbering();
    let (setup, first, gone) = without_its_reader(&upstream, Setup::new(&upstream.url()).extra(OTHERS));
    let gateway = setup.start();
    let problem = gateway.send(&operation("k")).assert_problem(503, "policy-failed");
    assert_eq!(problem["retryable"], true, "{problem}");
    // Whatever it may guard.
    gateway.send(&Request::new("PUT", "/charges").body("{}")).assert_problem(503, "policy-failed");
    assert_eq!(gateway.send(&Request::get("/charges")).status, 201, "nothing guards this");
    let why = refuses_because(&gateway, "keys").to_string();
    for word in ["key space 0", ".wasm", "Put it back", "forgotten", "--accept-duplicates"] {
        assert!(why.contains(word), "{word:?} is not in {why}");
        gateway.assert_logs(&[word]);
    }
    // The others are served.
    assert!(refuses_because(&gateway, "others").is_null());
    gateway.send(&Request::keyed("/others", "x")).assert_executed(201);
    assert_eq!(gateway.admin("GET", "/readyz").status, 200);
    // A reload changes nothing of it, and says so.
    let reply = gateway.admin("POST", "/v1/reload");
    assert!(reply.status == 200 && reply.text().contains("key space 0"), "{}", reply.text());
    gateway.send(&operation("k")).assert_problem(503, "policy-failed");
    put_back(&gone);
    eventually("it comes back by itself", || refuses_because(&gateway, "keys").is_null().then_some(()));
    gateway.send(&operation("k")).assert_replay_of(&first);
    assert_eq!(numbers(&gateway), [0, 1]);
    gateway.assert_logs(&["guards its routes"]);
}

#[test]
fn a_gateway_none_of_whose_policies_can_guard_is_not_ready_and_a_reload_brings_it_back() {
    let upstream = Upstream::numbering();
    let (setup, first, gone) = without_its_reader(&upstream, Setup::new(&upstream.url()));
    let gateway = setup.start();
    let reply = gateway.admin("GET", "/readyz");
    assert!(reply.status == 503 && reply.text().contains("oncegate reload"), "{}", reply.text());
    // One that was changed is as good as gone.
    let spoilt: Vec<_> =
        gone.iter().map(|(path, bytes)| (path.clone(), bytes[..bytes.len() / 2].into())).collect();
    put_back(&spoilt);
    assert!(gateway.admin("POST", "/v1/reload").text().contains("key space 0"));
    gateway.send(&operation("k")).assert_problem(503, "policy-failed");
    put_back(&gone);
    assert_eq!(gateway.admin("POST", "/v1/policies/keys/reload").status, 200);
    gateway.send(&operation("k")).assert_replay_of(&first);
    assert_eq!(gateway.admin("GET", "/readyz").status, 200);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_route_that_says_bypass_passes_what_its_policy_cannot_guard() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url()).route("on_error = \"bypass\"");
    let (setup, ..) = without_its_reader(&upstream, setup);
    let gateway = setup.start();
    let reply = gateway.send(&operation("k"));
    assert_eq!((reply.status, reply.replayed()), (201, None), "{reply:?}");
    assert_eq!(upstream.count(), 2, "as the route says aloud");
}

#[test]
fn a_reader_that_no_record_needs_any_more_is_not_missed() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url()).ledger("retention = \"3s\"\ntombstone = \"0s\"");
    let (setup, first, _) = without_its_reader(&upstream, setup);
    let gateway = setup.start();
    eventually("the records are forgotten", || refuses_because(&gateway, "keys").is_null().then_some(()));
    gateway.send(&operation("k")).assert_executed(201);
    assert_eq!((first.status, upstream.count()), (201, 2), "after its retention and tombstone");
}

#[test]
fn a_reader_that_is_given_up_takes_its_records_with_it_and_that_is_said() {
    let upstream = Upstream::numbering();
    let (setup, ..) = without_its_reader(&upstream, Setup::new(&upstream.url()));
    let gateway = setup.start();
    gateway.send(&operation("k")).assert_problem(503, "policy-failed");
    let admin = gateway.admin.expect("it has one").to_string();
    let args = ["reload", "--policy", "keys", "--admin", &admin, "--accept-duplicates", "--output", "json"];
    let ended = crate::support::gateway::run(&args, Path::new("."));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let words = ["may run again", "key space 0"];
    assert!(words.iter().all(|word| ended.stdout.contains(word)), "{}", ended.stdout);
    gateway.assert_logs(&words);
    assert_eq!(numbers(&gateway), [1]);
    gateway.send(&operation("k")).assert_executed(201);
    assert_eq!(upstream.count(), 2);
}

/// As `a_reader_that_is_given_up_…`, at a start.
#[test]
fn a_start_can_give_a_reader_up() {
    let upstream = Upstream::numbering();
    let (setup, ..) = without_its_reader(&upstream, Setup::new(&upstream.url()));
    let file = setup.file();
    let args = ["serve", "--config", file.to_str().expect("a plain path"), "--accept-duplicates"];
    let gateway = Gateway::start(&args, setup.clone()).expect("it starts");
    gateway.assert_logs(&["may run again", "key space 0"]);
    gateway.send(&operation("k")).assert_executed(201);
    assert_eq!(numbers(&gateway), [1]);
}
