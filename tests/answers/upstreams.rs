//! Answers as odd upstreams send them: framing that contradicts itself, heads that can be mended, bytes that
//! come late or early, trailers that speak for the gateway.

use crate::support::*;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

/// Requests on the guarded and on the unguarded way. `key`: of the guarded one.
fn both_ways(key: &str) -> [Request; 2] {
    [Request::keyed("/charges", key).field("X-Case", key), Request::post("/charges").field("X-Case", key)]
}

/// An upstream that answers with the bytes of the case that the request names.
fn cases(cases: &'static [(&'static str, &'static str)]) -> Upstream {
    Upstream::start(move |call| {
        let named = cases.iter().find(|(name, _)| call.field("x-case") == Some(*name));
        match named {
            Some((_, answer)) => Script::raw(vec![Step::Write(answer.as_bytes().to_vec()), Step::Close]),
            None => Script::numbered(call),
        }
    })
}

/// The body is `abcdef` by what is read, whatever the length beside it says.
const READABLE: &[(&str, &str)] = &[
    (
        "short",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n",
    ),
    (
        "long",
        "HTTP/1.1 200 OK\r\nContent-Length: 64\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n",
    ),
    ("list", "HTTP/1.1 200 OK\r\nContent-Length: 6, 6\r\n\r\nabcdef"),
    ("twice", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 6\r\n\r\nabcdef"),
    (
        "invalid",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n",
    ),
    ("old", "HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nabcdef"),
    ("spaced", "HTTP/1.1 200 OK\r\nContent-Length : 6\r\n\r\nabcdef"),
];

#[test]
fn an_answers_framing_is_made_anew() {
    let upstream = cases(READABLE);
    let gateway = Setup::new(&upstream.url()).start();
    for (case, _) in READABLE {
        for request in both_ways(case) {
            let mut connection = gateway.connect();
            let first = connection.send(&request).unwrap();
            assert_eq!((first.status, first.text().as_str(), first.whole), (200, "abcdef", true), "{case}");
            let framed = first.all("content-length").len() + first.all("transfer-encoding").len();
            assert_eq!(framed, 1, "{first:?}");
            if first.replayed().is_some() {
                connection.send(&request).unwrap().assert_replay_of(&first);
            }
            // The connection is still where both sides think it is.
            assert_eq!(connection.send(&Request::get("/next")).unwrap().status, 201, "{case}");
        }
    }
}

const UNREADABLE: &[(&str, &str)] = &[
    ("gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n"),
    (
        "chunked twice",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n",
    ),
    ("identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabcdef"),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 7\r\n\r\nabcdef"),
    ("a sign", "HTTP/1.1 200 OK\r\nContent-Length: +6\r\n\r\nabcdef"),
    ("chunks of 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n"),
];

#[test]
fn an_answer_of_unreadable_framing_is_refused() {
    let upstream = cases(UNREADABLE);
    let gateway = Setup::new(&upstream.url()).start();
    for (case, _) in UNREADABLE {
        println!("{case}");
        let [guarded, plain] = both_ways(case);
        let told = gateway.send(&guarded).assert_problem(502, "upstream-broken");
        assert_eq!(told["outcome"], "unknown");
        gateway.send(&guarded).assert_problem(409, "outcome-unknown");
        gateway.send(&plain).assert_problem(502, "upstream-broken");
    }
}

#[test]
fn a_head_that_can_be_mended_is_mended() {
    let many: String = (0..120).map(|n| format!("X-Field-{n}: {n}\r\n")).collect();
    let too_many: String = (0..300).map(|n| format!("X-Field-{n}: {n}\r\n")).collect();
    let upstream = Upstream::start(move |call| {
        let fields = match call.field("x-case").unwrap() {
            "space" => "X-A : 1\r\n",
            "tab" => "X-A\t: 1\r\n",
            "fold" => "X-A: 1\r\n  2\r\n\t3\r\n",
            "many" => &many,
            "too many" => &too_many,
            other => panic!("{other}"),
        };
        let answer = format!("HTTP/1.1 201 Created\r\n{fields}Content-Length: 2\r\n\r\nok");
        Script::raw(vec![Step::Write(answer.into_bytes())])
    });
    let gateway = Setup::new(&upstream.url()).start();
    for (case, name, value) in
        [("space", "x-a", "1"), ("tab", "x-a", "1"), ("fold", "x-a", "1 2 3"), ("many", "x-field-119", "119")]
    {
        let [guarded, plain] = both_ways(case);
        let first = gateway.send(&guarded);
        first.assert_executed(201);
        let again = gateway.send(&guarded);
        again.assert_replay_of(&first);
        for reply in [first, again, gateway.send(&plain)] {
            assert_eq!((reply.text().as_str(), reply.field(name)), ("ok", Some(value)), "{case}: {reply:?}");
        }
    }
    let [guarded, plain] = both_ways("too many");
    gateway.send(&guarded).assert_problem(502, "upstream-broken");
    gateway.send(&plain).assert_problem(502, "upstream-broken");
    gateway.assert_logs(&["256 fields"]);
}

/// The version and the reason are the sender's own (RFC 9110 §6.2).
#[test]
fn a_status_line_is_the_gateways_own() {
    let upstream = cases(&[
        ("old", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("no reason", "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n"),
        ("nothing", "HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n"),
    ]);
    let gateway = Setup::new(&upstream.url()).start();
    for (case, line) in
        [("old", "HTTP/1.1 200 OK"), ("no reason", "HTTP/1.1 299 "), ("nothing", "HTTP/1.1 299 ")]
    {
        let [guarded, plain] = both_ways(case);
        for request in [&plain, &guarded, &guarded] {
            let mut connection = gateway.connect();
            connection.0.write(&request.bytes()).unwrap();
            assert_eq!(connection.0.head().unwrap().start, line, "{case}");
        }
    }
}

/// hyper's server can't send them, so they end here.
#[test]
fn an_interim_answer_is_not_the_answer() {
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    const LAST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Upstream::start(|call| {
        let interim = match call.field("x-case").unwrap() {
            "continue" => "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
            "processing" => "HTTP/1.1 102 Processing\r\n\r\n".repeat(3),
            _ => HINTS.to_owned(),
        };
        Script::raw(vec![Step::Write(interim.into_bytes()), Step::Write(LAST.into())])
    });
    let gateway = Setup::new(&upstream.url()).start();
    for case in ["continue", "processing", "hints"] {
        let [guarded, plain] = both_ways(case);
        for request in [&plain, &guarded, &guarded] {
            let mut connection = gateway.connect();
            connection.0.write(&request.bytes()).unwrap();
            assert_eq!(connection.0.head().unwrap().start, "HTTP/1.1 200 OK", "{case}");
            assert_eq!(connection.0.body(&vec![("content-length".into(), "2".into())], false).bytes, b"ok");
        }
    }
    assert_eq!(upstream.count(), 6);
}

/// An upstream that answers before it has read the request, and then closes with bytes unread, which resets
/// the connection. `read`: how much it reads of each request.
fn hasty(answer: &'static str, read: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer_one = |mut stream: TcpStream| -> std::io::Result<()> {
                stream.read_exact(&mut vec![0; read])?;
                stream.write_all(answer.as_bytes())
            };
            let _gone = answer_one(stream.unwrap());
        }
    });
    address
}

