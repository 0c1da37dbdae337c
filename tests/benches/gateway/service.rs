//! The service behind every subject: an order taken, an answer of 300 bytes, and a count.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Runs on a thread of its own until the process ends.
pub(crate) struct Service {
    address: SocketAddr,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    executions: u64,
    keys: HashSet<Bytes>,
}

impl Service {
    pub(crate) fn start() -> Self {
        let counts = Arc::<Mutex<Counts>>::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let counting = counts.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(accept(listener, counting));
        });
        Self { address, counts }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that were executed, and the keys among them.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let counts = self.counts.lock().unwrap();
        (counts.executions, counts.keys.len() as u64)
    }

    /// Counts from nothing.
    pub(crate) fn forget(&self) {
        *self.counts.lock().unwrap() = Counts::default();
    }
}

async fn accept(listener: std::net::TcpListener, counts: Arc<Mutex<Counts>>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let counts = counts.clone();
        let service = service_fn(move |request| order(request, counts.clone()));
        // A connection ends when its client does.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn order(
    request: Request<Incoming>,
    counts: Arc<Mutex<Counts>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    // One that broke off was not executed.
    let Ok(_) = body.collect().await else { return Ok(Response::default()) };
    let key = head.headers.get("idempotency-key").map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let number = {
        let mut counts = counts.lock().unwrap();
        counts.executions += 1;
        counts.keys.extend(key);
        counts.executions
    };
    Ok(answer(number))
}

/// No two are alike.
pub(crate) fn answer(number: u64) -> Response<Full<Bytes>> {
    let id = format!("ord_{number:016x}");
    let mut body = format!(
        r#"{{"id":"{id}","status":"accepted","currency":"EUR","amount":129900,"items":[{{"sku":"A-1001","qty":2}},{{"sku":"B-2002","qty":1}}],"note":""#
    );
    while body.len() < 298 {
        body.push('x');
    }
    body.push_str("\"}");
    Response::builder()
        .status(201)
        .header("content-type", "application/json")
        .header("location", format!("/orders/{id}"))
        .header("x-request-id", &id)
        .header("etag", "\"5d8c72a5edda8d6a\"")
        .header("x-frame-options", "DENY")
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}
