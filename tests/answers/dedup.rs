//! One execution, one answer: what the first caller gets, what every duplicate gets.

use crate::support::*;

const SUM: &str = "{\"amount\":1000}";

#[test]
fn the_first_answer_is_executed_and_named() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let reply = gateway.send(&Request::keyed("/charges?x=1", "k").body(SUM));
    reply.assert_executed(201);
    let id = reply.operation();
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let call = upstream.calls().remove(0);
    assert_eq!((call.method.as_str(), call.target.as_str()), ("POST", "/charges?x=1"));
    assert_eq!(call.body, SUM.as_bytes());
    assert_eq!(call.field("oncegate-operation"), Some(id));
    assert_eq!(call.field("oncegate-attempt"), Some("1"));
    assert_eq!(call.field("idempotency-key"), Some("\"k\""), "as it was sent");
    assert_eq!(call.field("host"), Some(HOST));
}

#[test]
fn a_duplicate_gets_the_same_answer_and_nothing_runs() {
    for setup in [|url: &str| Setup::new(url), |url: &str| Setup::new(url).memory()] {
        let upstream = Upstream::numbering();
        let gateway = setup(&upstream.url()).start();
        let first = gateway.send(&Request::keyed("/charges", "k"));
        first.assert_executed(201);
        let mut kept_alive = gateway.connect();
        for _ in 0..3 {
            gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
            kept_alive.send(&Request::keyed("/charges", "k")).unwrap().assert_replay_of(&first);
        }
        assert_eq!(upstream.count(), 1);
    }
}

#[test]
fn duplicates_on_every_worker_get_the_same_answer() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    let mut connections: Vec<_> = (0..16).map(|_| gateway.connect()).collect();
    for connection in &mut connections {
        connection.send(&Request::keyed("/charges", "k")).unwrap().assert_replay_of(&first);
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn another_key_is_another_operation() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let one = gateway.send(&Request::keyed("/charges", "one"));
    let two = gateway.send(&Request::keyed("/charges", "two"));
    two.assert_executed(201);
    assert_ne!(one.operation(), two.operation());
    assert_ne!(one.body, two.body);
}

#[test]
fn quoted_and_bare_name_the_same_key_and_parameters_are_ignored() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::post("/charges").field("Idempotency-Key", "\"8e03978e\""));
    for same in ["8e03978e", "\"8e03978e\";v=1", "  \"8e03978e\" "] {
        gateway.send(&Request::post("/charges").field("Idempotency-Key", same)).assert_replay_of(&first);
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn the_same_key_on_another_path_or_method_is_another_operation() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    for (method, path) in [("POST", "/charges"), ("POST", "/refunds"), ("PATCH", "/charges")] {
        gateway.send(&Request::new(method, path).body(SUM).key("k")).assert_executed(201);
    }
    assert_eq!(upstream.count(), 3);
}

#[test]
pub(crate) fn another_payload_under_the_same_key_is_refused() {
    let upstream = Upstream::start(|call| Script::answer(200, format!("secret of {}", call.number)));
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    for other in [
        Request::keyed("/charges", "k").body("{\"amount\":2000}"),
        Request::keyed("/charges", "k").body(""),
        Request::keyed("/charges?force=1", "k"),
    ] {
        let reply = gateway.send(&other);
        let problem = reply.assert_problem(422, "key-reused");
        assert_eq!(problem["retryable"], false, "{problem}");
        assert!(!reply.text().contains("secret of"), "{}", reply.text());
    }
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn without_a_key_a_request_passes_and_nothing_says_it_was_guarded() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    for n in 1..=2 {
        let reply = gateway.send(&Request::post("/charges"));
        assert_eq!((reply.status, reply.replayed(), reply.field("oncegate-operation")), (201, None, None));
        assert_eq!(upstream.count(), n);
    }
    assert_eq!(upstream.calls()[0].field("oncegate-operation"), None);
}

#[test]
fn safe_methods_are_never_guarded() {
    let upstream = Upstream::start(|_| Script::answer(204, ""));
    let gateway = Setup::new(&upstream.url()).start();
    for method in ["GET", "HEAD", "OPTIONS"] {
        for _ in 0..2 {
            let reply = gateway.send(&Request::new(method, "/charges").key("k"));
            assert_eq!((reply.status, reply.replayed()), (204, None), "{method}");
        }
    }
    assert_eq!(upstream.count(), 6);
}

#[test]
fn a_route_without_a_policy_only_proxies() {
    let upstream = Upstream::numbering();
    let plain = "[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"\n";
    let gateway = Setup::new(&upstream.url()).extra(plain).start();
    for _ in 0..2 {
        let reply = gateway.send(&Request::keyed("/plain/x", "k"));
        assert_eq!((reply.status, reply.replayed()), (201, None));
    }
    gateway.send(&Request::keyed("/plainly", "k")).assert_executed(201);
    assert_eq!(upstream.count(), 3);
}

#[test]
fn keys_are_found_where_the_settings_say_and_the_first_present_wins() {
    let upstream = Upstream::numbering();
    let from = "settings = { from = [\"header:x-request-id\", \"query:requestId\", \"body:/id\"] }";
    let gateway = Setup::new(&upstream.url()).policy(from).start();
    let json =
        |target: &str, body: &str| Request::post(target).field("Content-Type", "application/json").body(body);
    for request in [
        json("/a", "{}").field("X-Request-Id", "k1"),
        json("/b?requestId=k2", "{}"),
        json("/c", "{\"id\":\"k3\"}"),
        json("/d?requestId=other", "{\"id\":\"other\"}").field("X-Request-Id", "k1"),
    ] {
        let first = gateway.send(&request);
        first.assert_executed(201);
        gateway.send(&request).assert_replay_of(&first);
    }
    assert_eq!(upstream.count(), 4);
    assert_eq!(gateway.send(&Request::keyed("/a", "k")).replayed(), None, "this header is not asked for");
}

#[test]
fn records_outlive_an_orderly_restart() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    let (setup, code) = gateway.terminate();
    assert_eq!(code, Some(0));
    let gateway = setup.start();
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_memory_ledger_forgets_at_the_end_of_the_process() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).memory().start();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    let gateway = gateway.terminate().0.start();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn hundreds_of_operations_on_one_connection_stay_apart() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).memory().start();
    let mut connection = gateway.connect();
    let firsts: Vec<Reply> =
        (0..200).map(|n| connection.send(&Request::keyed("/charges", &format!("k{n}"))).unwrap()).collect();
    for (n, first) in firsts.iter().enumerate() {
        first.assert_executed(201);
        connection.send(&Request::keyed("/charges", &format!("k{n}"))).unwrap().assert_replay_of(first);
    }
    assert_eq!(upstream.count(), 200);
}

#[test]
fn an_upstream_is_told_the_operation_in_a_field_of_its_own() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).origin("operation_header = \"Idempotency-Key\"").start();
    let first = gateway.send(&Request::keyed("/charges", "k").field("X-Other", "1"));
    first.assert_executed(201);
    let call = &upstream.calls()[0];
    let told: Vec<&str> = call
        .fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(told, [first.operation()], "in place of the client's");
}
