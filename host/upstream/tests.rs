//! Tests of upstreams over reloads, and of requests whose connection ends, on real sockets.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::body::RequestBody;
use super::exchange::Sending;
use super::h1::{ConnectError, SendError};
use super::pool::{FRESH, Pool, Pools, Traffic};
use super::runtime::UpstreamTable;
use super::slots::{Admission, NotAdmitted};
use http::Request;
use oncegate_config as config;
use oncegate_observe::metrics::Metrics;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};

fn configured(host: String, port: u16) -> Arc<config::UpstreamConfig> {
    Arc::new(config::UpstreamConfig {
        name: "origin".into(),
        host,
        port,
        connect_timeout: Duration::from_secs(60),
        response_timeout: Duration::from_secs(60),
        body_idle_timeout: Duration::from_secs(60),
        dedupes: false,
        accept_repeats: false,
        operation_header: None,
        settle_after: None,
        probe: config::ProbeConfig {
            attempts: 0,
            base: Duration::ZERO,
            max: Duration::ZERO,
            headers: Vec::new(),
            headers_file: None,
            methods: Vec::new(),
        },
    })
}

fn pool(listener: &TcpListener) -> Rc<Pool> {
    let address = listener.local_addr().unwrap();
    let config = configured(address.ip().to_string(), address.port());
    Pools::default().of(&load(&UpstreamTable::default(), [config])["origin"], Traffic::Guarded)
}

fn load<const N: usize>(before: &UpstreamTable, configs: [Arc<config::UpstreamConfig>; N]) -> UpstreamTable {
    before.next(&configs.map(|config| (config.name.clone(), config)).into(), &Metrics::default())
}

fn request() -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::Whole("body".into()));
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert("host", http::HeaderValue::from_static("a.example"));
    request
}

fn run<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap().block_on(future)
}

/// A connection that the other side ended before the request was begun hands the request back, whatever way
/// the connection ended in.
#[test]
fn a_request_is_handed_back_unsent_by_a_connection_that_has_ended() {
    for reset in [false, true] {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let pool = pool(&listener);
            let connection = pool.connection(FRESH).await.unwrap();
            let (stream, _) = listener.accept().unwrap();
            if reset {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(stream);
            while !connection.is_closed() {
                tokio::task::yield_now().await;
            }
            match connection.send(Box::new(request()), Duration::from_secs(60)).await {
                Err(SendError::Unsent(unsent)) => {
                    assert!(matches!(unsent.body(), RequestBody::Whole(body) if body == "body"));
                }
                other => panic!("reset {reset}: {other:?}"),
            }
        });
    }
}

/// A connection that ended after the request was begun may have taken the request, however little of an
/// answer came.
#[test]
fn a_request_that_was_begun_is_never_handed_back() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Le", "no HTTP at all\r\n\r\n"] {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let pool = pool(&listener);
            let connection = pool.connection(FRESH).await.unwrap();
            let peer = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut one = [0];
                stream.read_exact(&mut one).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            let sent = connection.send(Box::new(request()), Duration::from_secs(60)).await;
            assert!(matches!(sent, Err(SendError::Broken(_))), "{answer:?}: {sent:?}");
            peer.join().unwrap();
        });
    }
}

/// Answers each request on `connections` connections.
fn serve(listener: TcpListener, connections: usize) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for mut stream in listener.incoming().take(connections).map(Result::unwrap) {
            std::thread::spawn(move || {
                let mut piece = [0; 1024];
                while stream.read(&mut piece).is_ok_and(|read| read > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                }
            });
        }
    })
}

/// Connections that were idle for too long held all places, and each new operation was refused for a minute.
#[test]
fn idle_connections_give_way() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pool = pool(&listener);
        let peer = serve(listener, 3);
        let sockets = &pool.upstream().sockets;
        // Of two places one may be idle.
        for (max, is_kept) in [(2, true), (1, false)] {
            sockets.bound(max);
            let sent = pool.connection(Duration::ZERO).await.unwrap();
            let answer = sent.send(Box::new(request()), Duration::from_secs(60)).await.unwrap();
            drop(answer);
            let next = loop {
                match pool.connection(FRESH).await {
                    // The connection that was not kept is about to end.
                    Err(ConnectError::NoPlace) => tokio::task::yield_now().await,
                    next => break next.unwrap(),
                }
            };
            assert_eq!(next.is_used, is_kept, "{max} places");
            if is_kept {
                drop(next.send(Box::new(request()), Duration::from_secs(60)).await.unwrap());
            }
        }
        peer.join().unwrap();
    });
}

