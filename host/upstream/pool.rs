//! Connections of one worker to one upstream, and the bodies of answers, which return a connection
//! to its pool.

use super::body::RequestBody;
use super::framing::{self, ConnectionReuse};
use super::h1::{ConnectError, H1, SendError};
use super::runtime::Upstream;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Connections that were idle longer than this are not used for requests that must not be sent
/// twice. Servers close idle connections (Node and uvicorn after 5 s, gunicorn after 2 s), and a
/// request that crosses such a close has an unknown outcome.
const FRESH: Duration = Duration::from_secs(1);
/// Idle connections older than this are closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Idle connections for each worker and upstream.
const IDLE_COUNT_MAX: usize = 512;

/// The traffic that a connection carries. A connection never changes over: what a service sends late, or
/// sends too much of, to a request that nobody guards must not become the recorded answer of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// Executions of operations, and questions about their outcomes.
    Guarded,
    /// Requests that are passed on.
    Unguarded,
}

/// The pools of one worker, by the upstream's name and the traffic.
#[derive(Debug, Default)]
pub struct Pools(RefCell<PoolMap>);

type PoolMap = HashMap<(Arc<str>, Traffic), Rc<Pool>>;

/// Connections of one worker to one upstream.
#[derive(Debug)]
pub struct Pool {
    upstream: Arc<Upstream>,
    idle: RefCell<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: H1,
    since: Instant,
}

/// A connection in use by one exchange alone.
#[derive(Debug)]
pub(super) struct Connection {
    h1: H1,
    pool: Rc<Pool>,
}

/// The body of an answer. At the body's end the connection goes back to its pool, if it may be used again. A
/// body that is dropped before its end closes the connection.
#[derive(Debug)]
pub struct ResponseBody {
    incoming: Incoming,
    connection: Option<Connection>,
}

impl Pools {
    /// The connections to an upstream for this traffic. A reload that changes an upstream makes another pool.
    pub fn of(&self, upstream: &Arc<Upstream>, traffic: Traffic) -> Rc<Pool> {
        let mut pools = self.0.borrow_mut();
        let key = (upstream.name().clone(), traffic);
        match pools.get(&key) {
            Some(pool) if Arc::ptr_eq(&pool.upstream, upstream) => pool.clone(),
            _ => {
                let pool = Pool::new(upstream.clone());
                pools.insert(key, pool.clone());
                pool
            }
        }
    }
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(upstream: Arc<Upstream>) -> Rc<Self> {
        Rc::new(Self { upstream, idle: RefCell::default() })
    }

    /// The upstream of these connections.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// An idle connection, or a new one. `fresh`: the connection is for a request that must not be sent
    /// twice.
    pub(super) async fn connection(self: &Rc<Self>, fresh: bool) -> Result<Connection, ConnectError> {
        let h1 = match self.take_idle(if fresh { FRESH } else { IDLE_MAX }) {
            Some(idle) => idle,
            None => H1::connect(&self.upstream.config).await?,
        };
        Ok(Connection { h1, pool: self.clone() })
    }

    fn take_idle(&self, age_max: Duration) -> Option<H1> {
        let mut idle = self.idle.borrow_mut();
        let now = Instant::now();
        idle.retain(|idle| !idle.connection.is_closed() && now - idle.since < IDLE_MAX);
        // The latest connection comes first: the other side is least likely to close it.
        let at = idle.iter().rposition(|idle| idle.connection.is_ready())?;
        if now - idle[at].since >= age_max {
            return None;
        }
        Some(idle.remove(at).connection)
    }

    fn put_back(&self, connection: H1) {
        let mut idle = self.idle.borrow_mut();
        if !connection.is_closed() && idle.len() < IDLE_COUNT_MAX {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}

impl Connection {
    /// Sends a request and waits for the head of its answer, at most `limit`. The connection goes
    /// back to its pool at the end of the answer's body.
    pub(super) async fn send(
        mut self,
        request: Request<RequestBody>,
        limit: Duration,
    ) -> Result<Response<ResponseBody>, SendError> {
        let asked = request.method().clone();
        let mut response = self.h1.send(request, limit).await?;
        let reuse = framing::renew(&asked, &mut response).map_err(SendError::Unreadable)?;
        Ok(response
            .map(|incoming| ResponseBody::new(incoming, (reuse == ConnectionReuse::Safe).then_some(self))))
    }

    #[cfg(test)]
    pub(super) fn is_closed(&self) -> bool {
        self.h1.is_closed()
    }
}

impl ResponseBody {
    fn new(incoming: Incoming, connection: Option<Connection>) -> Self {
        let mut body = Self { incoming, connection };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        if let Some(Connection { h1, pool }) = self.connection.take() {
            pool.put_back(h1);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.incoming).poll_frame(cx));
        if frame.is_none() || (matches!(frame, Some(Ok(_))) && this.incoming.is_end_stream()) {
            this.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
