//! What has ended an exchange has ended its request, too: a service that reads on later finds it cut.

use crate::support::*;
use rustix::process::Signal;
use std::net::TcpListener;

/// More than all buffers on the way to a service hold.
const UPLOAD: usize = 9 << 20;

/// Less than the gateway's own system takes at once.
const SMALL_UPLOADS: [usize; 2] = [30_000, 200_000];

/// A service that the test plays itself, and whose system takes little ahead of it.
fn played() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&listener).set_recv_buffer_size(4 << 10).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Begins a request with a body of [`UPLOAD`] bytes. The gateway may end the connection before it has all.
fn begin(gateway: &Gateway, request: Request) -> client::Connection {
    begin_upload(gateway, request, UPLOAD)
}

fn begin_upload(gateway: &Gateway, request: Request, bytes: usize) -> client::Connection {
    let client = gateway.connect();
    let mut upload = wire::Wire::new(client.0.stream.try_clone().unwrap());
    std::thread::spawn(move || upload.write(&request.body(vec![b'x'; bytes]).bytes()));
    client
}

/// The next connection to a service that reads the head of a request alone.
fn head_read(listener: &TcpListener) -> wire::Wire {
    let mut service = wire::Wire::new(listener.accept().unwrap().0);
    service.head().unwrap();
    service
}

/// The service reads on, long after: what it gets is not the whole request.
#[track_caller]
fn assert_cut(gateway: &Gateway, service: wire::Wire, case: &str) {
    let nothing_held = || (gateway.metric("oncegate_buffers_bytes") == 0).then_some(());
    eventually("nothing is held", nothing_held);
    assert_not_whole(service, UPLOAD, case);
}

#[track_caller]
fn assert_not_whole(mut service: wire::Wire, bytes: usize, case: &str) {
    let body = service.body(&vec![("content-length".into(), bytes.to_string())], false);
    assert!(!body.whole && body.bytes.len() < bytes, "{case}: {} bytes", body.bytes.len());
}

fn with_plain(url: &str) -> Setup {
    let plain = "[[routes]]\nname = \"plain\"\npath = \"/plain\"\nupstream = \"origin\"\n";
    Setup::new(url).server("workers = 1").extra(plain)
}

