//! What of a client's request goes upstream, also where nobody guards it.

use crate::support::*;

const ROUTE: &str = "[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"";

/// hyper's client sends no body of unknown length with GET and HEAD unless it is told how.
#[test]
fn a_body_arrives_whatever_its_method_and_framing() {
    let upstream = Upstream::start(|_| Script::answer(200, "").field("X-Seen", "1"));
    let gateway = Setup::new(&upstream.url()).extra(ROUTE).start();
    for target in ["/plain", "/judged"] {
        for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "QUERY", "PUT"] {
            let request = Request::new(method, target);
            let guarded = request.clone().key(&format!("{method} guarded"));
            for (request, sized) in [
                (request.clone().chunked(&[b"he", b"llo"]), false),
                (request.clone().body("hello"), true),
                (request.clone().field("Connection", "content-length").body("hello"), true),
                (guarded.clone().chunked(&[b"he", b"llo"]), false),
            ] {
                assert_eq!(gateway.send(&request).status, 200, "{request:?}");
                let call = upstream.calls().pop().unwrap();
                assert_eq!((&*call.method, &*call.body), (method, &b"hello"[..]), "{call:?}");
                let is_guarded = call.field("oncegate-operation").is_some();
                let (length, coding) = (call.field("content-length"), call.field("transfer-encoding"));
                let expected = match sized || is_guarded {
                    true => (Some("5"), None),
                    false => (None, Some("chunked")),
                };
                assert_eq!((length, coding), expected, "{call:?}");
            }
        }
    }
}

/// Trailers come when nobody looks at fields any more, so they say nothing that a head says.
#[test]
fn a_clients_trailers_name_nobody_and_no_operation() {
    let upstream = Upstream::numbering();
    let principal = "[principal]\nfrom = [\"header:x-user\", \"cookie:session\"]\nanonymous = \"share\"";
    let gateway = Setup::new(&upstream.url())
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .extra(&format!("{ROUTE}\n{principal}"))
        .start();
    let names = [
        "oncegate-operation",
        "idempotent-replayed",
        "authorization",
        "x-user",
        "x_user",
        "oncegate_attempt",
        "x-api-key",
        "cookie",
        "content-length",
        "idempotency-key",
        "x-forwarded-for",
        "x-ok",
    ];
    let trailers: String = names.iter().map(|name| format!("{name}: 1\r\n")).collect();
    for (announced, kept) in [(names.join(", "), vec!["x-ok"]), ("X-OK".to_owned(), vec!["x-ok"])] {
        for method in ["POST", "GET"] {
            let bytes = format!(
                "{method} /plain HTTP/1.1\r\nHost: a\r\nTrailer: {announced}\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n0\r\n{trailers}\r\n"
            );
            let mut connection = gateway.connect();
            connection.0.write(bytes.as_bytes()).unwrap();
            assert_eq!(connection.reply(method).unwrap().status, 201);
            let call = upstream.calls().pop().unwrap();
            let came: Vec<_> = call.trailers.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!((came, &*call.body), (kept.clone(), &b"hello"[..]), "{call:?}");
            assert_eq!(call.field("trailer").map(str::to_lowercase).as_deref(), Some("x-ok"));
        }
    }
}

/// `Trailer` announces what a body that was read whole no longer has.
#[test]
fn no_trailer_is_announced_that_does_not_come() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).extra(ROUTE).start();
    for request in [
        Request::keyed("/charges", "a"),
        Request::new("POST", "/charges").key("b").chunked(&[b"x"]),
        Request::post("/plain"),
        Request::get("/plain"),
    ] {
        gateway.send(&request.field("Trailer", "X-Checksum"));
        let call = upstream.calls().pop().unwrap();
        assert_eq!((call.field("trailer"), call.trailers.len()), (None, 0), "{call:?}");
    }
}
