//! Policies and configuration, changed while requests flow.

use crate::policies::bad_components::put;
use crate::support::gateway::replace;
use crate::support::*;
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::scope;

/// Two builds of one policy with one key-schema.
fn builds() -> [Vec<u8>; 2] {
    ["header-key.wasm", "header-key-v2.wasm"].map(|name| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/header-key").join(name);
        std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    })
}

/// The policy `keys` in the admin's list.
#[track_caller]
fn listed(gateway: &Gateway) -> Value {
    let list = gateway.admin("GET", "/v1/policies").json();
    let entries = list["policies"].as_array().or(list.as_array()).unwrap_or_else(|| panic!("{list}")).clone();
    entries.into_iter().find(|entry| entry["name"] == "keys").unwrap_or_else(|| panic!("{list}"))
}

fn generation(gateway: &Gateway) -> u64 {
    listed(gateway)["generation"].as_u64().expect("a number")
}

/// What this policy goes by.
fn named(id: &str) -> Request {
    Request::post("/charges").field("X-Request-Id", id)
}

/// Which build answers, by what it says to a request without an id.
fn build_in_force(gateway: &Gateway) -> usize {
    let problem = gateway.send(&Request::post("/charges")).assert_problem(400, "key-missing");
    usize::from(problem["detail"].as_str().is_some_and(|detail| detail.contains("v2 speaking")))
}

/// A gateway whose policy is the first build, in a file.
fn started(upstream: &Upstream) -> (Gateway, std::path::PathBuf) {
    let setup = Setup::new(&upstream.url());
    let file = put(&setup, "policy.wasm", &builds()[0]);
    (setup.component(&file).start(), file)
}

#[test]
fn a_policy_is_swapped_under_load_without_a_failed_request_or_a_second_execution() {
    // A generation that stayed would be a third of a megabyte, so 60 percent in all.
    println!("{}", swaps(200, 20, 20));
}

