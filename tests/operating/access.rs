//! The access log: every request has its line, and a refused one the reason.

use crate::support::*;
use serde_json::Value;
use socket2::SockRef;
use std::time::Duration;

/// The newest line of the access log with this path.
fn line(gateway: &Gateway, path: &str) -> Value {
    eventually("the line is written", || {
        let log = gateway.stderr();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.rfind(|line| line["path"] == path)
    })
}

fn told(line: &Value) -> (&str, &str, &str) {
    let text = |name: &str| line[name].as_str().unwrap_or("-");
    (text("result"), text("problem"), text("reason"))
}

/// A head, the path of its line, and what the line has.
const REFUSED: &[(&str, &str, (&str, &str, &str))] = &[
    ("POST /a//b HTTP/1.1\r\nHost: a", "/a//b", ("refused", "bad-request", "an empty segment")),
    ("POST /a/../b HTTP/1.1\r\nHost: a", "/a/../b", ("refused", "bad-request", "a dot segment")),
    ("POST /a%2fb HTTP/1.1\r\nHost: a", "/a%2fb", ("refused", "bad-request", "an escaped slash")),
    ("POST /h0 HTTP/1.1\r\nX: a", "/h0", ("refused", "bad-request", "it has no `Host` field")),
    (
        "POST /h2 HTTP/1.1\r\nHost: a\r\nHost: b",
        "/h2",
        ("refused", "bad-request", "it has two `Host` fields"),
    ),
    ("POST /h3 HTTP/1.1\r\nHost: a@b", "/h3", ("refused", "bad-request", "what it names is no host")),
    ("post /m HTTP/1.1\r\nHost: a", "/m", ("refused", "bad-request", "its method is not in capitals")),
    (
        "POST /o HTTP/1.1\r\nHost: a\r\nX-HTTP-Method: PUT",
        "/o",
        ("refused", "bad-request", "its `X-HTTP-Method` names another method"),
    ),
    ("POST /f#x HTTP/1.1\r\nHost: a", "/f", ("refused", "bad-request", "its target has a fragment")),
    (
        "POST /c HTTP/1.1\r\nHost: a\r\nConnection: content-type",
        "/c",
        ("refused", "bad-request", "its `Connection` names a field that is judged here"),
    ),
    (
        "POST /w HTTP/1.1\r\nHost: a\r\nIdempotency_Key: secret",
        "/w",
        ("refused", "bad-request", "it has a twin of a field that is judged here"),
    ),
    (
        "POST /w2 HTTP/1.1\r\nHost: a\r\nContent_Type: secret",
        "/w2",
        ("refused", "bad-request", "it has a twin of a field that is judged here"),
    ),
    (
        "POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked",
        "/t",
        ("refused", "bad-request", "its transfer coding is not known"),
    ),
    (
        "POST /digest HTTP/1.1\r\nHost: a\r\nAuthorization: Digest secret",
        "/digest",
        ("refused", "principal-invalid", "its scheme is not in `principal.schemes`"),
    ),
    (
        "POST /cookie HTTP/1.1\r\nHost: a\r\nCookie: secret=1",
        "/cookie",
        ("refused", "principal-invalid", "it has a cookie and no other credential"),
    ),
    (
        "POST /twice HTTP/1.1\r\nHost: a\r\nX-Api-Key: secret\r\nX-Api-Key: b",
        "/twice",
        ("refused", "principal-invalid", "what says who asks is there twice"),
    ),
    (
        "POST /key HTTP/1.1\r\nHost: a\r\nIdempotency-Key: \"secret\"\r\nIdempotency-Key: \"b\"",
        "/key",
        ("refused", "key-malformed", "its policy turns it away"),
    ),
];

#[test]
fn refusals_have_their_reason_in_the_log() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).memory().server("access_log = \"json\"").start();
    for (head, path, expected) in REFUSED {
        let mut connection = gateway.connect();
        let length = if head.contains("Transfer-Encoding") { "" } else { "Content-Length: 0\r\n" };
        let head = head.replace("HTTP/1.1\r\n", &format!("HTTP/1.1\r\n{length}"));
        let keyed = if head.contains("Idempotency-Key") { "" } else { "Idempotency-Key: \"secret\"\r\n" };
        connection.0.write(format!("{head}\r\n{keyed}\r\n").as_bytes()).unwrap();
        let reply = connection.reply("POST").unwrap();
        assert!(reply.status >= 400, "{head}: {reply:?}");
        assert_eq!(told(&line(&gateway, path)), *expected, "{head}");
    }
    assert!(!gateway.stderr().contains("secret"), "what clients send is in no log:\n{}", gateway.stderr());
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.send(&Request::post("/plain")).status, 201);
    assert_eq!(told(&line(&gateway, "/plain")).0, "bypassed");
}

#[test]
fn who_leaves_before_the_answer_is_counted() {
    let left = |gateway: &Gateway| {
        let metrics = gateway.admin("GET", "/metrics").text();
        metrics.contains("oncegate_requests_total{route=\"all\",result=\"left\"} 1")
    };
    for (guarded, client_gone) in [(true, "close"), (true, "finish"), (false, "finish")] {
        let upstream = Upstream::start(|_| Script::silence());
        let setup = Setup::new(&upstream.url()).memory().server("access_log = \"json\"");
        let gateway = setup.route(&format!("client_gone = {client_gone:?}")).start();
        let mut leaving = gateway.connect();
        let request = if guarded { Request::keyed("/charges", "k") } else { Request::post("/charges") };
        leaving.0.write(&request.bytes()).unwrap();
        upstream.await_count(1);
        SockRef::from(&leaving.0.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(leaving);
        let line = line(&gateway, "/charges");
        let reason =
            if guarded { "its client left before the answer" } else { line["reason"].as_str().unwrap() };
        assert_eq!(told(&line), ("left", "-", reason), "{line}");
        assert_eq!((line["status"].is_null(), line["operation"].is_string()), (true, guarded), "{line}");
        eventually("it is counted", || left(&gateway).then_some(()));
        if client_gone == "close" {
            gateway.assert_logs(&["problem=\"upstream-broken\" reason=\"clients-gone\""]);
        }
    }
}