/// What has ended an exchange has ended the request, too: the gateway sends none of the rest when the service reads on.
#[test]
fn an_early_answer_ends_the_upload() {
    let (listener, url) = played();
    let gateway = with_plain(&url).start();
    for (number, (answer, status)) in [
        ("413 Too Large\r\nContent-Length: 2\r\n\r\nno", 413),
        ("413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", 413),
        ("400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", 400),
        ("200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        ("204 No Content\r\n\r\n", 204),
        ("204 No Content\r\nContent-Length: 2\r\n\r\n", 204),
        ("503 Busy\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy", 503),
        ("429 Slow Down\r\nContent-Length: 0\r\n\r\n", 429),
        ("408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 408),
        ("101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 502),
        ("200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx", 502),
        ("nonsense\r\n\r\n", 502),
    ]
    .into_iter()
    .enumerate()
    {
        for request in
            [Request::new("POST", "/charges").key(&number.to_string()), Request::new("POST", "/plain")]
        {
            let mut client = begin(&gateway, request);
            let mut service = head_read(&listener);
            service.write(format!("HTTP/1.1 {answer}").as_bytes()).unwrap();
            assert_eq!(client.reply("POST").unwrap().status, status, "{answer}");
            assert_cut(&gateway, service, answer);
        }
    }
}

/// An operator who looks finds nothing done and frees the key. It stays not done.
#[test]
fn what_was_given_up_is_never_delivered() {
    let (listener, url) = played();
    let gateway = with_plain(&url).origin("body_idle_timeout = \"2s\"").start();
    for part in ["", "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nn"] {
        let mut plain = begin(&gateway, Request::new("POST", "/plain"));
        let mut service = head_read(&listener);
        service.write(part.as_bytes()).unwrap();
        assert!(matches!(plain.reply("POST").unwrap().status, 413 | 504));
        assert_cut(&gateway, service, "plain");

        let request = || Request::new("POST", "/charges").key(&format!("k{}", part.len()));
        let mut client = begin(&gateway, request());
        let mut first = head_read(&listener);
        first.write(part.as_bytes()).unwrap();
        let told = client.reply("POST").unwrap();
        assert!(matches!(told.status, 413 | 504), "{told:?}");
        begin(&gateway, request()).reply("POST").unwrap().assert_problem(409, "outcome-unknown");
        let admin = gateway.admin.unwrap().to_string();
        let id = told.operation();
        let version = gateway.version_of(id);
        let args =
            ["ops", "resolve", id, "--version", &version, "--outcome", "not-applied", "--reason", "none"];
        let args = [&args[..], &["--admin", &admin]].concat();
        assert_eq!(crate::support::gateway::run(&args, gateway.setup.folder()).code, Some(0));
        let mut client = begin(&gateway, request());
        let mut second = wire::Wire::new(listener.accept().unwrap().0);
        let head = second.head().unwrap();
        assert!(second.body(&head.fields, false).whole);
        second.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok").unwrap();
        client.reply("POST").unwrap().assert_executed(201);
        assert_cut(&gateway, first, "guarded");
    }
}

#[test]
fn an_upload_ends_with_the_last_client() {
    let (listener, url) = played();
    let gateway = with_plain(&url).route("client_gone = \"close\"").start();
    for target in ["/plain", "/charges"] {
        let request = || Request::new("POST", target).key("k");
        let client = begin(&gateway, request());
        let service = head_read(&listener);
        client.0.stream.shutdown(std::net::Shutdown::Both).unwrap();
        assert_cut(&gateway, service, target);
    }
    let again = begin(&gateway, Request::new("POST", "/charges").key("k")).reply("POST").unwrap();
    again.assert_problem(409, "outcome-unknown");
}

/// The system would go on delivering what it has: the gateway's end is no end to it.
#[test]
fn a_killed_gateway_delivers_nothing_more() {
    let (listener, url) = played();
    for bytes in SMALL_UPLOADS {
        for path in ["/charges", "/plain"] {
            for signal in [None, Some(Signal::TERM)] {
                let mut gateway = with_plain(&url).start();
                let _client = begin_upload(&gateway, Request::new("POST", path).key("k"), bytes);
                let service = head_read(&listener);
                match signal {
                    None => _ = gateway.kill(),
                    Some(signal) => assert_eq!(gateway.insist(signal).code(), Some(1)),
                }
                assert_not_whole(service, bytes, path);
            }
        }
    }
}

/// All of the request has left hyper, and a part of it lies in the gateway's system.
#[test]
fn an_early_answer_ends_a_small_upload() {
    let (listener, url) = played();
    let gateway = with_plain(&url).start();
    for bytes in SMALL_UPLOADS {
        for (answer, status) in [
            ("413 Too Large\r\nContent-Length: 2\r\n\r\nno", 413),
            ("413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", 413),
            ("503 Busy\r\nRetry-After: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 503),
            ("204 No Content\r\n\r\n", 204),
        ] {
            let key = format!("{bytes} {status} {}", answer.len());
            for path in ["/charges", "/plain"] {
                let request = Request::keyed(path, &key);
                let mut client = begin_upload(&gateway, request, bytes);
                let mut service = head_read(&listener);
                service.write(format!("HTTP/1.1 {answer}").as_bytes()).unwrap();
                assert_eq!(client.reply("POST").unwrap().status, status, "{answer}");
                let case = format!("{path} {answer}");
                eventually(&case, || service.stream.take_error().unwrap());
                assert_not_whole(service, bytes, &case);
            }
        }
    }
}

/// What has arrived whole costs no connection.
#[test]
fn a_large_request_that_arrived_leaves_its_connection() {
    let (listener, url) = played();
    let gateway = with_plain(&url).start();
    let mut client = begin_upload(&gateway, Request::post("/plain"), 200_000);
    let mut service = head_read(&listener);
    assert!(service.body(&vec![("content-length".into(), "200000".into())], false).whole);
    for _ in 0..2 {
        service.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        assert_eq!(client.reply("POST").unwrap().status, 200);
        client.0.write(&Request::get("/plain").bytes()).unwrap();
        service.head().unwrap();
    }
}
