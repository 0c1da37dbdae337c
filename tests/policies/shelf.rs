//! The policies that come with the gateway, in service: what each promises to its callers, with the
//! client libraries that people use where there is one.

use crate::policies::bad_components::put;
use crate::support::external::{output, script, skip};
use crate::support::*;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::thread::scope;

fn builtin(upstream: &Upstream, name: &str) -> Setup {
    Setup::new(&upstream.url()).component(format!("builtin:{name}"))
}

/// A component of `plugins/`, as it is committed.
fn plugin(upstream: &Upstream, name: &str) -> Setup {
    let file = format!("{}/plugins/{name}/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    let setup = Setup::new(&upstream.url());
    let file = put(&setup, "policy.wasm", &std::fs::read(file).expect("it is committed beside its source"));
    setup.component(file)
}

fn delivery(id: &str) -> Request {
    Request::post("/hooks").field("Webhook-Id", id).body("{\"event\":1}")
}

#[test]
fn a_delivery_that_the_service_turns_away_frees_its_id() {
    // Forged, failed, moved: none of them is the delivery. The fifth is.
    let statuses = [401, 500, 503, 302, 200];
    let upstream =
        Upstream::start(move |call| Script::answer(statuses[call.number.min(4)], call.number.to_string()));
    let gateway = builtin(&upstream, "webhook").start();
    for status in statuses {
        gateway.send(&delivery("msg_1")).assert_executed(status);
    }
    let again = gateway.send(&delivery("msg_1").body("{ \"event\": 1 }"));
    assert_eq!((again.status, again.replayed(), again.text().as_str()), (200, Some("true"), "4"));
    assert_eq!(upstream.count(), 5);
}

#[test]
fn a_sender_is_told_to_come_back_for_what_is_open_and_not_for_what_is_done() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.field("webhook-id") {
        Some("held") => Script::answer(200, "done").after(&held),
        Some("lost") => Script::reset(),
        _ => Script::answer(204, "").field("Oncegate-Keep", "none"),
    });
    let gateway = builtin(&upstream, "webhook").route("while_running = \"reject\"").start();
    scope(|scope| {
        let first = scope.spawn(|| gateway.send(&delivery("held")));
        upstream.await_count(1);
        let meanwhile = gateway.send(&delivery("held"));
        assert_eq!((meanwhile.status, meanwhile.field("oncegate-problem")), (503, Some("in-flight")));
        assert!(meanwhile.field("retry-after").is_some());
        gate.open();
        first.join().unwrap().assert_executed(200);
    });
    gateway.send(&delivery("lost"));
    let unknown = gateway.send(&delivery("lost"));
    assert_eq!((unknown.status, unknown.field("oncegate-problem")), (503, Some("outcome-unknown")));
    gateway.send(&delivery("kept")).assert_executed(204);
    let consumed = gateway.send(&delivery("kept"));
    assert_eq!((consumed.status, consumed.field("oncegate-problem")), (200, Some("consumed")));
    assert_eq!(upstream.count(), 3);
}

