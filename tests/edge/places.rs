//! Places of client connections: nobody takes them all from others.

use crate::support::client::Connection;
use crate::support::*;
use std::io::ErrorKind;

const ASK: &str = "GET /p HTTP/1.1\r\nHost: api.example\r\n\r\n";

fn with_places(upstream: &Upstream, places: usize) -> Setup {
    let limits = format!("connections = {places}\nidle_timeout = \"1h\"\nheader_timeout = \"1h\"");
    Setup::new(&upstream.url()).limits(&limits)
}

/// Connections of these peers, each with what it sends. What is a whole request is answered.
fn opened<const N: usize>(gateway: &Gateway, peers: [(u8, &str); N]) -> [Connection; N] {
    peers.map(|(peer, sent)| {
        let mut connection = gateway.connect_from(peer);
        connection.0.write(sent.as_bytes()).unwrap();
        if sent == ASK {
            assert_eq!(connection.reply("GET").unwrap().status, 201);
        }
        connection
    })
}

fn asks(gateway: &Gateway, peer: u8) -> Option<Connection> {
    let mut connection = gateway.connect_from(peer);
    connection.send(&Request::get("/p")).is_ok().then_some(connection)
}

fn closed(gateway: &Gateway, reason: &str) -> u64 {
    gateway.metric(&format!("oncegate_connections_closed_total{{reason=\"{reason}\"}}"))
}

fn assert_closed(connection: &mut Connection) {
    let ended = connection.0.await_bytes(b"never").unwrap_err().kind();
    assert!(matches!(ended, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{ended}");
}

fn count(gateway: &Gateway, connections: u64) {
    eventually("so many are open", || (gateway.metric("oncegate_connections") == connections).then_some(()));
}

/// Whoever connects and asks nothing, asks and stays, or sends half a head.
#[test]
fn what_is_idle_gives_way_to_newcomers() {
    let upstream = Upstream::numbering();
    for [first, second] in [["", ""], [ASK, ASK], ["GET /p HTT", "GET /p HTT"], ["", ASK]] {
        let gateway = with_places(&upstream, 2).start();
        let held = opened(&gateway, [(2, first), (3, second)]);
        count(&gateway, 2);
        let _newcomers =
            [4, 5].map(|newcomer| eventually("a newcomer is served", || asks(&gateway, newcomer)));
        for mut connection in held {
            assert_closed(&mut connection);
        }
        assert!(closed(&gateway, "idle") >= 2);
        gateway.assert_logs(&["those that have been idle for longest give way"]);
    }
}

#[test]
fn the_one_idle_for_longest_goes_first() {
    let upstream = Upstream::numbering();
    let gateway = with_places(&upstream, 3).start();
    let [mut idle, mut used] = opened(&gateway, [(2, ASK), (3, ASK)]);
    let [mut other] = opened(&gateway, [(4, ASK)]);
    eventually("a newcomer is served", || {
        for used in [&mut used, &mut other] {
            assert_eq!(used.send(&Request::get("/p")).unwrap().status, 201);
        }
        asks(&gateway, 5)
    });
    assert_closed(&mut idle);
    assert_eq!(used.send(&Request::get("/p")).unwrap().status, 201);
}

#[test]
fn a_request_under_way_gives_no_place() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.target.as_str() {
        "/held" => Script::numbered(call).after(&held),
        _ => Script::numbered(call),
    });
    let gateway = with_places(&upstream, 3).start();
    let asked = |peer| {
        let mut connection = gateway.connect_from(peer);
        connection.0.write(&Request::get("/held").bytes()).unwrap();
        connection
    };
    let under_way = [2, 3].map(asked);
    upstream.await_count(2);
    let [mut younger] = opened(&gateway, [(4, "")]);
    count(&gateway, 3);
    eventually("a newcomer is served", || asks(&gateway, 5));
    assert_closed(&mut younger);
    assert!(closed(&gateway, "full") > 0, "until the younger one had been idle for long enough");
    gateway.assert_logs(&["`server.limits.connections` is reached, and none is idle"]);
    assert_eq!(closed(&gateway, "idle"), 1);
    gate.open();
    for mut connection in under_way {
        assert_eq!(connection.reply("GET").unwrap().status, 201);
    }
}

/// However it keeps its connections: idle, or in another protocol.
#[test]
fn one_address_holds_half_of_the_places() {
    let upstream = Upstream::start(|call| match call.field("upgrade") {
        Some(_) => Script::raw(vec![
            Step::Write(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello".into()),
            Step::Left(Gate::new()),
        ]),
        None => Script::numbered(call),
    });
    let switch = Request::get("/socket").field("Connection", "upgrade").field("Upgrade", "websocket");
    let switch = String::from_utf8(switch.bytes()).unwrap();
    for sent in ["", ASK, &switch] {
        let gateway = with_places(&upstream, 6).start();
        let mut held = opened(&gateway, [(2, sent), (2, sent), (2, sent)]);
        if sent == switch {
            for tunnel in &mut held {
                tunnel.0.await_bytes(b"hello").unwrap();
            }
        }
        count(&gateway, 3);
        assert!(asks(&gateway, 2).is_none());
        assert!(asks(&gateway, 3).is_some());
        assert_eq!(closed(&gateway, "share"), 1);
        gateway.assert_logs(&["one address may hold half of all connections", "peer=127.0.0.2"]);
        drop(held);
        eventually("its places are free again", || asks(&gateway, 2));
    }
}

#[test]
fn a_trusted_proxy_holds_all_places() {
    let upstream = Upstream::numbering();
    let gateway = with_places(&upstream, 4).server("trusted_proxies = [\"127.0.0.2\"]").start();
    let _held = opened(&gateway, [(2, ASK), (2, ASK), (2, ASK), (2, ASK)]);
    assert_eq!(closed(&gateway, "share"), 0);
}
