//! One path and one host in several writings: one form, or a refusal (`host/design/edge.md`).

use crate::support::*;

/// A guarded route `/v1` and a plain one beside it, both to one service.
fn beside(upstream: &Upstream) -> Setup {
    Setup::new(&upstream.url())
        .path("/v1")
        .extra("[[routes]]\nname = \"rest\"\npath = \"/\"\nupstream = \"origin\"")
}

/// The first of them, which merging brings to one form.
const MERGED: usize = 5;
const TWO_WAYS: [(&str, &str); 12] = [
    ("/v1//charges", "empty segment (`//`) at byte 4"),
    ("//v1/charges", "empty segment"),
    ("/v1/./charges", "dot segment"),
    ("/public/../v1/charges", "dot segment (`..`) at byte 9"),
    ("/public/%2e%2E/v1/charges", "dot segment"),
    ("/public/..;/v1/charges", "dot segment (`..;`)"),
    ("/v1%2fcharges", "escaped slash (`%2F`) at byte 4"),
    ("/public/..%5cv1/charges", "escaped backslash"),
    ("/v1\\charges", "backslash"),
    ("/v1%00/charges", "escaped NUL"),
    ("/v1/charges%7", "malformed escape (`%7`)"),
    ("/v1/charges|", "no path has"),
];

