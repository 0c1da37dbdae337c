//! Open files: nobody takes those of the store, of upstreams or of the operator.

use crate::support::gateway::replace;
use crate::support::*;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The limits of open files, soft and hard.
fn limits(gateway: &Gateway) -> Vec<String> {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

fn flood(address: SocketAddr, connections: usize) -> Vec<TcpStream> {
    (0..connections).filter_map(|_| TcpStream::connect(address).ok()).collect()
}

/// Connections from several addresses.
fn crowd(gateway: &Gateway, connections: usize) -> Vec<client::Connection> {
    (0..connections).map(|number| gateway.connect_from(one_of_eight(number))).collect()
}

/// The last number of an address.
fn one_of_eight(number: usize) -> u8 {
    2 + (number % 8) as u8
}

fn livez(gateway: &Gateway) -> std::io::Result<u16> {
    client::try_send(gateway.admin.unwrap(), &Request::get("/livez")).map(|reply| reply.status)
}

#[test]
fn the_limit_of_open_files_is_raised() {
    let upstream = Upstream::numbering();
    for soft in ["-Sn 100", "-Sn 64"] {
        let gateway = Setup::new(&upstream.url()).files(soft).start();
        let [soft, hard] = &limits(&gateway)[..] else { panic!("two limits") };
        assert_eq!(soft, hard);
    }
    let gateway = Setup::new(&upstream.url()).files("-n 256").start();
    assert_eq!(limits(&gateway), ["256", "256"]);
    gateway.assert_logs(&["`server.limits.connections` is 10000", "leaves 86 client connections at a time"]);
    let quiet = Setup::new(&upstream.url()).files("-n 256").limits("connections = 50").start();
    assert!(!quiet.stderr().contains("client connections at a time"), "{}", quiet.stderr());
}

#[test]
fn a_reload_beyond_the_files_is_warned_of() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).files("-n 256").limits("connections = 50").start();
    let file = gateway.setup.folder().join("oncegate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for (connections, is_short) in [("connections = 200000", true), ("connections = 80", false)] {
        replace(&file, text.replace("connections = 50", connections).as_bytes());
        let reply = gateway.admin("POST", "/v1/reload");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let told = reply.json()["warnings"].to_string();
        assert_eq!(told.contains("leaves 86 client connections at a time"), is_short, "{told}");
    }
}

/// Clients who connect and ask nothing leave files for what others ask.
#[test]
fn many_connections_leave_files_for_requests() {
    for setup in [Setup::new(""), Setup::new("").memory(), Setup::new("").limits("connections = 1000")] {
        let upstream = Upstream::numbering();
        let gateway = setup.upstream(&upstream.url()).files("-n 256").start();
        let crowd = crowd(&gateway, 400);
        gateway.assert_logs(&["may not open more files"]);
        for number in 0..20 {
            eventually("the crowd gives way", || {
                let request = Request::keyed("/charges", &number.to_string());
                client::try_send(gateway.address, &request).ok()
            })
            .assert_executed(201);
        }
        assert_eq!(livez(&gateway).unwrap(), 200);
        drop(crowd);
        eventually("there is room again", || {
            let reply = client::try_send(gateway.address, &Request::keyed("/charges", "late")).ok()?;
            (reply.status == 201).then_some(())
        });
        assert!(!gateway.stderr().contains("Too many open files"), "{}", gateway.stderr());
    }
}

/// Executions go on without their clients, and hold connections to their upstream.
#[test]
fn clients_that_leave_leave_files_for_others() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.target.as_str() {
        "/held" => Script::numbered(call).after(&held),
        _ => Script::numbered(call),
    });
    let gateway = Setup::new(&upstream.url()).files("-n 256").start();
    gateway.send(&Request::keyed("/charges", "kept")).assert_executed(201);
    for number in 0..300 {
        let mut connection = gateway.connect_from(one_of_eight(number));
        connection.0.write(&Request::keyed("/held", &number.to_string()).bytes()).unwrap();
    }
    upstream.await_count(30);
    let told = |words: &'static str| move |gateway: &Gateway| gateway.stderr().contains(words).then_some(());
    eventually("files are short", || told("may not open more files")(&gateway));
    assert_eq!(livez(&gateway).unwrap(), 200);
    assert_eq!(gateway.admin("GET", "/readyz").status, 200);
    eventually("a record is replayed", || {
        let reply = client::try_send(gateway.address, &Request::keyed("/charges", "kept")).ok()?;
        (reply.replayed() == Some("true")).then_some(())
    });
    gate.open();
    eventually("others are served", || {
        let reply = client::try_send(gateway.address, &Request::keyed("/charges", "late")).ok()?;
        (reply.status == 201).then_some(())
    });
    assert!(!gateway.stderr().contains("Too many open files"), "{}", gateway.stderr());
}

