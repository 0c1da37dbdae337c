//! Floors: what the same work costs with bare hyper, one thread, no policy, no disk, and none of
//! the promises.
//!
//! `static`: one answer for all. `proxy`: everything is forwarded. `dedup`: answers are kept by key
//! in a map; a repetition in flight is not waited for, which the load has none of.

use bytes::Bytes;
use dashmap::DashMap;
use http::header::{self, HeaderMap, HeaderValue};
use http::request;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

type Body = Either<Incoming, Full<Bytes>>;
type Fault = Box<dyn Error + Send + Sync>;

struct Floor {
    mode: String,
    service: String,
    pool: RefCell<Vec<SendRequest<Body>>>,
    kept: DashMap<Bytes, (StatusCode, HeaderMap, Bytes)>,
    answer: (StatusCode, HeaderMap, Bytes),
}

/// Serves until it is ended. Arguments: mode, the service's address.
pub(crate) fn serve(arguments: &[String]) {
    let [mode, service] = arguments else { panic!("floor MODE ADDRESS") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (head, body) = super::service::answer(0).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let floor = Rc::new(Floor {
            mode: mode.clone(),
            service: service.clone(),
            pool: RefCell::default(),
            kept: DashMap::new(),
            answer: (head.status, head.headers, body),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("listening on http://{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let floor = floor.clone();
            let service = service_fn(move |request| answer(floor.clone(), request));
            // A connection ends when its client does.
            tokio::task::spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}

async fn answer(floor: Rc<Floor>, request: Request<Incoming>) -> Result<Response<Body>, Fault> {
    let (head, body) = request.into_parts();
    match floor.mode.as_str() {
        "static" => {
            body.collect().await?;
            Ok(repeated(&floor.answer))
        }
        "proxy" => Ok(forward(&floor, head, Either::Left(body)).await?.map(Either::Left)),
        _ => {
            let key = Bytes::copy_from_slice(head.headers["idempotency-key"].as_bytes());
            let body = body.collect().await?.to_bytes();
            if let Some(kept) = floor.kept.get(&key) {
                return Ok(repeated(&kept));
            }
            let (head, body) = forward(&floor, head, Either::Right(Full::new(body))).await?.into_parts();
            // Its own copy, as whoever keeps a million of them would.
            let body = Bytes::copy_from_slice(&body.collect().await?.to_bytes());
            let mut kept = (head.status, head.headers, body);
            kept.1.remove(header::DATE);
            let answer = repeated(&kept);
            floor.kept.insert(key, kept);
            Ok(answer)
        }
    }
}

fn repeated((status, fields, body): &(StatusCode, HeaderMap, Bytes)) -> Response<Body> {
    let mut answer = Response::new(Either::Right(Full::new(body.clone())));
    *answer.status_mut() = *status;
    answer.headers_mut().clone_from(fields);
    answer.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    answer
}

async fn forward(floor: &Floor, mut head: request::Parts, body: Body) -> Result<Response<Incoming>, Fault> {
    for hop in ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "transfer-encoding"] {
        head.headers.remove(hop);
    }
    let pooled = floor.pool.borrow_mut().pop();
    let mut sender = match pooled {
        Some(sender) => sender,
        None => {
            let stream = TcpStream::connect(&floor.service).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
            tokio::task::spawn_local(connection);
            sender
        }
    };
    sender.ready().await?;
    let answer = sender.send_request(Request::from_parts(head, body)).await?;
    floor.pool.borrow_mut().push(sender);
    Ok(answer)
}
