//! Going back to the generation before, asked for and by itself, and what a load's steps tell.

use crate::guests::{self, Guest};
use crate::policies::bad_components::put;
use crate::support::gateway::{replace, run};
use crate::support::*;
use serde_json::Value;
use std::path::PathBuf;

/// Keys are what `Idempotency-Key` says.
fn good() -> Vec<u8> {
    Guest::default().component()
}

/// As [`good`], but it traps on keys that begin with an `f` (behind the quote): nothing that was seen before a reload.
fn failing() -> Vec<u8> {
    let begins = guests::first_field_has(1, b'f');
    guests::deciding(&format!("{begins} if unreachable end {}", guests::KEY_OF_FIRST_FIELD))
}

fn listed(gateway: &Gateway) -> Value {
    let list = gateway.admin("GET", "/v1/policies").json();
    let entries = list["policies"].as_array().expect("a list").clone();
    entries.into_iter().find(|entry| entry["name"] == "keys").expect("it is listed")
}

fn generation(gateway: &Gateway) -> u64 {
    listed(gateway)["generation"].as_u64().expect("a number")
}

fn started(upstream: &Upstream, line: &str) -> (Gateway, PathBuf) {
    let setup = Setup::new(&upstream.url()).policy(line);
    let file = put(&setup, "policy.wasm", &good());
    (setup.component(&file).start(), file)
}

fn reload(gateway: &Gateway) {
    let reply = gateway.admin("POST", "/v1/policies/keys/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// So many requests that fail, from so many principals in turn.
fn fail(gateway: &Gateway, requests: usize, principals: usize) {
    for n in 0..requests {
        let who = format!("Bearer caller-{}", n % principals);
        let request = Request::keyed("/charges", &format!("f{n}")).field("Authorization", who);
        gateway.send(&request).assert_problem(503, "policy-failed");
    }
}

/// Has an operation executed for so many principals, who are known then.
fn make_known(gateway: &Gateway, principals: usize) {
    for n in 0..principals {
        let request =
            Request::keyed("/charges", &format!("k{n}")).field("Authorization", format!("Bearer caller-{n}"));
        gateway.send(&request).assert_executed(201);
    }
}

#[test]
fn a_rollback_brings_the_generation_before_back_and_again_the_one_after() {
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream, "trial = \"0s\"");
    let first = gateway.send(&Request::keyed("/charges", "k"));
    let (good, refused) = (generation(&gateway), gateway.admin("POST", "/v1/policies/keys/rollback"));
    assert_eq!(refused.status, 409, "there is nothing to go back to: {}", refused.text());
    replace(&file, &failing());
    reload(&gateway);
    assert_eq!(listed(&gateway)["rollback_to"], good);
    gateway.send(&Request::keyed("/charges", "f")).assert_problem(503, "policy-failed");

    let admin = gateway.admin.unwrap().to_string();
    let ended = run(&["reload", "--policy", "keys", "--rollback", "--admin", &admin], gateway.setup.folder());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("was rolled back"), "{ended:?}");
    assert!(ended.stdout.contains(&format!("keys: generation {good}, brought back")), "{ended:?}");
    assert_eq!(generation(&gateway), good);
    assert_eq!(listed(&gateway)["last_load"]["occasion"], "rollback");
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);

    // Whatever else is reloaded leaves it out; who asks for it by name gets it.
    let reply = gateway.admin("POST", "/v1/reload");
    assert!(reply.text().contains("was rolled back"), "{}", reply.text());
    assert_eq!(generation(&gateway), good);
    reload(&gateway);
    gateway.send(&Request::keyed("/charges", "f")).assert_problem(503, "policy-failed");
    assert_eq!(gateway.admin("POST", "/v1/policies/keys/rollback").status, 200);
    assert_eq!(gateway.admin("POST", "/v1/policies/keys/rollback").status, 200);
    gateway.send(&Request::keyed("/charges", "f")).assert_problem(503, "policy-failed");
    assert_eq!(gateway.admin("POST", "/v1/policies/other/rollback").status, 404);
    assert_eq!(upstream.count(), 1);
}

