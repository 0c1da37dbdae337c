//! Which parts of an answer are kept, and what stands on the gateway's own.

use crate::support::*;

#[test]
fn end_to_end_fields_are_kept_in_order_and_number() {
    let upstream = Upstream::start(|call| {
        Script::numbered(call)
            .field("Link", "</1>; rel=a")
            .field("X-Multi", "one")
            .field("Link", "</2>; rel=b")
            .field("X-Multi", "two")
            .field("X-Multi", "one")
            .field("ETag", "\"v1\"")
            .field("Location", "/charges/7")
            .field("Content-Encoding", "x-unknown")
            .field("X-Obs", "caf\u{e9}")
    });
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    first.assert_executed(201);
    let again = gateway.send(&Request::keyed("/charges", "k"));
    again.assert_replay_of(&first);
    assert_eq!(again.all("x-multi"), ["one", "two", "one"]);
    assert_eq!(again.all("link"), ["</1>; rel=a", "</2>; rel=b"]);
    for name in ["etag", "location", "content-type", "content-encoding", "x-obs"] {
        assert!(first.field(name).is_some(), "{name}");
        assert_eq!(again.all(name), first.all(name), "{name}");
    }
    assert_eq!(upstream.count(), 1);
}

/// Fields that the first caller gets and a duplicate must not.
const UNKEPT: [(&str, &str); 9] = [
    ("Set-Cookie", "session=1"),
    ("Age", "3"),
    ("WWW-Authenticate", "Basic"),
    ("Authentication-Info", "x"),
    ("Alt-Svc", "clear"),
    ("Server-Timing", "db;dur=53"),
    ("RateLimit", "\"default\";r=50;t=30"),
    ("RateLimit-Policy", "\"default\";q=100"),
    ("X-RateLimit-Remaining", "7"),
];

#[test]
fn fields_of_the_moment_and_stripped_ones_are_not_kept() {
    let upstream = Upstream::start(|call| {
        let script = Script::numbered(call).field("X-Secret", "s").field("Set-Cookie", "other=2");
        UNKEPT.iter().fold(script, |script, (name, value)| script.field(name, value))
    });
    let gateway = Setup::new(&upstream.url()).route("strip = [\"X-Secret\"]").start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    assert_eq!(first.all("set-cookie").len(), 2, "the first caller gets the answer as it came: {first:?}");
    let again = gateway.send(&Request::keyed("/charges", "k"));
    again.assert_replay_of(&first);
    for (name, value) in UNKEPT {
        let name = name.to_lowercase();
        assert!(first.all(&name).contains(&value), "{name} of the first: {first:?}");
        assert_eq!(again.field(&name), None, "{name} of the replay");
    }
    assert_eq!(again.field("x-secret"), None);
}

#[test]
fn a_date_is_that_of_the_answer_in_hand() {
    const OLD: &str = "Mon, 01 Jan 2001 00:00:00 GMT";
    let upstream = Upstream::start(|call| Script::numbered(call).field("Date", OLD));
    let gateway = Setup::new(&upstream.url()).start();
    assert_eq!(gateway.send(&Request::keyed("/charges", "k")).all("date"), [OLD]);
    assert_ne!(gateway.send(&Request::keyed("/charges", "k")).field("date"), Some(OLD));
}

#[test]
fn retry_after_is_kept_on_success_and_redirection_only() {
    let upstream = Upstream::start(|call| {
        let status = call.target.trim_start_matches('/').parse().unwrap();
        Script::answer(status, "x").field("Retry-After", "7")
    });
    let gateway = Setup::new(&upstream.url()).start();
    for (status, kept) in [(202, Some("7")), (303, Some("7")), (404, None), (500, None)] {
        let request = Request::keyed(&format!("/{status}"), "k");
        let first = gateway.send(&request);
        assert_eq!(first.field("retry-after"), Some("7"), "{status}");
        let again = gateway.send(&request);
        again.assert_replay_of(&first);
        assert_eq!(again.field("retry-after"), kept, "{status}");
    }
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let upstream = Upstream::start(|call| {
        Script::numbered(call)
            .field("Connection", "X-Hop")
            .field("X-Hop", "1")
            .field("Keep-Alive", "timeout=5")
            .field("Proxy-Authenticate", "Basic")
    });
    let gateway = Setup::new(&upstream.url()).start();
    let request = Request::keyed("/charges", "k")
        .field("Connection", "x-mine, keep-alive")
        .field("X-Mine", "1")
        .field("TE", "trailers, deflate")
        .field("Keep-Alive", "timeout=1");
    for _ in 0..2 {
        let reply = gateway.send(&request);
        assert_eq!((reply.field("x-hop"), reply.field("keep-alive")), (None, None), "{reply:?}");
    }
    let call = upstream.calls().remove(0);
    assert_eq!((call.field("x-mine"), call.field("keep-alive")), (None, None), "{call:?}");
}

#[test]
fn an_upstream_cannot_speak_for_the_gateway() {
    let upstream = Upstream::start(|call| {
        Script::numbered(call)
            .field("Oncegate-Operation", "fake")
            .field("Oncegate-Problem", "fake")
            .field("Oncegate-Anything", "fake")
            .field("Idempotent-Replayed", "true")
    });
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    assert_eq!(first.all("idempotent-replayed"), ["false"]);
    assert_eq!(first.all("oncegate-operation").len(), 1);
    assert_ne!(first.operation(), "fake");
    let again = gateway.send(&Request::keyed("/charges", "k"));
    assert_eq!(again.all("idempotent-replayed"), ["true"]);
    for reply in [first, again, gateway.send(&Request::post("/unguarded"))] {
        assert_eq!((reply.field("oncegate-anything"), reply.field("oncegate-problem")), (None, None));
    }
    assert_eq!(gateway.send(&Request::post("/unguarded")).replayed(), None);
}

