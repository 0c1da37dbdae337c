//! One client connection: hyper's server, and what bounds it in time.
//!
//! hyper's own header timeout arms a timer for each request and counts idleness as a slow head.
//! Here a connection notes when it was last of use, and one task for each worker looks at all of
//! them once a second.

use crate::gateway::answer::body::AnswerBody;
use crate::gateway::answer::problem::{Code, Problem};
use crate::gateway::shared::Counted;
use crate::gateway::worker::Worker;
use crate::gateway::{Peer, handle};
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A connection that was accepted from the queue at the end has so long to bring a request, or it is
/// closed unheard.
const FIRST_WORD: Duration = Duration::from_millis(100);
/// hyper takes no smaller buffer.
const HEAD_BYTES_MIN: usize = 8192;

/// Serves a connection until either side ends it.
pub async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: Peer, idle: Rc<IdleTimer>) {
    let _counted = Counted::new(&worker.shared, |shared| &shared.connections);
    let limit = worker.active().config.server.limits.header_bytes.max(HEAD_BYTES_MIN);
    let activity = Arc::new(Activity::new());
    idle.add(&activity);
    let ending = Rc::new(worker.shared.draining.subscribe());
    let came_late = *ending.borrow();
    let service = service_fn({
        let (worker, activity) = (worker.clone(), activity.clone());
        move |request: Request<Incoming>| {
            let busy = Busy::new(&activity);
            let worker = worker.clone();
            let ambiguous = activity.ambiguous.swap(false, Ordering::Relaxed);
            let ending = ending.clone();
            // Else hyper moves it, and each connection has room for it, used or not: nine kilobytes.
            Box::pin(async move {
                let mut response = match ambiguous {
                    true => ambiguous_framing().into_response(),
                    false => handle(worker, peer, request).await,
                };
                // From the first moment on: hyper is told a little later, for the sake of what is queued.
                let is_ending = came_late || ending.has_changed().unwrap_or(true);
                if is_ending && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response.map(|body| BusyBody { body, _busy: busy }))
            })
        }
    });
    let io = TokioIo::new(TrackedIo { stream, activity: activity.clone() });
    // Without `pipeline_flush`, which would take the bound off what is written: an answer to a slow
    // client would be in memory whole.
    let connection = http1::Builder::new().max_buf_size(limit).serve_connection(io, service).with_upgrades();
    let mut connection = pin!(connection);
    let mut draining = worker.shared.draining.subscribe();
    let (mut is_draining, mut told) = (false, false);
    loop {
        tokio::select! {
            // A request that is here already is read before it can come too late.
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %peer.address, %error, "a connection ended");
                }
                return;
            }
            () = activity.close.notified() => return,
            _ = draining.wait_for(|draining| *draining), if !is_draining => is_draining = true,
            () = activity.first_word(), if is_draining && !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// When a connection was last of use. Only its worker touches it; the atomics are there because
/// hyper hands a stream that can be upgraded across threads.
#[derive(Debug)]
struct Activity {
    opened: Instant,
    requests: AtomicU32,
    /// Milliseconds after `opened`: when it became idle, or the head began.
    since: AtomicU64,
    head_begun: AtomicBool,
    /// Anything has come at all.
    is_heard: AtomicBool,
    /// The head says in two ways where its body ends.
    ambiguous: AtomicBool,
    close: Notify,
}

impl Activity {
    fn new() -> Self {
        Self {
            opened: Instant::now(),
            requests: AtomicU32::new(0),
            since: AtomicU64::new(0),
            head_begun: AtomicBool::new(false),
            is_heard: AtomicBool::new(false),
            ambiguous: AtomicBool::new(false),
            close: Notify::new(),
        }
    }

    fn mark(&self) {
        self.since.store(self.age(), Ordering::Relaxed);
    }

    fn age(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits for the first bytes of a connection, for a bounded time. In any case it waits once, in
    /// which the runtime finds out what has come in already.
    async fn first_word(&self) {
        let deadline = Instant::now() + FIRST_WORD;
        loop {
            tokio::time::sleep(FIRST_WORD / 20).await;
            if self.is_heard.load(Ordering::Relaxed) || Instant::now() >= deadline {
                return;
            }
        }
    }

    fn is_overdue(&self, head_max: Duration, idle_max: Duration) -> bool {
        let limit = if self.head_begun.load(Ordering::Relaxed) { head_max } else { idle_max };
        let quiet = Duration::from_millis(self.age().saturating_sub(self.since.load(Ordering::Relaxed)));
        self.requests.load(Ordering::Relaxed) == 0 && quiet > limit
    }
}

/// A request that is being answered.
#[derive(Debug)]
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.head_begun.store(false, Ordering::Relaxed);
        Self(activity.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
        self.0.mark();
    }
}

/// A worker's connections.
#[derive(Debug, Default)]
pub struct IdleTimer(RefCell<Vec<Weak<Activity>>>);

impl IdleTimer {
    fn add(&self, activity: &Arc<Activity>) {
        self.0.borrow_mut().push(Arc::downgrade(activity));
    }

    /// Closes connections that are idle for too long, or whose head takes too long.
    pub async fn run(self: Rc<Self>, worker: Rc<Worker>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let active = worker.active();
            let limits = &active.config.server.limits;
            self.0.borrow_mut().retain(|activity| {
                let Some(activity) = activity.upgrade() else { return false };
                if activity.is_overdue(limits.header_timeout, limits.idle_timeout) {
                    activity.close.notify_one();
                }
                true
            });
        }
    }
}

/// A stream that tells when a head begins.
struct TrackedIo {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for TrackedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let activity = &self.activity;
        let came = &buf.filled()[before..];
        if !came.is_empty() && activity.requests.load(Ordering::Relaxed) == 0 {
            if !activity.head_begun.swap(true, Ordering::Relaxed) {
                activity.is_heard.store(true, Ordering::Relaxed);
                activity.mark();
            }
            if is_ambiguous(came) {
                activity.ambiguous.store(true, Ordering::Relaxed);
            }
        }
        read
    }
}

impl AsyncWrite for TrackedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Whether a head has both `Content-Length` and `Transfer-Encoding` (RFC 9112 §6.1). hyper takes the
/// latter and forgets the former, which is safe, but hides what two parties may read differently.
/// A head that comes in several pieces may be missed, and is then read hyper's way.
fn is_ambiguous(head: &[u8]) -> bool {
    let (mut length, mut coding) = (false, false);
    for line in head.split(|byte| *byte == b'\n').take_while(|line| !matches!(line, [] | [b'\r'])) {
        let names = |name: &[u8]| line.get(..name.len()).is_some_and(|own| own.eq_ignore_ascii_case(name));
        match line.first() {
            Some(b'c' | b'C') => length |= names(b"content-length"),
            Some(b't' | b'T') => coding |= names(b"transfer-encoding"),
            _ => {}
        }
    }
    length && coding
}

fn ambiguous_framing() -> Problem {
    Problem::new(
        Code::BadRequest,
        "The request says with both `Content-Length` and `Transfer-Encoding` where its body ends: send one of them.",
    )
}

/// A body whose connection is busy until it is gone.
struct BusyBody {
    body: AnswerBody,
    _busy: Busy,
}

impl Body for BusyBody {
    type Data = Bytes;
    type Error = <AnswerBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