/// How many warnings of the status say that something was rolled back.
fn said_of_rollbacks(gateway: &Gateway) -> usize {
    let status = gateway.admin("GET", "/v1/status").json();
    let warnings = status["warnings"].as_array().expect("a list");
    warnings.iter().filter(|warning| warning.as_str().unwrap().contains("was rolled back")).count()
}

#[test]
fn what_is_said_of_a_rollback_holds() {
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream, "trial = \"0s\"");
    replace(&file, &failing());
    reload(&gateway);
    let failing = generation(&gateway);
    let (all, own, back) = ("/v1/reload", "/v1/policies/keys/reload", "/v1/policies/keys/rollback");
    let mut latest = failing;
    for (asked, left_out) in [
        (all, false),
        (back, true),
        (all, true),
        (all, true),
        // Asked for by name.
        (own, false),
        (all, false),
        (back, true),
        // A rollback of the rollback: the configuration names what comes back.
        (back, false),
        (all, false),
        (back, true),
    ] {
        let reply = gateway.admin("POST", asked);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.text().contains("was rolled back"), left_out, "{asked}: {}", reply.text());
        assert_eq!(said_of_rollbacks(&gateway), usize::from(left_out), "{asked}");
        latest = latest.max(generation(&gateway));
        assert_eq!(generation(&gateway) == latest, !left_out, "{asked}");
    }
}

#[test]
fn settings_go_back_with_their_generation() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let setup = gateway.setup.clone();
    setup.clone().policy("settings = { required = true }").write();
    assert_eq!(gateway.admin("POST", "/v1/reload").status, 200);
    gateway.send(&Request::post("/charges")).assert_problem(400, "key-missing");
    assert_eq!(gateway.admin("POST", "/v1/policies/keys/rollback").status, 200);
    assert_eq!(gateway.send(&Request::post("/charges")).status, 201);
    // The file says what it said: nothing of it is taken, until it says something else.
    assert_eq!(gateway.admin("POST", "/v1/reload").status, 200);
    assert_eq!(gateway.send(&Request::post("/charges")).status, 201);
    setup.policy("settings = { required = true, max = 99 }").write();
    assert_eq!(gateway.admin("POST", "/v1/reload").status, 200);
    gateway.send(&Request::post("/charges")).assert_problem(400, "key-missing");
}

#[test]
fn a_new_generation_that_fails_for_several_callers_is_rolled_back_by_itself() {
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream, "");
    let first = gateway.send(&Request::keyed("/charges", "k"));
    make_known(&gateway, 3);
    let good = generation(&gateway);
    replace(&file, &failing());
    reload(&gateway);
    fail(&gateway, 10, 3);
    let is_back =
        |entry: &Value| entry["generation"] == good && entry["last_load"]["occasion"] == "automatic rollback";
    eventually("the old generation is back, and told", || is_back(&listed(&gateway)).then_some(()));
    assert_eq!(said_of_rollbacks(&gateway), 1, "who looks in the morning sees it");
    assert_eq!(gateway.metric("oncegate_policy_reloads_total{policy=\"keys\",result=\"rolled_back\"}"), 1);
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
    // Nor does a reload of everything bring the failing one again.
    assert_eq!(gateway.admin("POST", "/v1/reload").status, 200);
    assert_eq!(generation(&gateway), good);
    assert_eq!(upstream.count(), 4);
}

