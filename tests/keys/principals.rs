//! No principal sees another's answer; and the look-up, which only the asker may use.

use crate::support::*;

fn confidential() -> Upstream {
    Upstream::start(|call| {
        let who = call.field("authorization").or(call.field("x-api-key")).unwrap_or("nobody");
        Script::answer(200, format!("for {who} only, execution {}", call.number))
    })
}

#[test]
fn the_same_key_of_another_principal_executes_by_itself() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url()).start();
    let bare = || Request::keyed("/charges", "k");
    let requests = [
        bare(),
        bare().field("Authorization", "Bearer alice"),
        bare().field("Authorization", "Bearer bob"),
        bare().field("Authorization", "Token alice"),
        bare().field("X-API-Key", "Bearer alice"),
        bare().field("X-API-Key", "k1"),
        bare().field("Authorization", "Bearer alice").field("X-API-Key", "k1"),
    ];
    let mut seen: Vec<Reply> = Vec::new();
    for request in &requests {
        let first = gateway.send(request);
        first.assert_executed(200);
        assert!(seen.iter().all(|other| other.body != first.body && other.operation() != first.operation()));
        gateway.send(request).assert_replay_of(&first);
        seen.push(first);
    }
    assert_eq!(upstream.count(), requests.len());
}

#[test]
fn another_principals_payload_does_not_clash() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url()).start();
    let of = |who: &str, body: &str| Request::keyed("/charges", "k").field("Authorization", who).body(body);
    gateway.send(&of("Bearer alice", "1")).assert_executed(200);
    gateway.send(&of("Bearer bob", "2")).assert_executed(200);
    gateway.send(&of("Bearer alice", "2")).assert_problem(422, "key-reused");
}

#[test]
fn a_repeated_credential_is_refused() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url()).start();
    let twice =
        Request::keyed("/charges", "k").field("Authorization", "Bearer a").field("Authorization", "Bearer b");
    gateway.send(&twice).assert_problem(401, "principal-invalid");
    let twice = Request::keyed("/charges", "k").field("X-API-Key", "a").field("X-API-Key", "a");
    gateway.send(&twice).assert_problem(401, "principal-invalid");
    assert_eq!(upstream.count(), 0);
}

/// To many services it is the key, to the gateway it would be nobody's.
#[test]
fn a_twin_of_the_api_key_is_refused() {
    let upstream = confidential();
    for from in
        ["", "[principal]\nfrom = [\"api-key\"]", "[principal]\nfrom = [\"authorization\", \"api-key\"]"]
    {
        let gateway = Setup::new(&upstream.url()).extra(from).start();
        for name in ["X_API_Key", "x_api_key", "X-API_Key", "X_Api-Key"] {
            for request in [
                Request::keyed("/charges", "k").field(name, "alice"),
                Request::keyed("/charges", "k").field(name, ""),
                Request::keyed("/charges", "k").field("X-API-Key", "alice").field(name, "bob"),
                Request::post("/charges").field(name, "alice"),
            ] {
                let problem = gateway.send(&request).assert_problem(401, "principal-invalid");
                assert!(problem["detail"].as_str().unwrap().contains("`x-api-key`"), "{problem}");
            }
        }
    }
    assert_eq!(upstream.count(), 0);
    let gateway = Setup::new(&upstream.url()).extra("[principal]\nfrom = [\"authorization\"]").start();
    let other = Request::keyed("/charges", "k").field("Authorization", "Bearer a").field("X_API_Key", "b");
    gateway.send(&other).assert_executed(200);
}

/// The service would see neither: it believes what the gateway believed, or knows nobody.
#[test]
fn who_asks_is_not_to_be_switched_off_or_claimed() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url())
        .server("trusted_proxies = [\"192.0.2.1\"]")
        .extra("[principal]\nfrom = [\"api-key\", \"cookie:sid\", \"header:x-user\"]")
        .start();
    let cookie = Request::keyed("/charges", "k").field("Cookie", "sid=1");
    gateway.send(&cookie.clone().field("Connection", "cookie")).assert_problem(400, "bad-request");
    gateway.send(&cookie).assert_executed(200);
    let claim = Request::keyed("/charges", "k").field("X-API-Key", "a").field("X-User", "eve");
    gateway.send(&claim).assert_problem(401, "principal-invalid");
    assert_eq!(upstream.count(), 1);
}

