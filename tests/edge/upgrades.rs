//! Switches to another protocol: which are passed on, and what becomes of the tunnel.

use crate::support::client::Connection;
use crate::support::*;
use rustix::process::Signal;
use std::io::ErrorKind;

fn switch(protocol: &str) -> Request {
    Request::get("/socket").field("Connection", "keep-alive, Upgrade").field("Upgrade", protocol)
}

/// A service that switches to the last protocol offered, says hello, says more when the gate opens, and ends
/// with the other side.
fn switching(more: &Gate) -> Upstream {
    let more = more.clone();
    Upstream::start(move |call| {
        let Some(offered) = wire::all(&call.fields, "upgrade").pop() else { return Script::numbered(call) };
        let protocol = offered.rsplit(", ").next().unwrap_or_default();
        let head =
            format!("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\nhello ");
        Script::raw(vec![
            Step::Write(head.into_bytes()),
            Step::Pass(more.clone()),
            Step::Write(b"more".to_vec()),
            Step::Left(Gate::new()),
        ])
    })
}

fn opened(gateway: &Gateway, request: &Request) -> Connection {
    let mut connection = gateway.connect();
    connection.0.write(&request.bytes()).unwrap();
    connection.0.await_bytes(b"\r\n\r\nhello ").unwrap();
    assert_eq!(connection.reply("GET").unwrap().status, 101);
    connection
}

#[test]
fn other_offers_than_websocket_are_ignored() {
    let upstream = switching(&Gate::new());
    let gateway = Setup::new(&upstream.url()).start();
    let offer = |connection: &str, protocol: &str| {
        Request::get("/a").field("Connection", connection).field("Upgrade", protocol)
    };
    for request in [
        offer("upgrade, http2-settings", "h2c").field("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
        offer("Upgrade", "acme/2"),
        offer("Upgrade", "TLS/1.3, HTTP/2.0"),
        offer("keep-alive", "websocket"),
        offer("Upgrade", "websocket").http_1_0(),
        Request::new("POST", "/a").body("x").field("Connection", "upgrade").field("Upgrade", "h2c"),
    ] {
        let reply = gateway.send(&request);
        assert_eq!((reply.status, reply.field("upgrade")), (201, None), "{request:?}");
    }
    for call in upstream.calls() {
        assert_eq!((call.field("upgrade"), call.field("http2-settings")), (None, None), "{call:?}");
    }
}

#[test]
fn of_several_offers_those_that_pass_go_on() {
    let upstream = switching(&Gate::new());
    let gateway = Setup::new(&upstream.url()).server("upgrades = [\"acme/2\"]").start();
    for (offer, passed) in [
        ("h2c, WebSocket", "WebSocket"),
        ("Acme/2", "Acme/2"),
        ("acme/3, acme/2 , websocket", "acme/2, websocket"),
        // Each is offered once, however often the client says it.
        ("websocket, h2c, WebSocket,websocket", "websocket"),
        (&"websocket,acme/2,".repeat(1_000), "websocket, acme/2"),
    ] {
        let before = upstream.count();
        opened(&gateway, &switch(offer));
        assert_eq!(wire::all(&upstream.calls()[before].fields, "upgrade"), [passed]);
    }
    let before = upstream.count();
    let fields = (0..50).fold(switch("acme/2"), |request, _| request.field("Upgrade", "websocket"));
    opened(&gateway, &fields);
    assert_eq!(wire::all(&upstream.calls()[before].fields, "upgrade"), ["acme/2, websocket"]);
}

#[test]
fn a_protocol_that_nobody_offered_is_no_answer() {
    let upstream = Upstream::start(|_| {
        let head = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
        Script::raw(vec![Step::Write(head.into()), Step::Left(Gate::new())])
    });
    let gateway = Setup::new(&upstream.url()).start();
    gateway.send(&switch("websocket")).assert_problem(502, "upstream-broken");
}

/// An answer behind a switch that nobody may make is nobody's answer, and the request gets no further.
#[test]
fn a_switch_that_may_not_be_is_no_answer() {
    const BEHIND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let large = || vec![b'x'; 8 << 20];
    let upgrade = |request: Request| request.field("Connection", "upgrade").field("Upgrade", "websocket");
    let cases = [
        ("nobody asked", Request::get("/plain"), "websocket", true),
        ("it asked for another", upgrade(Request::get("/plain")), "h2c", true),
        ("for two", upgrade(Request::get("/plain")), "websocket, h2c", true),
        ("for none", upgrade(Request::get("/plain")), "", true),
        ("what it asked for does not pass", Request::get("/a").field("Upgrade", "h2c"), "h2c", true),
        ("guarded", Request::keyed("/charges", "a"), "websocket", true),
        ("guarded, and it asked", upgrade(Request::keyed("/charges", "b")), "websocket", true),
        ("guarded, early", Request::keyed("/charges", "c").body(large()), "websocket", false),
        ("early", Request::new("POST", "/plain").body(large()), "websocket", false),
        ("early, and it asked", upgrade(Request::new("POST", "/plain").body(large())), "websocket", false),
        (
            "early, in chunks, and it asked",
            upgrade(Request::new("POST", "/plain").chunked(&[&large()])),
            "websocket",
            false,
        ),
    ];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = "[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"\n";
    let setup = Setup::new(&format!("http://{}", listener.local_addr().unwrap())).extra(plain);
    let gateway = setup.server("workers = 1").start();
    for (what, request, protocol, reads_all) in cases {
        let mut client = gateway.connect();
        let mut upload = wire::Wire::new(client.0.stream.try_clone().unwrap());
        let bytes = request.bytes();
        let sent = std::thread::spawn(move || upload.write(&bytes));
        let mut service = wire::Wire::new(listener.accept().unwrap().0);
        let head = service.head().unwrap();
        if reads_all {
            service.body(&head.fields, false);
        }
        let upgrade = if protocol.is_empty() { String::new() } else { format!("Upgrade: {protocol}\r\n") };
        let switch = format!("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n{upgrade}\r\n{BEHIND}");
        service.write(switch.as_bytes()).unwrap();
        let problem = client
            .reply("POST")
            .unwrap_or_else(|e| panic!("{what}: {e}"))
            .assert_problem(502, "upstream-broken");
        let is_guarded = what.starts_with("guarded");
        assert_eq!(problem["outcome"].as_str(), is_guarded.then_some("unknown"), "{what}");
        if reads_all {
            service.await_end();
        } else {
            // It reads on, long after.
            let body = service.body(&head.fields, false);
            assert!(!body.whole, "{what}: the whole request came");
        }
        let _cut = sent.join().unwrap();
        if is_guarded {
            gateway.send(&request).assert_problem(409, "outcome-unknown");
        }
        // The next request is answered over a connection of its own.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut service = wire::Wire::new(listener.accept().unwrap().0);
                service.head().unwrap();
                service
                    .write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
                    .unwrap();
            });
            assert_eq!(gateway.send(&Request::get("/plain")).text(), "ok", "{what}");
        });
    }
}