/// Anybody can make up credentials.
#[test]
fn failures_of_strangers_roll_nothing_back() {
    // The service refuses, fails, or does nothing for whom it doesn't know.
    let upstream = Upstream::start(|call| match call.field("authorization") {
        Some("Bearer caller-0") => Script::answer(401, ""),
        Some("Bearer caller-1") => Script::reset(),
        Some("Bearer caller-2") => Script::answer(422, ""),
        _ => Script::numbered(call),
    });
    let (gateway, file) = started(&upstream, "");
    for n in 0..3 {
        let who = format!("Bearer caller-{n}");
        gateway.send(&Request::keyed("/charges", "k").field("Authorization", who));
    }
    // Two who are known, but not three.
    for who in ["Bearer one", "Bearer two"] {
        gateway.send(&Request::keyed("/charges", "k").field("Authorization", who)).assert_executed(201);
    }
    replace(&file, &failing());
    reload(&gateway);
    let failing = generation(&gateway);
    fail(&gateway, 60, 12);
    for who in ["Bearer one", "Bearer two"] {
        let request = Request::keyed("/charges", "f").field("Authorization", who);
        gateway.send(&request).assert_problem(503, "policy-failed");
    }
    assert_eq!(gateway.admin("POST", "/v1/reload").status, 200);
    assert_eq!(generation(&gateway), failing);
}

/// A credential that the service looks at, and made-up ones beside it that it doesn't.
#[test]
fn one_customer_with_made_up_credentials_is_one() {
    let upstream = Upstream::numbering();
    type Ask = fn(&str, &str) -> Request;
    let (api_key, token): (Ask, Ask) = (
        |real, made_up| Request::post("/charges").field("X-API-Key", real).field("Authorization", made_up),
        |real, made_up| Request::post("/charges").field("Authorization", real).field("X-API-Key", made_up),
    );
    let cookie: Ask = |real, made_up| {
        let cookies = format!("sid={}", real.replace(' ', "-"));
        Request::post("/charges").field("Cookie", cookies).field("X-API-Key", made_up)
    };
    let query: Ask = |real, made_up| {
        let real = real.replace(' ', "-");
        Request::post(&format!("/charges?token={real}")).field("Authorization", made_up)
    };
    for (what, principal, ask) in [
        ("a token beside the key that counts", "", api_key),
        ("a key beside the token that counts", "", token),
        ("a cookie counts", "[principal]\nfrom = [\"api-key+cookie:sid\"]", cookie),
        ("a parameter counts", "[principal]\nfrom = [\"cookie:sid\", \"authorization+query:token\"]", query),
    ] {
        let setup = Setup::new(&upstream.url()).extra(principal);
        let file = put(&setup, "policy.wasm", &good());
        let gateway = setup.component(&file).start();
        let ask = |who: &str, made_up: usize, key: &str| {
            gateway.send(&ask(who, &format!("Bearer {who}{made_up}")).key(key))
        };
        for made_up in 0..5 {
            ask("Bearer customer", made_up, "k").assert_executed(201);
        }
        for other in ["Bearer one", "Bearer two"] {
            ask(other, 0, "k").assert_executed(201);
        }
        let good = generation(&gateway);
        replace(&file, &failing());
        reload(&gateway);
        let failing = generation(&gateway);
        for number in 0..30 {
            ask("Bearer customer", number % 5, &format!("f{number}")).assert_problem(503, "policy-failed");
        }
        ask("Bearer one", 0, "f").assert_problem(503, "policy-failed");
        assert_eq!(gateway.admin("POST", "/v1/reload").status, 200);
        assert_eq!(generation(&gateway), failing, "{what}");
        // Two others make three callers.
        ask("Bearer two", 0, "f").assert_problem(503, "policy-failed");
        eventually("the old generation is back", || (generation(&gateway) == good).then_some(()));
    }
}

#[test]
fn one_callers_failures_and_those_without_a_trial_roll_nothing_back() {
    let upstream = Upstream::numbering();
    for (line, principals) in [("", 2), ("trial = \"0s\"", 3)] {
        let (gateway, file) = started(&upstream, line);
        make_known(&gateway, principals);
        replace(&file, &failing());
        reload(&gateway);
        let failing = generation(&gateway);
        fail(&gateway, 30, principals);
        // What would roll it back runs where this is answered, and before it.
        assert_eq!(gateway.admin("POST", "/v1/reload").status, 200);
        assert_eq!(generation(&gateway), failing, "{line:?}");
    }
}