/// So many reloads under load, with RSS after the last at most so many percent over that after the `early`th;
/// what was observed.
pub(crate) fn swaps(reloads: usize, early: usize, percent: u64) -> String {
    const LOADERS: usize = 3;
    const FRESH_EVERY: usize = 10;
    let builds = builds();
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream);
    let firsts: Vec<Reply> = (0..32).map(|n| gateway.send(&named(&format!("p{n}")))).collect();
    let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = generation(&gateway);
    let (mut rss_early, mut rss_last) = (0, 0);
    scope(|scope| {
        let load = || {
            let mut connection = gateway.connect();
            while !done.load(Ordering::SeqCst) {
                for (n, first) in firsts.iter().enumerate() {
                    let reply = connection.send(&named(&format!("p{n}")));
                    reply.expect("an answer").assert_replay_of(first);
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        let loaders: Vec<_> = (0..LOADERS).map(|_| scope.spawn(load)).collect();
        let _ends_the_load = Finally(|| done.store(true, Ordering::SeqCst));
        let mut last: Option<(Request, Reply)> = None;
        for n in 1..=reloads {
            replace(&file, &builds[n % 2]);
            let reply = gateway.admin("POST", "/v1/policies/keys/reload");
            assert_eq!(reply.status, 200, "reload {n}: {}", reply.text());
            assert_eq!(build_in_force(&gateway), n % 2, "reload {n}");
            // New operations stay in the ledger, which holds several KiB of memory for each: few of
            // them, for what is measured here is what reloads leave behind.
            if n % FRESH_EVERY == 0 {
                let request = named(&format!("fresh-{n}"));
                let first = gateway.send(&request);
                first.assert_executed(201);
                last = Some((request, first));
            } else if let Some((request, first)) = &last {
                gateway.send(request).assert_replay_of(first);
            }
            match n {
                n if n == early => rss_early = gateway.rss(),
                n if n == reloads => rss_last = gateway.rss(),
                _ => assert!(
                    loaders.iter().all(|loader| !loader.is_finished()),
                    "a request failed at reload {n}"
                ),
            }
        }
    });
    let swapped = generation(&gateway) - begun;
    assert!(swapped >= reloads as u64, "{swapped} new generations");
    let counts = upstream.count_by_key();
    assert!(counts.values().all(|count| *count == 1), "executed more than once");
    assert_eq!(counts.len(), firsts.len() + reloads / FRESH_EVERY);
    assert!(
        rss_last * 100 <= rss_early * (100 + percent),
        "RSS {rss_early} KiB at {early}, {rss_last} KiB at the last"
    );
    format!(
        "{reloads} reloads under {} requests: 0 failed, 0 second executions; RSS {rss_early} KiB after the {early}th, \
         {rss_last} KiB after the last ({:+.1} %)",
        sent.load(Ordering::SeqCst),
        (rss_last as f64 / rss_early as f64 - 1.0) * 100.0
    )
}

/// Runs when it goes, by a panic too: a load that nobody ends would hang the test.
struct Finally<F: Fn()>(F);

impl<F: Fn()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_changed_file_is_noticed_by_itself() {
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream);
    let first = gateway.send(&named("k"));
    let before = generation(&gateway);
    replace(&file, &builds()[1]);
    eventually("the new build is active", || (generation(&gateway) > before).then_some(()));
    assert_eq!(build_in_force(&gateway), 1);
    gateway.send(&named("k")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn sighup_and_the_command_reload() {
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream);
    let before = generation(&gateway);
    replace(&file, &builds()[1]);
    gateway.signal(rustix::process::Signal::HUP);
    eventually("the new build is active", || (generation(&gateway) > before).then_some(()));
    replace(&file, &builds()[0]);
    let admin = gateway.admin.unwrap().to_string();
    let ended = crate::support::gateway::run(&["reload", "--admin", &admin], gateway.setup.folder());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    eventually("the old build is active again", || (generation(&gateway) > before + 1).then_some(()));
    gateway.send(&named("k")).assert_executed(201);
}

#[test]
pub(crate) fn a_broken_file_leaves_the_old_policy_running_and_the_list_says_why() {
    let upstream = Upstream::numbering();
    let (gateway, file) = started(&upstream);
    let first = gateway.send(&named("k"));
    let before = generation(&gateway);
    for broken in [&builds()[1][..5000], b"", b"(component)"] {
        replace(&file, broken);
        let reply = gateway.admin("POST", "/v1/policies/keys/reload");
        assert!(reply.status >= 400, "{reply:?}");
        assert_eq!(reply.field("content-type"), Some("application/problem+json"));
        let entry = listed(&gateway);
        assert_eq!(entry["generation"], before, "{entry}");
        assert!(entry["error"].as_str().is_some_and(|error| error.contains("policy.wasm")), "{entry}");
        gateway.send(&named("k")).assert_replay_of(&first);
    }
    replace(&file, &builds()[1]);
    assert_eq!(gateway.admin("POST", "/v1/policies/keys/reload").status, 200);
    assert!(listed(&gateway)["error"].is_null(), "{}", listed(&gateway));
    gateway.send(&named("k")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn an_unknown_policy_cannot_be_reloaded() {
    let gateway = Setup::new("http://127.0.0.1:9").start();
    assert_eq!(gateway.admin("POST", "/v1/policies/other/reload").status, 404);
}

#[test]
fn a_changed_configuration_is_taken_over_whole_or_not_at_all() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).path("/v1").start();
    let first = gateway.send(&Request::keyed("/v1/charges", "k"));
    let setup = gateway.setup.clone();
    let route = |path: &str| {
        format!(
            "[[routes]]\nname = {:?}\npath = {path:?}\nupstream = \"origin\"\npolicy = \"keys\"",
            &path[1..]
        )
    };
    setup.clone().extra(&route("/v2")).extra(&format!("{}\nwhile_runing = \"wait\"", route("/v3"))).write();
    let reply = gateway.admin("POST", "/v1/reload");
    assert!(reply.status >= 400 && reply.text().contains("while_runing"), "{reply:?}");
    for path in ["/v2/x", "/v3/x"] {
        gateway.send(&Request::keyed(path, "k")).assert_problem(404, "no-route");
    }
    setup.clone().extra(&route("/v2")).write();
    let reply = gateway.admin("POST", "/v1/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
    gateway.send(&Request::keyed("/v2/x", "k")).assert_executed(201);
    gateway.send(&Request::keyed("/v1/charges", "k")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 2);
}

/// Records keep their keys, and a retry with an odd path is 400.
#[test]
fn a_reload_to_strict_paths_is_warned_of() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    for before in ["merge", "as-received", "strict"] {
        let gateway = setup.clone().server(&format!("paths = {before:?}")).memory().start();
        let key = |path: &str| Request::keyed(path, before);
        let first = gateway.send(&key("/v1/charges"));
        first.assert_executed(201);
        if before == "merge" {
            gateway.send(&key("/v1//charges")).assert_replay_of(&first);
        }
        replace(&gateway.setup.file(), setup.clone().memory().text().as_bytes());
        let reply = gateway.admin("POST", "/v1/reload");
        assert_eq!(reply.status, 200, "{before}: {reply:?}");
        // The file is watched, too, so that either of both may warn.
        match before {
            "strict" => assert!(!gateway.stderr().contains("`server.paths` is"), "{}", gateway.stderr()),
            _ => gateway.assert_logs(&[
                "WARN",
                "`server.paths` is",
                "Written plainly it gets the recorded answer",
            ]),
        }
        gateway.send(&key("/v1//charges")).assert_problem(400, "bad-request");
        gateway.send(&key("/v1/charges")).assert_replay_of(&first);
    }
    assert_eq!(upstream.count(), 3);
}

#[test]
fn what_cannot_change_while_running_is_refused_by_name() {
    let gateway = Setup::new("http://127.0.0.1:9").start();
    let setup = gateway.setup.clone();
    for (changed, name) in
        [(setup.clone().memory(), "store"), (setup.clone().ledger("deployment = \"other\""), "deployment")]
    {
        changed.write();
        let reply = gateway.admin("POST", "/v1/reload");
        assert!(reply.status >= 400 && reply.text().contains(name), "{name}: {reply:?}");
    }
}

/// A refusal that is no policy's load: `identity` refuses a policy that is renamed.
#[test]
fn a_refused_reload_is_shown_with_its_step() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    let (good, file) = (gateway.setup.text(), gateway.setup.file());
    let renamed = good.replace("[policies.keys]", "[policies.other]").replace("\"keys\"", "\"other\"");
    let broken = good.replace("builtin:idempotency-key", "missing.wasm");
    let fixed = good.replace("workers = 2", "workers = 3");
    let unread = good.replace("[ledger]", "[ledgre]");
    for (text, step) in
        [(renamed, "identity"), (broken, "read"), (fixed, "configuration"), (unread, "configuration")]
    {
        replace(&file, text.as_bytes());
        let refused = gateway.admin("POST", "/v1/reload");
        assert_eq!((refused.status, &refused.json()["step"]), (422, &step.into()), "{}", refused.text());
        let page = gateway.admin("GET", "/v1/policies").json();
        assert_eq!(page["last_reload_step"], step, "{page}");
        gateway.assert_logs(&[&format!("step=\"{step}\""), "occasion=\"reload by the admin interface\""]);
        let admin = gateway.admin.unwrap().to_string();
        let told = crate::support::gateway::run(&["reload", "--admin", &admin], gateway.setup.folder());
        assert_eq!(told.code, Some(1), "{told:?}");
        assert!(told.stderr.contains(step), "{told:?}");
        assert_eq!(page["policies"][0]["last_load"].is_null(), step != "read", "{page}");
        replace(&file, good.as_bytes());
        gateway.signal(rustix::process::Signal::HUP);
        eventually("the good file is read", || {
            let page = gateway.admin("GET", "/v1/policies").json();
            let over = page["last_reload_step"].is_null() && page["last_reload_error"].is_null();
            (over && page["policies"][0]["last_load"].is_null()).then_some(())
        });
    }
    gateway.assert_logs(&["reloaded what=\"configuration\" occasion=\"reload by SIGHUP\""]);
}
