//! Requests that nothing guards stream both ways: whose fault an end is, what is timed, and what is sent again
//! (design/upstreams.md).

use crate::support::wire::Wire;
use crate::support::*;
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::scope;
use std::time::{Duration, Instant};

/// A gateway with a route `/plain` that has no policy.
fn gateway(upstream: &str, origin: &str) -> Gateway {
    let plain = "[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"\n";
    Setup::new(upstream).server("workers = 1").origin(origin).extra(plain).start()
}

/// How many requests ended at the upstream in these ways: broken, timed out, aborted.
fn ends(gateway: &Gateway) -> [u64; 3] {
    let page = gateway.admin("GET", "/v1/upstreams").json();
    ["broken", "timed_out", "aborted"].map(|name| page["upstreams"][0][name].as_u64().unwrap())
}

#[test]
fn a_broken_upload_is_its_clients_fault() {
    let upstream = Upstream::numbering();
    let gateway = gateway(&upstream.url(), "body_idle_timeout = \"200ms\"");
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let cases = [
        ("no size of a chunk", chunked, "3\r\nabc\r\nzz\r\n", false),
        ("a chunk longer than it says", chunked, "1\r\nabc\r\n0\r\n\r\n", false),
        ("left in mid-chunk", chunked, "5\r\nab", true),
        ("left before the last chunk", chunked, "2\r\nab\r\n", true),
        ("left before the length is reached", "Content-Length: 9\r\n\r\n", "abc", true),
        ("stands still", "Content-Length: 9\r\n\r\n", "abc", false),
        ("nothing of it comes", "Content-Length: 9\r\n\r\n", "", false),
        ("stands still between chunks", chunked, "2\r\nab\r\n", false),
    ];
    for (what, framing, body, leaves) in cases {
        let mut client = gateway.connect();
        client.0.write(format!("PUT /plain HTTP/1.1\r\nHost: a\r\n{framing}{body}").as_bytes()).unwrap();
        if leaves {
            client.0.stream.shutdown(Shutdown::Write).unwrap();
            client.0.await_end();
        } else {
            let reply = client.reply("PUT").unwrap_or_else(|e| panic!("{what}: {e}"));
            reply.assert_problem(400, "bad-request");
        }
    }
    eventually("all have ended", || (ends(&gateway).iter().sum::<u64>() == 8).then_some(()));
    assert_eq!(ends(&gateway), [0, 0, 8]);
    assert!(!gateway.stderr().contains("WARN"), "{}", gateway.stderr());
    assert_eq!(upstream.count(), 0);
}