/// A connection in a pool of another worker or other traffic, or to another upstream, held a place that a request
/// wanted.
#[test]
fn idle_connections_of_any_pool_give_way() {
    /// Workers, traffic and upstreams of the pool that has idle connections and of the one that wants a place.
    type Pooled = (usize, Traffic, &'static str);
    let (guarded, plain) = (Traffic::Guarded, Traffic::Unguarded);
    let cases: [(Pooled, Pooled); 5] = [
        ((0, guarded, "a"), (1, guarded, "a")),
        ((0, guarded, "a"), (0, plain, "a")),
        ((0, plain, "a"), (2, guarded, "a")),
        ((0, guarded, "a"), (0, guarded, "b")),
        ((1, plain, "a"), (2, guarded, "b")),
    ];
    for (idle, wants) in cases {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let named = |name: &str| {
                let config = configured(address.ip().to_string(), address.port());
                Arc::new(config::UpstreamConfig { name: name.into(), ..(*config).clone() })
            };
            let upstreams = load(&UpstreamTable::default(), [named("a"), named("b")]);
            let workers: [Pools; 3] = Default::default();
            let pool = |(worker, traffic, name): Pooled| workers[worker].of(&upstreams[name], traffic);
            upstreams.bound_connections(8);
            let peer = serve(listener, 9);
            let open = async |count: usize, pool: &Rc<Pool>| {
                let mut open = Vec::new();
                for _ in 0..count {
                    open.push(pool.connection(Duration::ZERO).await.unwrap());
                }
                open
            };
            // Four are idle, two of them in the place of what is for both.
            for connection in open(4, &pool(idle)).await {
                drop(connection.send(Box::new(request()), Duration::from_secs(60)).await.unwrap());
            }
            let _in_use = open(4, &pool((2, plain, "b"))).await;
            let next = pool(wants).connection(FRESH).await.unwrap();
            assert!(!next.is_used, "{idle:?} {wants:?}");
            drop((next, workers, upstreams));
            peer.join().unwrap();
        });
    }
}

#[test]
fn a_place_is_refused_where_all_are_in_use() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pool = pool(&listener);
        pool.upstream().sockets.bound(2);
        let first = pool.connection(FRESH).await.unwrap();
        let _second = pool.connection(FRESH).await.unwrap();
        assert!(matches!(pool.connection(FRESH).await, Err(ConnectError::NoPlace)));
        drop(first);
        while pool.connection(FRESH).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
}

/// Nobody sends to it any more, and its connections stayed until their time was over.
#[test]
fn a_retired_upstream_keeps_no_idle_connections() {
    let other = |port| configured("localhost".into(), port);
    for next in [&[][..], &[other(9)], &[other(10)]] {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let config = configured(address.ip().to_string(), address.port());
            let table = load(&UpstreamTable::default(), [config]);
            let pool = Pool::lasting(table["origin"].clone(), Duration::from_secs(3600));
            let ends = tokio::task::spawn_blocking(move || {
                let streams: Vec<_> = (0..2).map(|_| listener.accept().unwrap().0).collect();
                streams.into_iter().for_each(|mut stream| {
                    take_request(&mut stream);
                    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection has ended");
                });
            });
            let idle = pool.connection(FRESH).await.unwrap();
            let in_use = pool.connection(FRESH).await.unwrap();
            let limit = Duration::from_secs(60);
            drop(idle.send(Box::new(request()), limit).await.unwrap());
            let configs = next.iter().map(|config| (config.name.clone(), config.clone())).collect();
            let _next = table.next(&configs, &Metrics::default());
            drop(in_use.send(Box::new(request()), limit).await.unwrap());
            ends.await.unwrap();
        });
    }
}

/// Reads one request off a stream.
fn take_request(stream: &mut std::net::TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(b"body") {
        let mut one = [0];
        stream.read_exact(&mut one).unwrap();
        read.extend(one);
    }
}

