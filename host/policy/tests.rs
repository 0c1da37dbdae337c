//! Components of every kind, good and misbehaving, through the room's own door: load, decide, settle.
//!
//! Long because it is one table of components and what becomes of each.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../tests/guests/mod.rs"]
pub(super) mod guests;

use super::*;
use crate::engine::state::InstanceState;
use crate::run::budget::CallBudget;
use crate::run::instance_cache::InstanceCache;
use bytes::Bytes;
use guests::Guest;
use oncegate_config::{self as config, ComponentSource, Instances};
use oncegate_core::{Disposition, PrincipalId};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// One engine serves all tests: each reserves address space for a whole process.
pub(super) static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(|| Engine::new(1).unwrap());

pub(super) fn policy(component: &[u8]) -> (tempfile::TempDir, config::Policy) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.wasm");
    std::fs::write(&path, component).unwrap();
    (folder, policy_at(path))
}

pub(super) fn policy_at(path: PathBuf) -> config::Policy {
    config::Policy {
        name: "toy".into(),
        component: ComponentSource::File(path),
        sha256: None,
        settings: serde_json::Map::new(),
        key_epoch: 0,
        instances: Instances::Reuse,
        trial: Duration::ZERO,
        time: Duration::from_millis(50),
        memory: 8 << 20,
    }
}

pub(super) fn load(component: &[u8]) -> Result<Arc<Generation>, LoadError> {
    let (_folder, policy) = policy(component);
    ENGINE.load(&policy)
}

pub(super) fn load_with(component: &[u8], change: impl FnOnce(&mut config::Policy)) -> Arc<Generation> {
    let (_folder, mut policy) = policy(component);
    change(&mut policy);
    ENGINE.load(&policy).unwrap()
}

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn operation<'a>(fields: &[(&'a str, &'a str)]) -> Operation<'a> {
    Operation { method: "POST", fields: fields.to_vec(), payload: Payload::Absent }
}

pub(super) fn pool() -> InstancePool {
    InstancePool::new(&ENGINE)
}

pub(super) fn decide(
    pool: &InstancePool,
    generation: &Arc<Generation>,
    key: &str,
) -> Result<Verdict, Failure> {
    run(pool.decide(generation, &operation(&[("idempotency-key", key)])))
}

pub(super) fn key_of(verdict: Result<Verdict, Failure>) -> String {
    match verdict {
        Ok(Verdict::Guard(guard)) => match &guard.key[..] {
            [Part::Text(text)] => text.clone(),
            other => panic!("one text expected, found {other:?}"),
        },
        other => panic!("a guard expected, found {other:?}"),
    }
}

/// Loading `component` fails with a text that contains `wanted`.
fn refused(component: &[u8], wanted: &str) {
    match load(component) {
        Ok(generation) => panic!("`{wanted}` expected, loaded {generation:?}"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(wanted), "`{wanted}` expected, found `{text}`");
            assert!(text.starts_with("policy `toy` ("), "{text}");
        }
    }
}

#[test]
fn a_good_policy_loads_and_decides() {
    let component = guests::keyed_by_header("idempotency-key", "toy/1");
    let generation = load_with(&component, |policy| {
        policy.key_epoch = 3;
        policy.sha256 = Some(Sha256::digest(&component).into());
    });
    assert_eq!(&*generation.plan().key_schema, "toy/1");
    assert_eq!(generation.plan().request_fields[0].name(), "idempotency-key");
    assert_eq!((generation.key_epoch(), generation.size()), (3, component.len()));
    let described = serde_json::to_value(generation.describe()).unwrap();
    assert_eq!(described["name"], "toy");
    assert_eq!(described["sha256"].as_str().unwrap().len(), 64);
    let pool = InstancePool::new(&ENGINE);
    assert_eq!(key_of(decide(&pool, &generation, "abc")), "abc");
    assert_eq!(key_of(decide(&pool, &generation, "ab")), "ab");
    let none = run(pool.decide(&generation, &operation(&[])));
    assert_eq!(none, Ok(Verdict::Bypass(String::new())));
}