/// The quickstart has no `principal.anonymous`: whoever sends a credential is somebody.
#[test]
fn a_credential_that_nobody_reads_is_not_nobody() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url()).start();
    for name in ["X-Auth-Token", "private-token", "Api-Key", "Ocp-Apim-Subscription-Key", "Cookie"] {
        let request = Request::keyed("/charges", name).field(name, "a=alice");
        gateway.send(&request).assert_problem(401, "principal-invalid");
        gateway.send(&request.field("Authorization", "Bearer alice")).assert_executed(200);
    }
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(200);
    gateway
        .send(&Request::keyed("/charges", "l").field("X_Auth_Token", "a"))
        .assert_problem(401, "principal-invalid");
    let by_cookie = Setup::new(&upstream.url()).extra("[principal]\nfrom = [\"cookie:sid\"]").start();
    for name in ["Authorization", "X-API-Key", "Api_Key"] {
        let request = Request::keyed("/charges", name).field(name, "Bearer alice");
        by_cookie.send(&request).assert_problem(401, "principal-invalid");
        by_cookie.send(&request.field("Cookie", "sid=a")).assert_executed(200);
    }
    let shared = Setup::new(&upstream.url()).extra("[principal]\nanonymous = \"share\"").start();
    shared.send(&Request::keyed("/charges", "k").field("X-Auth-Token", "a")).assert_executed(200);
}

/// A value without content is nobody's: all who send it would share their answers.
#[test]
fn an_empty_credential_is_nobodys() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url())
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .path("/all")
        .extra("[principal]\nanonymous = \"refuse\"")
        .extra(&guarded("user", "from = [\"header:x-user\"]"))
        .extra(&guarded("query", "from = [\"query:apikey\"]"))
        .extra(&guarded("cookie", "from = [\"cookie:sid\"]"))
        .start();
    for (target, name, value) in [
        ("/all", "Authorization", ""),
        ("/all", "Authorization", "Bearer"),
        ("/all", "authorization", "basic  "),
        ("/all", "Authorization", "Basic Og=="),
        ("/all", "X-API-Key", ""),
        ("/user", "X-User", ""),
        ("/user", "X-User", "  "),
        ("/query?apikey", "X-A", ""),
        ("/query?a=b&apikey=&c=d", "X-A", ""),
        ("/query?apikey=%20", "X-A", ""),
        ("/cookie", "Cookie", "sid="),
        ("/cookie", "Cookie", "a=b; sid=\"\""),
    ] {
        let reply = gateway.send(&Request::keyed(target, "k").field(name, value));
        reply.assert_problem(401, "principal-invalid");
    }
    assert_eq!(upstream.count(), 0);
    let both = Request::keyed("/all", "k").field("Authorization", "Bearer ").field("X-API-Key", "a");
    gateway.send(&both).assert_executed(200);
    let key = Request::keyed("/all", "k").field("X-API-Key", "a");
    assert_eq!(gateway.send(&key).replayed(), Some("true"), "what is there counts alone");
}

/// Unset, whose cookies an empty credential comes with stays unknown.
#[test]
fn an_empty_credential_hides_no_cookie() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url()).start();
    for value in ["", "Bearer", "Bearer "] {
        let request =
            Request::keyed("/charges", "k").field("Cookie", "session=a").field("Authorization", value);
        gateway.send(&request).assert_problem(401, "principal-invalid");
    }
    assert_eq!(upstream.count(), 0);
}

/// A guarded route at `/name` whose principal has this line.
fn guarded(name: &str, principal: &str) -> String {
    format!(
        "[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"origin\"\npolicy = \"keys\"\nprincipal = {{ {principal} }}"
    )
}