/// The service has its time for the answer from the end of the request on.
#[test]
fn a_steady_upload_may_take_longer_than_an_answer() {
    let upstream = Upstream::numbering();
    let gateway = gateway(&upstream.url(), "response_timeout = \"3s\"");
    for chunked in [false, true] {
        let framing = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 1000000" };
        let mut client = gateway.connect();
        client.0.write(format!("POST /plain HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes()).unwrap();
        let (begun, mut left) = (Instant::now(), 1_000_000);
        let mut piece = |length: usize| {
            let data = "x".repeat(length);
            let piece = if chunked { format!("{length:x}\r\n{data}\r\n") } else { data };
            client.0.write(piece.as_bytes()).unwrap();
        };
        while begun.elapsed() < Duration::from_millis(3_500) {
            piece(10);
            left -= 10;
            std::thread::sleep(Duration::from_millis(50));
        }
        piece(left);
        if chunked {
            client.0.write(b"0\r\n\r\n").unwrap();
        }
        assert_eq!(client.reply("POST").unwrap().status, 201);
    }
    assert!(upstream.calls().iter().all(|call| call.body.len() == 1_000_000));
    assert_eq!(ends(&gateway), [0, 0, 0]);
}

#[test]
fn an_answer_that_stands_still_is_cut() {
    let upstream = Upstream::start(|call| {
        let script = Script::answer(200, "first,second").pause_at(6, &Gate::new());
        match &*call.target {
            "/plain/chunked" => script.chunked(),
            "/plain/close" => script.field("Connection", "close"),
            "/plain/end" => script.until_closed(),
            _ => script,
        }
    });
    let gateway = gateway(&upstream.url(), "body_idle_timeout = \"1s\"");
    for target in ["/plain", "/plain/chunked", "/plain/close", "/plain/end"] {
        let mut client = gateway.connect();
        let reply = client.send(&Request::get(target)).unwrap();
        assert_eq!((reply.status, reply.whole, reply.text().as_str()), (200, false, "first,"));
        let end = client.0.stream.read(&mut [0]);
        assert!(
            !matches!(&end, Err(e) if e.kind() == ErrorKind::WouldBlock),
            "the client gave up, not the gateway"
        );
    }
}

#[test]
fn a_service_that_takes_no_more_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = gateway(&url, "body_idle_timeout = \"3s\"");
    scope(|scope| {
        let accepted = scope.spawn(|| listener.accept().unwrap());
        let mut client = gateway.connect();
        let mut upload = Wire::new(client.0.stream.try_clone().unwrap());
        client.0.write(b"POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\n").unwrap();
        // More than all buffers on the way hold. The gateway may end the connection before it has all.
        scope.spawn(move || {
            let _ = upload.write(&vec![b'x'; 64 << 20]);
        });
        client.reply("POST").unwrap().assert_problem(504, "upstream-timeout");
        drop(client);
        drop(accepted.join().unwrap());
    });
    assert_eq!(ends(&gateway), [0, 1, 0]);
}

/// A service that takes a body of eight mebibytes in a second and a half at least, and answers if it is to.
/// The sizes are more than all buffers on the way hold.
fn slow_service(listener: TcpListener, answers: bool) {
    SockRef::from(&listener).set_recv_buffer_size(64 << 10).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut wire = Wire::new(stream.unwrap());
            std::thread::spawn(move || {
                let Ok(head) = wire.head() else { return };
                let mut stream = wire.stream.try_clone().unwrap();
                let mut piece = vec![0; 512 << 10];
                // What is waited for here is time itself.
                for _ in 0..15 {
                    std::thread::sleep(Duration::from_millis(100));
                    stream.read_exact(&mut piece).unwrap();
                }
                // What is left, and what of it came with the head.
                let length: usize =
                    head.fields.iter().find(|(name, _)| name == "content-length").unwrap().1.parse().unwrap();
                let mut left = length - 15 * piece.len() - wire.unread();
                while left > 0 {
                    left -= stream.read(&mut piece).unwrap();
                }
                if answers {
                    stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok").unwrap();
                } else {
                    wire.await_end();
                }
            });
        }
    });
}

/// A body that is there as a whole is timed as one that streams.
#[test]
fn a_slow_service_has_its_time_from_the_end() {
    for answers in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        slow_service(listener, answers);
        let plain = "[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"\n";
        let setup = Setup::new(&url).extra(plain);
        let gateway = setup.origin("response_timeout = \"1s\"").start();
        for (target, keyed) in [("/charges", true), ("/plain", false)] {
            let request = if keyed { Request::keyed(target, "k") } else { Request::post(target) };
            let mut client = gateway.connect();
            let reply = client.send(&request.body(vec![b'x'; 8 << 20])).unwrap();
            match answers {
                true => assert_eq!((reply.status, reply.text().as_str()), (201, "ok"), "{target}"),
                false => _ = reply.assert_problem(504, "upstream-timeout"),
            }
        }
    }
}

/// Neither has a guarded body for ever, where the service takes no more of it.
#[test]
fn a_guarded_body_that_stands_still_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    SockRef::from(&listener).set_recv_buffer_size(64 << 10).unwrap();
    let gateway = gateway(&url, "body_idle_timeout = \"1s\"");
    scope(|scope| {
        let accepted = scope.spawn(|| listener.accept().unwrap());
        let request = Request::keyed("/charges", "k").body(vec![b'x'; 8 << 20]);
        gateway.send(&request).assert_problem(504, "upstream-timeout");
        gateway.send(&request).assert_problem(409, "outcome-unknown");
        drop(accepted.join().unwrap());
    });
    assert_eq!(ends(&gateway), [0, 1, 0]);
}

