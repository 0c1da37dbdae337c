//! The budget of bodies: what is counted in it, and that nobody takes it from others.

use crate::support::*;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const HELD: &str = "oncegate_buffers_bytes";

/// A guarded request whose body has this length; the first bytes of the body are sent once they are asked for.
fn begin(gateway: &Gateway, peer: u8, key: &str, framing: &str, sent: &[u8]) -> client::Connection {
    let mut connection = gateway.connect_from(peer);
    let head = format!(
        "POST /charges HTTP/1.1\r\nHost: {HOST}\r\nIdempotency-Key: \"{key}\"\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
    );
    connection.0.write(head.as_bytes()).unwrap();
    connection.0.await_bytes(b"HTTP/1.1 100").unwrap();
    // The gateway may have had enough before it has all.
    let _refused = connection.0.write(sent);
    connection
}

/// As [`begin`], with a body of 1 MiB of which 900 KiB come.
fn upload(gateway: &Gateway, peer: u8, number: usize) -> client::Connection {
    let framing = format!("Content-Length: {MIB}");
    begin(gateway, peer, &format!("{peer}-{number}"), &framing, &vec![b'x'; 900 * KIB])
}

fn small() -> Setup {
    Setup::new("http://127.0.0.1:1").limits("buffers = \"4MiB\"\nbody_bytes = \"1MiB\"")
}

fn of(setup: Setup, upstream: &Upstream) -> Setup {
    setup.upstream(&upstream.url())
}

fn await_nothing_held(gateway: &Gateway) {
    eventually("nothing is held", || (gateway.metric(HELD) == 0).then_some(()));
}

#[test]
fn an_announced_body_takes_no_room() {
    let upstream = Upstream::numbering();
    let gateway = of(small(), &upstream).start();
    let length = format!("Content-Length: {MIB}");
    let mut open = Vec::new();
    for (name, framing, sent) in [
        ("nothing", &*length, &b""[..]),
        ("a byte", &length, b"x"),
        ("some", &length, &[b'x'; 5000]),
        ("chunk", "Transfer-Encoding: chunked", b"fffff\r\nx"),
    ] {
        for number in 0..12 {
            open.push(begin(&gateway, 2, &format!("{name}-{number}"), framing, sent));
        }
        for peer in [1, 2] {
            let request = Request::keyed("/charges", &format!("{name}-{peer}")).body(vec![b'x'; 500 * KIB]);
            gateway.connect_from(peer).send(&request).unwrap().assert_executed(201);
        }
    }
    assert!(gateway.metric(HELD) < 100_000, "what has come is less");
}

#[test]
fn one_peers_bodies_leave_room_for_others() {
    let upstream = Upstream::numbering();
    let gateway = of(small(), &upstream).start();
    let uploads: Vec<_> = (0..8).map(|number| upload(&gateway, 2, number)).collect();
    eventually("a body has come", || (gateway.metric(HELD) > 800_000).then_some(()));
    for (peer, bytes) in [(1, 10), (1, 300 * KIB), (3, 500 * KIB), (3, MIB)] {
        let request = Request::keyed("/charges", &format!("{peer}-{bytes}")).body(vec![b'x'; bytes]);
        gateway.connect_from(peer).send(&request).unwrap().assert_executed(201);
    }
    drop(uploads);
    await_nothing_held(&gateway);
}

#[test]
fn a_peers_share_is_all_of_a_trusted_proxys() {
    let upstream = Upstream::numbering();
    let proxies = "trusted_proxies = [\"127.0.0.2\"]";
    let gateway = of(small().server(proxies), &upstream).start();
    let _uploads: Vec<_> = (0..2).map(|number| upload(&gateway, 2, number)).collect();
    eventually("both bodies have come", || (gateway.metric(HELD) > 1_700_000).then_some(()));
    let refused = Request::keyed("/charges", "k").body(vec![b'x'; 500 * KIB]);
    let problem = gateway.send(&refused).assert_problem(503, "overloaded");
    assert!(problem["detail"].to_string().contains("`server.limits.buffers`"), "{problem}");
    gateway.assert_logs(&[
        "no room for the body of a request",
        "raise `server.limits.buffers`",
        "peer=127.0.0.1",
    ]);
}