/// The service believes the field wherever it comes, guarded or not.
#[test]
fn no_stranger_says_who_asks_anywhere() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url())
        .server("trusted_proxies = [\"192.0.2.1\"]")
        .path("/guarded")
        .extra("[principal]\nfrom = [\"header:x-user\"]\nanonymous = \"share\"")
        .extra("[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"")
        .start();
    for target in ["/guarded", "/plain"] {
        for method in ["GET", "OPTIONS", "DELETE", "TRACE", "POST"] {
            for name in ["X-User", "x-user", "X_User"] {
                let request = Request::new(method, target).field(name, "alice");
                gateway.send(&request).assert_problem(401, "principal-invalid");
            }
        }
        let head = gateway.send(&Request::new("HEAD", target).field("X-User", ""));
        assert_eq!(head.status, 401);
        gateway
            .send(&Request::keyed(target, "k").field("X_User", "a"))
            .assert_problem(401, "principal-invalid");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.send(&Request::get("/plain").field("X-Users", "alice")).status, 200);
}

/// A proxy sets its own field, and may pass the rest of what its client sends.
#[test]
fn nothing_doubles_what_a_trusted_proxy_says() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url())
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .path("/guarded")
        .extra("[principal]\nfrom = [\"header:x-user\"]")
        .extra("[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"")
        .start();
    for target in ["/guarded", "/plain"] {
        for method in ["GET", "OPTIONS", "DELETE", "TRACE", "POST"] {
            let request = Request::new(method, target).key("k").field("X-User", "alice");
            for connection in ["close, X-User", "x-user", "keep-alive,,X-USER"] {
                let switched_off = request.clone().field("Connection", connection);
                gateway.send(&switched_off).assert_problem(400, "bad-request");
            }
            gateway.send(&request.field("X_User", "bob")).assert_problem(401, "principal-invalid");
            let alone = Request::new(method, target).key("k").field("x_user", "bob");
            gateway.send(&alone).assert_problem(401, "principal-invalid");
        }
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.send(&Request::get("/plain").field("X-User", "alice")).status, 200);
    assert_eq!(upstream.calls()[0].field("x-user"), Some("alice"));
}

/// A service that believes the field behind one route may be behind another.
#[test]
fn one_routes_field_is_refused_on_all() {
    let upstream = confidential();
    let routes = |setup: Setup| {
        setup
            .path("/other")
            .extra(&guarded("named", "from = [\"header:x-user\"]"))
            .extra(&guarded("keyed", "from = [\"api-key\"]"))
            .extra("[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"")
            .extra("[[routes]]\nname = \"host\"\nhost = \"b.example\"\npath = \"/\"\nupstream = \"origin\"")
    };
    let gateway = routes(Setup::new(&upstream.url()).server("trusted_proxies = [\"192.0.2.1\"]")).start();
    for target in
        ["/named", "/other", "/keyed", "/plain", "http://b.example/a", "/none", "/.oncegate/operations/a"]
    {
        for request in [
            Request::get(target).field("X-User", "alice"),
            Request::new("OPTIONS", target).field("x_user", "alice"),
            Request::keyed(target, "k").field("X-API-Key", "a").field("X-USER", "alice"),
            Request::post(target).field("X-User", ""),
        ] {
            gateway.send(&request).assert_problem(401, "principal-invalid");
        }
    }
    assert_eq!(upstream.count(), 0);
    let proxied = routes(Setup::new(&upstream.url()).server("trusted_proxies = [\"127.0.0.1\"]")).start();
    for target in ["/named", "/plain", "http://b.example/a"] {
        assert_eq!(
            proxied.send(&Request::keyed(target, "k").field("X-User", "alice")).status,
            200,
            "{target}"
        );
    }
}

#[test]
fn schemes_compare_without_case_and_can_be_listed() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url()).extra("[principal]\nschemes = [\"Splunk\"]").start();
    let of = |value: &str| Request::keyed("/charges", "k").field("Authorization", value);
    for (one, other) in
        [("Bearer alice", "bearer alice "), ("basic YTpi", "BASIC  YTpi"), ("Splunk x", "sPLUNK x")]
    {
        let first = gateway.send(&of(one));
        first.assert_executed(200);
        gateway.send(&of(other)).assert_replay_of(&first);
    }
    gateway.send(&of("bare")).assert_problem(401, "principal-invalid");
    assert_eq!(upstream.count(), 3);
}