/// The client reads when the gateway is done. A reset would throw away what the system has still to send.
#[test]
fn what_was_written_whole_is_never_reset() {
    let upstream = Upstream::start(|call| {
        let script = Script::answer(200, "x".repeat(1 << 20));
        match &*call.target {
            "/plain/trailers" => script.trailer("X-Checksum", "1"),
            "/plain/chunked" => script.chunked(),
            _ => script.until_closed(),
        }
    });
    let gateway = Setup::new(&upstream.url()).start();
    for target in ["/plain/trailers", "/plain/chunked", "/plain/end"] {
        let mut client = gateway.connect_from(2);
        client.0.write(&Request::get(target).http_1_0().bytes()).unwrap();
        // All of it lies with the system by then.
        eventually("the gateway is done", || (gateway.metric("oncegate_connections") == 0).then_some(()));
        let reply = client.reply("GET").unwrap();
        assert!(reply.whole && reply.body.len() == 1 << 20, "{target}: {} bytes", reply.body.len());
    }
}

/// All of the answer was taken from the service, and the client's connection ended before all was written. An ordinary
/// end would be that of the answer (RFC 9112 §8).
#[test]
fn an_answer_that_was_not_written_whole_is_reset() {
    let upstream = Upstream::start(|call| {
        let script = Script::answer(200, "x".repeat(call.field("x-size").unwrap().parse().unwrap()));
        match &*call.target {
            "/plain/chunked" => script.chunked(),
            "/plain/trailers" => script.trailer("X-Checksum", "1"),
            _ => script.until_closed(),
        }
    });
    let targets = ["/plain/chunked", "/plain/end", "/plain/trailers"];
    let all = || targets.iter().flat_map(|target| (1..=8).map(move |half| (target, half * (512 << 10))));
    for shuts_down in [false, true] {
        // So much of an answer may wait to be written.
        let setup = Setup::new(&upstream.url()).limits("header_bytes = \"1MiB\"");
        let plain = "[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"\n";
        let gateway = match shuts_down {
            true => setup.extra(plain).server("shutdown_grace = \"1s\"").start(),
            false => setup.extra(plain).limits("write_timeout = \"1s\"").start(),
        };
        let before = upstream.count();
        let clients: Vec<_> = all()
            .map(|(target, size)| {
                let mut client = gateway.connect_from(2);
                let request = Request::get(target).field("X-Size", size.to_string()).http_1_0();
                client.0.write(&request.bytes()).unwrap();
                client
            })
            .collect();
        upstream.await_count(before + clients.len());
        if shuts_down {
            gateway.terminate();
        } else {
            eventually("none is left", || (gateway.metric("oncegate_connections") == 0).then_some(()));
        }
        let mut cut = 0;
        for ((target, size), mut client) in all().zip(clients) {
            let read = client.reply("GET");
            let whole = read.as_ref().is_ok_and(|reply| reply.whole);
            let bytes = read.map_or(0, |reply| reply.body.len());
            assert!(!whole || bytes == size, "{target} {shuts_down}: {bytes} of {size} look whole");
            cut += usize::from(!whole);
        }
        assert!(cut > 0, "{shuts_down}: each was written whole");
    }
}

/// A service whose answers never end, and the number of those that ended all the same.
fn endless() -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, ended) = (format!("http://{}", listener.local_addr().unwrap()), Arc::<Mutex<usize>>::default());
    let count = ended.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut wire, count) = (Wire::new(stream.unwrap()), count.clone());
            std::thread::spawn(move || {
                let Ok(head) = wire.head() else { return };
                wire.body(&head.fields, false);
                let coded = !head.start.contains("/length");
                let framing = if coded { "Transfer-Encoding: chunked" } else { "Content-Length: 1000000000" };
                let piece = format!("{}{}", if coded { "400\r\n" } else { "" }, "x".repeat(1024));
                let piece = piece + if coded { "\r\n" } else { "" };
                let mut answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
                while wire.write(answer.as_bytes()).is_ok() {
                    answer.clone_from(&piece);
                    std::thread::sleep(Duration::from_millis(10));
                }
                *count.lock().unwrap() += 1;
            });
        }
    });
    (url, ended)
}