/// Uploads never take the room of answers.
#[test]
fn bodies_that_come_leave_answers_kept() {
    let upstream = Upstream::start(|call| match call.target.as_str() {
        "/chunked" => Script::answer(200, vec![b'x'; 300 * KIB]).chunked(),
        _ => Script::answer(200, vec![b'x'; 300 * KIB]),
    });
    let gateway = of(small(), &upstream).start();
    let _uploads: Vec<_> = (2..6).map(|peer| upload(&gateway, peer, 0)).collect();
    eventually("bodies have come", || (gateway.metric(HELD) > 1_700_000).then_some(()));
    for (number, request) in [
        Request::keyed("/charges", "a"),
        Request::keyed("/chunked", "b"),
        Request::keyed("/charges", "c").http_1_0(),
        Request::keyed("/charges", "d").body(vec![b'x'; 5000]),
    ]
    .iter()
    .enumerate()
    {
        let first = gateway.send(request);
        assert_eq!((first.status, first.body.len()), (200, 300 * KIB), "{number}");
        gateway.send(request).assert_replay_of(&first);
    }
}

#[test]
fn a_body_that_comes_too_slowly_is_refused() {
    let upstream = Upstream::numbering();
    let limits = "body_timeout = \"300ms\"\nidle_timeout = \"1h\"\nheader_timeout = \"1h\"";
    let gateway = of(small().limits(limits), &upstream).start();
    for (name, framing, first, piece) in [
        ("nothing", "Content-Length: 100000", &b""[..], &b""[..]),
        ("stands still", "Content-Length: 100000", &[b'x'; 50_000], b""),
        ("drips", "Content-Length: 100000", b"x", b"x"),
        ("drips in chunks", "Transfer-Encoding: chunked", b"1\r\nx\r\n", b"1\r\nx\r\n"),
    ] {
        let mut connection = begin(&gateway, 2, name, framing, first);
        connection.0.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        while let Err(error) = connection.0.await_bytes(b"HTTP/1.1 400") {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{name}");
            let _refused = connection.0.write(piece);
        }
        connection.0.stream.set_read_timeout(Some(wire::PATIENCE)).unwrap();
        let problem = connection.reply("POST").unwrap().assert_problem(400, "bad-request");
        assert_eq!(problem["retryable"], true, "{name}");
        assert!(problem["detail"].to_string().contains("`server.limits.body_timeout`"), "{name}: {problem}");
    }
    assert_eq!(upstream.count(), 0);
    gateway.send(&Request::keyed("/charges", "stands still")).assert_executed(201);
    await_nothing_held(&gateway);
}

fn large(upstream: &Upstream) -> Setup {
    let setup = Setup::new(&upstream.url()).ledger("body_kept = \"16MiB\"");
    setup.limits("buffers = \"64MiB\"\nbody_bytes = \"16MiB\"")
}

/// What waits for a client that takes nothing is counted, and has a share of its own.
#[test]
fn answers_that_nobody_takes_are_counted() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| {
        let answer = Script::answer(200, vec![b'x'; 12 * MIB]);
        match call.target.as_str() {
            "/streamed" => answer.chunked().pause_at(1, &held),
            _ => answer,
        }
    });
    gate.open();
    let gateway = large(&upstream).start();
    let kept = Request::keyed("/charges", "kept");
    gateway.send(&kept).assert_executed(200);
    await_nothing_held(&gateway);
    for (name, request) in [
        ("replay", kept.clone()),
        ("first", Request::keyed("/charges", "first")),
        ("streamed", Request::keyed("/streamed", "streamed")),
    ] {
        let mut connection = gateway.connect_from(2);
        connection.0.write(&request.bytes()).unwrap();
        connection.0.await_bytes(b"HTTP/1.1 200").unwrap();
        let settled =
            || (gateway.metric("oncegate_executing") == 0 && gateway.metric(HELD) > 4_000_000).then_some(());
        eventually(name, settled);
        gateway.connect_from(3).send(&kept).unwrap().assert_replay_of(&gateway.send(&kept));
        let reply = connection.reply("POST").unwrap();
        assert_eq!((reply.status, reply.whole, reply.body.len()), (200, true, 12 * MIB), "{name}");
        await_nothing_held(&gateway);
    }
}

#[test]
fn who_takes_nothing_gets_no_more_replays() {
    let upstream = Upstream::start(|_| Script::answer(200, vec![b'x'; 12 * MIB]));
    let gateway = large(&upstream).start();
    let kept = Request::keyed("/charges", "kept");
    gateway.send(&kept).assert_executed(200);
    let mut stuck = Vec::new();
    for status in [&b"HTTP/1.1 200"[..], b"HTTP/1.1 503"] {
        let mut connection = gateway.connect_from(2);
        connection.0.write(&kept.bytes()).unwrap();
        connection.0.await_bytes(status).unwrap();
        stuck.push(connection);
    }
    let problem = stuck.pop().unwrap().reply("POST").unwrap().assert_problem(503, "overloaded");
    gateway.assert_logs(&["no room for an answer that another request caused", "peer=127.0.0.2"]);
    assert_eq!((&problem["retryable"], upstream.count()), (&true.into(), 1));
    assert!(problem["detail"].to_string().contains("is kept"), "{problem}");
    let other = gateway.connect_from(3).send(&kept).unwrap();
    assert_eq!((other.status, other.replayed()), (200, Some("true")));
    drop(stuck);
    await_nothing_held(&gateway);
    assert_eq!(gateway.connect_from(2).send(&kept).unwrap().status, 200);
}