#[test]
fn more_fields_than_fit_the_stack_arrive() {
    let decide = r"local.get $fields i32.load offset=136 local.get $fields i32.load offset=140 call $key_of";
    let generation = load(&guests::deciding(decide)).unwrap();
    let fields: Vec<(&str, &str)> = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|v| ("x", v)).to_vec();
    assert_eq!(key_of(run(InstancePool::new(&ENGINE).decide(&generation, &operation(&fields)))), "i");
}

#[test]
fn a_whole_payload_and_a_selection_arrive() {
    let whole = load(&guests::deciding("local.get $p1 local.get $p2 call $key_of")).unwrap();
    let mut asked = operation(&[]);
    asked.payload = Payload::Whole(Bytes::from_static(b"body"));
    assert_eq!(key_of(run(InstancePool::new(&ENGINE).decide(&whole, &asked))), "body");
    // The second of the selection: 12 bytes each, its text at 4.
    let decide = r"local.get $p1 i32.load offset=16 local.get $p1 i32.load offset=20 call $key_of";
    let selected = load(&guests::deciding(decide)).unwrap();
    asked.payload = Payload::Selected(vec![Found::Nothing, Found::Text("here".into())]);
    assert_eq!(key_of(run(InstancePool::new(&ENGINE).decide(&selected, &asked))), "here");
}

#[test]
fn what_is_no_policy_is_refused_by_name() {
    let good = guests::keyed_by_header("idempotency-key", "toy/1");
    refused(&[], "is empty");
    refused(b"#!/bin/sh", "is not WebAssembly");
    refused(&good[..6], "is cut short at 6 bytes");
    refused(&good[..good.len() - 3], &format!("is cut short at {} bytes", good.len() - 3));
    refused(
        &guests::core_module(),
        "is a core module, not a component: `oncegate policy build` makes the component",
    );
    refused(&guests::other_world(), "doesn't export `oncegate:policy/policy`");
    refused(
        &guests::importing("wasi:cli/environment@0.3.0"),
        "imports `wasi:cli/environment@0.3.0`: of WASI this gateway offers version 0.2 only",
    );
    refused(&guests::importing("acme:db/query@1.0.0"), "imports `acme:db/query@1.0.0`, which no policy may");
    refused(
        &guests::importing("oncegate:policy/clock@0.1.0"),
        "imports `oncegate:policy/clock@0.1.0`, which",
    );
    refused(&guests::importing("oncegate:policy/log@0.2.0"), "offers version 0.1 of it");
    refused(&guests::exporting("oncegate:policy/policy@0.2.0"), "exports `oncegate:policy/policy@0.2.0`");
    refused(
        &guests::exporting("oncegate:policy/magic@0.1.0"),
        "exports `oncegate:policy/magic@0.1.0`, which",
    );
    refused(&guests::exporting("oncegate:policy/policy@0.1.0"), "doesn't fit the interface");
    let mut damaged = good.clone();
    damaged[10] ^= 0x55;
    assert!(load(&damaged).is_err());
}

#[test]
fn a_file_that_is_none_is_refused_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: PathBuf| ENGINE.load(&policy_at(path)).unwrap_err().to_string();
    assert!(at(folder.path().into()).contains("is a folder, not a file"));
    assert!(at(folder.path().join("none.wasm")).contains("can't be read: there is no such file"));
    assert!(at("/dev/null".into()).contains("is a pipe, socket or device, not a file"));
    let mut builtin = policy_at(PathBuf::new());
    builtin.component = ComponentSource::Builtin("magic".into());
    let error = ENGINE.load(&builtin).unwrap_err().to_string();
    assert!(error.starts_with("policy `toy` (builtin:magic): there is no such built-in policy"), "{error}");
    let (_folder, mut pinned) = policy(&guests::keyed_by_header("a", "toy/1"));
    pinned.sha256 = Some([0xab; 32]);
    let error = ENGINE.load(&pinned).unwrap_err().to_string();
    assert!(error.contains("`sha256` says abababab"), "{error}");
}

