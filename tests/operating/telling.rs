//! What becomes of a request is told to its operator: each outcome that nobody knows has a line, and counts add up.

use crate::support::upstream::Call;
use crate::support::*;
use serde_json::Value;
use socket2::SockRef;
use std::time::Duration;

/// The line of the log that tells of this operation and says that nobody knows its outcome.
#[track_caller]
fn assert_told(gateway: &Gateway, operation: &str, words: &[&str]) {
    let told = |line: &&str| {
        line.contains(&format!("operation={operation}"))
            && line.contains(" WARN ")
            && line.contains("outcome=\"unknown\"")
            && words.iter().all(|word| line.contains(word))
    };
    eventually("its line is written", || gateway.stderr().lines().find(told).map(drop));
}

/// The ids of the operations whose outcome nobody knows.
fn unknown(gateway: &Gateway) -> Vec<String> {
    let listed = gateway.admin("GET", "/v1/operations?state=unknown").json();
    let listed = listed["operations"].as_array().expect("a list").clone();
    listed.iter().map(|listed| listed["operation"].as_str().expect("an id").to_owned()).collect()
}

fn by_path(call: &Call) -> Script {
    let script = Script::answer(200, "x".repeat(5000));
    match call.target.as_str() {
        "/cut" => script.cut_at(3000),
        "/cut-at-once" => script.cut_at(0),
        "/chunked" => script.chunked().cut_at(3000),
        "/reset" => Script::reset(),
        "/429" => Script::answer(429, "").field("Retry-After", "1"),
        path => Script::answer(path.trim_start_matches('/').parse().unwrap_or(201), "{}"),
    }
}

#[test]
fn each_unknown_outcome_has_its_line() {
    let upstream = Upstream::start(by_path);
    let gateway = Setup::new(&upstream.url()).memory().start();
    let answered = ["/502", "/503", "/504", "/599"];
    let cut = ["/cut", "/cut-at-once", "/chunked", "/reset"];
    for (n, path) in answered.iter().chain(&cut).cycle().take(24).enumerate() {
        let mut connection = gateway.connect();
        connection.0.write(&Request::keyed(path, &n.to_string()).bytes()).unwrap();
        let reply = connection.reply("POST");
        if answered.contains(path) {
            let reply = reply.unwrap();
            let status = format!("status={}", &path[1..]);
            assert_told(
                &gateway,
                reply.operation(),
                &[&status, "reason=\"ambiguous-answer\"", "route=\"all\""],
            );
        }
    }
    let unknown = eventually("all are settled", || Some(unknown(&gateway)).filter(|ids| ids.len() == 24));
    unknown.iter().for_each(|id| assert_told(&gateway, id, &["reason="]));
}

/// The newest line of the access log with this path.
fn line(gateway: &Gateway, path: &str) -> Value {
    eventually("the line is written", || {
        let log = gateway.stderr();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.rfind(|line| line["path"] == path)
    })
}

#[test]
fn the_access_log_has_the_outcome() {
    let upstream = Upstream::start(by_path);
    let gateway = Setup::new(&upstream.url()).memory().server("access_log = \"json\"").start();
    for (path, result, outcome) in [
        ("/201", "executed", Some("completed")),
        ("/429", "executed", Some("not-applied")),
        ("/500", "executed", Some("completed")),
        ("/502", "executed", Some("unknown")),
        ("/reset", "failed", Some("unknown")),
    ] {
        gateway.send(&Request::keyed(path, path));
        let line = line(&gateway, path);
        assert_eq!((line["result"].as_str(), line["outcome"].as_str()), (Some(result), outcome), "{line}");
    }
    gateway.send(&Request::get("/get"));
    assert!(line(&gateway, "/get")["outcome"].is_null(), "nobody knows of what is not guarded");
    assert_eq!(gateway.send(&Request::keyed("/201", "/201")).status, 201);
    eventually("its line is written", || {
        let line = line(&gateway, "/201");
        (line["result"] == "replayed" && line["outcome"].is_null()).then_some(())
    });
}

#[test]
fn what_was_left_executing_is_named() {
    for left in [1, 3] {
        let upstream = Upstream::start(|_| Script::silence());
        let gateway = Setup::new(&upstream.url()).start();
        let mut connections: Vec<_> = (0..left).map(|_| gateway.connect()).collect();
        for (n, connection) in connections.iter_mut().enumerate() {
            connection.0.write(&Request::keyed("/charges", &n.to_string()).bytes()).unwrap();
        }
        upstream.await_count(left);
        let gateway = gateway.kill().start();
        let unknown =
            eventually("they are unknown", || Some(unknown(&gateway)).filter(|ids| ids.len() == left));
        unknown.iter().for_each(|id| assert_told(&gateway, id, &["reason=\"crashed\""]));
        gateway.assert_logs(&[&format!(
            "recorded as unknown: `oncegate ops list --state unknown` lists it orphans={left}"
        )]);
    }
}