/// One that is slow, has its connections open by guarded requests, plain ones, or answers that don't end.
#[test]
fn a_slow_upstream_leaves_connections_for_others() {
    let gate = Gate::new();
    let held = gate.clone();
    let slow = Upstream::start(move |call| match call.target.as_str() {
        "/slow/held" => Script::numbered(call).after(&held),
        _ => Script::raw(vec![
            Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun".into()),
            Step::Pass(held.clone()),
        ]),
    });
    let upstream = Upstream::numbering();
    let others = format!(
        "[upstreams.slow]\nurls = [{:?}]\n[[routes]]\nname = \"slow\"\npath = \"/slow\"\nupstream = \"slow\"\npolicy = \"keys\"",
        slow.url()
    );
    for (method, target, key) in
        [("POST", "/slow/held", true), ("GET", "/slow/held", false), ("GET", "/slow/endless", false)]
    {
        let gateway = Setup::new(&upstream.url()).files("-n 256").extra(&others).start();
        let before = slow.count();
        let _waiting: Vec<_> = (0..60)
            .map(|number| {
                let request = Request::new(method, target);
                let request = if key { request.key(&number.to_string()) } else { request };
                let mut connection = gateway.connect_from(one_of_eight(number));
                connection.0.write(&request.bytes()).unwrap();
                connection
            })
            .collect();
        gateway.assert_logs(&["upstream unreachable", "may not open more files"]);
        // More than half of the connections may be one upstream's.
        slow.await_count(before + 25);
        for number in 0..10 {
            gateway.send(&Request::keyed("/charges", &number.to_string())).assert_executed(201);
            assert_eq!(gateway.send(&Request::get("/plain")).status, 201);
        }
    }
    gate.open();
}

#[test]
fn a_crowd_at_the_admin_port_takes_nothing() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).files("-n 256").limits("header_timeout = \"1h\"").start();
    let admin = gateway.admin.unwrap();
    let mut crowd = Vec::new();
    for head in [&b""[..], b"GET /live", b"POST /v1/reload HTTP/1.1\r\n"] {
        for mut connection in flood(admin, 150) {
            let _closed_meanwhile = std::io::Write::write(&mut connection, head);
            crowd.push(connection);
        }
        assert_eq!(livez(&gateway).unwrap(), 200);
        gateway.send(&Request::keyed("/charges", &crowd.len().to_string())).assert_executed(201);
    }
    // Who asks something is answered.
    let mut asked = client::Connection::open(admin).unwrap();
    asked.0.write(b"POST /v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}").unwrap();
    assert_eq!(asked.reply("POST").unwrap().status, 200);
    assert!(!gateway.stderr().contains("Too many open files"), "{}", gateway.stderr());
}

/// A request whose body has not come gives way like a connection that asks nothing.
#[test]
fn admin_bodies_that_never_come_give_way() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let admin = gateway.admin.unwrap();
    let resolve = format!("/v1/operations/{}/resolve", "0".repeat(64));
    for target in ["/v1/reload", "/v1/policies/keys/reload", &*resolve] {
        let waiting: Vec<_> = (0..70)
            .filter_map(|_| {
                let mut connection = client::Connection::open(admin).ok()?;
                let head = format!("POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n");
                connection.0.write(head.as_bytes()).ok()?;
                Some(connection)
            })
            .collect();
        assert_eq!(livez(&gateway).unwrap(), 200, "{target}");
        drop(waiting);
    }
}

#[test]
fn admin_heads_and_bodies_have_a_time() {
    let upstream = Upstream::numbering();
    let times = "header_timeout = \"300ms\"\nbody_timeout = \"300ms\"";
    let gateway = Setup::new(&upstream.url()).limits(times).start();
    let admin = gateway.admin.unwrap();
    let open = || {
        let connection = client::Connection::open(admin).unwrap();
        connection.0.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        connection
    };
    for begun in ["", "GET /livez HT", "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n"] {
        let mut connection = open();
        connection.0.write(begun.as_bytes()).unwrap();
        let ended = connection.0.await_bytes(b"never").unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::UnexpectedEof, "{begun:?}");
    }
    let resolve = format!("/v1/operations/{}/resolve", "0".repeat(64));
    for (target, body) in [
        ("/v1/reload", "Content-Length: 2\r\n\r\n{"),
        ("/v1/policies/keys/reload", "Content-Length: 2\r\n\r\n"),
        (&*resolve, "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
    ] {
        let mut connection = open();
        let request = format!("POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{body}");
        connection.0.write(request.as_bytes()).unwrap();
        let reply = connection.reply("POST").unwrap();
        assert_eq!((reply.status, reply.text().contains("too long")), (400, true), "{target}: {reply:?}");
    }
}