#[test]
fn configure_fails_by_name() {
    let guest = |change: &dyn Fn(&mut Guest)| {
        let mut guest = Guest::default();
        change(&mut guest);
        guest.component()
    };
    refused(
        &guest(&|g| g.refuses_settings = Some("`from` is missing".into())),
        "refuses its settings: `from` is missing",
    );
    refused(&guest(&|g| g.configure = "unreachable".into()), "`configure` failed: trapped");
    refused(&guest(&|g| g.configure = "(loop $on br $on)".into()), "`configure` failed: not done after 1s");
    refused(
        &guest(&|g| g.request_fields = vec!["cookie".into()]),
        "invalid result: plan.request-fields: `cookie` is not a policy's to read",
    );
    refused(&guest(&|g| g.option = Some("turbo".into())), "plan.options: `turbo`");
    refused(&guest(&|g| g.outcomes = vec![(200, 200, 2)]), "plan.outcomes: 200-200");
    refused(&guest(&|g| g.whole = Some(0)), "plan.request-payload: `whole` of 0");
    refused(&guest(&|g| g.key_schema = String::new()), "plan.key-schema: 0 bytes");
    refused(
        &guest(&|g| {
            g.definitions = "(func $first (drop (memory.grow (i32.const 200)))) (start $first)".into()
        }),
        "bytes of memory",
    );
}

#[test]
fn a_trap_costs_its_own_request_only() {
    let generation = load(&guests::traps_on_empty()).unwrap();
    let pool = InstancePool::new(&ENGINE);
    for _ in 0..3 {
        assert_eq!(key_of(decide(&pool, &generation, "k")), "k");
        let failure = decide(&pool, &generation, "").unwrap_err();
        assert_eq!(failure.kind(), "trap", "{failure}");
        assert!(failure.to_string().contains("unreachable"), "{failure}");
    }
    assert_eq!(key_of(decide(&pool, &generation, "k")), "k");
}

#[test]
fn each_failure_has_its_kind() {
    let pool = InstancePool::new(&ENGINE);
    let fails = |component: Vec<u8>| decide(&pool, &load(&component).unwrap(), "k").unwrap_err();
    let failure = fails(guests::traps());
    assert_eq!(failure.kind(), "trap", "{failure}");
    let failure = fails(guests::grows());
    assert_eq!(failure.kind(), "memory", "{failure}");
    let failure = fails(guests::invalid_result());
    assert_eq!(failure.to_string(), "invalid result: guard.key: 0 parts, 1 to 64 are allowed");
    assert_eq!(failure.kind(), "invalid");
    let failure = fails(guests::errs());
    assert_eq!(failure, Failure::Err("POST".into()));
    let failure = fails(guests::deciding("(i32.store8 (i32.const 1024) (i32.const 7)) i32.const 1024"));
    assert!(failure.to_string().starts_with("invalid result: canonical ABI: "), "{failure}");
    let failure = fails(guests::deciding(
        "(drop (memory.grow (i32.const 20))) i32.const 65536 i32.const 1100000 call $key_of",
    ));
    assert_eq!(failure, Failure::Handed);
}

