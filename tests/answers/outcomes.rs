//! What an upstream's answer, or the lack of one, means for the key (design/life.md).

use crate::support::*;
use std::net::TcpListener;

/// What the second request with the same key meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Key {
    Free,
    Replayed,
    Unknown,
    Consumed,
}

/// Answers `/STATUS`, with `Retry-After` where the query asks for it.
fn statuses() -> Upstream {
    Upstream::start(|call| {
        let (path, query) = call.target.split_once('?').unwrap_or((&call.target, ""));
        let script = Script::answer(
            path.trim_start_matches('/').parse().unwrap(),
            format!("execution {}", call.number),
        );
        if query == "retry" { script.field("Retry-After", "1") } else { script }
    })
}

/// Sends twice and looks what became of the key.
#[track_caller]
fn assert_key(gateway: &Gateway, upstream: &Upstream, target: &str, expected: Key) {
    // A key of its own: `/502` and `/502?retry` are one path.
    let request = Request::keyed(target, &target[1..].replace('?', "-"));
    assert_key_of(gateway, upstream, &request, target[1..4].parse().unwrap(), expected);
}

/// Sends a request twice, whose answer has this status, and looks what became of its key.
#[track_caller]
pub(crate) fn assert_key_of(
    gateway: &Gateway,
    upstream: &Upstream,
    request: &Request,
    status: u16,
    expected: Key,
) {
    let before = upstream.count();
    let first = gateway.send(request);
    first.assert_executed(status);
    let again = gateway.send(request);
    match expected {
        Key::Free => again.assert_executed(status),
        Key::Replayed => again.assert_replay_of(&first),
        Key::Unknown => {
            let problem = again.assert_problem(409, "outcome-unknown");
            assert_eq!(
                (&problem["outcome"], &problem["retryable"]),
                (&"unknown".into(), &false.into()),
                "{problem}"
            );
            assert_eq!(problem["operation"], first.operation());
        }
        Key::Consumed => assert_eq!(again.assert_problem(409, "consumed")["first"]["status"], status),
    }
    let executions = upstream.count() - before;
    assert_eq!(executions, if expected == Key::Free { 2 } else { 1 }, "executions of {request:?}");
}

#[test]
fn the_table_of_statuses() {
    let upstream = statuses();
    let gateway = Setup::new(&upstream.url()).start();
    let rows: [(Key, &[&str]); 3] = [
        (
            Key::Free,
            &[
                "/307",
                "/308",
                "/401",
                "/403",
                "/407",
                "/408",
                "/412",
                "/417",
                "/421",
                "/423",
                "/425",
                "/426",
                "/428",
                "/429",
                "/511",
                "/501",
                "/503?retry",
            ],
        ),
        (
            Key::Replayed,
            &[
                "/200", "/201", "/202", "/206", "/204", "/300", "/301", "/302", "/303", "/304", "/400",
                "/402", "/404", "/405", "/409", "/410", "/411", "/413", "/422", "/451", "/500",
            ],
        ),
        (Key::Unknown, &["/502", "/503", "/504", "/505", "/520", "/599", "/502?retry", "/504?retry"]),
    ];
    for (expected, targets) in rows {
        for target in targets {
            println!("{target}: {expected:?}");
            assert_key(&gateway, &upstream, target, expected);
        }
    }
}

#[test]
fn the_operators_word_comes_first() {
    let upstream = statuses();
    let outcomes = "outcomes = [{ status = \"500-599\", means = \"unknown\" }, \
                    { status = \"404\", means = \"not-applied\" }, { status = \"202\", means = \"consumed\" }, \
                    { status = \"429\", means = \"completed\" }]";
    let gateway = Setup::new(&upstream.url()).route(outcomes).start();
    for (target, expected) in [
        ("/500", Key::Unknown),
        ("/501", Key::Unknown),
        ("/503?retry", Key::Unknown),
        ("/404", Key::Free),
        ("/202", Key::Consumed),
        ("/429", Key::Replayed),
        ("/200", Key::Replayed),
        ("/401", Key::Free),
    ] {
        assert_key(&gateway, &upstream, target, expected);
    }
}

#[test]
fn a_409_of_an_upstream_that_dedupes_itself_is_unknown() {
    let upstream = statuses();
    let gateway = Setup::new(&upstream.url()).origin("dedupes = true").start();
    assert_key(&gateway, &upstream, "/409", Key::Unknown);
}