/// The answer of an execution that was not applied is nobody's but theirs who waited for it.
#[test]
fn what_is_not_kept_is_not_said_to_be() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.key() {
        "busy" => Script::answer(429, vec![b'x'; 12 * MIB]).after(&held),
        _ => Script::answer(200, vec![b'x'; 12 * MIB]),
    });
    let gateway = large(&upstream).start();
    let (kept, busy) = (Request::keyed("/charges", "kept"), Request::keyed("/charges", "busy"));
    gateway.send(&kept).assert_executed(200);
    let mut stuck = gateway.connect_from(2);
    stuck.0.write(&kept.bytes()).unwrap();
    stuck.0.await_bytes(b"HTTP/1.1 200").unwrap();
    let mut first = gateway.connect();
    first.0.write(&busy.bytes()).unwrap();
    upstream.await_count(2);
    let mut waiting = gateway.connect_from(2);
    waiting.0.write(&busy.bytes()).unwrap();
    let waiters = || gateway.admin("GET", "/v1/upstreams").json()["upstreams"][0]["waiters"] == 1;
    eventually("it waits", || waiters().then_some(()));
    gate.open();
    let problem = waiting.reply("POST").unwrap().assert_problem(503, "overloaded");
    let detail = problem["detail"].to_string();
    assert!(detail.contains("is not kept") && !detail.contains("is kept"), "{detail}");
    assert_eq!(first.reply("POST").unwrap().status, 429);
}

/// A body that was read to be judged stays in memory until the service has taken it, guarded or not.
#[test]
fn what_is_bypassed_stays_counted() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let upstream = Upstream::numbering();
    let setup = large(&upstream).upstream(&url).component("builtin:webhook");
    let gateway = setup.start();
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(12 * MIB));
    let request = Request::post("/hook").field("Content-Type", "application/json").body(body);
    let mut connection = gateway.connect();
    connection.0.write(&request.bytes()).unwrap();
    let (mut service, _) = silent.accept().unwrap();
    // It has been begun.
    service.read_exact(&mut [0]).unwrap();
    eventually("it is counted", || (gateway.metric(HELD) > 10_000_000).then_some(()));
    drop((service, silent));
    connection.reply("POST").unwrap().assert_problem(502, "upstream-broken");
    await_nothing_held(&gateway);
}

const CHUNKS: usize = 8_000;

/// An answer of many bytes, each of which waits until the one before has reached the client.
fn byte_by_byte(head: &str, byte: &str, end: &str, gates: &[Gate]) -> Script {
    let mut steps = vec![Step::Write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").into_bytes())];
    for gate in gates {
        steps.extend([Step::Write(byte.into()), Step::Pass(gate.clone())]);
    }
    steps.push(Step::Write(end.into()));
    Script::raw(steps)
}

/// Each small piece is a part of a buffer of its own, which must not stay for it.
#[test]
fn small_pieces_hold_no_whole_buffers() {
    let length = format!("Content-Length: {}", CHUNKS + 1);
    for (framing, byte, end, kept) in [
        ("Transfer-Encoding: chunked", "1\r\nx\r\n", "0\r\n\r\n", "1MiB"),
        (&*length, "x", "x", "1MiB"),
        ("Transfer-Encoding: chunked", "1\r\nx\r\n", "0\r\n\r\n", "20KiB"),
    ] {
        let gates: Vec<_> = (0..CHUNKS).map(|_| Gate::new()).collect();
        let (held, head) = (gates.clone(), framing.to_owned());
        let upstream = Upstream::start(move |call| match call.target.as_str() {
            "/slow" => byte_by_byte(&head, byte, end, &held),
            _ => Script::numbered(call),
        });
        let gateway = of(small(), &upstream).ledger(&format!("body_kept = \"{kept}\"")).start();
        gateway.send(&Request::keyed("/charges", "warm")).assert_executed(201);
        let before = gateway.rss();
        let mut client = TcpStream::connect(gateway.address).unwrap();
        client.set_nodelay(true).unwrap();
        client.write_all(&Request::keyed("/slow", "k").bytes()).unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            got.push(byte[0]);
        }
        let mut piece = vec![0; byte.len()];
        for gate in &gates {
            client.read_exact(&mut piece).unwrap();
            assert_eq!(piece, byte.as_bytes());
            gate.open();
        }
        let grown = gateway.rss().saturating_sub(before);
        assert!(grown < 40 << 10, "{framing}: {grown} KiB for {CHUNKS} bytes");
        let mut rest = vec![0; end.len()];
        client.read_exact(&mut rest).unwrap();
        assert_eq!(rest, end.as_bytes());
        assert_eq!(gateway.send(&Request::keyed("/slow", "k")).replayed(), Some("true"));
    }
}

