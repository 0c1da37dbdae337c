//! Sending a request upstream, as far as the head of its answer. What the lack of one means is for
//! the guarded and the unguarded way to say.

use crate::gateway::request::route::Route;
use crate::gateway::worker::Worker;
use crate::upstream::{RequestBody, ResponseBody, SendError};
use http::{Request, Response};

/// A request handed back unsent is tried on this many connections before the upstream counts as
/// unreachable.
const CONNECTIONS_TRIED_MAX: usize = 3;

/// Why there is no head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHead {
    /// Nothing was sent: there is no connection.
    Unreachable,
    /// Nothing was sent: `may_send` said no.
    Forbidden,
    /// It may have been sent, and the connection ended.
    Broken,
    /// It may have been sent, and no head came in time.
    TimedOut,
}

/// Sends a request. `fresh`: it must not be sent twice. `may_send` is asked on each connection,
/// right before the first byte.
pub async fn send(
    worker: &Worker,
    route: &Route,
    mut request: Request<RequestBody>,
    fresh: bool,
    may_send: impl Fn() -> bool,
) -> Result<Response<ResponseBody>, NoHead> {
    let active = worker.active();
    let upstream = &*route.upstream.name;
    let metrics = active.upstreams.get(upstream);
    let may_switch = request.headers().contains_key(http::header::UPGRADE);
    let pool = worker.pool(&route.upstream);
    let limit = route.config.response_timeout.unwrap_or(route.upstream.response_timeout);
    for _ in 0..CONNECTIONS_TRIED_MAX {
        let connection = match pool.connection(fresh).await {
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
            Ok(response) if response.status() == http::StatusCode::SWITCHING_PROTOCOLS && !may_switch => {
                tracing::warn!(
                    upstream,
                    "upstream answered 101 to a request that asked for no other protocol"
                );
                metrics.inspect(|metrics| _ = metrics.broken.inc());
                return Err(NoHead::Broken);
            }
            Ok(response) => {
                metrics.inspect(|metrics| _ = metrics.answered.inc());
                return Ok(response);
            }
            Err(SendError::Unsent(unsent)) => request = *unsent,
            Err(SendError::Broken(error)) => {
                tracing::warn!(upstream, %error, "upstream broke off");
                metrics.inspect(|metrics| _ = metrics.broken.inc());
                return Err(NoHead::Broken);
            }
            Err(SendError::TimedOut) => {
                tracing::warn!(upstream, ?limit, "upstream timed out");
                metrics.inspect(|metrics| _ = metrics.timed_out.inc());
                return Err(NoHead::TimedOut);
            }
        }
    }
    metrics.inspect(|metrics| _ = metrics.unreachable.inc());
    Err(NoHead::Unreachable)
}
