//! Sends a request to an upstream and waits for the head of its answer. The caller says what the lack of a
//! head means: the guarded and the unguarded way differ.

use super::body::RequestBody;
use super::framing;
use super::h1::{FIELDS_MAX, SendError};
use super::pool::{FRESH, IDLE_MAX, Pool, ResponseBody};
use http::{Request, Response, StatusCode, header};
use std::rc::Rc;
use std::time::Duration;

/// How many connections are tried with a request that is handed back unsent, before the upstream counts
/// as unreachable.
const CONNECTIONS_TRIED_MAX: usize = 3;

/// The reason why there is no head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHead {
    /// Nothing was sent: there is no connection.
    Unreachable,
    /// Nothing was sent: `may_send` said no.
    Forbidden,
    /// The request may have been sent, and the connection ended.
    Broken,
    /// The request was sent, and the framing of its answer can't be read.
    Unreadable,
    /// The request may have been sent, and the service switched to a protocol that was not offered, or too early.
    Switched,
    /// The request may have been sent, and no head came in time.
    TimedOut,
    /// The client broke its request off, or stopped bringing it. A part of it was sent.
    Aborted,
}

/// How often a request may be sent (RFC 9110 §9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// Once. So a connection that was idle for long is not used.
    Once,
    /// Once more, where the request crossed the end of a connection that was used before.
    Repeatable,
}

impl Pool {
    /// Sends a request and waits for the head of its answer, at most `limit` after the request's end.
    /// `may_send` is asked on each connection, right before the first byte. The request is boxed, because each
    /// future on its way would have room for it twice.
    pub async fn exchange(
        self: &Rc<Self>,
        mut request: Box<Request<RequestBody>>,
        limit: Duration,
        sending: Sending,
        may_send: impl Fn() -> bool,
    ) -> Result<Response<ResponseBody>, NoHead> {
        let metrics = &self.upstream().metrics;
        let mut age_max = if sending == Sending::Once { FRESH } else { IDLE_MAX };
        for _ in 0..CONNECTIONS_TRIED_MAX {
            let connection = match self.connection(age_max).await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(upstream = &**self.upstream().name(), %error, "upstream unreachable");
                    break;
                }
            };
            if !may_send() {
                return Err(NoHead::Forbidden);
            }
            let may_switch = request.headers().contains_key(header::UPGRADE);
            let may_repeat = sending == Sending::Repeatable && connection.is_used && !may_switch;
            let copy = if may_repeat { copy(&request).map(Box::new) } else { None };
            let sent = counted(connection.send(request, limit), || _ = metrics.aborted.inc());
            match (sent.await, copy) {
                (Ok(response), Some(copy)) if is_of_an_idle_connection(&response) => {
                    (request, age_max) = (copy, Duration::ZERO);
                }
                (Ok(response), _) => {
                    metrics.answered.inc();
                    return Ok(response);
                }
                (Err(SendError::Unsent(unsent)), _) => request = unsent,
                (Err(SendError::Broken(error)), Some(copy)) if has_ended(&error) => {
                    // Other connections that were idle may have ended with this one.
                    (request, age_max) = (copy, Duration::ZERO);
                }
                (Err(error), _) => return Err(self.no_head(&error, limit)),
            }
        }
        metrics.unreachable.inc();
        Err(NoHead::Unreachable)
    }

    /// Counts and logs what became of a request that was begun.
    fn no_head(&self, error: &SendError, limit: Duration) -> NoHead {
        let (upstream, metrics) = (&**self.upstream().name(), &self.upstream().metrics);
        match error {
            // `Unsent` is the caller's.
            SendError::Unsent(_) => NoHead::Unreachable,
            SendError::Broken(error) => {
                if error.is_parse_too_large() {
                    tracing::warn!(
                        upstream,
                        "the head of an answer may have {FIELDS_MAX} fields and 400 KiB"
                    );
                }
                tracing::warn!(upstream, %error, "upstream broke off");
                metrics.broken.inc();
                NoHead::Broken
            }
            SendError::Unreadable(error) => {
                tracing::warn!(upstream, %error, "an upstream's answer can't be read");
                metrics.broken.inc();
                NoHead::Unreadable
            }
            SendError::Switched => {
                tracing::warn!(
                    upstream,
                    "an upstream switched to a protocol that was not offered, or before it had the whole request"
                );
                metrics.broken.inc();
                NoHead::Switched
            }
            SendError::TimedOut => {
                tracing::warn!(upstream, ?limit, "upstream timed out");
                metrics.timed_out.inc();
                NoHead::TimedOut
            }
            SendError::Stalled => {
                tracing::warn!(upstream, "upstream stopped taking a request");
                metrics.timed_out.inc();
                NoHead::TimedOut
            }
            SendError::Client => {
                tracing::debug!(upstream, "a client broke its request off");
                metrics.aborted.inc();
                NoHead::Aborted
            }
        }
    }
}

/// Calls `dropped` if an exchange is dropped before it ends: its client has left, or the gateway gave it up.
async fn counted<T>(exchange: impl Future<Output = T>, dropped: impl Fn()) -> T {
    struct UnderWay<F: Fn()>(Option<F>);
    impl<F: Fn()> Drop for UnderWay<F> {
        fn drop(&mut self) {
            self.0.iter().for_each(|dropped| dropped());
        }
    }
    let mut under_way = UnderWay(Some(dropped));
    let ended = exchange.await;
    under_way.0 = None;
    ended
}

/// The same request, where its body is there.
fn copy(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let mut copy = Request::new(request.body().copy()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Whether this is what a service says when it closes a connection on which no request came for too long, which the
/// request crossed: it may be sent again on a new connection (RFC 9110 §15.5.9).
fn is_of_an_idle_connection<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::REQUEST_TIMEOUT && framing::closes(response.headers())
}

/// Whether the connection ended, and no more than interim answers and a part of a head had come. The service may have
/// begun: only what is idempotent asks.
fn has_ended(error: &hyper::Error) -> bool {
    let by_system =
        std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || by_system
}