/// A forged delivery, which the service turns away when it has looked at its signature, and the real one.
#[test]
fn whoever_waits_gets_no_strangers_refusal() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.number {
        0 => Script::answer(401, "a bad signature").after(&held),
        _ => Script::answer(200, "thank you"),
    });
    let gateway = builtin(&upstream, "webhook").start();
    let waiters = || gateway.admin("GET", "/v1/upstreams").json()["upstreams"][0]["waiters"].clone();
    scope(|scope| {
        let forged = scope.spawn(|| gateway.send(&delivery("msg_1")));
        upstream.await_count(1);
        let real: Vec<_> = (0..2).map(|_| scope.spawn(|| gateway.send(&delivery("msg_1")))).collect();
        eventually("they wait", || (waiters() == 2).then_some(()));
        gate.open();
        forged.join().unwrap().assert_executed(401);
        for waited in real {
            let waited = waited.join().unwrap();
            assert_eq!((waited.status, waited.field("oncegate-problem")), (503, Some("in-flight")));
            assert!(waited.field("retry-after").is_some() && !waited.text().contains("signature"));
        }
    });
    gateway.send(&delivery("msg_1")).assert_executed(200);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn each_receiver_gets_its_own_delivery() {
    let upstream = Upstream::numbering();
    let gateway = builtin(&upstream, "webhook").start();
    let to = |host: &str, target: &str, hook: Option<&str>| {
        let request = Request::new("POST", target).field("Host", host).field("X-GitHub-Delivery", "g");
        hook.into_iter().fold(request, |request, hook| request.field("X-GitHub-Hook-ID", hook))
    };
    let receivers = [
        to("a.example", "/hooks", None),
        to("b.example", "/hooks", None),
        to("a.example", "/hooks?tenant=1", None),
        to("a.example", "/hooks?tenant=2", None),
        to("a.example", "/hooks", Some("7")),
        to("a.example", "/hooks", Some("8")),
    ];
    for delivery in &receivers {
        let first = gateway.send(delivery);
        first.assert_executed(201);
        gateway.send(delivery).assert_replay_of(&first);
    }
    assert_eq!(upstream.count(), receivers.len());
}

#[test]
fn what_is_no_cloud_event_goes_through() {
    let upstream = Upstream::numbering();
    let gateway = builtin(&upstream, "webhook").start();
    let charge = |status: &str| {
        let body = format!("{{\"id\":\"ch_1\",\"source\":\"card\",\"status\":\"{status}\"}}");
        Request::post("/charges").field("Content-Type", "application/json").body(body)
    };
    for status in ["paid", "refunded", "refunded"] {
        let reply = gateway.send(&charge(status));
        assert_eq!((reply.status, reply.replayed()), (201, None), "{status}");
    }
    assert_eq!(upstream.count(), 3);
}

