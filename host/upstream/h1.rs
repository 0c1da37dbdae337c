//! A client connection of HTTP/1.1, by hyper.

use super::body::RequestBody;
use super::framing::UnreadableFraming;
use super::sockets::UpstreamSocket;
use super::upload::{RanOut, ran_out};
use super::wire::Wire;
use super::writes::Writes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use oncegate_config as config;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The most fields that an answer's head may have, and its trailers.
pub(super) const FIELDS_MAX: usize = 256;

/// A connection to an upstream.
#[derive(Debug)]
pub(super) struct H1 {
    sender: SendRequest<RequestBody>,
    writes: Arc<Writes>,
    /// The task that drives the connection, and has its place.
    driver: JoinHandle<()>,
}

/// The reason why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The process has no file for one more connection.
    #[error("the process may not open more files: raise its limit (`ulimit -Hn`, `LimitNOFILE=`)")]
    NoPlace,
    /// The connection took longer than `connect_timeout`.
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
        /// The error from the system.
        cause: std::io::Error,
    },
    /// The connection broke before it could be used.
    #[error("the connection to {address} broke at once: {cause}")]
    Handshake {
        /// Host and port.
        address: String,
        /// The error from hyper.
        cause: hyper::Error,
    },
}

/// The reason why there is no answer.
#[derive(Debug)]
pub enum SendError {
    /// The request was handed back: not a byte of it was sent.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended. The request may have been sent.
    Broken(hyper::Error),
    /// An answer came whose framing can't be read. The request was sent.
    Unreadable(UnreadableFraming),
    /// No head of an answer came within the time. The request may have been sent.
    TimedOut,
    /// The client broke its body off, or stopped bringing it. The request was sent in part.
    Client,
    /// The upstream stopped taking the request's body.
    Stalled,
}

impl From<RanOut> for SendError {
    fn from(what: RanOut) -> Self {
        match what {
            RanOut::Answer => Self::TimedOut,
            RanOut::Upstream => Self::Stalled,
            RanOut::Client => Self::Client,
        }
    }
}

impl H1 {
    /// Opens a connection, which has `place` until it ends. A task of its own drives the connection, and ends with it.
    pub(super) async fn connect(
        upstream: &config::UpstreamConfig,
        place: UpstreamSocket,
    ) -> Result<Self, ConnectError> {
        let address = || format!("{}:{}", upstream.host, upstream.port);
        let limit = upstream.connect_timeout;
        let host = upstream.host.trim_start_matches('[').trim_end_matches(']');
        let stream = match timeout(limit, TcpStream::connect((host, upstream.port))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => return Err(ConnectError::Refused { address: address(), cause }),
            Err(_) => return Err(ConnectError::TimedOut { address: address(), limit }),
        };
        // Requests go out in one piece; waiting for more data would only delay them.
        let _ = stream.set_nodelay(true);
        let writes = Writes::new();
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(false)
            // What can be mended in a head is mended (RFC 9112 §5.1, §5.2).
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .max_headers(FIELDS_MAX)
            .handshake(TokioIo::new(Wire::new(stream, writes.clone())))
            .await
            .map_err(|cause| ConnectError::Handshake { address: address(), cause })?;
        let driver = tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "an upstream connection ended");
            }
            drop(place);
        });
        Ok(Self { sender, writes, driver })
    }

    /// Closes a connection that nothing is under way on. Its place is free then.
    pub(super) async fn close(self) {
        let Self { sender, driver, .. } = self;
        drop(sender);
        driver.abort();
        // It was aborted, or has ended.
        let _ = driver.await;
    }

    /// Whether the other side has ended the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether the connection takes a request now.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer, at most `limit` after the end of the request. A
    /// body may stand still for `idle` on its way.
    pub(super) async fn send(
        &mut self,
        request: Box<Request<RequestBody>>,
        limit: Duration,
        idle: Duration,
    ) -> Result<Response<Incoming>, SendError> {
        let upload = request.body().upload();
        let sending = self.sender.try_send_request(*request);
        let sent = match &upload {
            None => tokio::select! {
                biased;
                sent = sending => sent,
                what = ran_out(&self.writes, limit, idle) => return Err(what.into()),
            },
            Some(upload) => {
                upload.begins(&self.writes);
                tokio::select! {
                    biased;
                    sent = sending => sent,
                    what = upload.ran_out(&self.writes, limit, idle) => return Err(what.into()),
                }
            }
        };
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => SendError::Unsent(Box::new(request)),
            None if upload.is_some_and(|upload| upload.is_broken()) => SendError::Client,
            None => SendError::Broken(error.into_error()),
        })
    }
}

/// Sends one request on a connection of its own. For the gateway's own commands.
pub async fn send_once(
    stream: TcpStream,
    request: Request<http_body_util::Full<bytes::Bytes>>,
) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The task ends when the answer is read or dropped, or with the runtime.
    tokio::spawn(connection);
    sender.send_request(request).await
}
