//! Answers judged by more than their HTTP status: by a policy that reads them, by the status that
//! gRPC, gRPC-Web and Connect carry themselves; and bodies read without their content codings.

use crate::answers::outcomes::{Key, assert_key_of};
use crate::guests;
use crate::policies::bad_components::put;
use crate::support::*;
use std::io::Write;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).unwrap()
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).unwrap()
}

/// A gateway whose policy reads an answer's `/outcome` and its trailer `x-outcome`, and takes 504
/// for completed by a rule.
fn settling(upstream: &Upstream, set_up: fn(Setup) -> Setup) -> Gateway {
    let setup = set_up(Setup::new(&upstream.url()));
    let component = guests::settles_by_what_the_answer_says(vec![(504, 504, 0)]);
    let file = put(&setup, "settles.wasm", &component);
    setup.component(file).start()
}

#[test]
fn rules_come_first_then_settle_which_reads_fields_trailers_and_body_then_the_table() {
    let upstream = Upstream::start(|call| {
        let said = |status, number: &str| Script::answer(status, format!("{{\"outcome\":\"{number}\"}}"));
        match call.key() {
            "called not applied" => said(200, "2"),
            "called unknown" => said(200, "3"),
            "called consumed" => said(201, "1"),
            "called completed" => said(502, "0"),
            "a client error called not applied" => said(400, "2"),
            "a rule of the plan" => said(504, "2"),
            "a rule of the operator" => said(404, "0"),
            "a rule of both" => said(404, "2"),
            "nothing said" => Script::answer(502, "{}"),
            "nothing said of a success" => Script::answer(200, "{}"),
            "no document" => Script::answer(502, "{"),
            "in a trailer" => Script::answer(200, "{}").trailer("X-Outcome", "2"),
            "gzip" => Script::answer(200, gzip(b"{\"outcome\":\"2\"}")).field("Content-Encoding", "gzip"),
            "two codings" => Script::answer(200, gzip(&deflate(b"{\"outcome\":\"2\"}")))
                .field("Content-Encoding", "deflate")
                .field("Content-Encoding", "gzip"),
            "a broken coding" => said(502, "0").field("Content-Encoding", "gzip"),
            other => panic!("{other}"),
        }
    });
    let gateway =
        settling(&upstream, |setup| setup.route("outcomes = [{ status = \"404\", means = \"unknown\" }]"));
    for (key, status, expected) in [
        ("called not applied", 200, Key::Free),
        ("called unknown", 200, Key::Unknown),
        ("called consumed", 201, Key::Consumed),
        ("called completed", 502, Key::Replayed),
        ("a client error called not applied", 400, Key::Free),
        ("a rule of the plan", 504, Key::Replayed),
        ("a rule of the operator", 404, Key::Unknown),
        ("a rule of both", 404, Key::Unknown),
        ("nothing said", 502, Key::Unknown),
        ("nothing said of a success", 200, Key::Replayed),
        ("no document", 502, Key::Unknown),
        ("in a trailer", 200, Key::Free),
        ("gzip", 200, Key::Free),
        ("two codings", 200, Key::Free),
        ("a broken coding", 502, Key::Unknown),
    ] {
        println!("{key}: {expected:?}");
        assert_key_of(&gateway, &upstream, &Request::keyed("/charges", key), status, expected);
    }
}

/// Of an answer cut short `settle` may say that what came is the answer, never that nothing happened.
#[test]
fn of_a_cut_answer_settle_may_say_completed_and_never_not_applied() {
    let upstream = Upstream::start(|call| {
        let body = format!("{{\"outcome\":\"{}\"}}    ", &call.key()[..1]);
        let script = Script::answer(200, body).cut_at(15);
        if call.target == "/chunked" { script.chunked() } else { script }
    });
    let gateway = settling(&upstream, |setup| setup);
    for target in ["/length", "/chunked"] {
        for (key, expected) in [
            ("0", Key::Replayed),
            ("1", Key::Consumed),
            ("2", Key::Unknown),
            ("3", Key::Unknown),
            ("4", Key::Unknown),
        ] {
            let request = Request::keyed(target, &format!("{key}-{}", &target[1..]));
            // Where the end comes before the head was passed on, there may be no answer at all.
            if let Ok(first) = gateway.connect().send(&request) {
                assert!(!first.whole, "the first caller gets the cut answer cut: {first:?}");
            }
            let settled = || {
                let reply = gateway.send(&request);
                (reply.field("oncegate-problem") != Some("in-flight")).then_some(reply)
            };
            let again = eventually("it is settled", settled);
            match expected {
                Key::Replayed => {
                    assert_eq!((again.status, again.replayed(), again.whole), (200, Some("true"), true));
                    assert_eq!(again.text(), "{\"outcome\":\"0\"}");
                    assert_eq!(again.field("content-length"), Some("15"), "its length corrected");
                }
                Key::Consumed => drop(again.assert_problem(409, "consumed")),
                _ => drop(again.assert_problem(409, "outcome-unknown")),
            }
        }
    }
    assert_eq!(upstream.count(), 10);
}