#[test]
pub(crate) fn an_unreachable_upstream_leaves_the_key_free() {
    let (port, address) = closed_port();
    let gateway = Setup::new(&format!("http://{address}")).start();
    let problem = gateway.send(&Request::keyed("/charges", "k")).assert_problem(502, "upstream-unreachable");
    assert_eq!(
        (&problem["retryable"], &problem["outcome"]),
        (&true.into(), &"not-applied".into()),
        "{problem}"
    );
    let reply = gateway.send(&Request::post("/unguarded"));
    assert_eq!((reply.status, reply.field("oncegate-problem")), (502, Some("upstream-unreachable")));
    let upstream = Upstream::start_at(port(), Script::numbered);
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    assert_eq!(upstream.count(), 1);
}

/// Nothing was sent, says the answer, and the key is as free as before.
#[track_caller]
fn assert_unreachable(gateway: &Gateway) {
    for _ in 0..2 {
        let problem =
            gateway.send(&Request::keyed("/charges", "k")).assert_problem(502, "upstream-unreachable");
        assert_eq!(
            (&problem["retryable"], &problem["outcome"]),
            (&true.into(), &"not-applied".into()),
            "{problem}"
        );
    }
}

#[test]
fn a_name_that_cannot_be_resolved_leaves_the_key_free() {
    // RFC 6761: it never can be.
    let setup = Setup::new("http://oncegate-test.invalid:80").origin("connect_timeout = \"500ms\"");
    assert_unreachable(&setup.start());
}

#[test]
fn a_connection_that_does_not_come_about_in_time_leaves_the_key_free() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    // Its queue is full when a connection is no longer taken at once; what is sent then is dropped.
    let mut queued = Vec::new();
    let patience = std::time::Duration::from_millis(200);
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, patience) {
        queued.push(stream);
    }
    let gateway = Setup::new(&format!("http://{address}")).origin("connect_timeout = \"300ms\"").start();
    assert_unreachable(&gateway);
    drop(queued);
    let upstream = Upstream::start_at(listener, Script::numbered);
    let executed = eventually("the queue has room again", || {
        Some(gateway.send(&Request::keyed("/charges", "k"))).filter(|reply| reply.status == 201)
    });
    executed.assert_executed(201);
    assert_eq!(upstream.count_by_key()["k"], 1);
}

/// The gateway learns of both in one go: that the upstream closed a kept-alive connection, and of a
/// request. A connection that is known to be closed isn't used; a request that was given to one comes
/// back unsent. Either way it goes out on a fresh connection, once.
#[test]
fn a_request_that_finds_its_kept_alive_connection_closed_is_sent_on_a_fresh_one() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let mut connection = gateway.connect();
    for n in 0..10 {
        connection.send(&Request::keyed("/charges", &format!("a{n}"))).unwrap().assert_executed(201);
        gateway.signal(rustix::process::Signal::STOP);
        upstream.drop_connections();
        connection.0.write(&Request::keyed("/charges", &format!("b{n}")).bytes()).unwrap();
        gateway.signal(rustix::process::Signal::CONT);
        connection.reply("POST").unwrap().assert_executed(201);
    }
    assert!(upstream.count_by_key().values().all(|count| *count == 1));
    assert_eq!(upstream.count(), 20);
}

/// A port on which nobody listens, and a way to listen on it after all.
fn closed_port() -> (impl Fn() -> TcpListener, std::net::SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = move || eventually("the port is free again", || TcpListener::bind(address).ok());
    (listen, address)
}

#[test]
pub(crate) fn silence_is_a_timeout_and_then_unknown() {
    let upstream = Upstream::start(|_| Script::silence());
    let gateway = Setup::new(&upstream.url()).origin("response_timeout = \"300ms\"").start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    let problem = first.assert_problem(504, "upstream-timeout");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&"unknown".into(), &false.into()), "{problem}");
    let problem = gateway.send(&Request::keyed("/charges", "k")).assert_problem(409, "outcome-unknown");
    assert_eq!(problem["operation"], first.json()["operation"]);
    let reply = gateway.send(&Request::post("/unguarded"));
    assert_eq!((reply.status, reply.field("oncegate-problem")), (504, Some("upstream-timeout")));
    assert_eq!(upstream.calls().iter().filter(|call| call.key() == "k").count(), 1);
}

/// The upstream's connection ends before a whole head came: the gateway answers itself.
#[track_caller]
fn assert_broken(script: fn() -> Script) {
    let upstream = Upstream::start(move |_| script());
    let gateway = Setup::new(&upstream.url()).start();
    let problem = gateway.send(&Request::keyed("/charges", "k")).assert_problem(502, "upstream-broken");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&"unknown".into(), &false.into()), "{problem}");
    gateway.send(&Request::keyed("/charges", "k")).assert_problem(409, "outcome-unknown");
    assert_eq!(upstream.count(), 1);
}

