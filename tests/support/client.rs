//! A client that sends exactly the request it is given and reports the answer as it came: status, fields in
//! order, body, trailers, and whether the answer ended as its framing promised.

use super::wire::{self, Fields, Wire};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpStream};

/// The `Host` of every request that names none. Keys contain the authority, and the gateway's port changes
/// with each start.
pub(crate) const HOST: &str = "api.example";

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    target: String,
    version: &'static str,
    fields: Vec<(String, Vec<u8>)>,
    body: Content,
}

#[derive(Clone, Debug)]
enum Content {
    None,
    Whole(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { method, target, version: "HTTP/1.1", fields: Vec::new(), body: Content::None }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target).body("{\"amount\":1000}")
    }

    /// A `POST` with an idempotency key, as most tests send it.
    pub(crate) fn keyed(target: &str, key: &str) -> Self {
        Self::post(target).key(key)
    }

    /// The key, quoted as RFC 9651 writes strings.
    pub(crate) fn key(self, key: &str) -> Self {
        self.field("Idempotency-Key", format!("\"{key}\""))
    }

    pub(crate) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Content::Whole(body.as_ref().to_vec());
        self
    }

    pub(crate) fn chunked(mut self, pieces: &[&[u8]]) -> Self {
        self.body = Content::Chunked(pieces.iter().map(|piece| piece.to_vec()).collect());
        self
    }

    pub(crate) fn http_1_0(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// The request as it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} {}\r\n", self.method, self.target, self.version).into_bytes();
        if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            bytes.extend(format!("Host: {HOST}\r\n").bytes());
        }
        for (name, value) in &self.fields {
            bytes.extend(name.bytes().chain(*b": ").chain(value.iter().copied()).chain(*b"\r\n"));
        }
        match &self.body {
            Content::None => bytes.extend(b"\r\n"),
            Content::Whole(body) => {
                bytes.extend(
                    format!("Content-Length: {}\r\n\r\n", body.len()).bytes().chain(body.iter().copied()),
                );
            }
            Content::Chunked(pieces) => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for piece in pieces {
                    bytes.extend(
                        format!("{:x}\r\n", piece.len()).bytes().chain(piece.iter().copied()).chain(*b"\r\n"),
                    );
                }
                bytes.extend(b"0\r\n\r\n");
            }
        }
        bytes
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// Whether the answer ended as its framing promised.
    pub(crate) whole: bool,
}

impl Reply {
    /// The first value of a field; names in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        wire::first(&self.fields, name)
    }

    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        wire::all(&self.fields, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// `Idempotent-Replayed`.
    pub(crate) fn replayed(&self) -> Option<&str> {
        self.field("idempotent-replayed")
    }

    /// `Oncegate-Operation`.
    #[track_caller]
    pub(crate) fn operation(&self) -> &str {
        self.field("oncegate-operation").unwrap_or_else(|| panic!("no operation id on {self:?}"))
    }

    /// Asserts that an execution gave this answer to this request.
    #[track_caller]
    pub(crate) fn assert_executed(&self, status: u16) {
        assert!(self.whole, "cut: {self:?}");
        assert_eq!((self.status, self.replayed()), (status, Some("false")), "{self:?}");
    }

    /// Asserts that this is the same answer as `first`, replayed.
    #[track_caller]
    pub(crate) fn assert_replay_of(&self, first: &Self) {
        assert!(self.whole, "cut: {self:?}");
        assert_eq!((self.status, self.replayed()), (first.status, Some("true")), "{self:?}");
        assert!(self.body == first.body, "another body: {self:?}\nthan that of {first:?}");
        assert_eq!(self.operation(), first.operation());
    }

    /// Asserts one of the gateway's own answers in the shape of design/problems.md, member by member.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) -> Value {
        assert!(self.whole, "cut: {self:?}");
        assert_eq!((self.status, self.field("oncegate-problem")), (status, Some(code)), "{}", self.text());
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.field("cache-control"), Some("no-store"), "{self:?}");
        assert_eq!(self.replayed(), None, "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:oncegate:problem:{code}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["code"], code, "{problem}");
        for name in ["title", "detail"] {
            assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "{name} of {problem}");
        }
        let retryable = problem["retryable"].as_bool().unwrap_or_else(|| panic!("retryable of {problem}"));
        for name in ["x-should-retry", "stripe-should-retry"] {
            if let Some(said) = self.field(name) {
                assert_eq!(said, retryable.to_string(), "{name}");
            }
        }
        assert_eq!(problem["error"]["type"], "idempotency_error", "{problem}");
        assert_eq!(problem["error"]["code"], code, "{problem}");
        assert!(problem["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        problem
    }
}

/// A connection that is kept alive.
pub(crate) struct Connection(pub(crate) Wire);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(Wire::new(TcpStream::connect(address)?)))
    }

    /// Opens a connection from the loopback address that ends in this number. The other side can send little ahead
    /// of what is read.
    pub(crate) fn from(last: u8, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(4096)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into())?;
        socket.connect(&address.into())?;
        Ok(Self(Wire::new(socket.into())))
    }

    /// Sends a request and reads its answer. An answer without a whole head is an error.
    pub(crate) fn send(&mut self, request: &Request) -> io::Result<Reply> {
        // A peer that answers without reading may close before the request is written. The peer's answer
        // counts.
        let written = self.0.write(&request.bytes());
        match self.reply(&request.method) {
            Ok(reply) => Ok(reply),
            Err(unread) => Err(written.err().unwrap_or(unread)),
        }
    }

    /// Reads the answer to a request with this method.
    pub(crate) fn reply(&mut self, method: &str) -> io::Result<Reply> {
        loop {
            let head = self.0.head()?;
            let status = head.start.split(' ').nth(1).and_then(|s| s.parse().ok());
            let status: u16 =
                status.ok_or_else(|| io::Error::other(format!("{:?} is no status line", head.start)))?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
            let body = if bodiless {
                wire::Body { whole: true, ..Default::default() }
            } else {
                self.0.body(&head.fields, true)
            };
            let wire::Body { bytes, trailers, whole } = body;
            return Ok(Reply { status, fields: head.fields, body: bytes, trailers, whole });
        }
    }
}

/// Sends one request on a connection of its own. An answer without a whole head is an error.
pub(crate) fn try_send(address: SocketAddr, request: &Request) -> io::Result<Reply> {
    Connection::open(address)?.send(request)
}

/// Sends one request on a connection of its own.
#[track_caller]
pub(crate) fn send(address: SocketAddr, request: &Request) -> Reply {
    try_send(address, request).unwrap_or_else(|e| panic!("no answer to {request:?}: {e}"))
}

/// Sends bytes as they are and reads the answer. An answer without a whole head is an error.
pub(crate) fn send_raw(address: SocketAddr, bytes: &[u8]) -> io::Result<Reply> {
    let mut connection = Connection::open(address)?;
    let written = connection.0.write(bytes);
    connection.reply("POST").map_err(|unread| written.err().unwrap_or(unread))
}