#[test]
fn a_path_that_reads_two_ways_is_refused() {
    let upstream = Upstream::numbering();
    let gateway = beside(&upstream).start();
    for (path, words) in TWO_WAYS {
        let problem = gateway.send(&Request::keyed(path, "k")).assert_problem(400, "bad-request");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{path}: {problem}");
        assert_eq!(gateway.send(&Request::get(path)).status, 400, "{path}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn escapes_of_plain_characters_change_no_key() {
    let upstream = Upstream::numbering();
    let gateway = beside(&upstream).start();
    let first = gateway.send(&Request::keyed("/v1/charges/~a?b=%73", "k"));
    first.assert_executed(201);
    for path in ["/v1/charge%73/~a?b=%73", "/%76%31/charges/%7Ea?b=%73", "/v1/%63%68arges/%7e%61?b=%73"] {
        gateway.send(&Request::keyed(path, "k")).assert_replay_of(&first);
    }
    gateway.send(&Request::keyed("/v1/caf%c3%a9", "k")).assert_executed(201);
    let targets: Vec<_> = upstream.calls().into_iter().map(|call| call.target).collect();
    assert_eq!(targets, ["/v1/charges/~a?b=%73", "/v1/caf%C3%A9"]);
}

/// A service decodes it; which route takes the request must not depend on it.
#[test]
fn an_escape_that_decides_the_route_is_refused() {
    let upstream = Upstream::numbering();
    let gateway = beside(&upstream).path("/v1/charges:capture").start();
    gateway.send(&Request::keyed("/v1/charges:capture", "k")).assert_executed(201);
    for path in ["/v1/charges%3acapture", "/v1/charges%3Acapture/1", "/%76%31/charges%3Acapture"] {
        gateway.send(&Request::keyed(path, "k")).assert_problem(400, "bad-request");
    }
    assert_eq!(gateway.send(&Request::keyed("/other/a%3Ab", "k")).status, 201, "no route hangs on it");
    assert_eq!(upstream.count(), 2);
    let gateway = beside(&upstream).path("/v1/charges:capture").server("paths = \"merge\"").start();
    for path in ["/v1//charges%3acapture", "/./v1/charges%3Acapture"] {
        gateway.send(&Request::keyed(path, "k")).assert_problem(400, "bad-request");
    }
    assert_eq!(upstream.count(), 2);
}

#[test]
fn merging_brings_slashes_and_dots_to_one_form() {
    let upstream = Upstream::numbering();
    let gateway = beside(&upstream).server("paths = \"merge\"").start();
    let first = gateway.send(&Request::keyed("/v1/charges", "k"));
    first.assert_executed(201);
    let (merged, refused) = TWO_WAYS.split_at(MERGED);
    for (path, _) in merged {
        gateway.send(&Request::keyed(path, "k")).assert_replay_of(&first);
    }
    for (path, _) in refused {
        gateway.send(&Request::keyed(path, "k")).assert_problem(400, "bad-request");
    }
    gateway.send(&Request::keyed("/v1/x/../charges/", "k")).assert_executed(201);
    let targets: Vec<_> = upstream.calls().into_iter().map(|call| call.target).collect();
    assert_eq!(targets, ["/v1/charges", "/v1/charges/"]);
}

#[test]
fn paths_pass_as_received_where_so_configured() {
    let upstream = Upstream::numbering();
    let strict = beside(&upstream);
    let gateway = strict.clone().server("paths = \"as-received\"").start();
    gateway.assert_logs(&["`server.paths` is \"as-received\""]);
    let written = ["/v1//charges", "/v1/charge%73", "/v1/caf%c3%a9", "/public/../v1"];
    for path in written {
        assert_eq!(gateway.send(&Request::keyed(path, "k")).status, 201, "{path}");
    }
    let targets: Vec<_> = upstream.calls().into_iter().map(|call| call.target).collect();
    assert_eq!(targets, written);
    // By other rules what was executed would get another key.
    gateway.terminate();
    let Err(refused) = strict.try_start() else { panic!("its keys are others") };
    refused.assert_refused(
        1,
        &["read by \"strict\" or \"merge\" (`server.paths`)", "read by \"as-received\"", "live"],
    );
}

#[test]
fn what_no_route_guards_passes_as_written() {
    let upstream = Upstream::numbering();
    let gateway = beside(&upstream).route("host = \"pay.example\"").start();
    let request = |path: &str, host: &str| Request::keyed(path, "k").field("Host", host);
    for path in ["/v1//charges", "/a/../b", "/a%2Fb", "/a|b", "/%zz"] {
        assert_eq!(gateway.send(&request(path, "other.example")).status, 201, "{path}");
        gateway.send(&request(path, "pay.example")).assert_problem(400, "bad-request");
    }
    let targets: Vec<_> = upstream.calls().into_iter().map(|call| call.target).collect();
    assert_eq!(targets, ["/v1//charges", "/a/../b", "/a%2Fb", "/a|b", "/%zz"]);
    let whole = Request::new("OPTIONS", "*").field("Host", "pay.example");
    assert_eq!(gateway.send(&whole).status, 201, "it is never guarded, and no path with a fault");
}

#[test]
fn a_host_in_any_writing_is_guarded() {
    let upstream = Upstream::numbering();
    let gateway = beside(&upstream).route("host = \"Pay.example.\"").start();
    let request = |host: &str| Request::keyed("/v1/charges", "k").field("Host", host);
    let first = gateway.send(&request("pay.example"));
    first.assert_executed(201);
    for host in ["PAY.example", "pay.example.", "pay.example:", "pay.example:80", "pay.example.:080"] {
        gateway.send(&request(host)).assert_replay_of(&first);
    }
    for target in ["http://PAY.example./v1/charges", "http://pay.example:080/v1/charges"] {
        let request = Request::keyed(target, "k").field("Host", "other.example");
        gateway.send(&request).assert_replay_of(&first);
    }
    for host in [
        "pay.example/x",
        "pay%2eexample",
        "a,b",
        "",
        "pay.example:8o",
        "pay..example",
        "u@pay.example",
        ":80",
    ] {
        gateway.send(&request(host)).assert_problem(400, "bad-request");
        let other = Request::keyed("http://pay.example/v1/charges", "k").field("Host", host);
        gateway.send(&other).assert_problem(400, "bad-request");
    }
    let hosts: Vec<_> =
        upstream.calls().into_iter().map(|call| call.field("host").map(str::to_owned)).collect();
    assert_eq!(hosts, [Some("pay.example".to_owned())]);
}

#[test]
fn a_request_without_host_is_its_routes() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url()).path("/v1").route("host = \"pay.example\"").extra(
        "[[routes]]\nname = \"rest\"\npath = \"/\"\nhost = \"pay.example\"\nupstream = \"origin\"\n\
         [[routes]]\nname = \"open\"\npath = \"/open\"\nhost = \"b.example\"\nupstream = \"origin\"\n\
         [[routes]]\nname = \"every\"\npath = \"/every\"\nupstream = \"origin\"\npolicy = \"keys\"\n\
         [[routes]]\nname = \"one\"\npath = \"/every/one\"\nhost = \"b.example\"\nupstream = \"origin\"\n",
    );
    let gateway = setup.start();
    let first = gateway.send(&Request::keyed("/v1/charges", "k").field("Host", "pay.example"));
    first.assert_executed(201);
    let hostless = |path: &str| {
        let head = format!("POST {path} HTTP/1.0\r\nIdempotency-Key: \"k\"\r\nContent-Length: 15\r\n\r\n");
        client::send_raw(gateway.address, format!("{head}{{\"amount\":1000}}").as_bytes()).unwrap()
    };
    hostless("/v1/charges").assert_replay_of(&first);
    hostless("/v1//charges").assert_problem(400, "bad-request");
    assert_eq!(hostless("/other").status, 201);
    assert_eq!(upstream.count(), 2);
    // Routes of several hosts would take these; one of every host is one of them.
    for path in ["/open", "/every", "/every/one/more"] {
        hostless(path).assert_problem(400, "bad-request");
    }
    assert_eq!(upstream.count(), 2);
}