#[test]
pub(crate) fn a_reset_after_sending_is_broken_and_then_unknown() {
    assert_broken(Script::reset);
}

#[test]
fn an_end_without_an_answer_is_broken_and_then_unknown() {
    assert_broken(|| Script::raw(vec![Step::Close]));
}

#[test]
pub(crate) fn an_answer_cut_in_the_head_is_broken_and_then_unknown() {
    assert_broken(Script::cut_in_head);
}

#[test]
fn an_answer_that_is_no_http_is_broken_and_then_unknown() {
    assert_broken(|| Script::raw(vec![Step::Write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec()), Step::Close]));
}

#[test]
pub(crate) fn an_answer_cut_in_the_body_arrives_cut_and_is_unknown() {
    let upstream = Upstream::start(|call| {
        let script = Script::answer(200, "x".repeat(5000));
        match call.target.as_str() {
            "/length" => script.cut_at(3000),
            "/chunked" => script.chunked().cut_at(3000),
            "/length-reset" => script.reset_at(3000),
            "/chunked-reset" => script.chunked().reset_at(3000),
            "/length-at-once" => script.cut_at(0),
            "/chunked-at-once" => script.chunked().cut_at(0),
            // Without its last chunk it has not ended.
            "/chunked-at-the-end" => script.chunked().cut_at(5000),
            "/to-the-end-reset" => script.until_closed().reset_at(3000),
            other => panic!("{other}"),
        }
    });
    let gateway = Setup::new(&upstream.url()).start();
    let targets = [
        "/length",
        "/chunked",
        "/length-reset",
        "/chunked-reset",
        "/length-at-once",
        "/chunked-at-once",
        "/chunked-at-the-end",
        "/to-the-end-reset",
    ];
    for target in targets {
        println!("{target}");
        // Where the end comes before the head was passed on, there may be no answer at all.
        if let Ok(reply) = gateway.connect().send(&Request::keyed(target, "k")) {
            let told = reply.field("oncegate-problem") == Some("upstream-broken");
            assert!(!reply.whole || told, "{target}: a cut answer must not look whole: {reply:?}");
        }
        let settled = || {
            let reply = gateway.send(&Request::keyed(target, "k"));
            (reply.field("oncegate-problem") != Some("in-flight")).then_some(reply)
        };
        eventually("it is settled", settled).assert_problem(409, "outcome-unknown");
    }
    assert_eq!(upstream.count(), targets.len());
}

#[test]
pub(crate) fn a_body_that_stops_flowing_is_cut_and_unknown() {
    let upstream = Upstream::start(|call| {
        let script = Script::answer(200, "abcdef");
        match call.target.as_str() {
            "/chunked" => script.chunked().pause_at(3, &Gate::new()),
            "/length" => script.pause_at(3, &Gate::new()),
            "/no-byte-of-it" => script.pause_at(0, &Gate::new()),
            _ => script.until_closed().pause_at(3, &Gate::new()),
        }
    });
    let gateway = Setup::new(&upstream.url()).origin("body_idle_timeout = \"300ms\"").start();
    for target in ["/chunked", "/length", "/no-byte-of-it", "/to-the-end"] {
        let reply = gateway.send(&Request::keyed(target, "k"));
        assert!(!reply.whole, "{target}: {reply:?}");
        let problem = gateway.send(&Request::keyed(target, "k")).assert_problem(409, "outcome-unknown");
        let id = problem["operation"].as_str().unwrap();
        let told = gateway.send(&Request::get(&format!("/.oncegate/operations/{id}"))).json();
        assert_eq!(told["reason"], "timed-out", "{target}: {told}");
    }
    assert_eq!(upstream.count(), 4);
}

#[test]
fn an_answer_too_large_to_keep_is_consumed() {
    let upstream = Upstream::start(|call| {
        let script = Script::answer(200, "y".repeat(5000)).field("Location", "/charges/7");
        if call.target == "/chunked" { script.chunked() } else { script }
    });
    let gateway = Setup::new(&upstream.url()).ledger("body_kept = \"1KiB\"").start();
    for target in ["/length", "/chunked"] {
        let first = gateway.send(&Request::keyed(target, "k"));
        first.assert_executed(200);
        assert_eq!(first.body.len(), 5000, "the first caller gets it whole");
        let problem = gateway.send(&Request::keyed(target, "k")).assert_problem(409, "consumed");
        assert_eq!(
            (&problem["first"]["status"], &problem["first"]["location"]),
            (&200.into(), &"/charges/7".into())
        );
        assert_eq!(
            (&problem["retryable"], &problem["outcome"]),
            (&false.into(), &"consumed".into()),
            "{problem}"
        );
    }
    assert_eq!(upstream.count(), 2);
}