#[test]
fn an_answer_before_the_whole_request_counts() {
    const TOO_LARGE: &str = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
    const CHUNKED: &str = "HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbig\r\n0\r\n\r\n";
    for (answer, read, size) in [
        (TOO_LARGE, 100, 6 << 20),
        (TOO_LARGE, 1 << 18, 2 << 20),
        (CHUNKED, 100, 4 << 20),
        (TOO_LARGE, 1, 6 << 20),
    ] {
        let address = hasty(answer, read);
        let gateway = Setup::new(&format!("http://{address}")).start();
        let body = vec![b'x'; size];
        for n in 0..4 {
            let guarded = Request::new("POST", "/charges").key(&n.to_string()).body(&body);
            let first = gateway.send(&guarded);
            first.assert_executed(413);
            assert_eq!(first.text(), "big");
            gateway.send(&guarded).assert_replay_of(&first);
            let plain = gateway.send(&Request::new("POST", "/charges").body(&body));
            assert_eq!((plain.status, plain.text().as_str()), (413, "big"), "{plain:?}");
        }
    }
}

/// A service that answers so and ends the connection after each answer, which it may have said or not.
fn closing(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let _gone = stream.write_all(&answer).and_then(|()| stream.shutdown(Shutdown::Write));
            // Until the gateway ends it, too: no byte of the answer is lost by a reset.
            let _gone = stream.read_to_end(&mut head);
        }
    });
    address
}