/// Bodies that a service may read although the gateway doesn't: none of them goes up.
#[test]
fn what_cant_be_read_is_not_passed_on() {
    let call = r#"{"jsonrpc":"2.0","id":"evt_1","method":"charge","params":{"idempotency_key":"k"}}"#;
    let utf16: Vec<u8> = call.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let deep = format!("{{\"a\":{}{},{}", "[".repeat(300), "]".repeat(300), &call[1..]);
    let unread: [(Vec<u8>, &str); 8] = [
        (call.replace("charge", "\\ud800").into(), "application/json"),
        (call.replace("\"id\"", "\"id\":\"evt_0\",\"id\"").into(), "application/json"),
        (call.replace("\"k\"", "NaN").into(), "application/json"),
        (utf16.clone(), "application/json; charset=utf-16"),
        ([&[0xff, 0xfe], &utf16[..]].concat(), "application/json"),
        (deep.into(), "application/json"),
        (call.into(), "application/x-www-form-urlencoded"),
        (call.replace("\"k\"", "\"\u{1}\"").into(), "text/plain"),
    ];
    let upstream = Upstream::numbering();
    let rpc = plugin(&upstream, "json-rpc").policy("settings = { required = true }").start();
    let hooks = builtin(&upstream, "webhook").start();
    let request = || Request::post("/").field("Stripe-Signature", "t=1,v1=a");
    for (body, kind) in &unread {
        let request = request().field("Content-Type", kind).body(body.clone());
        rpc.send(&request).assert_problem(400, "key-malformed");
        hooks.send(&request).assert_problem(400, "key-malformed");
    }
    let coded = request().field("Content-Encoding", "x-own").body(call);
    rpc.send(&coded).assert_problem(400, "key-malformed");
    hooks.send(&coded).assert_problem(400, "key-malformed");
    for batch in [format!("[1,{call}]"), format!("[{call}]"), "[{\"method\":\"charge\"}]".to_owned()] {
        rpc.send(&request().body(batch.clone())).assert_problem(400, "batch");
        hooks.send(&request().body(batch)).assert_problem(400, "key-malformed");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_member_in_another_letter_case_is_refused() {
    let upstream = Upstream::numbering();
    let settings = "settings = { required = true, methods = [\"charge\"] }";
    let gateway = plugin(&upstream, "json-rpc").policy(settings).start();
    let call = |body: &str| Request::post("/rpc").field("Content-Type", "application/json").body(body);
    let refused = [
        ("Method", r#"{"jsonrpc":"2.0","id":1,"Method":"charge","params":{}}"#),
        ("METHOD", r#"{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"charge"}"#),
        ("mEthod", r#"{"jsonrpc":"2.0","id":1,"\u006dEthod":"charge","method":"ping"}"#),
        ("Params", r#"{"id":1,"method":"charge","params":{"idempotency_key":"k"},"Params":{"amount":7}}"#),
        ("ID", r#"{"ID":1,"method":"charge","params":{"idempotency_key":"k"}}"#),
        ("JsonRpc", r#"{"JsonRpc":"2.0","id":1,"method":"charge","params":{"idempotency_key":"k"}}"#),
    ];
    for (member, body) in refused {
        let problem = gateway.send(&call(body));
        problem.assert_problem(400, "key-malformed");
        assert!(problem.text().contains(member), "{}", problem.text());
    }
    gateway.send(&call(r#"[{"id":1,"Method":"charge"}]"#)).assert_problem(400, "batch");
    assert_eq!(upstream.count(), 0);
    let nested = r#"{"id":1,"method":"charge","params":{"idempotency_key":"k","ID":1,"Method":"x"}}"#;
    gateway.send(&call(nested)).assert_executed(201);
}

#[test]
fn a_senders_mark_without_an_id_is_refused() {
    let upstream = Upstream::numbering();
    let gateway = builtin(&upstream, "webhook").start();
    let marks = [
        "Webhook-Signature",
        "Webhook-Timestamp",
        "Svix-Signature",
        "Svix-Timestamp",
        "X-GitHub-Event",
        "X-GitHub-Hook-Id",
        "X-Hub-Signature",
        "X-Hub-Signature-256",
        "X-Shopify-Topic",
        "X-Shopify-Hmac-Sha256",
        "x-amz-sns-message-type",
        "x-amz-sns-subscription-arn",
    ];
    for mark in marks {
        let request = Request::post("/hooks").field(mark, "x").body("{}");
        gateway.send(&request).assert_problem(400, "key-malformed");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_delivery_is_one_in_any_writing() {
    let upstream = Upstream::numbering();
    let gateway = builtin(&upstream, "webhook").start();
    let guid = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
    let pairs = [
        ("X-GitHub-Delivery", guid.to_uppercase(), "X-GitHub-Delivery", guid.to_owned()),
        ("Svix-Id", "msg_1".to_owned(), "Webhook-Id", "msg_1".to_owned()),
    ];
    for (name, id, other_name, other) in pairs {
        gateway.send(&Request::post("/hooks").field(name, &id).body("{}")).assert_executed(201);
        let again = gateway.send(&Request::post("/hooks").field(other_name, &other).body("{}"));
        assert_eq!((again.status, again.replayed()), (201, Some("true")), "{other_name}");
    }
    assert_eq!(upstream.count(), 2);
}

/// The sender's own libraries: Standard Webhooks signs each attempt anew, CloudEvents go as headers
/// and as a document.
#[test]
fn standard_webhooks_and_cloud_events_are_delivered_once() {
    let test = "shelf::standard_webhooks_and_cloud_events_are_delivered_once";
    let Some(python) = crate::support::external::find("python3") else { return skip(test, "no python3") };
    let upstream = Upstream::numbering();
    let gateway = builtin(&upstream, "webhook").start();
    let url = format!("{}/hooks", gateway.url());
    let told: Value =
        serde_json::from_str(&output(Command::new(python).arg(script("webhook_senders.py")).arg(url)))
            .unwrap();
    assert_eq!(told["standard"], serde_json::json!(["false", "true", "true"]), "{told}");
    // In headers first, then as a document: one event.
    assert_eq!(told["cloudevents"], serde_json::json!(["false", "true"]), "{told}");
    assert_eq!(upstream.count(), 2);
    let signatures: Vec<String> = upstream
        .calls()
        .iter()
        .filter_map(|call| call.field("webhook-signature").map(str::to_owned))
        .collect();
    assert_eq!(signatures.len(), 1, "what the sender signed went up as it came");
}

#[test]
fn equal_orders_in_a_window_are_one_unless_they_are_meant_again() {
    let upstream = Upstream::numbering();
    let settings = "settings = { drop = [\"/at\"], again = \"X-Again\", window = 3600 }";
    let gateway = builtin(&upstream, "content").policy(settings).start();
    let order = |at: u32, sku: &str| {
        let body = format!("{{\"at\":{at},\"sku\":\"{sku}\"}}");
        Request::post("/orders").field("Content-Type", "application/json").body(body)
    };
    let first = gateway.send(&order(10, "a"));
    first.assert_executed(201);
    gateway.send(&order(11, "a")).assert_replay_of(&first);
    gateway.send(&order(11, "b")).assert_executed(201);
    let second = gateway.send(&order(12, "a").field("X-Again", "2"));
    second.assert_executed(201);
    gateway.send(&order(13, "a").field("X-Again", "2")).assert_replay_of(&second);
    assert_eq!(upstream.count(), 3);
}

#[test]
fn a_form_and_json_are_two_orders() {
    let upstream = Upstream::numbering();
    let gateway = builtin(&upstream, "content").start();
    let order = |target: &str, kind: &str, body: &str| {
        Request::new("POST", target).field("Content-Type", kind).body(body)
    };
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    let first = gateway.send(&order("/orders", json, "{\"sku\":\"a\"}"));
    first.assert_executed(201);
    let second = gateway.send(&order("/orders", form, "sku=a"));
    second.assert_executed(201);
    gateway.send(&order("/orders?sku=b", json, "{\"sku\":\"a\"}")).assert_executed(201);
    gateway.send(&order("/orders", json, "{ \"sku\": \"a\" }")).assert_replay_of(&first);
    gateway.send(&order("/orders", form, "%73ku=a")).assert_replay_of(&second);
    assert_eq!(upstream.count(), 3);
}

#[test]
fn a_window_ends_and_the_order_runs_anew() {
    let upstream = Upstream::numbering();
    let setup = builtin(&upstream, "content").policy("settings = { window = 1 }");
    let gateway = setup.start();
    let order = || Request::post("/orders").body("one");
    gateway.send(&order()).assert_executed(201);
    eventually("the window to end", || (gateway.send(&order()).replayed() == Some("false")).then_some(()));
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_json_rpc_client_gets_its_answer_under_the_id_that_it_sent() {
    let test = "shelf::a_json_rpc_client_gets_its_answer_under_the_id_that_it_sent";
    let Some(node) = crate::support::external::find("node") else { return skip(test, "no node") };
    let Some(modules) = std::env::var_os("ONCEGATE_TEST_NODE_MODULES").map(PathBuf::from) else {
        return skip(test, "json-rpc-2.0 is not here; tests/run gets it where it can");
    };
    let upstream = Upstream::start(|call| {
        let asked: Value = serde_json::from_slice(&call.body).unwrap();
        let answer =
            serde_json::json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"charge": call.number}});
        Script::answer(200, answer.to_string())
            .field("Content-Type", "application/json")
            .field("ETag", "\"1\"")
    });
    let gateway = plugin(&upstream, "json-rpc").start();
    let url = format!("{}/rpc", gateway.url());
    let mut command = Command::new(node);
    command.env("NODE_PATH", modules).arg(script("json_rpc_client.cjs")).arg(url);
    let told: Value = serde_json::from_str(&output(&mut command)).unwrap();
    // Two calls with ids of their own and one key; then the key with other parameters.
    assert_eq!(told["results"], serde_json::json!([{"charge": 0}, {"charge": 0}]), "{told}");
    assert_eq!(told["fault"]["code"], -32000, "{told}");
    assert_eq!(told["fault"]["data"]["code"], "key-reused", "{told}");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_json_rpc_replay_is_fitted_and_a_batch_is_refused() {
    let upstream = Upstream::start(|call| {
        Script::answer(200, format!("{{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":1}}", call.number))
            .field("ETag", "\"1\"")
    });
    let gateway = plugin(&upstream, "json-rpc").policy("settings = { required = true }").start();
    let call = |id: &str, amount: u32| {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"charge\",\"params\":{{\"idempotency_key\":\"k\",\"amount\":{amount}}},\"id\":{id}}}"
        );
        Request::post("/rpc").field("Content-Type", "application/json").body(body)
    };
    gateway.send(&call("1", 5)).assert_executed(200);
    let again = gateway.send(&call("\"second \\\"try\\\"\"", 5));
    assert_eq!((again.replayed(), again.field("etag")), (Some("true"), None));
    assert_eq!(again.json(), serde_json::json!({"jsonrpc": "2.0", "result": 0, "id": "second \"try\""}));
    let other = gateway.send(&call("3", 6));
    assert_eq!((other.status, &other.json()["id"]), (200, &3.into()));
    assert_eq!(other.json()["error"]["data"]["code"], "key-reused");
    let batch =
        Request::post("/rpc").field("Content-Type", "application/json").body("[{\"jsonrpc\":\"2.0\"}]");
    gateway.send(&batch).assert_problem(400, "batch");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_json_rpc_id_comes_back_digit_by_digit() {
    let upstream = Upstream::start(|_| Script::answer(200, "{\"jsonrpc\":\"2.0\",\"result\":1e30,\"id\":1}"));
    let gateway = plugin(&upstream, "json-rpc").start();
    let call = |id: &str, amount: u32| {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"charge\",\"params\":{{\"idempotency_key\":\"k\",\"amount\":{amount}}},\"id\":{id}}}"
        );
        Request::post("/rpc").field("Content-Type", "application/json").body(body)
    };
    gateway.send(&call("1", 5)).assert_executed(200);
    // What was sent, and what comes back.
    for (sent, wanted) in [
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("-123456789012345678901234567891", "-123456789012345678901234567891"),
        ("1000000000000000000000", "1000000000000000000000"),
        ("1e30", "1000000000000000000000000000000"),
        ("1234567890123456789012.5", "1234567890123456789012.5"),
        ("1.5", "1.5"),
        ("1e-9", "1e-9"),
        ("1e999", "1e+999"),
        ("9007199254740993", "9007199254740993"),
        ("\"123456789012345678901234567890\"", "\"123456789012345678901234567890\""),
        ("\"1e+30\"", "\"1e+30\""),
    ] {
        let again = gateway.send(&call(sent, 5));
        assert_eq!(again.replayed(), Some("true"), "{again:?}");
        assert_eq!(again.text(), format!("{{\"jsonrpc\":\"2.0\",\"result\":1e30,\"id\":{wanted}}}"));
        let problem = gateway.send(&call(sent, 6)).text();
        assert!(problem.contains(&format!("\"id\":{wanted},\"error\"")), "{sent}: {problem}");
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_step_that_is_taken_again_gets_the_first_answer_whatever_it_says() {
    let upstream = Upstream::numbering();
    let gateway = plugin(&upstream, "agent-step").start();
    let step = |step: &str, body: &str| {
        Request::post("/mails").field("X-Run-Id", "r1").field("X-Step-Id", step).body(body)
    };
    let first = gateway.send(&step("1", "Dear Ms. Smith"));
    first.assert_executed(201);
    gateway.send(&step("1", "Dear Mrs. Smith")).assert_replay_of(&first);
    gateway.send(&step("2", "Dear Ms. Smith")).assert_executed(201);
    assert_eq!(upstream.count(), 2);
}