#[test]
fn a_loop_that_begins_while_the_epoch_thread_rests_is_stopped() {
    // The engine is this test's own: other tests keep the shared one awake.
    let engine = Engine::new(1).unwrap();
    let (_folder, policy) = policy(&guests::loops());
    let generation = engine.load(&policy).unwrap();
    let (ended, end) = crossbeam_channel::bounded(1);
    let awake = engine.clone();
    std::thread::spawn(move || {
        let pool = InstancePool::new(&awake);
        for _ in 0..2 {
            while !awake.clock().is_resting() {
                std::thread::yield_now();
            }
            ended.send(decide(&pool, &generation, "k")).unwrap();
        }
    });
    for _ in 0..2 {
        let said =
            end.recv_timeout(Duration::from_secs(30)).expect("the epoch thread rests, and wakes for a call");
        assert_eq!(said, Err(Failure::Deadline(Duration::from_millis(50))));
    }
}

#[test]
fn a_loop_is_stopped_on_a_policy_thread_and_its_policy_stays_there() {
    let generation = load(&guests::loops()).unwrap();
    let pool = InstancePool::new(&ENGINE);
    assert_eq!(decide(&pool, &generation, "k"), Err(Failure::Deadline(Duration::from_millis(50))));
    assert!(generation.describe().slow);
    assert_eq!(decide(&pool, &generation, "k"), Err(Failure::Deadline(Duration::from_millis(50))));
    let other = load(&guests::keyed_by_header("idempotency-key", "toy/1")).unwrap();
    assert_eq!(key_of(decide(&pool, &other, "k")), "k");
}

#[test]
fn one_that_takes_its_time_leaves_the_worker_though_it_is_within_every_limit() {
    // The call takes tens of milliseconds, and its limit is a second.
    let takes_its_time = guests::deciding(&format!(
        "(loop $on (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $on (i32.lt_u (local.get $at) (i32.const 40000000)))) {}",
        guests::KEY_OF_FIRST_FIELD
    ));
    let generation = load_with(&takes_its_time, |policy| policy.time = Duration::from_secs(1));
    let mut cache = InstanceCache::new(&generation);
    assert!(!generation.describe().slow);
    let budget = CallBudget::off_worker(generation.time);
    assert_eq!(key_of(cache.decide(&generation, &operation(&[("idempotency-key", "k")]), budget)), "k");
    assert!(generation.describe().slow);
}

#[test]
fn a_slow_policy_returns_to_the_worker_when_it_behaves() {
    let decide_slowly = format!(
        "local.get $fields i32.load offset=12 i32.const 4 i32.eq if (loop $on br $on) end {}",
        guests::KEY_OF_FIRST_FIELD
    );
    let generation = load(&guests::deciding(&decide_slowly)).unwrap();
    let pool = InstancePool::new(&ENGINE);
    assert!(decide(&pool, &generation, "slow").is_err());
    assert!(generation.describe().slow);
    // The machine decides how quick a call is: it may take more than the 512 quick calls that are asked for.
    let quick = (0..100_000).any(|_| {
        assert_eq!(key_of(decide(&pool, &generation, "k")), "k");
        !generation.describe().slow
    });
    assert!(quick, "the policy never returned to the worker");
}

#[test]
fn a_policy_that_keeps_state_is_found_out_and_gets_fresh_instances() {
    let generation = load(&guests::counts_where_it_begins_with(b'k')).unwrap();
    // One thread's instances: a pool on a busy machine would use those of several.
    let mut cache = InstanceCache::new(&generation);
    let budget = CallBudget::off_worker(Duration::from_secs(1));
    let mut key = || key_of(cache.decide(&generation, &operation(&[("idempotency-key", "k")]), budget));
    assert_eq!([key(), key()], ["1", "2"]);
    assert_eq!(generation.describe().instances, "reuse");
    for _ in 0..1000 {
        key();
    }
    assert_eq!(generation.describe().instances, "fresh");
    assert_eq!([key(), key()], ["1", "1"]);
}

#[test]
fn fresh_instances_remember_nothing() {
    let generation = load_with(&guests::counts(), |policy| policy.instances = Instances::Fresh);
    let pool = InstancePool::new(&ENGINE);
    assert_eq!(key_of(decide(&pool, &generation, "k")), "1");
    assert_eq!(key_of(decide(&pool, &generation, "k")), "1");
}

