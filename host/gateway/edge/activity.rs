//! The time of a connection's last use, and the timer that closes idle connections.
//!
//! hyper's own header timeout arms a timer for each request and counts idleness as a slow head.
//! Here a connection notes when it was last used, and one task for each worker looks at all
//! connections once a second.

use super::service::{EdgeService, Framing};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a connection that is accepted during shutdown may take to bring its first bytes. Then it is
/// closed.
const FIRST_WORD: Duration = Duration::from_millis(100);

/// The time of a connection's last use. Only the connection's worker touches it. The fields are atomics
/// because hyper wants a stream that can be upgraded to be `Send`.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    requests: AtomicU32,
    /// When the connection became idle or the head began, in milliseconds after `opened`.
    since: AtomicU64,
    head_begun: AtomicBool,
    /// Whether any bytes have arrived.
    is_heard: AtomicBool,
    /// Whether the head says in two ways where its body ends.
    ambiguous: AtomicBool,
    pub(super) close: Notify,
}

impl Activity {
    pub(super) fn new() -> Self {
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

    /// How the last head says where its body ends.
    pub(super) fn take_framing(&self) -> Framing {
        match self.ambiguous.swap(false, Ordering::Relaxed) {
            true => Framing::Ambiguous,
            false => Framing::Clear,
        }
    }

    fn mark(&self) {
        self.since.store(self.age(), Ordering::Relaxed);
    }

    fn age(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits for the first bytes of a connection, for a bounded time. The wait sleeps at least once, so that
    /// the runtime can notice bytes that have already arrived.
    pub(super) async fn first_word(&self) {
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

/// Marks a connection as busy for as long as a request is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
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

/// Closes connections of a worker that are idle.
#[derive(Debug, Default)]
pub struct IdleTimer(RefCell<Vec<Weak<Activity>>>);

impl IdleTimer {
    pub(super) fn add(&self, activity: &Arc<Activity>) {
        self.0.borrow_mut().push(Arc::downgrade(activity));
    }

    /// Closes connections that are idle for too long or whose head takes too long.
    pub(super) async fn run<S: EdgeService>(self: Rc<Self>, service: Rc<S>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let (head_max, idle_max) =
                service.server(|server| (server.limits.header_timeout, server.limits.idle_timeout));
            self.0.borrow_mut().retain(|activity| {
                let Some(activity) = activity.upgrade() else { return false };
                if activity.is_overdue(head_max, idle_max) {
                    activity.close.notify_one();
                }
                true
            });
        }
    }
}

/// A stream that notes when a head begins.
pub(super) struct TrackedIo {
    pub(super) stream: TcpStream,
    pub(super) activity: Arc<Activity>,
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
/// latter and forgets the former. That is safe, but hides that two parties may read the head differently.
/// A head that arrives in several pieces may be missed, and is then read hyper's way.
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

/// A body that marks its connection as busy until the body is dropped. If the body fails, hyper drops what it
/// has not written yet. So the failure is told one turn later, and what came before goes out.
pub(super) struct BusyBody<B> {
    pub(super) body: B,
    pub(super) failed: Option<Box<dyn Error + Send + Sync>>,
    pub(super) _busy: Busy,
}

impl<B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin> Body for BusyBody<B> {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Err(error)) => {
                self.failed = Some(error.into());
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