#[test]
fn credentials_that_differ_on_every_request_are_refused_with_what_to_set() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url()).start();
    for value in [
        "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu/s3/aws4_request, Signature=ab",
        "Digest username=\"u\", nonce=\"n\"",
        "OAuth oauth_nonce=\"n\"",
        "DPoP abc",
        "AWS4-ECDSA-P256-SHA256 Credential=x",
        "EG1-HMAC-SHA256 client_token=x",
        "SharedKey account:x",
        "negotiate YII=",
        "TC3-HMAC-SHA256 Credential=x",
        "Signature keyId=x",
    ] {
        let request = Request::keyed("/charges", "k").field("Authorization", value);
        let problem = gateway.send(&request).assert_problem(401, "principal-invalid");
        assert!(problem["detail"].as_str().unwrap().contains("principal"), "{problem}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_anonymous_caller_may_be_refused() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url()).extra("[principal]\nanonymous = \"refuse\"").start();
    let reply = gateway.send(&Request::keyed("/charges", "k"));
    assert_eq!((reply.status, reply.replayed()), (401, None), "{reply:?}");
    gateway.send(&Request::keyed("/charges", "k").field("X-API-Key", "a")).assert_executed(200);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn the_asker_can_look_its_operation_up_and_nobody_else_can() {
    let upstream = confidential();
    let gateway = Setup::new(&upstream.url()).start();
    let alice = |request: Request| request.field("Authorization", "Bearer alice");
    let first = gateway.send(&alice(Request::keyed("/charges", "k")));
    let target = format!("/.oncegate/operations/{}", first.operation());
    let told = gateway.send(&alice(Request::get(&target)));
    assert_eq!((told.status, told.field("cache-control")), (200, Some("no-store")), "{told:?}");
    let operation = told.json();
    assert_eq!(operation["state"], "completed", "{operation}");
    assert!(!told.text().contains("for Bearer alice only"), "a look-up tells no body: {operation}");
    for other in [
        Request::get(&target),
        Request::get(&target).field("Authorization", "Bearer bob"),
        Request::get(&target).field("X-API-Key", "Bearer alice"),
        alice(Request::get(&format!("/.oncegate/operations/{}", "0".repeat(64)))),
        alice(Request::get("/.oncegate/operations/no-id")),
    ] {
        assert_eq!(gateway.send(&other).status, 404, "{other:?}");
    }
    assert_eq!(upstream.count(), 1, "nothing was executed, nothing went up");
}

#[test]
fn a_look_up_tells_each_state() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.target.as_str() {
        "/running" => Script::numbered(call).after(&held),
        "/unknown" => Script::answer(502, ""),
        _ => Script::numbered(call).field("Oncegate-Keep", "none"),
    });
    let gateway = Setup::new(&upstream.url()).start();
    let state = |id: &str| {
        gateway.send(&Request::get(&format!("/.oncegate/operations/{id}"))).json()["state"].clone()
    };
    for (target, expected) in [("/unknown", "unknown"), ("/consumed", "consumed")] {
        let id = gateway.send(&Request::keyed(target, "k")).operation().to_owned();
        assert_eq!(state(&id), expected);
    }
    std::thread::scope(|scope| {
        let first = scope.spawn(|| gateway.send(&Request::keyed("/running", "k")));
        upstream.await_count(3);
        let id = upstream.calls()[2].field("oncegate-operation").unwrap().to_owned();
        assert_eq!(state(&id), "executing");
        gate.open();
        first.join().unwrap().assert_executed(201);
        assert_eq!(state(&id), "completed");
    });
}