#[test]
fn an_instance_that_grew_is_replaced_before_it_reaches_the_limit() {
    // Each call grows by 16 pages: 8 MiB are reached after the eighth.
    let grows = format!("(drop (memory.grow (i32.const 16))) {}", guests::KEY_OF_FIRST_FIELD);
    let generation = load(&guests::deciding(&grows)).unwrap();
    let pool = InstancePool::new(&ENGINE);
    for _ in 0..100 {
        assert_eq!(key_of(decide(&pool, &generation, "k")), "k");
    }
}

#[test]
fn retired_generations_leave_no_instances() {
    let pool = InstancePool::new(&ENGINE);
    let counts = load(&guests::counts_where_it_begins_with(b'k')).unwrap();
    assert_eq!(key_of(decide(&pool, &counts, "k")), "1");
    pool.retire(&[counts.number()]);
    assert_eq!(key_of(decide(&pool, &counts, "k")), "2");
    pool.retire(&[]);
    assert_eq!(key_of(decide(&pool, &counts, "k")), "1");
}

pub(super) fn receipt() -> Receipt {
    Receipt {
        operation_id: "0".repeat(64),
        route: "r".into(),
        method: "POST".into(),
        authority: "a".into(),
        path: "/".into(),
        principal: None,
        key_schema: "toy/1".into(),
        attempts: 1,
        first_attempt: 1,
        memo: None,
    }
}

/// The result of `settle` for an answer.
pub(super) async fn settled(
    pool: &InstancePool,
    generation: &Arc<Generation>,
    principal: PrincipalId,
    reply: Reply,
) -> Result<Option<PolicySettlement>, Failure> {
    let call = HookCall::Settle { receipt: receipt(), reply };
    pool.call(generation, &principal, call).await.map(HookResult::settlement)
}

pub(super) fn reply(complete: bool) -> Reply {
    Reply { status: 200, fields: vec![], trailers: vec![], payload: Payload::Absent, complete }
}

#[test]
fn settle_sees_one_principal_per_instance() {
    // The memo's length is the count of this instance's calls.
    let settle = r"(i32.store8 offset=4 (i32.const 1024) (i32.const 1))
        (i32.store8 offset=8 (i32.const 1024) (i32.const 2))
        (i32.store8 offset=12 (i32.const 1024) (i32.const 1))
        (i32.store offset=16 (i32.const 1024) (i32.const 4096))
        (i32.store offset=20 (i32.const 1024) (global.get $calls))
        i32.const 1024";
    let generation = load(&Guest { settle: Some(settle.into()), ..Guest::default() }.component()).unwrap();
    assert!(generation.exports().has(Interface::Outcome));
    let pool = InstancePool::new(&ENGINE);
    let calls_seen = |principal: u8| {
        let principal = PrincipalId([principal; 32]);
        let settled = run(settled(&pool, &generation, principal, reply(true)));
        let settled = settled.unwrap().unwrap();
        assert_eq!(settled.disposition, Disposition::NotApplied);
        settled.memo.unwrap().len()
    };
    assert_eq!([calls_seen(1), calls_seen(1), calls_seen(2), calls_seen(1)], [1, 2, 1, 3]);
    assert_eq!(key_of(decide(&pool, &generation, "k")), "k");
    let cut = run(settled(&pool, &generation, PrincipalId([1; 32]), reply(false)));
    assert!(cut.unwrap_err().to_string().contains("settlement.disposition: an incomplete answer"));
    let silent = load(&guests::keyed_by_header("a", "toy/1")).unwrap();
    let said = run(settled(&pool, &silent, PrincipalId([1; 32]), reply(true)));
    assert_eq!(said, Ok(None));
}

const LOG: &str = r#"(import "oncegate:policy/log@0.1.0" "emit" (func $emit (param i32 i32 i32)))"#;
const SHA256: &str = r#"(import "oncegate:policy/digest@0.1.0" "sha256" (func $sha256 (param i32 i32 i32)))"#;

