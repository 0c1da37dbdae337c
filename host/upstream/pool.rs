//! Connections of one worker to one upstream, and the bodies of answers, which return a connection
//! to its pool.

use super::body::RequestBody;
use super::framing::{self, ConnectionReuse};
use super::h1::{ConnectError, H1, SendError};
use super::runtime::Upstream;
use super::sockets::UpstreamSockets;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Connections that were idle longer than this are not used for requests that must not be sent
/// twice. Servers close idle connections (Node and uvicorn after 5 s, gunicorn after 2 s), and a
/// request that crosses such a close has an unknown outcome.
pub(super) const FRESH: Duration = Duration::from_secs(1);
/// Idle connections older than this are closed.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(60);
/// Idle connections for each worker and upstream.
const IDLE_COUNT_MAX: usize = 512;

/// The traffic that a connection carries. A connection never changes over: what a service sends late, or
/// sends too much of, to a request that nobody guards must not become the recorded answer of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Executions of operations, and questions about their outcomes.
    Guarded,
    /// Requests that are passed on.
    Unguarded,
}

/// The pools of one worker, by the upstream's name and the traffic.
#[derive(Debug, Default)]
pub struct Pools(RefCell<Vec<(Traffic, Rc<Pool>)>>);

/// Connections of one worker to one upstream.
#[derive(Debug)]
pub struct Pool {
    upstream: Arc<Upstream>,
    /// Idle connections, those that were used last at the end.
    idle: RefCell<Vec<Idle>>,
    /// Connections that were idle for this long are closed.
    idle_max: Duration,
    /// A task closes connections that stay idle.
    is_tidied: Cell<bool>,
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
    /// Another request went over it before. The other side may be about to end it.
    pub(super) is_used: bool,
}

/// The body of an answer. At the body's end the connection goes back to its pool, if it may be used again. A
/// body that is dropped before its end closes the connection, and so does one that ends before the request is written.
#[derive(Debug)]
pub struct ResponseBody {
    incoming: Incoming,
    connection: Option<Connection>,
    /// What becomes of the connection at the body's end.
    reuse: ConnectionReuse,
    /// How long the body may stand still.
    idle: Duration,
    is_watched: bool,
    /// Runs while a piece of a watched body is awaited.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why an answer's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection ended, or what came is no body.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// No piece came in time.
    #[error("the answer stopped arriving")]
    Stalled,
}

impl Pools {
    /// The connections to an upstream for this traffic. A reload that changes an upstream makes another pool.
    pub fn of(&self, upstream: &Arc<Upstream>, traffic: Traffic) -> Rc<Pool> {
        let mut pools = self.0.borrow_mut();
        // Upstreams are few: a look at each is cheaper than a hash of the name.
        let is_its =
            |(own, pool): &&(Traffic, Rc<Pool>)| *own == traffic && Arc::ptr_eq(&pool.upstream, upstream);
        if let Some((_, pool)) = pools.iter().find(is_its) {
            return pool.clone();
        }
        let pool = Pool::new(upstream.clone());
        pools.retain(|(_, pool)| !pool.upstream.is_retired());
        pools.push((traffic, pool.clone()));
        pool
    }
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(upstream: Arc<Upstream>) -> Rc<Self> {
        Self::lasting(upstream, IDLE_MAX)
    }

    /// An empty pool that closes connections which were idle for this long.
    pub(super) fn lasting(upstream: Arc<Upstream>, idle_max: Duration) -> Rc<Self> {
        Rc::new(Self { upstream, idle: RefCell::default(), idle_max, is_tidied: Cell::new(false) })
    }

    /// The upstream of these connections.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// A connection that was idle for less than `age_max`, or a new one.
    pub(super) async fn connection(self: &Rc<Self>, age_max: Duration) -> Result<Connection, ConnectError> {
        if !self.idle.borrow().is_empty() {
            // A connection learns what has arrived on it when the runtime has asked the system, which yielding makes it
            // do. What is there before a request is no answer to it.
            tokio::task::yield_now().await;
        }
        let (h1, is_used) = match self.take_idle(age_max) {
            Some(idle) => (idle, true),
            None => (self.connect().await?, false),
        };
        Ok(Connection { h1, pool: self.clone(), is_used })
    }

    async fn connect(&self) -> Result<H1, ConnectError> {
        let Upstream { config, sockets, .. } = &*self.upstream;
        let place = UpstreamSockets::place(sockets, &config.name, config.connect_timeout).await;
        H1::connect(config, place.ok_or(ConnectError::NoPlace)?).await
    }

    fn take_idle(&self, age_max: Duration) -> Option<H1> {
        let mut idle = self.idle.borrow_mut();
        while idle.last().is_some_and(|idle| idle.connection.is_closed()) {
            idle.pop();
        }
        // The latest connection comes first: the other side is least likely to close it.
        let at = idle.iter().rposition(|idle| idle.connection.is_ready())?;
        if Instant::now() - idle[at].since >= age_max.min(self.idle_max) {
            return None;
        }
        let connection = idle.remove(at).connection;
        connection.idles(false);
        Some(connection)
    }

