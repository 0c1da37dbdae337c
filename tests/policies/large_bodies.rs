//! Bodies that are small on the wire and much work to read, and such that are large and good.

use crate::support::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn of_type(content_type: &str, body: impl AsRef<[u8]>) -> Request {
    Request::post("/orders").field("Content-Type", content_type).body(body)
}

fn json(body: impl AsRef<[u8]>) -> Request {
    of_type("application/json", body)
}

fn compressed(body: &[u8]) -> Request {
    json(gzip(body)).field("Content-Encoding", "gzip")
}

/// A key is in each.
#[test]
fn what_is_too_much_work_to_read_is_malformed() {
    let upstream = Upstream::numbering();
    let settings = "settings = { from = [\"body:/k\"], required = true }";
    let gateway = Setup::new(&upstream.url()).policy(settings).start();
    let ones = format!("{{\"k\":\"a\",\"x\":[{}1]}}", "1,".repeat(4_900_000));
    let parts = "--b\r\ncontent-disposition: form-data; name=k\r\n\r\na\r\n";
    for (what, request) in [
        ("9.5 KB of gzip that are 9.8 MB", compressed(ones.as_bytes())),
        ("the same as it is", json(&ones)),
        ("2 million empty objects", json(format!("{{\"k\":\"a\",\"x\":[{}1]}}", "{},".repeat(2_000_000)))),
        (
            "a form",
            of_type("application/x-www-form-urlencoded", "k=a&".to_owned() + &"a=1&".repeat(2_600_000 - 1)),
        ),
        ("parts", of_type("multipart/form-data; boundary=b", parts.repeat(150_000) + "--b--")),
        ("members of gzip", {
            let members = [gzip(b"{\"k\":\"a\"}"), gzip(b"").repeat(500_000)].concat();
            json(members).field("Content-Encoding", "gzip")
        }),
    ] {
        let reply = gateway.send(&request);
        assert_eq!((reply.status, reply.field("oncegate-problem")), (400, Some("key-malformed")), "{what}");
    }
    assert_eq!(upstream.count(), 0);
}

/// Key and fingerprint are made of a document that a worker doesn't read itself.
#[test]
fn a_large_document_is_one_operation_however_it_is_written() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).component("builtin:content").start();
    let lines: Vec<String> =
        (0..20_000).map(|line| format!("{{\"sku\":\"s{line}\",\"n\":{line}}}")).collect();
    let plain = format!("{{\"lines\":[{}],\"of\":1}}", lines.join(","));
    let spaced = format!("{{ \"of\": 1.0,\n\"lines\": [{}]}}", lines.join(",\n  "));
    assert!(plain.len() > 64 << 10);
    let first = gateway.send(&json(&plain));
    first.assert_executed(201);
    for again in [json(&plain), json(&spaced), compressed(plain.as_bytes()), compressed(spaced.as_bytes())] {
        gateway.send(&again).assert_replay_of(&first);
    }
    gateway.send(&json(plain.replace("\"of\":1", "\"of\":2"))).assert_executed(201);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_key_in_a_large_body_is_found() {
    let upstream = Upstream::numbering();
    let settings = "settings = { from = [\"body:/k\"], required = true }";
    let gateway = Setup::new(&upstream.url()).policy(settings).start();
    let body = |key: &str| format!("{{\"x\":[{}1],\"k\":\"{key}\"}}", "1,".repeat(100_000)).into_bytes();
    let first = gateway.send(&json(body("a")));
    first.assert_executed(201);
    gateway.send(&json(body("a"))).assert_replay_of(&first);
    gateway.send(&compressed(&body("b"))).assert_executed(201);
    gateway.send(&json(body(""))).assert_problem(400, "key-malformed");
    assert_eq!(upstream.count(), 2);
}

/// Many of one address take turns with one of another.
#[test]
fn one_peers_documents_hold_up_no_others() {
    const MANY: usize = 24;
    let from_body = "settings = { from = [\"body:/k\"], required = true }";
    let document =
        |key: usize| format!("{{\"x\":[{}1],\"k\":\"k{key}\"}}", "1,".repeat(200_000)).into_bytes();
    for (what, component, line, coded) in [
        ("as it is", "builtin:idempotency-key", from_body, false),
        ("compressed", "builtin:idempotency-key", from_body, true),
        ("for a fingerprint", "builtin:content", "", false),
        ("compressed, for a fingerprint", "builtin:content", "", true),
    ] {
        let gate = Gate::new();
        let held = gate.clone();
        let upstream = Upstream::start(move |call| match call.target.as_str() {
            "/held" => Script::numbered(call).after(&held),
            _ => Script::numbered(call),
        });
        let gateway = Setup::new(&upstream.url()).component(component).policy(line).start();
        let send = |peer: u8, target: &str, key: usize| {
            let (mut connection, body) = (gateway.connect_from(peer), document(key));
            let request = Request::post(target).field("Content-Type", "application/json");
            let request = match coded {
                true => request.body(gzip(&body)).field("Content-Encoding", "gzip"),
                false => request.body(body),
            };
            connection.0.write(&request.bytes()).unwrap();
            connection
        };
        let _many: Vec<_> = (0..MANY).map(|key| send(2, "/held", key)).collect();
        send(3, "/charges", MANY).reply("POST").unwrap().assert_executed(201);
        let before = upstream.count() - 1;
        assert!(before < MANY / 2, "{what}: {before} of {MANY} came first");
        gate.open();
    }
}