/// A metric with labels.
fn count(gateway: &Gateway, series: &str) -> u64 {
    let text = gateway.admin("GET", "/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)).expect(series);
    line.trim().parse().unwrap()
}

#[test]
fn requests_whose_clients_leave_are_counted() {
    for (guarded, client_gone) in [(false, "finish"), (true, "close"), (false, "close")] {
        let upstream = Upstream::start(|_| Script::silence());
        let setup = Setup::new(&upstream.url()).memory().route(&format!("client_gone = {client_gone:?}"));
        let gateway = setup.start();
        for n in 0..3 {
            let mut leaving = gateway.connect();
            let request =
                if guarded { Request::keyed("/charges", &n.to_string()) } else { Request::post("/charges") };
            leaving.0.write(&request.bytes()).unwrap();
            upstream.await_count(n + 1);
            SockRef::from(&leaving.0.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        let aborted = "oncegate_upstream_requests_total{upstream=\"origin\",result=\"aborted\"}";
        eventually("they are counted", || (count(&gateway, aborted) == 3).then_some(()));
    }
}

#[test]
fn plain_answers_that_break_off_are_told() {
    let upstream = Upstream::start(by_path);
    let gateway = Setup::new(&upstream.url()).memory().start();
    let cut = "oncegate_upstream_answers_cut_total{upstream=\"origin\"}";
    for (n, path) in ["/cut", "/chunked", "/cut-at-once"].iter().enumerate() {
        let mut connection = gateway.connect();
        connection.0.write(&Request::post(path).bytes()).unwrap();
        let _ = connection.reply("POST");
        eventually("it is counted", || (count(&gateway, cut) == n as u64 + 1).then_some(()));
    }
    gateway.assert_logs(&["an answer to an unguarded request was cut short upstream=\"origin\""]);
    gateway.send(&Request::post("/201"));
    assert_eq!(count(&gateway, cut), 3, "a whole one is none");
}

#[test]
fn a_change_of_keys_is_told() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let active = "a policy is active policy=\"keys\"";
    gateway.assert_logs(&[
        active,
        "settings_sha256=\"",
        "key_schema=\"",
        "key_space=0 ",
        "occasion=\"start\"",
    ]);
    let count = count(&gateway, "oncegate_policy_reloads_total{policy=\"keys\",result=\"ok\"}");
    assert_eq!(count, 0, "a start is no reload");
    let setup = gateway.setup.clone();
    let from = "settings = { from = [\"header:x-request-id\"] }";
    for (line, changes, key_space) in [
        (from, &["settings", "key-schema"][..], 1),
        (&format!("{from}\nkey_epoch = 1"), &["key_epoch 0 to 1"], 2),
        ("settings = { max = 99, from = [\"header:x-request-id\"] }\nkey_epoch = 1", &["settings"], 2),
        ("key_epoch = 1", &["settings", "key-schema"], 3),
    ] {
        setup.clone().policy(line).write();
        let admin = gateway.admin.unwrap().to_string();
        let ended = gateway::run(&["reload", "--admin", &admin, "--output", "json"], setup.folder());
        let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        let policy = &report["policies"][0];
        assert_eq!(
            (&report["ok"], &policy["key_space"]),
            (&true.into(), &key_space.into()),
            "{line}: {report}"
        );
        // Whoever comes first brings it: this reload, or that of the changed file.
        gateway.assert_logs(&[active, &format!("key_space={key_space} changed=\"{}", changes.join(", "))]);
    }
    // A start with other settings is a change, too.
    let (setup, _) = gateway.terminate();
    let gateway = setup.policy(&format!("{from}\nkey_epoch = 1")).start();
    gateway.assert_logs(&[active, "key_space=", "occasion=\"start\""]);
}

#[test]
fn a_key_that_nobody_reads_is_warned_of() {
    let upstream = Upstream::numbering();
    let told = "route=\"all\" policy=keys";
    let warned = "which its policy does not read: that key guards nothing";
    for (component, settings, is_warned) in [
        ("builtin:webhook", "", true),
        ("builtin:content", "", true),
        ("builtin:content", "settings = { again = \"Idempotency-Key\" }", false),
        ("builtin:idempotency-key", "", false),
        ("builtin:idempotency-key", "settings = { from = [\"header:x-key\"] }", true),
    ] {
        let setup = Setup::new(&upstream.url()).memory().component(component).policy(settings);
        let gateway = setup.start();
        gateway.send(&Request::post("/charges").body("{}"));
        gateway.send(&Request::get("/charges").key("k"));
        assert!(!gateway.stderr().contains(warned), "nobody sent one: {component}");
        gateway.send(&Request::keyed("/charges", "k").body("{}"));
        if is_warned {
            gateway.assert_logs(&[warned, told]);
        }
        let (_, log) = (gateway.send(&Request::keyed("/charges", "l").body("{}")), gateway.stderr());
        assert_eq!(log.contains(warned), is_warned, "{component} {settings}:\n{log}");
    }
}