/// Fields that only the gateway sets, in the writings that a client may read as them.
const OURS: [&str; 6] = [
    "Oncegate-Problem",
    "Oncegate_Operation",
    "oncegate_problem",
    "oncegate_anything",
    "Oncegate_Attempt-No",
    "Idempotent_Replayed",
];

#[test]
fn no_writing_of_the_gateways_fields_passes() {
    let upstream = Upstream::start(|call| {
        let script = match call.target.as_str() {
            "/429" => Script::answer(429, "later"),
            _ => Script::numbered(call),
        };
        OURS.iter().fold(script, |script, name| script.field(name, "fake"))
    });
    let gateway = Setup::new(&upstream.url()).start();
    let kept = Request::keyed("/charges", "k");
    let first = gateway.send(&kept);
    first.assert_executed(201);
    let replays = [gateway.send(&kept), gateway.send(&kept)];
    replays.iter().for_each(|replay| replay.assert_replay_of(&first));
    let others = [Request::keyed("/429", "k"), Request::post("/charges"), Request::get("/charges")];
    for reply in [first].into_iter().chain(replays).chain(others.iter().map(|other| gateway.send(other))) {
        for (name, value) in &reply.fields {
            let ours = name.replace('_', "-").starts_with("oncegate-") || name.starts_with("idempotent");
            assert!(!(ours && (name.contains('_') || value == "fake")), "{name}: {reply:?}");
        }
    }
}

/// By these two the gateway reads what it judges, and the service would see neither.
#[test]
fn what_says_how_a_body_is_read_stays() {
    let upstream = Upstream::numbering();
    let plain = "[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"";
    for component in ["builtin:idempotency-key", "builtin:content", "builtin:webhook"] {
        let gateway = Setup::new(&upstream.url()).component(component).extra(plain).start();
        for options in
            ["content-encoding", "Content-Type", "close, CONTENT-ENCODING", "x-a,content-type , keep-alive"]
        {
            for request in [Request::keyed("/charges", "k"), Request::post("/charges")] {
                let request = request.field("Content-Type", "application/json").field("Connection", options);
                gateway.send(&request).assert_problem(400, "bad-request");
            }
            // Nobody reads the body there.
            assert_eq!(gateway.send(&Request::post("/plain").field("Connection", options)).status, 201);
        }
        assert!(upstream.calls().iter().all(|call| call.target == "/plain"), "{component}");
    }
}

#[test]
fn a_client_cannot_speak_for_the_gateway() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let forged =
        Request::keyed("/charges", "k").field("Oncegate-Operation", "fake").field("Oncegate-Attempt", "9");
    let id = gateway.send(&forged).operation().to_owned();
    let call = upstream.calls().remove(0);
    assert_eq!(crate::support::wire::all(&call.fields, "oncegate-operation"), [id]);
    assert_eq!(crate::support::wire::all(&call.fields, "oncegate-attempt"), ["1"]);
}

#[test]
fn conditions_and_ranges_are_ignored_on_replay() {
    let upstream = Upstream::start(|_| Script::answer(200, "0123456789").field("ETag", "\"v1\""));
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    let conditional =
        Request::keyed("/charges", "k").field("Range", "bytes=0-1").field("If-None-Match", "\"v1\"");
    gateway.send(&conditional).assert_replay_of(&first);
    let conditional = Request::keyed("/charges", "k").field("If-Match", "\"v9\"");
    gateway.send(&conditional).assert_replay_of(&first);
}

#[test]
fn an_upgrade_is_ignored_where_the_request_is_guarded() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let request = Request::keyed("/charges", "k")
        .field("Connection", "Upgrade, HTTP2-Settings")
        .field("Upgrade", "h2c")
        .field("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA");
    let first = gateway.send(&request);
    first.assert_executed(201);
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
    let call = upstream.calls().remove(0);
    assert_eq!((call.field("upgrade"), call.field("http2-settings")), (None, None), "{call:?}");
}

#[test]
fn an_upstream_may_say_that_its_answer_is_not_to_be_kept() {
    let upstream = Upstream::start(|call| {
        Script::numbered(call)
            .field("Oncegate-Keep", "none")
            .field("Location", "/charges/7")
            .field("Content-Location", "/charges/7/v1")
            .field("ETag", "\"v1\"")
    });
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    first.assert_executed(201);
    assert_eq!(first.field("oncegate-keep"), None);
    let problem = gateway.send(&Request::keyed("/charges", "k")).assert_problem(409, "consumed");
    assert_eq!(problem["outcome"], "consumed");
    assert_eq!(problem["operation"], first.operation());
    assert_eq!(problem["first"]["status"], 201);
    assert_eq!(problem["first"]["location"], "/charges/7");
    assert_eq!(problem["first"]["content_location"], "/charges/7/v1");
    assert_eq!(problem["first"]["etag"], "\"v1\"");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn forwarding_is_told_to_the_upstream() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let request = Request::keyed("/charges", "k")
        .field("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    gateway.send(&request).assert_executed(201);
    let call = upstream.calls().remove(0);
    assert!(call.field("via").is_some_and(|via| via.starts_with("1.1 ")), "{call:?}");
    let forwarded = call.field("x-forwarded-for").or(call.field("forwarded"));
    assert!(forwarded.is_some_and(|f| f.contains("127.0.0.1")), "{call:?}");
    assert!(call.field("traceparent").is_some());
}
