//! Connections to upstreams: a pool of hyper's HTTP/1.1 client connections for each worker and
//! upstream. It tells apart what was surely not sent and what may have been; what that means is
//! for others to say.

mod body;

pub use body::{RequestBody, ResponseBody};

use crate::config;
use http::{Request, Response};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Connections that were idle longer than this are not used for requests that must not be sent
/// twice: servers close idle connections (Node and uvicorn after 5 s, gunicorn after 2 s), and a
/// request that crosses such a close has an outcome that nobody knows.
const FRESH: Duration = Duration::from_secs(1);
/// Idle connections older than this are closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Idle connections kept for each worker and upstream.
const IDLE_COUNT_MAX: usize = 512;

/// Connections of one worker to one upstream.
#[derive(Debug)]
pub struct Pool {
    upstream: Arc<config::UpstreamConfig>,
    idle: RefCell<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

/// A connection that is nobody else's now.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<RequestBody>,
    pool: Rc<Pool>,
}

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It took longer than `connect_timeout`.
    #[error("no connection to {address} within {limit:?}")]
    TimedOut {
        /// Host and port.
        address: String,
        /// The `connect_timeout`.
        limit: Duration,
    },
    /// Name resolution or the connection itself failed.
    #[error("no connection to {address}: {cause}")]
    Refused {
        /// Host and port.
        address: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The connection broke before it could be used.
    #[error("the connection to {address} broke at once: {cause}")]
    Handshake {
        /// Host and port.
        address: String,
        /// What hyper said.
        cause: hyper::Error,
    },
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    /// The request was handed back: not a byte of it was sent.
    Unsent(Box<Request<RequestBody>>),
    /// It may have been sent.
    Broken(hyper::Error),
    /// No head of an answer within the time. It may have been sent.
    TimedOut,
}

impl Pool {
    /// An empty pool.
    pub fn new(upstream: Arc<config::UpstreamConfig>) -> Rc<Self> {
        Rc::new(Self { upstream, idle: RefCell::default() })
    }

    /// The upstream that it is for.
    pub fn upstream(&self) -> &Arc<config::UpstreamConfig> {
        &self.upstream
    }

    /// An idle connection, or a new one. `fresh`: for a request that must not be sent twice.
    pub async fn connection(self: &Rc<Self>, fresh: bool) -> Result<Connection, ConnectError> {
        match self.take_idle(if fresh { FRESH } else { IDLE_MAX }) {
            Some(sender) => Ok(Connection { sender, pool: self.clone() }),
            None => self.connect().await,
        }
    }

    fn take_idle(&self, age_max: Duration) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.idle.borrow_mut();
        let now = Instant::now();
        idle.retain(|idle| !idle.sender.is_closed() && now - idle.since < IDLE_MAX);
        // The latest one first: it is the least likely to be closed by the other side.
        let at = idle.iter().rposition(|idle| idle.sender.is_ready())?;
        if now - idle[at].since >= age_max {
            return None;
        }
        Some(idle.remove(at).sender)
    }

    async fn connect(self: &Rc<Self>) -> Result<Connection, ConnectError> {
        let address = || format!("{}:{}", self.upstream.host, self.upstream.port);
        let limit = self.upstream.connect_timeout;
        let host = self.upstream.host.trim_start_matches('[').trim_end_matches(']');
        let stream = match timeout(limit, TcpStream::connect((host, self.upstream.port))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => return Err(ConnectError::Refused { address: address(), cause }),
            Err(_) => return Err(ConnectError::TimedOut { address: address(), limit }),
        };
        // Requests go out in one piece; waiting for more of it would only delay them.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(false)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| ConnectError::Handshake { address: address(), cause })?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "an upstream connection ended");
            }
        });
        Ok(Connection { sender, pool: self.clone() })
    }

    fn put_back(&self, sender: SendRequest<RequestBody>) {
        let mut idle = self.idle.borrow_mut();
        if !sender.is_closed() && idle.len() < IDLE_COUNT_MAX {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

impl Connection {
    /// Sends a request and waits for the head of its answer, at most `limit`. The connection goes
    /// back to its pool at the end of the answer's body.
    pub async fn send(
        mut self,
        request: Request<RequestBody>,
        limit: Duration,
    ) -> Result<Response<ResponseBody>, SendError> {
        match timeout(limit, self.sender.try_send_request(request)).await {
            Ok(Ok(response)) => Ok(response.map(|incoming| ResponseBody::new(incoming, self))),
            Ok(Err(mut error)) => Err(match error.take_message() {
                Some(request) => SendError::Unsent(Box::new(request)),
                None => SendError::Broken(error.into_error()),
            }),
            Err(_) => Err(SendError::TimedOut),
        }
    }

    fn put_back(self) {
        self.pool.put_back(self.sender);
    }
}

#[cfg(test)]
mod tests;