#[test]
fn a_tunnel_is_a_connection_that_counts() {
    let gate = Gate::new();
    let upstream = switching(&gate);
    let gateway = Setup::new(&upstream.url()).limits("connections = 1").start();
    let mut tunnel = opened(&gateway, &switch("websocket"));
    let told = |what: &str| gateway.admin("GET", "/metrics").text().contains(what);
    eventually("it is counted", || {
        (told("oncegate_tunnels 1\n") && told("oncegate_connections 1\n")).then_some(())
    });
    assert!(client::try_send(gateway.address, &Request::get("/a")).is_err(), "there is room for one");
    gate.open();
    tunnel.0.await_bytes(b"more").unwrap();
    drop(tunnel);
    eventually("it is counted no more", || told("oncegate_connections 0\n").then_some(()));
    assert_eq!(gateway.send(&Request::get("/a")).status, 201);
}

#[test]
fn a_tunnel_without_bytes_ends() {
    let upstream = switching(&Gate::new());
    let gateway = Setup::new(&upstream.url()).limits("idle_timeout = \"300ms\"").start();
    let mut tunnel = opened(&gateway, &switch("websocket"));
    tunnel.0.await_bytes(b"hello ").unwrap();
    assert_eq!(tunnel.0.await_bytes(b"more").unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_shutdown_waits_for_tunnels() {
    let gate = Gate::new();
    let upstream = switching(&gate);
    let gateway = Setup::new(&upstream.url()).start();
    let mut tunnel = opened(&gateway, &switch("websocket"));
    gateway.signal(Signal::TERM);
    gateway.assert_logs(&["listeners are closed"]);
    gate.open();
    tunnel.0.await_bytes(b"more").unwrap();
    drop(tunnel);
    let (_, code) = gateway.terminate();
    assert_eq!(code, Some(0));
}