#[test]
fn the_last_answer_of_a_connection_is_whole() {
    let large = "x".repeat(200 << 10);
    let (sized, chunk) =
        (format!("Content-Length: {}\r\n\r\n{large}", large.len()), format!("32000\r\n{large}\r\n"));
    let coded = "Transfer-Encoding: chunked\r\n\r\n";
    for close in ["Connection: close\r\n", "Connection: x, close\r\n", "Connection: \u{e9}, close\r\n", ""] {
        for (rest, body) in [
            (sized.clone(), large.clone()),
            (format!("{coded}{chunk}0\r\n\r\n"), large.clone()),
            (format!("{coded}3\r\nbig\r\n0\r\n\r\n"), "big".to_owned()),
            (format!("{coded}3\r\nbig\r\n0\r\nX-Sum: 1\r\n\r\n"), "big".to_owned()),
            (format!("\r\n{large}"), large.clone()),
            ("\r\nbig".to_owned(), "big".to_owned()),
        ] {
            let answer = format!("HTTP/1.1 201 Created\r\n{close}{rest}");
            let case = answer[..answer.len().min(120)].to_owned();
            let gateway = Setup::new(&format!("http://{}", closing(answer.into_bytes()))).start();
            let guarded = Request::new("POST", "/charges").key("k");
            let first = gateway.send(&guarded);
            first.assert_executed(201);
            assert!(first.text() == body, "{case}");
            gateway.send(&guarded).assert_replay_of(&first);
            let plain = gateway.send(&Request::new("GET", "/charges"));
            assert!(plain.status == 201 && plain.text() == body, "{case}");
        }
    }
}

/// The rest of the request may never be read, so no other request can follow it.
#[test]
fn the_client_sees_that_an_early_answer_ends_its_connection() {
    let address = hasty("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig", 100);
    let gateway = Setup::new(&format!("http://{address}")).start();
    let framings = ["Content-Length: 1000000", "Transfer-Encoding: chunked", "Content-Length: 5000"];
    for (framing, method) in framings.into_iter().zip(["POST", "GET", "PUT"]) {
        let mut connection = gateway.connect();
        let part =
            format!("{method} /charges HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n3e8\r\n{}", "x".repeat(900));
        connection.0.write(part.as_bytes()).unwrap();
        let reply = connection.reply(method).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (413, "big"), "{reply:?}");
        assert_eq!(reply.field("connection"), Some("close"), "{reply:?}");
    }
}

#[test]
fn a_connection_ends_with_an_early_answer_alone() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let mut connection = gateway.connect();
    for request in [
        Request::post("/charges"),
        Request::get("/charges").chunked(&[b"x"]),
        Request::new("POST", "/charges").chunked(&[]),
        Request::new("POST", "/charges").body(vec![b'x'; 3 << 20]),
    ] {
        let reply = connection.send(&request).unwrap();
        assert_eq!((reply.status, reply.field("connection")), (201, None), "{reply:?}");
    }
}

/// What a service sends behind an answer that has no body must not be the next one's answer.
#[test]
fn late_bytes_are_no_operations_answer() {
    const LATE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| {
        let head = match call.target.as_str() {
            "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 48\r\n\r\n",
            "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\nContent-Length: 48\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 48\r\n\r\n",
            "/more" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            _ => return Script::numbered(call),
        };
        Script::raw(vec![
            Step::Write(head.as_bytes().to_vec()),
            Step::Pass(held.clone()),
            Step::Write(LATE.as_bytes().to_vec()),
        ])
    });
    let gateway =
        Setup::new(&upstream.url()).server("workers = 1").origin("response_timeout = \"2s\"").start();
    for (n, (method, target)) in
        [("HEAD", "/length"), ("HEAD", "/chunked"), ("POST", "/204"), ("GET", "/304"), ("GET", "/more")]
            .into_iter()
            .enumerate()
    {
        let plain = gateway.send(&Request::new(method, target));
        assert!(matches!(plain.status, 200 | 204 | 304), "{plain:?}");
        gateway.send(&Request::keyed("/charges", &format!("after plain {n}"))).assert_executed(201);
    }
    // Neither does one operation's late body become another's answer.
    for target in ["/204", "/304"] {
        let first = gateway.send(&Request::keyed(target, "k"));
        assert!(first.whole, "{first:?}");
        gateway.send(&Request::keyed("/charges", &format!("after {target}"))).assert_executed(201);
    }
    gate.open();
}

