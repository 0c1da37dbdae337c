//! Unknown outcomes that the upstream is asked about, with `plugins/payments-probe` in front of a
//! service that commits, doesn't, or does so late (design/upstreams.md).

use crate::guests::{self, ASK, CONSUMED, ERR, STILL_UNKNOWN};
use crate::policies::bad_components::put;
use crate::support::gateway::replace;
use crate::support::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A service that keeps payments by reference and loses every answer to a `POST` until it is told not to.
struct Bank {
    upstream: Upstream,
    books: Books,
}

#[derive(Clone, Default)]
struct Books(Arc<Mutex<BTreeMap<String, &'static str>>>);

impl Books {
    fn note(&self, reference: &str, status: &'static str) {
        self.0.lock().unwrap().insert(reference.to_owned(), status);
    }

    fn list(&self, reference: &str) -> Script {
        let books = self.0.lock().unwrap();
        let found: Vec<_> = books
            .keys()
            .filter(|own| *own == reference)
            .map(|own| json!({ "id": format!("pay-{own}"), "reference": own }))
            .collect();
        Script::answer(200, json!({ "payments": found }).to_string())
    }

    fn one(&self, id: &str) -> Script {
        let books = self.0.lock().unwrap();
        match books.get(id.trim_start_matches("pay-")) {
            Some(status) => Script::answer(200, json!({ "id": id, "status": status }).to_string()),
            None => Script::answer(404, "{}"),
        }
    }
}

impl Bank {
    /// `post`: what becomes of the payment with this reference.
    fn start(post: impl Fn(&Books, &str) -> Script + Send + Sync + 'static) -> Self {
        let books = Books::default();
        let own = books.clone();
        let upstream = Upstream::start(move |call| match call.target.split_once('?') {
            Some((_, query)) => own.list(query.trim_start_matches("reference=")),
            None if call.method == "GET" => own.one(call.target.trim_start_matches("/payments/")),
            None => post(&own, call.field("x-payment-reference").unwrap_or_default()),
        });
        Self { upstream, books }
    }

    fn setup(&self) -> Setup {
        let component = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/payments-probe/payments-probe.wasm");
        Setup::new(&self.upstream.url()).path("/payments").component(component)
    }

    fn sent(&self, method: &str) -> usize {
        self.upstream.calls().iter().filter(|call| call.method == method).count()
    }
}

/// Often, so that a test need not wait.
const OFTEN: &str = "probe = { attempts = 1000, base = \"20ms\", max = \"100ms\" }";

fn pay(key: &str) -> Request {
    Request::keyed("/payments", key)
}

fn state(gateway: &Gateway, id: &str) -> Option<String> {
    let shown = gateway.admin("GET", &format!("/v1/operations/{id}"));
    (shown.status == 200).then(|| shown.json()["state"].as_str().unwrap().to_owned())
}

#[test]
fn a_lost_payment_that_happened_is_replayed_as_the_service_tells_it() {
    let bank = Bank::start(|books, reference| {
        books.note(reference, "captured");
        Script::reset()
    });
    let setup = bank.setup();
    std::fs::write(setup.folder().join("credentials"), "Authorization: Bearer of-the-gateway\n").unwrap();
    let probe = "probe = { base = \"20ms\", max = \"100ms\", headers_file = \"credentials\" }";
    let gateway = setup.origin(probe).start();
    gateway.send(&pay("order-1")).assert_problem(502, "upstream-broken");
    let replay = eventually("the payment is found", || {
        let again = gateway.send(&pay("order-1"));
        (again.status == 201).then_some(again)
    });
    assert_eq!(replay.replayed(), Some("true"), "{replay:?}");
    assert_eq!(replay.json(), json!({ "id": "pay-order-1", "status": "captured" }));
    assert_eq!(replay.field("location"), Some("/payments/pay-order-1"));
    assert_eq!(bank.sent("POST"), 1);
    let asked: Vec<_> = bank.upstream.calls().into_iter().filter(|call| call.method == "GET").collect();
    assert!(
        asked.iter().all(|call| call.field("authorization") == Some("Bearer of-the-gateway")),
        "{asked:?}"
    );
    assert!(
        gateway
            .admin("GET", "/metrics")
            .text()
            .contains("oncegate_probes_total{route=\"all\",result=\"happened\"} 1")
    );
    assert!(!gateway.stderr().contains("of-the-gateway"), "credentials never appear in logs");
}

#[test]
fn that_it_did_not_happen_frees_the_key_but_not_before_settle_after() {
    const SETTLE: Duration = Duration::from_secs(2);
    let lost = Mutex::new(true);
    let bank = Bank::start(move |books, reference| match std::mem::take(&mut *lost.lock().unwrap()) {
        true => Script::reset(),
        false => {
            books.note(reference, "captured");
            Script::answer(201, "{\"status\":\"captured\"}")
        }
    });
    let gateway = bank.setup().origin("settle_after = \"2s\"").origin(OFTEN).start();
    let begun = Instant::now();
    let first = gateway.send(&pay("order-1"));
    let id = first.assert_problem(502, "upstream-broken")["operation"].as_str().unwrap().to_owned();
    eventually("it is asked about", || (bank.sent("GET") > 0).then_some(()));
    // The service said that there is no such payment; it may still be on its way.
    gateway.send(&pay("order-1")).assert_problem(409, "outcome-unknown");
    eventually("the key is free", || state(&gateway, &id).is_none().then_some(()));
    assert!(begun.elapsed() >= SETTLE, "{:?}", begun.elapsed());
    gateway.send(&pay("order-1")).assert_executed(201);
    assert_eq!(bank.sent("POST"), 2);
}

#[test]
fn a_payment_that_commits_late_is_never_run_again() {
    let bank = Bank::start(|_, _| Script::reset());
    let gateway = bank.setup().origin("settle_after = \"2s\"").origin(OFTEN).start();
    gateway.send(&pay("order-1")).assert_problem(502, "upstream-broken");
    eventually("the service says that there is no such payment", || (bank.sent("GET") > 0).then_some(()));
    bank.books.note("order-1", "captured");
    let replay = eventually("the late payment is found", || {
        let again = gateway.send(&pay("order-1"));
        assert!(matches!(again.status, 201 | 409), "{again:?}");
        (again.status == 201).then_some(again)
    });
    assert_eq!(replay.replayed(), Some("true"), "{replay:?}");
    assert_eq!(bank.sent("POST"), 1);
}

#[test]
fn without_settle_after_nothing_is_freed_and_asking_has_an_end() {
    let bank = Bank::start(|_, _| Script::reset());
    let gateway = bank
        .setup()
        .route("when_unknown = \"probe\"")
        .origin("probe = { attempts = 2, base = \"20ms\", max = \"20ms\" }")
        .start();
    gateway.assert_logs(&["`upstreams.origin.settle_after` is not set"]);
    let first = gateway.send(&pay("order-1"));
    let id = first.assert_problem(502, "upstream-broken")["operation"].as_str().unwrap().to_owned();
    eventually("nobody asks any more", || {
        let shown = gateway.admin("GET", &format!("/v1/operations/{id}")).json();
        (shown["probing"] == json!({ "tries": 2, "next": null })).then_some(())
    });
    assert_eq!(state(&gateway, &id).as_deref(), Some("unknown"));
    gateway.send(&pay("order-1")).assert_problem(409, "outcome-unknown");
    assert_eq!((bank.sent("GET"), bank.sent("POST")), (2, 1));
    // The operator may always say.
    let version = gateway.version_of(&id);
    let admin = gateway.admin.unwrap().to_string();
    let resolve = [
        "ops",
        "resolve",
        &id,
        "--outcome",
        "not-applied",
        "--reason",
        "r",
        "--version",
        &version,
        "--admin",
        &admin,
    ];
    assert_eq!(crate::support::gateway::run(&resolve, gateway.setup.folder()).code, Some(0));
    assert_eq!(state(&gateway, &id), None);
}

#[test]
fn what_was_executing_at_a_kill_is_asked_about_after_the_restart() {
    let bank = Bank::start(|books, reference| {
        books.note(reference, "captured");
        Script::silence()
    });
    let setup = bank.setup().origin(OFTEN);
    let gateway = setup.start();
    std::thread::scope(|scope| {
        let address = gateway.address;
        scope.spawn(move || client::try_send(address, &pay("order-1")));
        eventually("the service has it", || (bank.sent("POST") == 1).then_some(()));
        gateway.kill();
    });
    let gateway = setup.start();
    let replay = eventually("the payment is found", || {
        let again = gateway.send(&pay("order-1"));
        (again.status == 201).then_some(again)
    });
    assert_eq!((replay.replayed(), bank.sent("POST")), (Some("true"), 1));
}

#[test]
fn an_answer_that_says_it_was_lost_is_asked_about_and_one_that_was_refused_frees_the_key() {
    let bank = Bank::start(|books, reference| {
        if reference == "lost" {
            books.note(reference, "settled");
        }
        Script::answer(
            200,
            json!({ "status": if reference == "lost" { "lost" } else { "refused" } }).to_string(),
        )
        .field("Content-Type", "application/json")
    });
    let gateway = bank.setup().origin(OFTEN).start();
    // The first caller gets the answer as it came; the judgement is about the record.
    gateway.send(&pay("lost")).assert_executed(200);
    let replay = eventually("the payment is found", || {
        let again = gateway.send(&pay("lost"));
        (again.status == 201).then_some(again)
    });
    assert_eq!(replay.json()["status"], "settled");
    gateway.send(&pay("no")).assert_executed(200);
    gateway.send(&pay("no")).assert_executed(200);
    assert_eq!(bank.sent("POST"), 3, "the lost one once, the refused one each time");
}

#[test]
fn a_policy_that_cannot_ask_is_refused_where_the_route_has_it_asked() {
    let setup =
        Setup::new("http://127.0.0.1:9").route("when_unknown = \"probe\"").origin("settle_after = \"1s\"");
    let refused = setup.try_start().err().expect("the built-in policy has no `resolution`");
    refused.assert_refused(1, &["policy `keys`", "oncegate:policy/resolution", "route `all`"]);
    let file = setup.file();
    let checked =
        crate::support::gateway::run(&["check", "--config", file.to_str().unwrap()], setup.folder());
    checked.assert_refused(1, &["policy `keys`", "oncegate:policy/resolution", "route `all`"]);
}

/// Loses an operation under a policy that asks so, and waits until nobody asks any more.
fn asked_by(component: &[u8], probe: &str) -> (Upstream, Gateway, String) {
    let upstream = Upstream::start(|call| match call.target.as_str() {
        "/lost" => Script::reset(),
        _ => Script::answer(200, "{}"),
    });
    let setup = Setup::new(&upstream.url()).route("when_unknown = \"probe\"");
    let file = put(&setup, "policy.wasm", component);
    let gateway = setup.component(file).origin("settle_after = \"1s\"").origin(probe).start();
    let lost = gateway.send(&Request::keyed("/lost", "k"));
    let id = lost.assert_problem(502, "upstream-broken")["operation"].as_str().unwrap().to_owned();
    eventually("nobody asks any more", || {
        let shown = gateway.admin("GET", &format!("/v1/operations/{id}")).json();
        (shown["state"] != "unknown" || shown["probing"]["next"].is_null()).then_some(())
    });
    (upstream, gateway, id)
}

const ONCE: &str = "probe = { attempts = 1, base = \"20ms\" }";

fn questions(upstream: &Upstream) -> usize {
    upstream.calls().iter().filter(|call| call.target != "/lost").count()
}

#[test]
fn no_more_than_eight_questions_in_a_row() {
    let (upstream, gateway, id) = asked_by(&guests::asking("GET", "/again", ASK), ONCE);
    assert_eq!(questions(&upstream), 8);
    assert_eq!(state(&gateway, &id).as_deref(), Some("unknown"));
    let (upstream, _gateway, _) = asked_by(&guests::asking("GET", "/once", STILL_UNKNOWN), ONCE);
    assert_eq!(questions(&upstream), 1);
}

#[test]
fn a_policy_that_fails_leaves_the_outcome_unknown() {
    for (component, asked, kind) in [
        (guests::asking("GET", "/asked", ERR), 1, "err"),
        (guests::asking("DELETE", "/asked", CONSUMED), 0, "invalid"),
        (guests::asking("GET", "asked", CONSUMED), 0, "invalid"),
    ] {
        let (upstream, gateway, id) = asked_by(&component, ONCE);
        assert_eq!(questions(&upstream), asked, "{kind}");
        assert_eq!(state(&gateway, &id).as_deref(), Some("unknown"));
        let failures = format!("oncegate_policy_failures_total{{policy=\"keys\",kind=\"{kind}\"}} 1");
        let metrics = gateway.admin("GET", "/metrics").text();
        assert!(metrics.contains(&failures), "{failures} is not in:\n{metrics}");
        gateway.send(&Request::keyed("/lost", "k")).assert_problem(409, "outcome-unknown");
    }
}

#[test]
fn where_reads_are_posts_a_question_may_be_one() {
    let probe = "probe = { attempts = 1, base = \"20ms\", methods = [\"POST\"] }";
    let (upstream, gateway, _) = asked_by(&guests::asking("POST", "/search", CONSUMED), probe);
    assert_eq!(upstream.calls()[1].method, "POST");
    gateway.send(&Request::keyed("/lost", "k")).assert_problem(409, "consumed");
    assert_eq!(questions(&upstream), 1);
}

/// Whom an operation was lost under, by the path of the question, in the order in which they were sent.
fn asked(upstream: &Upstream) -> Vec<String> {
    upstream.calls().iter().map(|call| call.target.clone()).filter(|target| target != "/lost").collect()
}

/// Waits for another question.
#[track_caller]
fn next_question(upstream: &Upstream, by: &str) {
    let before = asked(upstream).len();
    // The one under way at that time may still be of before.
    let later = eventually("it is asked again", || asked(upstream).get(before + 1).cloned());
    assert_eq!(later, by);
}

#[test]
fn who_decided_an_operation_asks_about_it_after_a_reload_and_after_a_rollback() {
    let upstream = Upstream::start(|call| match call.target.as_str() {
        "/lost" => Script::reset(),
        _ => Script::answer(200, "{}"),
    });
    let setup = Setup::new(&upstream.url()).route("when_unknown = \"probe\"").origin("settle_after = \"1s\"");
    let file = put(&setup, "policy.wasm", &guests::asking("GET", "/by-the-first", STILL_UNKNOWN));
    let gateway = setup.component(&file).origin(OFTEN).start();
    let lose = |key: &str| gateway.send(&Request::keyed("/lost", key)).assert_problem(502, "upstream-broken");
    let id = lose("a")["operation"].as_str().unwrap().to_owned();
    next_question(&upstream, "/by-the-first");
    replace(&file, &guests::asking("GET", "/by-the-second", STILL_UNKNOWN));
    assert_eq!(gateway.admin("POST", "/v1/policies/keys/reload").status, 200);
    next_question(&upstream, "/by-the-first");
    assert_eq!(gateway.forget(&id).status, 409, "it is unknown");
    let admin = gateway.admin.unwrap().to_string();
    // Each question makes a version.
    eventually("no question comes between", || {
        let version = gateway.version_of(&id);
        let args = ["ops", "resolve", &id, "--version", &version, "--outcome", "consumed"];
        let args = [&args[..], &["--reason", "r", "--admin", &admin]].concat();
        (crate::support::gateway::run(&args, gateway.setup.folder()).code == Some(0)).then_some(())
    });
    lose("b");
    next_question(&upstream, "/by-the-second");
    assert_eq!(gateway.admin("POST", "/v1/policies/keys/rollback").status, 200);
    next_question(&upstream, "/by-the-second");
}

/// Its key space has another number by then, and what made its keys is a reader.
#[test]
fn what_was_lost_before_a_change_of_keys_is_asked_about_after_it_and_after_a_restart() {
    let bank = Bank::start(|_, _| Script::reset());
    let gateway = bank.setup().origin(OFTEN).start();
    for key in ["order-1", "order-2"] {
        gateway.send(&pay(key)).assert_problem(502, "upstream-broken");
    }
    let found = |gateway: &Gateway, key: &str| {
        bank.books.note(key, "captured");
        let replay = eventually("the payment is found", || {
            let again = gateway.send(&pay(key));
            (again.status == 201).then_some(again)
        });
        assert_eq!(replay.replayed(), Some("true"), "{replay:?}");
    };
    let changed = gateway.setup.clone().policy("key_epoch = 1");
    changed.write();
    assert_eq!(gateway.admin("POST", "/v1/reload").status, 200);
    found(&gateway, "order-1");
    gateway.kill();
    let gateway = changed.start();
    found(&gateway, "order-2");
    assert_eq!(bank.sent("POST"), 2);
}