/// What a policy makes of a kept answer is no less in memory than the answer.
#[test]
fn presented_answers_are_counted() {
    let json_rpc = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/json-rpc/json-rpc.wasm");
    let upstream = Upstream::start(|_| {
        let body = format!("{{\"jsonrpc\":\"2.0\",\"result\":{:?},\"id\":1}}", "x".repeat(900 * KIB));
        Script::answer(200, body).field("Content-Type", "application/json")
    });
    let gateway = large(&upstream).component(json_rpc).start();
    let call = |id: &str| {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"charge\",\"params\":{{\"idempotency_key\":\"k\"}},\"id\":{id}}}"
        );
        Request::post("/rpc").field("Content-Type", "application/json").body(body)
    };
    gateway.send(&call("1")).assert_executed(200);
    await_nothing_held(&gateway);
    for id in ["2", "\"b\"", "null"] {
        let mut connection = gateway.connect_from(2);
        // More than the system takes off the gateway.
        connection.0.write(&call(id).bytes().repeat(9)).unwrap();
        eventually("one waits", || (gateway.metric(HELD) > 850 << 10).then_some(()));
        assert_eq!(connection.reply("POST").unwrap().replayed(), Some("true"));
        drop(connection);
        await_nothing_held(&gateway);
    }
}

/// The gateway's memory in KiB once it stays for a while.
fn settled(gateway: &Gateway) -> u64 {
    let (mut last, mut looks) = (0, 0);
    eventually("memory stays", || {
        let now = gateway.rss();
        looks = if now == last { looks + 1 } else { 0 };
        last = now;
        (looks == 100).then_some(now)
    })
}

/// A service that answers GET without end, and takes nothing of other requests but their heads.
fn endless() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut untaken = Vec::new();
        for stream in listener.incoming() {
            let mut wire = wire::Wire::new(stream.unwrap());
            let head = wire.head().unwrap();
            if !head.start.starts_with("GET") {
                untaken.push(wire);
                continue;
            }
            let (framing, piece) = match head.start.contains("chunked") {
                true => ("Transfer-Encoding: chunked", format!("10000\r\n{}\r\n", "x".repeat(64 * KIB))),
                false => ("Content-Length: 99999999999", "x".repeat(64 * KIB)),
            };
            wire.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes()).unwrap();
            std::thread::spawn(move || while wire.write(piece.as_bytes()).is_ok() {});
        }
    });
    address
}

/// What streams by isn't counted, so each connection holds little of it.
#[test]
fn plain_streams_hold_little() {
    const STREAMS: u64 = 64;
    let service = format!("http://{}", endless());
    let sized = "POST /sized HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n";
    let chunked = "POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3b9ac9ff\r\n";
    let get = |target| String::from_utf8(Request::get(target).bytes()).unwrap();
    for (request, most) in
        [(get("/sized"), 900), (get("/chunked"), 720), (sized.to_owned(), 560), (chunked.to_owned(), 560)]
    {
        // Without a policy, whose compilation leaves memory to be used again.
        let setup = Setup::new(&service);
        let config = setup.folder().join("plain.toml");
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nworkers = 2\n[ledger]\nstore = \"memory\"\n\
             [upstreams.a]\nurls = [{service:?}]\n[[routes]]\nname = \"a\"\npath = \"/\"\nupstream = \"a\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let gateway = Gateway::start(&["serve", "--config", config.to_str().unwrap()], setup).unwrap();
        let mut open = Vec::new();
        let mut stream = || {
            let mut connection = gateway.connect_from(2);
            connection.0.write(request.as_bytes()).unwrap();
            match request.starts_with("GET") {
                true => connection.0.await_bytes(b"HTTP/1.1 200").unwrap(),
                false => {
                    let mut upload = wire::Wire::new(connection.0.stream.try_clone().unwrap());
                    std::thread::spawn(move || while upload.write(&[b'x'; 64 * KIB]).is_ok() {});
                }
            }
            open.push(connection);
        };
        let before = settled(&gateway);
        (0..STREAMS).for_each(|_| stream());
        let each = settled(&gateway).saturating_sub(before) / STREAMS;
        assert!(each < most, "{request}: {each} KiB a stream");
    }
}