#[test]
fn an_endless_answer_ends_with_its_client() {
    let (url, ended) = endless();
    let gateway = gateway(&url, "");
    for (number, (target, resets)) in
        [("/plain/a", false), ("/plain/a", true), ("/plain/length", false), ("/guarded", false)]
            .into_iter()
            .enumerate()
    {
        let mut client = gateway.connect();
        client.0.write(&Request::get(target).bytes()).unwrap();
        client.0.await_bytes(b"xxx").unwrap();
        if resets {
            SockRef::from(&client.0.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        eventually("it ends", || (*ended.lock().unwrap() == number + 1).then_some(()));
    }
}

/// An execution goes on without its client, for as long as its answer would be kept, or its head may take.
#[test]
fn a_guarded_endless_answer_ends_some_time() {
    for (what, target, line, old) in [
        ("too large to be kept", "/charges", "body_kept = \"4KiB\"\nresponse_timeout = \"2s\"", false),
        ("it has a length", "/length", "body_kept = \"4KiB\"\nresponse_timeout = \"2s\"", false),
        ("never kept so long", "/charges", "body_kept = \"8MiB\"\nretention = \"2s\"", false),
        ("for HTTP/1.0", "/charges", "body_kept = \"4KiB\"\nresponse_timeout = \"2s\"", true),
    ] {
        let (url, ended) = endless();
        let gateway = Setup::new(&url).route(line).start();
        let request = Request::keyed(target, "k");
        let request = if old { request.http_1_0() } else { request };
        let mut client = gateway.connect();
        client.0.write(&request.bytes()).unwrap();
        if !old {
            // It may take as long as it likes while somebody reads it.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(4) {
                let unread = client.0.unread();
                client.0.await_more(unread).unwrap();
            }
            assert_eq!(*ended.lock().unwrap(), 0, "{what}");
        }
        SockRef::from(&client.0.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        eventually("it ends", || (*ended.lock().unwrap() == 1).then_some(()));
        let told = eventually("it is recorded", || {
            let reply = gateway.send(&Request::keyed(target, "k"));
            (reply.field("oncegate-problem") != Some("in-flight")).then_some(reply)
        });
        let problem = told.assert_problem(409, "outcome-unknown");
        let id = problem["operation"].as_str().unwrap();
        let told = gateway.send(&Request::get(&format!("/.oncegate/operations/{id}"))).json();
        assert_eq!(told["reason"], "clients-gone", "{what}: {told}");
    }
}

/// What a service does with the second request on a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Second {
    Close,
    Reset,
    PartOfAHead,
    /// The service has begun, and says so.
    Interim,
    /// What services say that close an idle connection with a word.
    TimedOut(&'static str),
}

/// A service that answers the first request on each connection, and ends the connection at the second. Returns
/// the methods that it got so far.
fn ending(listener: TcpListener, second: Second) -> Arc<Mutex<Vec<String>>> {
    let got = Arc::<Mutex<Vec<String>>>::default();
    let methods = got.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut wire = Wire::new(stream.unwrap());
            for number in 0..2 {
                let Ok(head) = wire.head() else { break };
                wire.body(&head.fields, false);
                methods.lock().unwrap().push(head.start.split(' ').next().unwrap().to_owned());
                match (number, second) {
                    (0, _) => wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap(),
                    (_, Second::Close) => {}
                    (_, Second::Reset) => {
                        SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO)).unwrap()
                    }
                    (_, Second::PartOfAHead) => wire.write(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap(),
                    (_, Second::Interim) => {
                        wire.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").unwrap();
                    }
                    (_, Second::TimedOut(answer)) => wire.write(answer.as_bytes()).unwrap(),
                }
            }
        }
    });
    got
}

