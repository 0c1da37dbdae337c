//! A service that must not do a thing twice, to try a gateway on: it charges.
//!
//! `POST /charges` takes a charge, `?fail=drop` takes it and closes the connection without an
//! answer, `GET /charges` lists the charges that were really made. The service deduplicates nothing.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The limit of a body: larger than any charge that somebody types.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The service's books: an entry for each time that something was charged.
#[derive(Debug, Default)]
pub struct Charges(Mutex<Vec<Value>>);

impl Charges {
    /// The number of charges.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self, amount: &Value) -> Value {
        let mut charges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let charge = json!({ "id": format!("ch_{}", charges.len() + 1), "amount": amount });
        charges.push(charge.clone());
        charge
    }

    fn list(&self) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, id: &str) -> Option<Value> {
        self.list().into_iter().find(|charge| charge["id"] == id)
    }
}

/// A charge whose answer nobody gets. An error of the service makes hyper close the connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer, as asked")]
struct Dropped;

/// Serves for as long as it is polled; its connections end with it. A charge takes `delay`.
pub async fn serve(
    listener: std::net::TcpListener,
    charges: Arc<Charges>,
    delay: Duration,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        let charges = charges.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, charges.clone(), delay));
            // An error here means a client that went away, or a connection that was dropped on purpose.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    charges: Arc<Charges>,
    delay: Duration,
) -> Result<Response<Full<Bytes>>, Dropped> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::POST, "/charges") => charge(request, &charges, delay).await,
        (&Method::GET, "/charges") => {
            let charges = charges.list();
            Ok(said(StatusCode::OK, &json!({ "count": charges.len(), "charges": charges })))
        }
        (&Method::GET, path) => {
            let found = path.strip_prefix("/charges/").and_then(|id| charges.find(id));
            Ok(found.map_or_else(not_found, |charge| said(StatusCode::OK, &charge)))
        }
        _ => Ok(not_found()),
    }
}

async fn charge(
    request: Request<Incoming>,
    charges: &Charges,
    delay: Duration,
) -> Result<Response<Full<Bytes>>, Dropped> {
    let drops = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "fail=drop"));
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
        return Ok(said(
            StatusCode::BAD_REQUEST,
            &json!({ "error": "the body was cut short or is too large" }),
        ));
    };
    let amount =
        serde_json::from_slice::<Value>(&body.to_bytes()).ok().and_then(|body| body.get("amount").cloned());
    let Some(amount) = amount.filter(Value::is_number) else {
        let example = json!({ "error": "a charge is JSON with an amount", "example": { "amount": 4200 } });
        return Ok(said(StatusCode::BAD_REQUEST, &example));
    };
    tokio::time::sleep(delay).await;
    let charge = charges.take(&amount);
    if drops {
        return Err(Dropped);
    }
    let mut answer = said(StatusCode::CREATED, &charge);
    let location = format!("/charges/{}", charge["id"].as_str().unwrap_or_default());
    if let Ok(location) = location.parse() {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    Ok(answer)
}

fn said(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(format!("{value}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

fn not_found() -> Response<Full<Bytes>> {
    said(
        StatusCode::NOT_FOUND,
        &json!({ "error": "there are POST /charges, GET /charges and GET /charges/ID" }),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    /// Sends one request. Returns everything that comes back, up to the end of the connection.
    async fn ask(address: std::net::SocketAddr, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn it_charges_as_often_as_it_is_asked_and_tells_what_it_did() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let charges = Arc::new(Charges::default());
        let serving = tokio::spawn(serve(listener, charges.clone(), Duration::ZERO));

        let first = ask(address, "POST", "/charges", r#"{"amount": 4200}"#).await;
        assert!(first.starts_with("HTTP/1.1 201 Created\r\n"), "{first}");
        assert!(first.contains("location: /charges/ch_1\r\n"), "{first}");
        assert!(first.ends_with("{\"amount\":4200,\"id\":\"ch_1\"}\n"), "{first}");
        assert!(ask(address, "POST", "/charges", r#"{"amount": 4200}"#).await.contains("ch_2"));

        assert_eq!(ask(address, "POST", "/charges?fail=drop", r#"{"amount": 1}"#).await, "");
        assert_eq!(charges.count(), 3);

        for wrong in ["", "{}", "[1]", r#"{"amount": "many"}"#] {
            assert!(ask(address, "POST", "/charges", wrong).await.starts_with("HTTP/1.1 400"), "{wrong}");
        }
        assert!(ask(address, "GET", "/charges", "").await.contains(r#""count":3"#));
        assert!(ask(address, "GET", "/charges/ch_3", "").await.contains(r#""amount":1"#));
        assert!(ask(address, "GET", "/charges/ch_4", "").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, "DELETE", "/charges", "").await.starts_with("HTTP/1.1 404"));
        assert_eq!(charges.count(), 3);
        serving.abort();
    }
}