#[test]
fn the_list_shows_each_step_of_a_load_and_where_one_failed() {
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream, "");
    let steps = |entry: &Value| -> Vec<String> {
        let steps = entry.as_array().unwrap_or_else(|| panic!("{entry}"));
        steps.iter().map(|step| format!("{} {}", step["step"].as_str().unwrap(), step["ok"])).collect()
    };
    let passed: Vec<String> = STEPS.iter().map(|name| format!("{name} true")).collect();
    assert_eq!(steps(&listed(&gateway)["steps"]), passed);
    let told = format!("steps=\"{}\"", STEPS.join(", "));
    gateway.assert_logs(&["a policy is active", "occasion=\"start\"", &told]);
    let refuses = Guest { refuses_settings: Some("not these".into()), ..Guest::default() };
    for (component, failed) in [(good()[..100].to_vec(), "inspect"), (refuses.component(), "configure")] {
        replace(&file, &component);
        assert_eq!(gateway.admin("POST", "/v1/policies/keys/reload").status, 422);
        let last = listed(&gateway)["last_load"].clone();
        assert_eq!(steps(&last["steps"]).last(), Some(&format!("{failed} false")), "{last}");
        assert!(last["error"].as_str().is_some_and(|error| error.contains("policy.wasm")), "{last}");
        let admin = gateway.admin.unwrap().to_string();
        let ended = run(&["reload", "--policy", "keys", "--admin", &admin], gateway.setup.folder());
        ended
            .assert_refused(1, &["policy.wasm", "came through read, digest", &format!("failed at {failed}")]);
        assert_eq!(steps(&listed(&gateway)["steps"]), passed, "of the generation that is active");
    }
    // The watched file may be quicker than the request.
    let first = generation(&gateway);
    replace(&file, &failing());
    let _either = gateway.admin("POST", "/v1/policies/keys/reload");
    eventually("another one is active, and told", || {
        let entry = listed(&gateway);
        (entry["generation"] != first && entry["last_load"]["steps"] == entry["steps"]).then_some(())
    });
    assert_eq!(steps(&listed(&gateway)["steps"]), passed);
    let admin = gateway.admin.unwrap().to_string();
    let ended = run(&["reload", "--policy", "keys", "--rollback", "--admin", &admin], gateway.setup.folder());
    assert!(ended.stdout.contains(&format!("it came through {}\n", STEPS.join(", "))), "{ended:?}");
    assert_eq!(generation(&gateway), first);
    replace(&file, &good());
    let (setup, _) = gateway.terminate();
    assert_eq!(steps(&listed(&setup.start())["steps"]), passed, "after a restart");
}

/// All steps by which a generation comes into force (`design/loading.md`).
const STEPS: [&str; 12] = [
    "read",
    "digest",
    "inspect",
    "compile",
    "link",
    "settings",
    "configure",
    "self-test",
    "promise",
    "identity",
    "key spaces",
    "activate",
];

#[test]
fn a_second_start_takes_the_compiled_policy_from_the_data_folder() {
    let upstream = Upstream::numbering();
    let (gateway, _file) = started(&upstream, "");
    let how = |gateway: &Gateway| -> String {
        let entry = listed(gateway);
        let steps = entry["steps"].as_array().unwrap();
        steps.iter().find(|step| step["step"] == "compile").unwrap()["note"].as_str().unwrap().into()
    };
    assert_eq!(how(&gateway), "compiled");
    let (setup, _) = gateway.terminate();
    let gateway = setup.start();
    assert_eq!(how(&gateway), "from the data folder");
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    // Damaged, it is compiled again and replaced.
    let (setup, _) = gateway.terminate();
    let folder = setup.data().join("oncegate.code");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, b"damaged").unwrap();
    let gateway = setup.start();
    assert_eq!(how(&gateway), "compiled");
    gateway.send(&Request::keyed("/charges", "l")).assert_executed(201);
}