#[test]
fn an_upstream_cannot_speak_for_the_gateway_in_trailers() {
    let upstream = Upstream::start(|call| {
        let script = Script::numbered(call).trailer("X-Checksum", "1");
        [
            ("Oncegate-Operation", "fake"),
            ("Oncegate-Problem", "fake"),
            ("Idempotent-Replayed", "true"),
            ("Content-Length", "7"),
            ("Set-Cookie", "a=1"),
        ]
        .into_iter()
        .fold(script, |script, (name, value)| script.trailer(name, value))
    });
    let gateway = Setup::new(&upstream.url()).start();
    for request in [
        Request::keyed("/charges", "k"),
        Request::keyed("/charges", "k"),
        Request::post("/charges"),
        Request::get("/charges"),
    ] {
        let reply = gateway.send(&request.field("TE", "trailers"));
        let names: Vec<_> = reply.trailers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-checksum"], "{reply:?}");
        let announced = reply.all("trailer").join(",").to_lowercase();
        assert_eq!(announced, "x-checksum", "{reply:?}");
    }
}

/// What came is passed on, then cut, also if all of it came at once.
#[test]
fn of_an_answer_cut_at_once_the_client_gets_what_came() {
    let upstream = cases(&[
        ("length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"),
        ("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"),
        ("in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\npart"),
        ("a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n"),
    ]);
    let gateway = Setup::new(&upstream.url()).memory().start();
    for case in ["length", "chunked", "in a chunk", "a bad chunk"] {
        let [guarded, plain] = both_ways(case);
        for request in [&guarded, &plain] {
            let reply = gateway.send(request);
            assert_eq!((reply.status, reply.text().as_str(), reply.whole), (200, "part", false), "{case}");
        }
        gateway.send(&guarded).assert_problem(409, "outcome-unknown");
    }
}

/// A service may know the caller of a whole connection (NTLM, Negotiate): whoever came next would be taken for it.
#[test]
fn a_connection_with_a_caller_is_not_shared() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Setup::new(&format!("http://{}", listener.local_addr().unwrap()))
        .memory()
        .server("workers = 1")
        .extra("[principal]\nfrom = [\"cookie:sid\"]\n\n[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"")
        .start();
    let alice = |request: Request| request.field("Cookie", "sid=alice");
    let plain = || Request::post("/plain");
    let guarded = |key| alice(Request::keyed("/charges", key));
    for (request, challenge) in [
        (plain().field("Authorization", "NTLM TlRM"), ""),
        (plain().field("Authorization", "negotiate YII"), ""),
        (plain(), "WWW-Authenticate: Basic realm=\"a\", NTLM\r\n"),
        (plain(), "WWW-Authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: Negotiate\r\n"),
        (guarded("a").field("Authorization", "Negotiate YII"), ""),
        (guarded("b"), "WWW-Authenticate: Kerberos\r\n"),
    ] {
        let mut client = gateway.connect();
        client.0.write(&request.bytes()).unwrap();
        let mut service = wire::Wire::new(listener.accept().unwrap().0);
        service.head().unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\n{challenge}Content-Length: 2\r\n\r\nok");
        service.write(answer.as_bytes()).unwrap();
        assert_eq!(client.reply("POST").unwrap().status, 200, "{request:?}");
        let end = service.stream.read(&mut [0]);
        let is_reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
        assert!(end.as_ref().map_or_else(is_reset, |bytes| *bytes == 0), "{request:?}: {end:?}");
    }
}