/// RFC 9110 §9.2.2: only what is idempotent is sent again, and only over a connection that was used before. What a
/// policy may guard acts, though this one request is not guarded.
#[test]
fn a_request_that_crossed_a_close_is_sent_again() {
    for second in [
        Second::Close,
        Second::Reset,
        Second::PartOfAHead,
        Second::Interim,
        Second::TimedOut("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"),
        Second::TimedOut(
            "HTTP/1.0 408 Request Time-out\r\nConnection: x-a, Close\r\nContent-Length: 4\r\n\r\nlate",
        ),
    ] {
        let cases = [
            (Request::get("/plain"), true),
            (Request::new("DELETE", "/plain"), true),
            (Request::get("/guarded"), true),
            (Request::post("/plain"), false),
            (Request::new("PUT", "/plain").body("abc"), false),
            (Request::new("DELETE", "/guarded"), false),
        ];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gateway = gateway(&format!("http://{}", listener.local_addr().unwrap()), "");
        let got = ending(listener, second);
        for (request, again) in cases {
            // From now on there is a connection that has had one request.
            assert_eq!(gateway.send(&Request::get("/plain")).status, 200);
            let before = (got.lock().unwrap().len(), ends(&gateway)[0]);
            let reply = gateway.send(&request);
            let sent = got.lock().unwrap().len() - before.0;
            let broken = ends(&gateway)[0] - before.1;
            match again {
                true => assert_eq!((reply.status, sent, broken), (200, 2, 0), "{second:?} {request:?}"),
                // On a machine that is slow the connection is too old for it, and it goes over a new one.
                false => assert_eq!(sent, 1, "{second:?} {request:?}: {reply:?}"),
            }
        }
    }
}

/// It is the service's word on the request itself.
#[test]
fn another_408_is_the_answer() {
    const KEPT_OPEN: &str = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nslow";
    const OF_A_NEW_ONE: &str =
        "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 4\r\n\r\nslow";
    for (answer, before, request) in [
        (KEPT_OPEN, true, Request::get("/plain")),
        (OF_A_NEW_ONE, false, Request::get("/plain")),
        (OF_A_NEW_ONE, true, Request::post("/plain")),
    ] {
        let upstream = Upstream::start(move |call| match call.target.as_str() {
            "/plain" => Script::raw(vec![Step::Write(answer.as_bytes().to_vec()), Step::Close]),
            _ => Script::numbered(call),
        });
        let gateway = gateway(&upstream.url(), "");
        if before {
            assert_eq!(gateway.send(&Request::get("/plain/before")).status, 201);
        }
        let reply = gateway.send(&request);
        assert_eq!((reply.status, reply.text().as_str()), (408, "slow"), "{reply:?}");
        assert_eq!(upstream.count(), 1 + usize::from(before), "{answer}");
    }
}

/// A GET that is guarded acts: the service has begun it once, and nobody knows what came of it.
#[test]
fn a_guarded_get_is_sent_once_whatever_ends() {
    for second in [Second::Close, Second::Reset, Second::PartOfAHead, Second::Interim] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let setup = Setup::new(&format!("http://{}", listener.local_addr().unwrap()));
        let setup = setup.route("methods = [\"GET\"]").policy("settings = { methods = [\"GET\"] }");
        let gateway = setup.server("workers = 1").start();
        let got = ending(listener, second);
        let request = |key: &str| Request::get("/charges").field("Idempotency-Key", key);
        gateway.send(&request("before")).assert_executed(200);
        let broken = gateway.send(&request("k"));
        // On a machine that is slow the connection is too old for it, and it goes over a new one.
        if broken.status != 200 {
            broken.assert_problem(502, "upstream-broken");
            gateway.send(&request("k")).assert_problem(409, "outcome-unknown");
        }
        assert_eq!(got.lock().unwrap().len(), 2, "{second:?}");
    }
}