/// No client sends one, so who does means something else by it than the service that would not see it.
#[test]
fn a_target_with_a_fragment_is_refused() {
    let upstream = Upstream::numbering();
    let gateway = beside(&upstream).start();
    for (method, target) in [
        ("POST", "/v1/charges#a"),
        ("POST", "/v1/charges?a=b#"),
        ("GET", "/plain#/v1/charges"),
        ("DELETE", "http://api.example/v1/charges?#a?b"),
    ] {
        let mut connection = gateway.connect();
        let refused = connection.send(&Request::new(method, target).key("k").body("1")).unwrap();
        let problem = refused.assert_problem(400, "bad-request");
        assert!(problem["detail"].as_str().unwrap().contains("fragment"), "{problem}");
        assert_eq!(refused.field("connection"), Some("close"), "{target}");
    }
    assert_eq!(upstream.count(), 0);
    // It is one in the target alone.
    let request = Request::new("PO#ST", "/plain").field("X-A", "/a#b").body("GET /#a HTTP/1.1\r\n");
    let mut connection = gateway.connect();
    for _ in 0..2 {
        assert_eq!(connection.send(&request).unwrap().status, 201);
    }
}

/// As RFC 9110 §7.6.3 has it, each gateway adds itself to `Via`.
#[test]
fn a_request_that_goes_round_is_refused() {
    let upstream = Upstream::numbering();
    let gateway = beside(&upstream).start();
    let many = |count: usize, of: &str| vec![of; count].join(", ");
    for (fields, status) in [
        (vec![many(15, "1.1 oncegate")], 201),
        (vec![many(16, "1.1 oncegate")], 508),
        (vec![many(20, "1.1 proxy"), many(15, "1.1 oncegate")], 201),
        (
            vec![many(8, "1.0 oncegate,1.1 proxy (a)"), "1.1 a".into(), many(8, "HTTP/1.1 OnceGate (edge)")],
            508,
        ),
        (vec![many(40, "1.1 oncegates"), many(40, "oncegate 1.1")], 201),
    ] {
        for target in ["/plain", "/v1/charges"] {
            let request = fields.iter().fold(Request::post(target), |request, via| request.field("Via", via));
            let reply = gateway.send(&request);
            assert_eq!(reply.status, status, "{fields:?}");
            if status == 508 {
                reply.assert_problem(508, "bad-request");
            }
        }
    }
}

#[test]
fn two_gateways_that_send_round_stop() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let second = Setup::new(&format!("http://{free}")).start();
    let first = Setup::new(&second.url()).server(&format!("listen = [\"{free}\"]")).start();
    for request in [
        Request::get("/a"),
        Request::post("/a?b"),
        Request::new("DELETE", "/"),
        // What is added to such a field counts, too.
        Request::get("/a").field("Via", b"1.1 caf\xe9"),
        Request::post("/a").field("Via", b"\xff").field("Via", b"1.0 a"),
        Request::get("/a").field("Via", b"1.1 caf\xc3\xa9 (\xfe)"),
    ] {
        let reply = first.send(&request);
        assert_eq!(reply.field("oncegate-problem"), None, "it is the service's own word to each: {reply:?}");
        assert_eq!((reply.status, &reply.json()["status"]), (508, &508.into()));
    }
}

#[test]
fn a_question_about_the_whole_server_meets_its_route() {
    let upstream = Upstream::numbering();
    let whole = |gateway: &Gateway| gateway.send(&Request::new("OPTIONS", "*")).status;
    assert_eq!(whole(&Setup::new(&upstream.url()).path("/v1").start()), 404);
    for gateway in [Setup::new(&upstream.url()).start(), beside(&upstream).start()] {
        assert_eq!(whole(&gateway), 201);
    }
    let asked: Vec<_> = upstream.calls().into_iter().map(|call| (call.method, call.target)).collect();
    assert_eq!(asked, vec![("OPTIONS".to_owned(), "*".to_owned()); 2]);
}