#[test]
fn the_imports_answer_the_hooks() {
    // The digest's 32 bytes as a key: bytes are text here only because the guest says so.
    let decide = r"(call $emit (i32.const 1) (local.get $method) (local.get $method_len))
        (call $sha256 (local.get $method) (local.get $method_len) (i32.const 512))
        (i32.load (i32.const 512)) (i32.load (i32.const 516)) call $key_of
        (i32.store8 (i32.const 1280) (i32.const 1))";
    let guest = Guest { imports: format!("{LOG}{SHA256}"), decide: decide.into(), ..Guest::default() };
    let generation = load(&guest.component()).unwrap();
    match decide_once(&generation) {
        Ok(Verdict::Guard(guard)) => {
            assert_eq!(guard.key, [Part::Bytes(Sha256::digest(b"POST").to_vec())]);
        }
        other => panic!("{other:?}"),
    }
}

fn decide_once(generation: &Arc<Generation>) -> Result<Verdict, Failure> {
    decide(&InstancePool::new(&ENGINE), generation, "k")
}

#[test]
fn imports_are_for_the_hooks_only() {
    let component = wat::parse_str(
        r#"(component
            (import "oncegate:policy/log@0.1.0" (instance $log
                (type $names (enum "debug" "info" "warn" "error"))
                (export "level" (type $level (eq $names)))
                (export "emit" (func (param "level" $level) (param "message" string)))))
            (alias export $log "emit" (func $emit))
            (core module $memory (memory (export "memory") 1))
            (core instance $memory (instantiate $memory))
            (core func $lowered (canon lower (func $emit) (memory $memory "memory")))
            (core module $main
                (import "" "emit" (func $emit (param i32 i32 i32)))
                (func $first (call $emit (i32.const 1) (i32.const 0) (i32.const 1)))
                (start $first))
            (core instance (instantiate $main (with "" (instance (export "emit" (func $lowered)))))))"#,
    )
    .unwrap();
    let component = wasmtime::component::Component::new(ENGINE.wasm(), component).unwrap();
    let mut store = wasmtime::Store::new(ENGINE.wasm(), InstanceState::new("toy".into(), 1 << 20));
    store.set_epoch_deadline(1000);
    let error = ENGINE.linker().instantiate(&mut store, &component).unwrap_err();
    let failure = Failure::of_instantiation(&error, Duration::from_secs(1));
    assert!(failure.to_string().contains("`log.emit` is called from a start function"), "{failure}");
}

#[test]
fn what_is_handed_to_imports_is_bounded_together() {
    let decide = r"(drop (memory.grow (i32.const 20)))
        (local.set $at (i32.const 5))
        (loop $on
            (call $sha256 (i32.const 65536) (i32.const 262144) (i32.const 512))
            (br_if $on (local.tee $at (i32.sub (local.get $at) (i32.const 1)))))
        unreachable";
    let guest = Guest { imports: SHA256.into(), decide: decide.into(), ..Guest::default() };
    assert_eq!(decide_once(&load(&guest.component()).unwrap()), Err(Failure::Handed));
}

fn with_vectors(guest: Guest, vectors: &serde_json::Value) -> Vec<u8> {
    let sections = vec![("oncegate:vectors".into(), vectors.to_string().into_bytes())];
    Guest { sections, ..guest }.component()
}

fn case(name: &str, key: &str, expect: serde_json::Value) -> serde_json::Value {
    let request = format!("POST /a?b HTTP/1.1\r\nHost: API\r\nIdempotency-Key: {key}\r\n\r\n");
    serde_json::json!({ "name": name, "request": request, "expect": expect })
}

