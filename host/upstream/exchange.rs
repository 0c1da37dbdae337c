//! Sends a request to an upstream and waits for the head of its answer. The caller says what the lack of a
//! head means: the guarded and the unguarded way differ.

use super::body::RequestBody;
use super::h1::{FIELDS_MAX, SendError};
use super::pool::{Pool, ResponseBody};
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
    /// The request may have been sent, and no head came in time.
    TimedOut,
}

impl Pool {
    /// Sends a request and waits for the head of its answer, at most `limit`. `fresh`: the request must
    /// not be sent twice. `may_send` is asked on each connection, right before the first byte.
    pub async fn exchange(
        self: &Rc<Self>,
        mut request: Request<RequestBody>,
        limit: Duration,
        fresh: bool,
        may_send: impl Fn() -> bool,
    ) -> Result<Response<ResponseBody>, NoHead> {
        let (upstream, metrics) = (&**self.upstream().name(), &self.upstream().metrics);
        let may_switch = request.headers().contains_key(header::UPGRADE);
        for _ in 0..CONNECTIONS_TRIED_MAX {
            let connection = match self.connection(fresh).await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(upstream, %error, "upstream unreachable");
                    break;
                }
            };
            if !may_send() {
                return Err(NoHead::Forbidden);
            }
            match connection.send(request, limit).await {
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS && !may_switch => {
                    tracing::warn!(
                        upstream,
                        "upstream answered 101 to a request that asked for no other protocol"
                    );
                    metrics.broken.inc();
                    return Err(NoHead::Broken);
                }
                Ok(response) => {
                    metrics.answered.inc();
                    return Ok(response);
                }
                Err(SendError::Unsent(unsent)) => request = *unsent,
                Err(SendError::Broken(error)) => {
                    if error.is_parse_too_large() {
                        tracing::warn!(
                            upstream,
                            "the head of an answer may have {FIELDS_MAX} fields and 400 KiB"
                        );
                    }
                    tracing::warn!(upstream, %error, "upstream broke off");
                    metrics.broken.inc();
                    return Err(NoHead::Broken);
                }
                Err(SendError::Unreadable(error)) => {
                    tracing::warn!(upstream, %error, "an upstream's answer can't be read");
                    metrics.broken.inc();
                    return Err(NoHead::Unreadable);
                }
                Err(SendError::TimedOut) => {
                    tracing::warn!(upstream, ?limit, "upstream timed out");
                    metrics.timed_out.inc();
                    return Err(NoHead::TimedOut);
                }
            }
        }
        metrics.unreachable.inc();
        Err(NoHead::Unreachable)
    }
}