/// What is there before a request is sent is no answer to it, though the runtime has not looked since.
#[test]
fn bytes_on_an_idle_connection_are_no_answer() {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for early in [&b"HTTP/1.1 299 Forged\r\nContent-Length: 0\r\n\r\n"[..], b"HTTP/1.1 299 For", b"\r\n", b""]
    {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let pool = pool(&listener);
            let (begin, begun) = std::sync::mpsc::channel::<()>();
            let (end, ended) = std::sync::mpsc::channel();
            let peer = std::thread::spawn(move || {
                let (mut first, _) = listener.accept().unwrap();
                take_request(&mut first);
                first.write_all(OK).unwrap();
                begun.recv().unwrap();
                first.write_all(early).unwrap();
                if early.is_empty() {
                    first.shutdown(std::net::Shutdown::Both).unwrap();
                }
                end.send(()).unwrap();
                let (mut second, _) = listener.accept().unwrap();
                take_request(&mut second);
                second.write_all(OK).unwrap();
                drop(first);
            });
            let send = async || {
                let limit = Duration::from_secs(60);
                pool.exchange(Box::new(request()), limit, Sending::Once, || true)
                    .await
                    .map(|answer| answer.status())
            };
            assert_eq!(send().await, Ok(http::StatusCode::OK));
            begin.send(()).unwrap();
            // The thread stands still meanwhile, so that nobody asks the system what has come.
            ended.recv().unwrap();
            assert_eq!(send().await, Ok(http::StatusCode::OK), "{early:?}");
            peer.join().unwrap();
        });
    }
}

/// Counts go on and connections stay open if a reload changes nothing.
#[test]
fn only_a_changed_upstream_is_made_anew() {
    let at = |port| [configured("127.0.0.1".into(), port)];
    let first = load(&UpstreamTable::default(), at(9));
    let same = load(&first, at(9));
    let changed = load(&same, at(10));
    assert!(Arc::ptr_eq(&first["origin"], &same["origin"]));
    assert!(!Arc::ptr_eq(&first["origin"], &changed["origin"]));
    let pools = Pools::default();
    let pool = pools.of(&first["origin"], Traffic::Guarded);
    assert!(Rc::ptr_eq(&pool, &pools.of(&same["origin"], Traffic::Guarded)));
    assert!(!Rc::ptr_eq(&pool, &pools.of(&first["origin"], Traffic::Unguarded)));
    assert!(!Rc::ptr_eq(&pool, &pools.of(&changed["origin"], Traffic::Guarded)));
}

/// Requests that began by an earlier configuration execute and wait at the upstream of that name, however often
/// a reload changed it, and are turned away with all others.
#[test]
fn slots_of_a_name_outlive_every_reload() {
    let at = |port| configured("127.0.0.1".into(), port);
    let first = load(&UpstreamTable::default(), [at(9)]);
    let before = first["origin"].clone();
    let admit = |kind| before.admit(kind).unwrap().counted();
    let admitted = [admit(Admission::Execution), admit(Admission::Waiter)];
    let changed = load(&first, [at(10)]);
    let gone = load(&changed, []);
    let back = load(&gone, [at(9)]);
    for table in [&first, &changed, &back] {
        let slots = table["origin"].slots();
        assert_eq!((slots.executions(), slots.waiters()), (1, 1));
    }
    drop(admitted);
    assert_eq!((back["origin"].slots().executions(), back["origin"].slots().waiters()), (0, 0));
    gone.close();
    for table in [&first, &changed, &back, &load(&gone, [at(11)])] {
        assert_eq!(table["origin"].admit(Admission::Execution).err(), Some(NotAdmitted::Closed));
    }
}

/// Nobody asks for a connection any more, and it is closed all the same.
#[test]
fn idle_connections_are_closed_by_time() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pool = Pool::lasting(pool(&listener).upstream().clone(), Duration::from_millis(50));
        let peer = tokio::task::spawn_blocking(move || {
            let (mut stream, _) = listener.accept().unwrap();
            take_request(&mut stream);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            stream.read(&mut [0]).unwrap()
        });
        pool.exchange(Box::new(request()), Duration::from_secs(60), Sending::Once, || true).await.unwrap();
        assert_eq!(peer.await.unwrap(), 0, "the connection has ended");
    });
}
