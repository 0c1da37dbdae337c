//! A client connection of HTTP/1.1, by hyper.

use super::body::RequestBody;
use super::framing::{UnreadableFraming, elements};
use super::sockets::UpstreamSocket;
use super::upload::{RanOut, ran_out};
use super::wire::Wire;
use super::writes::Writes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use oncegate_config as config;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The most fields that an answer's head may have, and its trailers.
pub(super) const FIELDS_MAX: usize = 256;

/// A connection to an upstream. It ends when this is dropped, whatever hyper still has to write: hyper would go on
/// writing a request whose exchange has ended as soon as the service reads on, and for as long as it doesn't read keep
/// the connection (<https://github.com/hyperium/hyper/issues/4176>).
#[derive(Debug)]
pub(super) struct H1 {
    sender: SendRequest<RequestBody>,
    writes: Arc<Writes>,
    /// The task that drives the connection.
    driver: JoinHandle<()>,
    /// The connection's place, which its socket holds.
    place: Weak<UpstreamSocket>,
    state: ConnectionState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    /// Nothing is under way.
    Idle,
    /// A request was begun, and its answer has not ended, or has ended before the request.
    UnderWay,
    /// The connection speaks another protocol, and belongs to who carries it.
    Switched,
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
    /// The service switched to another protocol, which the request did not offer, or before it had the whole request.
    Switched,
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
    /// Opens a connection, whose socket has `place` until it is closed. A task of its own drives the connection, and ends with it.
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
        let (writes, place) = (Writes::new(), Arc::new(place));
        let held = Arc::downgrade(&place);
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(false)
            // What can be mended in a head is mended (RFC 9112 §5.1, §5.2).
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .max_headers(FIELDS_MAX)
            .handshake(TokioIo::new(Wire::new(stream, writes.clone(), place)))
            .await
            .map_err(|cause| ConnectError::Handshake { address: address(), cause })?;
        let driver = tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "an upstream connection ended");
            }
        });
        Ok(Self { sender, writes, driver, place: held, state: ConnectionState::Idle })
    }

    /// Notes whether the connection waits for its next request, or its end, so that its place can be waited for.
    pub(super) fn idles(&self, is_idle: bool) {
        if let Some(place) = self.place.upgrade() {
            place.idles(is_idle);
        }
    }

    /// The answer has come to its end. Returns whether the connection takes another request: not if a part of this one
    /// is still to be written or sent.
    pub(super) fn is_free_again(&mut self) -> bool {
        let is_free = self.is_ready() && !self.writes.may_be_behind();
        if is_free {
            self.state = ConnectionState::Idle;
        }
        is_free
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
        let offer = request.headers().get(header::UPGRADE).cloned();
        self.state = ConnectionState::UnderWay;
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
        if let Ok(answer) = &sent
            && answer.status() == StatusCode::SWITCHING_PROTOCOLS
        {
            let is_whole = upload.as_ref().is_none_or(|upload| upload.is_over());
            if !(is_whole && is_offered(offer, answer.headers())) {
                // The connection may be the answer's by now, and ends with it.
                self.writes.cut();
                return Err(SendError::Switched);
            }
            self.state = ConnectionState::Switched;
            self.writes.switched();
        }
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => SendError::Unsent(Box::new(request)),
            None if upload.is_some_and(|upload| upload.is_broken()) => SendError::Client,
            None => SendError::Broken(error.into_error()),
        })
    }
}

impl Drop for H1 {
    fn drop(&mut self) {
        match self.state {
            ConnectionState::Idle => {}
            // The service must not get the rest of a request whose exchange has ended.
            ConnectionState::UnderWay => self.writes.cut(),
            ConnectionState::Switched => return,
        }
        // Its place is free as soon as the task has ended, and with it the socket.
        self.idles(true);
        self.driver.abort();
    }
}

/// Whether an answer switches to one of the protocols of this offer.
fn is_offered(offer: Option<HeaderValue>, answer: &HeaderMap) -> bool {
    let offered: HeaderMap = offer.map(|offer| (header::UPGRADE, offer)).into_iter().collect();
    let mut chosen = elements(answer, header::UPGRADE);
    let (Some(one), None) = (chosen.next(), chosen.next()) else { return false };
    elements(&offered, header::UPGRADE).any(|own| own.eq_ignore_ascii_case(one))
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
