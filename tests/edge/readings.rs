//! Fields by which a service may read a request as another one (`host/design/edge.md`).

use crate::support::*;

const METHODS: [&str; 6] = [
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X_HTTP_METHOD_OVERRIDE",
    "x_http-method",
    "X-Method_Override",
];
const PATHS: [&str; 4] = ["X-Original-URL", "X-Rewrite-URL", "X_ORIGINAL_URL", "x-rewrite_url"];

/// A gateway that guards `/v1` and deletions of `/d`, and nothing else.
fn gateway(upstream: &Upstream) -> Gateway {
    let deletions = "[[routes]]\nname = \"deletions\"\npath = \"/d\"\nmethods = [\"DELETE\"]\nhost = \"api.example\"\nupstream = \"origin\"\n\
                     policy = \"keys\"\n[[routes]]\nname = \"rest\"\npath = \"/\"\nupstream = \"origin\"\n";
    Setup::new(&upstream.url()).path("/v1").route("host = \"api.example\"").extra(deletions).start()
}

/// Asserts that a request is refused with the field's name.
#[track_caller]
fn assert_refused(gateway: &Gateway, request: &Request, field: &str) {
    let problem = gateway.send(request).assert_problem(400, "bad-request");
    let name = field.to_ascii_lowercase().replace('_', "-");
    assert!(problem["detail"].as_str().unwrap().contains(&name), "{field}: {problem}");
}

#[test]
fn another_method_is_refused_where_either_is_guarded() {
    let upstream = Upstream::numbering();
    let gateway = gateway(&upstream);
    for field in METHODS {
        for method in ["DELETE", "put", "GET", "", "POST, POST", "PO ST"] {
            assert_refused(&gateway, &Request::keyed("/v1/orders", "k").field(field, method), field);
        }
        for (request, method) in [
            (Request::keyed("/d/1", "k"), "DELETE"),
            (Request::keyed("/d/1", "k"), " delete"),
            (Request::keyed("/d/1", "k"), "?"),
            (Request::new("DELETE", "/d/1").key("k"), "GET"),
            (Request::get("/v1/orders"), "POST"),
            (Request::new("OPTIONS", "/v1/orders"), "PUT"),
        ] {
            assert_refused(&gateway, &request.field(field, method), field);
        }
        // Two, of which one says the same; and two that are none by themselves.
        let two = Request::keyed("/v1/orders", "k").field("X-HTTP-Method", "POST").field(field, "DELETE");
        assert_refused(&gateway, &two, field);
        let both = Request::keyed("/rest", "k").field("X-Original-URL", "/d/1").field(field, "DELETE");
        assert_eq!(gateway.send(&both).status, 400, "{field}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn another_path_is_refused_where_either_is_guarded() {
    let upstream = Upstream::numbering();
    let gateway = gateway(&upstream);
    for field in PATHS {
        for path in [
            "/v1/charges",
            "/v1/charge%73?a=b",
            "/%76%31/charges",
            "http://api.example/v1/charges",
            "/rest/../v1/charges",
            "/rest//a",
            "v1/charges",
            "http://other.example/other",
            "",
        ] {
            assert_refused(&gateway, &Request::keyed("/rest", "k").field(field, path), field);
        }
        for path in ["/rest", "/v1/orders", "/v1/charges?a=c", "/v1//charges"] {
            let request = Request::keyed("/v1/charges?a=b", "k").field(field, path);
            assert_refused(&gateway, &request, field);
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn what_reads_the_same_is_passed_on() {
    let upstream = Upstream::numbering();
    let gateway = gateway(&upstream);
    let mut sent = 0;
    let mut passed = |request: Request, field: &str, value: &str| {
        let reply = gateway.send(&request.field(field, value));
        assert_eq!(reply.status, 201, "{field}: {value}: {reply:?}");
        sent += 1;
        assert_eq!(upstream.count(), sent);
        let call = upstream.calls().pop().unwrap();
        assert_eq!(call.field(&field.to_ascii_lowercase()), Some(value));
    };
    for field in METHODS {
        for method in ["POST", "post"] {
            passed(Request::keyed("/v1/orders", &format!("{field}{method}")), field, method);
        }
        // Nothing guards either.
        passed(Request::post("/rest"), field, "DELETE");
        passed(Request::post("/d/1"), field, "PATCH");
        passed(Request::get("/v1/orders"), field, "HEAD");
        passed(Request::post("/v1/orders").field("Host", "other.example"), field, "?");
    }
    for field in PATHS {
        // A proxy in front may know the host by another name.
        for path in [
            "/v1/orders?a=b",
            "/v1/order%73",
            "http://API.example:80/v1/orders",
            "https://other.example:8443/v1/orders?a=b",
        ] {
            passed(Request::keyed("/v1/orders?a=b", &format!("{field}{path}")), field, path);
        }
        passed(Request::post("/rest"), field, "/d/1");
        passed(Request::post("/rest").field("Host", "other.example"), field, "/v1/orders");
    }
}
