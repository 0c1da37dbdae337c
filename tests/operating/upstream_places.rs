//! Connections to upstreams where there are few: none that is idle keeps one from a request that needs it.

use crate::support::client::Connection;
use crate::support::gateway::replace;
use crate::support::*;
use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::time::Duration;

/// Open files that leave 42 connections to upstreams: of two, ten are each one's own, and any may have the others.
const FILES: &str = "-n 256";

/// A service that holds what goes to `/held`, and `/slow/held`, until the gate opens.
fn holding(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |call| match call.target.ends_with("/held") {
        true => Script::numbered(call).after(&gate),
        false => Script::numbered(call),
    })
}

fn with_slow(origin: &str, slow: &str) -> Setup {
    let extra = format!(
        "[upstreams.slow]\nurls = [{slow:?}]\n[[routes]]\nname = \"slow\"\npath = \"/slow\"\nupstream = \"slow\"\npolicy = \"keys\""
    );
    Setup::new(origin).files(FILES).server("workers = 3").extra(&extra)
}

/// Sends so many requests at once, from several addresses.
fn begin(gateway: &Gateway, count: usize, request: impl Fn(usize) -> Request) -> Vec<Connection> {
    let one = |number: usize| {
        let mut connection = gateway.connect_from(2 + (number % 8) as u8);
        connection.0.write(&request(number).bytes()).unwrap();
        connection
    };
    (0..count).map(one).collect()
}

/// Makes so many connections of the upstream `origin` idle, which are in the pools of all workers.
fn make_idle(gateway: &Gateway, upstream: &Upstream, gate: &Gate, count: usize, is_guarded: bool) {
    let requests = begin(gateway, count, |number| match is_guarded {
        true => Request::keyed("/held", &format!("first{number}")),
        false => Request::get("/held"),
    });
    upstream.await_count(count);
    gate.open();
    requests.into_iter().for_each(|mut asked| assert_eq!(asked.reply("GET").unwrap().status, 201));
}

/// What is an upstream's own was idle in another worker's pool, or in that of other traffic.
#[test]
fn an_upstreams_own_places_are_never_idle_elsewhere() {
    for (was_guarded, is_guarded) in [(false, true), (true, false), (true, true), (false, false)] {
        let (gate, slow_gate) = (Gate::new(), Gate::new());
        let (upstream, slow) = (holding(&gate), holding(&slow_gate));
        let gateway = with_slow(&upstream.url(), &slow.url()).start();
        make_idle(&gateway, &upstream, &gate, 10, was_guarded);
        let _held = begin(&gateway, 40, |_| Request::get("/slow/held"));
        slow.await_count(32);
        for round in 0..4 {
            let asked = begin(&gateway, 10, |number| match is_guarded {
                true => Request::keyed("/charges", &format!("{round}-{number}")),
                false => Request::get("/plain"),
            });
            for mut one in asked {
                let reply = one.reply("GET").unwrap();
                assert_eq!(reply.status, 201, "{was_guarded} {is_guarded}: {}", reply.text());
            }
        }
        slow_gate.open();
    }
}

/// What is everybody's was idle at one upstream, and another one was refused.
#[test]
fn everybodys_places_are_never_idle() {
    for (was_guarded, is_guarded) in [(false, true), (true, false), (true, true)] {
        let (gate, slow_gate) = (Gate::new(), Gate::new());
        let (upstream, slow) = (holding(&gate), holding(&slow_gate));
        let gateway = with_slow(&upstream.url(), &slow.url()).start();
        make_idle(&gateway, &upstream, &gate, 20, was_guarded);
        let _held = begin(&gateway, 32, |number| match is_guarded {
            true => Request::new("POST", "/slow/held").key(&number.to_string()),
            false => Request::get("/slow/held"),
        });
        slow.await_count(32);
        assert!(!gateway.stderr().contains("may not open more files"), "{}", gateway.stderr());
        slow_gate.open();
    }
}

/// A tunnel's connection to its upstream was in no count once it had switched.
#[test]
fn a_tunnel_has_a_place_at_its_upstream() {
    let upstream = Upstream::start(|call| match call.field("upgrade") {
        None => Script::numbered(call),
        Some(_) => Script::raw(vec![
            Step::Write(
                b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".into(),
            ),
            Step::Left(Gate::new()),
        ]),
    });
    let gateway = Setup::new(&upstream.url()).files(FILES).start();
    let mut tunnels = begin(&gateway, 46, |_| {
        Request::get("/socket").field("Connection", "upgrade").field("Upgrade", "websocket")
    });
    tunnels.retain_mut(|one| one.reply("GET").is_ok_and(|reply| reply.status == 101));
    assert_eq!(tunnels.len(), 42);
    // Connections of clients are few, too, and one too many is closed.
    let plain = || client::try_send(gateway.address, &Request::get("/plain")).ok().map(|reply| reply.status);
    eventually("no place is free", || (plain()? == 502).then_some(()));
    drop(tunnels);
    eventually("their places are free again", || (plain()? == 201).then_some(()));
}

/// Sends one request to `/slow` and returns the service's end of its connection.
fn served(gateway: &Gateway, listener: &TcpListener, request: &Request) -> wire::Wire {
    let mut client = gateway.connect();
    client.0.write(&request.bytes()).unwrap();
    let mut service = wire::Wire::new(listener.accept().unwrap().0);
    let head = service.head().unwrap();
    assert!(service.body(&head.fields, false).whole);
    service.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert_eq!(client.reply("POST").unwrap().status, 200);
    service
}

/// A removed upstream, and one that is made anew, had idle connections for a minute.
#[test]
fn a_reload_closes_idle_connections_at_once() {
    let upstream = Upstream::numbering();
    for becomes in ["", "connect_timeout = \"3s\"\n", "body_idle_timeout = \"50s\"\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let slow = format!("http://{}", listener.local_addr().unwrap());
        let gateway = with_slow(&upstream.url(), &slow).start();
        let requests = [Request::get("/slow/a"), Request::keyed("/slow/a", "k")];
        let services = requests.map(|request| served(&gateway, &listener, &request));
        let file = gateway.setup.file();
        let text = std::fs::read_to_string(&file).unwrap();
        let begins = text.find("[upstreams.slow]").unwrap();
        let next = match becomes {
            "" => text[..begins].to_owned(),
            line => text.replace("[upstreams.slow]\n", &format!("[upstreams.slow]\n{line}")),
        };
        replace(&file, next.as_bytes());
        let reply = gateway.admin("POST", "/v1/reload");
        assert_eq!(reply.status, 200, "{}", reply.text());
        for mut service in services {
            // Less than connections may be idle otherwise.
            service.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            match service.stream.read(&mut [0]) {
                Ok(read) => assert_eq!(read, 0, "{becomes:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{becomes:?}"),
            }
        }
    }
}