#[test]
fn vectors_run_at_load() {
    use serde_json::json;
    let keyed = |key: &str| json!({ "guard": { "key": [{ "text": key }], "fingerprint": "request" } });
    let good = json!({ "version": 1,
        "cases": [
            case("a", "k", keyed("k")),
            case("again", "k", keyed("k")),
            case("other", "l", json!({ "guard": { "key-schema": "toy/1", "while-running": "route-default",
                "when-unknown": "route-default", "forward": [], "labels": [] } })),
            { "name": "none", "request": "POST / HTTP/1.1\n\n", "expect": { "bypass": "" } },
            { "name": "safe", "request": "GET / HTTP/1.1\n\n", "expect": { "bypass": null } },
        ],
        "same": [["a", "again"]], "different": [["a", "other"]] });
    let generation = load(&with_vectors(Guest::default(), &good)).unwrap();
    assert_eq!(generation.describe().vectors, 5);
    let fails = |change: &dyn Fn(&mut serde_json::Value), wanted: &str| {
        let mut vectors = good.clone();
        change(&mut vectors);
        refused(&with_vectors(Guest::default(), &vectors), wanted);
    };
    fails(&|v| v["cases"][0]["expect"] = keyed("x"), "case `a`: expected");
    for (member, value) in [
        ("memo", json!("m")),
        ("while-running", json!("wait")),
        ("when-unknown", json!("hold")),
        ("retention-seconds", json!(1)),
        ("tombstone-seconds", json!(1)),
        ("forward", json!([["x-a", "1"]])),
        ("labels", json!([["size", "s"]])),
    ] {
        fails(&|v| v["cases"][0]["expect"]["guard"][member] = value.clone(), "case `a`: expected");
    }
    fails(&|v| v["cases"][3]["expect"] = json!({ "bypass": "why" }), "case `none`: expected");
    fails(&|v| v["same"] = json!([["a", "other"]]), "cases `a` and `other` must have the same key");
    fails(&|v| v["different"] = json!([["a", "again"]]), "`a` and `again` must have different keys");
    fails(&|v| v["same"] = json!([["a", "none"]]), "`same` names the case `none`, which is not");
    fails(&|v| v["version"] = json!(2), "has version 2");
    fails(&|v| v["casses"] = json!([]), "can't be read: unknown field `casses`");
    fails(&|v| v["cases"][3]["request"] = json!("POST /"), "case `none`: the request can't be read");
}

#[test]
fn vectors_find_a_policy_that_keeps_state() {
    let expect = serde_json::json!({ "guard": {} });
    let vectors = serde_json::json!({ "version": 1, "cases": [case("a", "k", expect)] });
    let counts = Guest { decide: guests::COUNT_OF_CALLS.into(), ..Guest::default() };
    refused(&with_vectors(counts, &vectors), "case `a`: a used instance decides differently");
    refused(
        &with_vectors(Guest { decide: "unreachable".into(), ..Guest::default() }, &vectors),
        "fails its own test vectors: case `a`: trapped",
    );
}

#[test]
fn a_settings_schema_is_kept() {
    let sections = vec![("oncegate:settings".to_owned(), br#"{"type":"object"}"#.to_vec())];
    let generation = load(&Guest { sections: sections.clone(), ..Guest::default() }.component()).unwrap();
    assert_eq!(generation.settings_schema(), Some(r#"{"type":"object"}"#));
    let twice = [sections.clone(), sections].concat();
    refused(&Guest { sections: twice, ..Guest::default() }.component(), "`oncegate:settings` twice");
}

#[test]
fn a_thousand_reloads_of_one_file_compile_it_once() {
    let (_folder, policy) = policy(&guests::keyed_by_header("idempotency-key", "toy/thousand"));
    let pool = InstancePool::new(&ENGINE);
    for _ in 0..1000 {
        let generation = ENGINE.load(&policy).unwrap();
        assert_eq!(key_of(decide(&pool, &generation, "k")), "k");
        pool.retire(&[generation.number()]);
    }
}