fn frame(flags: u8, content: &[u8]) -> Vec<u8> {
    [&[flags][..], &u32::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

/// The status of Connect's errors with this code.
fn connect_status(code: &str) -> u16 {
    match code {
        "aborted" => 409,
        "invalid_argument" => 400,
        _ => 503,
    }
}

/// No rule on HTTP statuses applies: the route's rules would make all of these consumed.
#[test]
fn grpc_grpc_web_and_connect_answers_are_judged_by_their_own_status() {
    let upstream = Upstream::start(|call| {
        let (kind, code) = call.key().rsplit_once(' ').unwrap();
        let message = frame(0, b"message");
        match kind {
            "grpc" => Script::answer(200, message)
                .field("Content-Type", "application/grpc")
                .trailer("Grpc-Status", code),
            "unannounced" => Script::answer(200, message)
                .field("Content-Type", "application/grpc")
                .unannounced_trailer("Grpc-Status", code),
            "bare" => {
                Script::answer(200, "").field("Content-Type", "application/grpc").trailer("Grpc-Status", code)
            }
            "said twice" => Script::answer(200, [message, frame(0x80, b"grpc-status: 0\r\n")].concat())
                .field("Content-Type", "application/grpc-web+proto")
                .field("Grpc-Status", code),
            "json" => {
                Script::answer(201, "{}").field("Content-Type", "application/json").field("Grpc-Status", code)
            }
            "trailers-only" => Script::answer(200, "")
                .field("Content-Type", "application/grpc+proto")
                .field("Grpc-Status", code),
            "web" => {
                let last = frame(0x80, format!("grpc-status: {code}\r\n").as_bytes());
                Script::answer(200, [message, last].concat())
                    .chunked()
                    .field("Content-Type", "application/grpc-web+proto")
            }
            "web alone" => Script::answer(200, frame(0x80, format!("grpc-status: {code}\r\n").as_bytes()))
                .field("Content-Type", "application/grpc-web+proto"),
            "connect" => Script::answer(connect_status(code), format!("{{\"code\":\"{code}\"}}"))
                .field("Content-Type", "application/json"),
            "not connect" => Script::answer(500, format!("{{\"code\":\"{code}\"}}"))
                .field("Content-Type", "application/json"),
            "stream" => {
                let end = match code {
                    "ok" => "{}".to_owned(),
                    code => format!("{{\"error\":{{\"code\":\"{code}\"}}}}"),
                };
                Script::answer(200, [message, frame(2, end.as_bytes())].concat())
                    .field("Content-Type", "application/connect+json")
            }
            "stream alone" => {
                let end = format!("{{\"error\":{{\"code\":\"{code}\"}}}}");
                Script::answer(200, frame(2, end.as_bytes()))
                    .field("Content-Type", "application/connect+json")
            }
            "none" => Script::answer(200, message).field("Content-Type", "application/grpc"),
            other => panic!("{other}"),
        }
    });
    let rules = "outcomes = [{ status = \"200-599\", means = \"consumed\" }]";
    let gateway = Setup::new(&upstream.url()).route(rules).start();
    for (key, status, expected) in [
        ("grpc 0", 200, Key::Replayed),
        ("grpc 5", 200, Key::Replayed),
        ("grpc 16", 200, Key::Unknown),
        ("bare 16", 200, Key::Free),
        ("grpc 14", 200, Key::Unknown),
        ("unannounced 10", 200, Key::Unknown),
        ("unannounced 0", 200, Key::Replayed),
        ("trailers-only 12", 200, Key::Free),
        ("trailers-only 4", 200, Key::Unknown),
        ("web 0", 200, Key::Replayed),
        ("web 7", 200, Key::Unknown),
        ("web alone 7", 200, Key::Free),
        ("said twice 16", 200, Key::Unknown),
        ("said twice 0", 200, Key::Replayed),
        ("json 16", 201, Key::Consumed),
        ("web 8", 200, Key::Unknown),
        ("connect aborted", 409, Key::Free),
        ("connect unavailable", 503, Key::Unknown),
        ("connect invalid_argument", 400, Key::Replayed),
        ("not connect aborted", 500, Key::Consumed),
        ("stream ok", 200, Key::Replayed),
        ("stream unauthenticated", 200, Key::Unknown),
        ("stream alone unauthenticated", 200, Key::Free),
        ("stream internal", 200, Key::Unknown),
        ("none all", 200, Key::Unknown),
    ] {
        println!("{key}: {expected:?}");
        let mut request = Request::keyed("/service/method", key);
        if key.contains("connect") {
            request =
                request.field("Connect-Protocol-Version", "1").field("Content-Type", "application/json");
        }
        assert_key_of(&gateway, &upstream, &request, status, expected);
    }
}

#[test]
fn a_grpc_web_answer_too_large_to_keep_still_has_its_status() {
    let upstream = Upstream::start(|call| {
        let last = frame(0x80, format!("grpc-status: {}\r\n", call.key()).as_bytes());
        Script::answer(200, [frame(0, &[b'x'; 9000]), last].concat())
            .field("Content-Type", "application/grpc-web")
    });
    let gateway = Setup::new(&upstream.url()).ledger("body_kept = \"1KiB\"").start();
    for (key, expected) in [("0", Key::Consumed), ("16", Key::Unknown), ("13", Key::Unknown)] {
        assert_key_of(&gateway, &upstream, &Request::keyed("/service/method", key), 200, expected);
    }
}

#[test]
fn a_coded_request_body_is_read_without_its_coding_and_sent_as_it_came() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url())
        .policy("settings = { from = [\"body:/id\"], required = true }")
        .limits("body_bytes = \"4KiB\"")
        .start();
    let request =
        |body: &[u8]| Request::new("POST", "/charges").field("Content-Type", "application/json").body(body);
    let coded = gzip(b"{\"id\":\"k\",\"amount\":1000}");
    for (codings, body) in [("gzip", coded.clone()), ("gzip, deflate", deflate(&coded))] {
        let request = request(&body).field("Content-Encoding", codings);
        let first = gateway.send(&request);
        if codings == "gzip" {
            first.assert_executed(201);
            let call = upstream.calls().remove(0);
            assert_eq!(
                (call.body, call.fields.iter().any(|(n, v)| n == "content-encoding" && v == "gzip")),
                (coded.clone(), true)
            );
            gateway.send(&request).assert_replay_of(&first);
        } else {
            // The same key, and other bytes under the fingerprint of the whole request.
            first.assert_problem(422, "key-reused");
        }
    }
    let zeros = [b"{\"id\":\"k\",\"pad\":\"", &[b'0'; 8000][..], b"\"}"].concat();
    for (coding, body, status) in [
        ("x-unknown", coded.clone(), 400),
        ("gzip", coded[..coded.len() - 3].to_vec(), 400),
        ("deflate", coded.clone(), 400),
        ("gzip", gzip(&zeros), 400),
    ] {
        let reply = gateway.send(&request(&body).field("Content-Encoding", coding));
        assert_eq!(reply.status, status, "{coding}: {reply:?}");
        assert!(reply.field("oncegate-problem").is_some(), "{coding}: {reply:?}");
    }
    assert_eq!(upstream.count(), 1);
}

/// Fingerprints by document see through codings, too.
#[test]
fn one_document_in_different_codings_is_one_operation() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let file = put(&setup, "documents.wasm", &guests::fingerprints_documents());
    let gateway = setup.component(file).start();
    let request = |body: &[u8]| {
        Request::new("POST", "/charges").key("k").field("Content-Type", "application/json").body(body)
    };
    let plain = b"{\"amount\":1000, \"to\":\"a\"}";
    let first = gateway.send(&request(plain));
    first.assert_executed(201);
    let again =
        gateway.send(&request(&gzip(b"{\"to\":\"a\",\"amount\":1000}")).field("Content-Encoding", "gzip"));
    again.assert_replay_of(&first);
    let other = gateway.send(&request(&gzip(b"{\"amount\":1}")).field("Content-Encoding", "gzip"));
    other.assert_problem(422, "key-reused");
    assert_eq!(upstream.count(), 1);
}