    /// Takes a connection back whose answer has ended. One whose request is still being written ends.
    fn put_back(self: &Rc<Self>, mut connection: H1) {
        if !connection.is_free_again() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let now = Instant::now();
        if idle.len() >= IDLE_COUNT_MAX {
            idle.retain(|idle| idle.stays(now, self.idle_max));
        }
        if idle.len() >= IDLE_COUNT_MAX || self.upstream.is_retired() || self.upstream.sockets.are_scarce() {
            return;
        }
        connection.idles(true);
        idle.push(Idle { connection, since: now });
        if !self.is_tidied.replace(true) {
            tokio::task::spawn_local(tidy(Rc::downgrade(self)));
        }
    }

    /// Closes what was idle for too long, or all where others wait for places or the upstream is retired. Returns when
    /// the next one will have been; none: none is left.
    fn close_idle(&self) -> Option<Instant> {
        let (mut idle, now) = (self.idle.borrow_mut(), Instant::now());
        let is_kept = !self.upstream.is_retired() && !self.upstream.sockets.are_awaited();
        idle.retain(|idle| is_kept && idle.stays(now, self.idle_max));
        let next = idle.first().map(|oldest| oldest.since + self.idle_max);
        self.is_tidied.set(next.is_some());
        next
    }
}

impl Idle {
    fn stays(&self, now: Instant, idle_max: Duration) -> bool {
        !self.connection.is_closed() && now - self.since < idle_max
    }
}

/// Closes connections that stay idle, or whose places are recalled, until the pool has none, or is gone.
async fn tidy(pool: Weak<Pool>) {
    let Some(sockets) = pool.upgrade().map(|pool| pool.upstream.sockets.clone()) else { return };
    loop {
        let mut recalled = pin!(sockets.recalled());
        // Registered first, so that no recall is lost between the look and the wait.
        recalled.as_mut().enable();
        let Some(next) = pool.upgrade().and_then(|pool| pool.close_idle()) else { return };
        tokio::select! {
            () = sleep_until(next) => {}
            () = recalled => {}
        }
    }
}

impl Connection {
    /// Sends a request and waits for the head of its answer, at most `limit`. The connection goes
    /// back to its pool at the end of the answer's body.
    pub(super) async fn send(
        mut self,
        request: Box<Request<RequestBody>>,
        limit: Duration,
    ) -> Result<Response<ResponseBody>, SendError> {
        let asked = request.method().clone();
        let is_its_callers = framing::names_connections_caller(request.headers(), header::AUTHORIZATION);
        let idle = self.pool.upstream.config.body_idle_timeout;
        let mut response = self.h1.send(request, limit, idle).await?;
        let mut reuse = framing::renew(&asked, &mut response).map_err(SendError::Unreadable)?;
        if is_its_callers {
            reuse = ConnectionReuse::Unsafe;
        }
        Ok(response.map(|incoming| ResponseBody::new(incoming, self, reuse, idle)))
    }

    #[cfg(test)]
    pub(super) fn is_closed(&self) -> bool {
        self.h1.is_closed()
    }
}

impl ResponseBody {
    fn new(incoming: Incoming, connection: Connection, reuse: ConnectionReuse, idle: Duration) -> Self {
        let connection = Some(connection);
        let mut body = Self { incoming, connection, reuse, idle, is_watched: false, timer: None };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        let Some(Connection { mut h1, pool, .. }) = self.connection.take() else { return };
        match self.reuse {
            ConnectionReuse::Safe => pool.put_back(h1),
            // It ends here, and in order if its request was written.
            ConnectionReuse::Unsafe => _ = h1.is_free_again(),
        }
    }

    /// The same body, which breaks off when no piece comes within the upstream's `body_idle_timeout`.
    #[must_use]
    pub fn watched(mut self) -> Self {
        self.is_watched = true;
        self
    }

    /// Tells that the body breaks off, where nobody else does: the body of an execution is told of with its outcome.
    fn cut(&self, error: BodyError) -> BodyError {
        if let Some(connection) = self.connection.as_ref().filter(|_| self.is_watched) {
            let upstream = &connection.pool.upstream;
            upstream.metrics.cut.inc();
            tracing::warn!(upstream = &**upstream.name(), %error, "an answer to an unguarded request was cut short");
        }
        error
    }

    /// Whether the next piece has been awaited for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_watched {
            return Poll::Pending;
        }
        self.timer.get_or_insert_with(|| Box::pin(sleep(self.idle))).as_mut().poll(cx)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            return this.poll_idle(cx).map(|()| Some(Err(this.cut(BodyError::Stalled))));
        };
        this.timer = None;
        // Nobody need ask for what comes behind trailers.
        let is_last = |frame: &Frame<Bytes>| frame.is_trailers() || this.incoming.is_end_stream();
        if frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(is_last)) {
            this.finish();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| this.cut(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