#[test]
fn an_answer_too_large_to_keep_and_cut_is_unknown() {
    let upstream = Upstream::start(|_| Script::answer(200, "y".repeat(9000)).cut_at(6000));
    let gateway = Setup::new(&upstream.url()).ledger("body_kept = \"1KiB\"").start();
    let reply = gateway.connect().send(&Request::keyed("/charges", "k"));
    assert!(reply.is_err() || reply.is_ok_and(|reply| !reply.whole));
    gateway.send(&Request::keyed("/charges", "k")).assert_problem(409, "outcome-unknown");
}

#[test]
fn after_its_retention_an_operation_is_gone_and_never_runs_again_while_its_tombstone_stands() {
    for setup in [|url: &str| Setup::new(url), |url: &str| Setup::new(url).memory()] {
        let upstream = Upstream::numbering();
        let gateway = setup(&upstream.url()).ledger("retention = \"0.2s\"").start();
        let first = gateway.send(&Request::keyed("/charges", "k"));
        first.assert_executed(201);
        let expired = eventually("its retention ends", || {
            let reply = gateway.send(&Request::keyed("/charges", "k"));
            if reply.status == 201 {
                reply.assert_replay_of(&first);
                return None;
            }
            Some(reply)
        });
        let problem = expired.assert_problem(410, "expired");
        assert_eq!(
            (&problem["retryable"], &problem["operation"], &problem["outcome"]),
            (&false.into(), &first.operation().into(), &"completed".into())
        );
        gateway.send(&Request::keyed("/charges", "k").body("other")).assert_problem(422, "key-reused");
        assert_eq!(upstream.count(), 1);
    }
}

#[test]
fn without_a_tombstone_a_key_is_free_after_its_retention() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).ledger("retention = \"0.2s\"\ntombstone = \"0s\"").start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    let next = eventually("its retention ends", || {
        Some(gateway.send(&Request::keyed("/charges", "k"))).filter(|reply| reply.replayed() == Some("false"))
    });
    assert_ne!(next.body, first.body);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn an_unknown_outcome_expires_and_is_never_free() {
    let upstream = Upstream::start(|_| Script::answer(502, ""));
    let gateway = Setup::new(&upstream.url()).ledger("unknown_retention = \"0.2s\"").start();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(502);
    let reply = eventually("it expires", || {
        Some(gateway.send(&Request::keyed("/charges", "k"))).filter(|reply| reply.status != 409)
    });
    let problem = reply.assert_problem(410, "expired");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&"unknown".into(), &false.into()), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("nobody ever learned"), "{problem}");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn an_upstream_that_resets_before_reading_executes_nothing_and_is_not_asked_twice() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    upstream.go_deaf(true);
    let reply = gateway.send(&Request::keyed("/charges", "k"));
    // The connection stood, so bytes may have been read: only a proof frees the key.
    let code = reply.field("oncegate-problem").map(str::to_owned);
    assert!(matches!(code.as_deref(), Some("upstream-broken" | "upstream-unreachable")), "{reply:?}");
    upstream.go_deaf(false);
    let again = gateway.send(&Request::keyed("/charges", "k"));
    if code.as_deref() == Some("upstream-broken") {
        again.assert_problem(409, "outcome-unknown");
        assert_eq!(upstream.count(), 0);
    } else {
        again.assert_executed(201);
    }
}

#[test]
fn connections_that_the_upstream_dropped_while_idle_cost_no_operation() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    for n in 0..20 {
        gateway.send(&Request::keyed("/charges", &format!("k{n}"))).assert_executed(201);
        upstream.drop_connections();
        // Until the gateway has seen the end of its idle connection, using it is a race that no
        // proxy wins; its own probe of the upstream shows that it has.
        eventually("the pool is clean", || {
            (gateway.send(&Request::get("/ping")).status == 201).then_some(())
        });
    }
}

/// A client that asked for no other protocol couldn't read on.
#[test]
fn a_switch_to_a_protocol_that_nobody_asked_for_is_no_answer() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let upstream = Upstream::start(move |_| Script::raw(vec![Step::Write(switch.to_vec())]));
    let gateway = Setup::new(&upstream.url()).start();
    let request = Request::keyed("/charges", "k").field("Connection", "upgrade").field("Upgrade", "x");
    let problem = gateway.send(&request).assert_problem(502, "upstream-broken");
    assert_eq!(problem["outcome"], "unknown");
    gateway.send(&request).assert_problem(409, "outcome-unknown");
    gateway.send(&Request::post("/plain")).assert_problem(502, "upstream-broken");
    assert_eq!(upstream.count(), 2);
}
