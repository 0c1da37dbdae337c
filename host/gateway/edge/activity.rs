//! The time of a connection's last use.
//!
//! hyper's own header timeout arms a timer for each request and counts idleness as a slow head.
//! Here a connection notes that it was used, and one task looks at all connections twice a second
//! ([`super::open`]).

use super::budget::PeerAccount;
use super::follow::{Follower, HeadFault};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use oncegate_config::Limits;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a connection that is accepted during shutdown may take to bring its first bytes. Then it is
/// closed.
const FIRST_WORD: Duration = Duration::from_millis(100);

/// No time at all.
const NEVER: u64 = u64::MAX;
/// A time since the timer last looked.
const LATELY: u64 = u64::MAX - 1;
/// How long a connection has had no request when it may have to give way. One that is in use has none for moments.
const QUIET: Duration = Duration::from_secs(1);

/// The time of a connection's last use. The connection's worker notes it, and others look.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    requests: AtomicU32,
    /// When the connection became idle or the head began, in milliseconds after `opened`, or [`LATELY`]: the timer
    /// notes the time when it looks, so that a request reads no clock for it.
    since: AtomicU64,
    /// Since when an answer waits for the client to take more of it, in milliseconds after `opened`, or
    /// [`NEVER`].
    stuck_since: AtomicU64,
    is_in_head: AtomicBool,
    /// Whether any bytes have arrived.
    is_heard: AtomicBool,
    /// The heads that were answered.
    answered: AtomicU64,
    /// The number of the first head that says in two ways where its body ends, or [`NEVER`].
    ambiguous: AtomicU64,
    /// The number of the first head whose target has a fragment, or [`NEVER`].
    fragment: AtomicU64,
    /// Whether the present request ends when the client says that it sends no more.
    ends_with_client: AtomicBool,
    /// Wakes the connection if the end of the client's bytes was held back.
    held_end: Mutex<Option<Waker>>,
    /// What the bodies of the connection's peer hold.
    bodies: Arc<PeerAccount>,
    /// Whether the connection was told to give way.
    gives_way: AtomicBool,
    /// Whether it is served no more. A tunnel goes on then.
    is_left: AtomicBool,
    /// An answer is under way whose end is that of the connection. A part of it must not look whole.
    is_short: AtomicBool,
    /// All of that answer was taken, and goes out.
    is_taken: AtomicBool,
    pub(super) close: Notify,
}

impl Activity {
    pub(super) fn new(bodies: Arc<PeerAccount>) -> Self {
        Self {
            opened: Instant::now(),
            requests: AtomicU32::new(0),
            since: AtomicU64::new(0),
            stuck_since: AtomicU64::new(NEVER),
            is_in_head: AtomicBool::new(false),
            is_heard: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            ambiguous: AtomicU64::new(NEVER),
            fragment: AtomicU64::new(NEVER),
            ends_with_client: AtomicBool::new(false),
            held_end: Mutex::default(),
            bodies,
            gives_way: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
            is_short: AtomicBool::new(false),
            is_taken: AtomicBool::new(false),
            close: Notify::new(),
        }
    }

    /// The activity of a connection that was opened, and had no request, so long ago.
    #[cfg(test)]
    pub(super) fn quiet_for(bodies: Arc<PeerAccount>, quiet: Duration) -> Self {
        Self { opened: Instant::now() - quiet, ..Self::new(bodies) }
    }

    /// The fault of the next head, if it has one. It is the connection's last head then.
    pub(super) fn take_fault(&self) -> Option<HeadFault> {
        let number = self.answered.fetch_add(1, Ordering::Relaxed);
        let is_so = |first: &AtomicU64| number >= first.load(Ordering::Relaxed);
        match () {
            () if is_so(&self.ambiguous) => Some(HeadFault::Framing),
            () if is_so(&self.fragment) => Some(HeadFault::Fragment),
            () => None,
        }
    }

    fn mark(&self) {
        self.since.store(LATELY, Ordering::Relaxed);
    }

    fn age(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NEVER)
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

    /// How long the connection has had no request, where it has none. A head under way is none yet.
    pub(super) fn quiet(&self) -> Option<Duration> {
        let has_none = self.requests.load(Ordering::Relaxed) == 0
            && self.stuck_since.load(Ordering::Relaxed) == NEVER
            && !self.is_left.load(Ordering::Relaxed);
        let since = self.since.load(Ordering::Relaxed);
        (has_none && since != LATELY).then(|| Duration::from_millis(self.age().saturating_sub(since)))
    }

    /// For how long the connection has been quiet, if that is long enough to give way.
    pub(super) fn may_give_way(&self) -> Option<Duration> {
        self.quiet().filter(|quiet| *quiet >= QUIET && !self.gives_way.load(Ordering::Relaxed))
    }

    /// Closes the connection in favour of another one, if it may give way.
    pub(super) fn give_way(&self) -> bool {
        let gives_way = self.may_give_way().is_some() && !self.gives_way.swap(true, Ordering::Relaxed);
        if gives_way {
            self.close.notify_one();
        }
        gives_way
    }

    /// Whether something has come since the connection was told to close, so that it stays.
    pub(super) fn goes_on(&self) -> bool {
        let goes_on = self.stuck_since.load(Ordering::Relaxed) == NEVER && self.quiet().is_none();
        if goes_on {
            self.gives_way.store(false, Ordering::Relaxed);
        }
        goes_on
    }

    /// The connection is served no more.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    /// Whether the connection was idle for too long, its head takes too long, or its client takes nothing for too
    /// long.
    pub(super) fn is_overdue(&self, limits: &Limits) -> bool {
        let quiet = |since: u64| Duration::from_millis(self.age().saturating_sub(since));
        match self.stuck_since.load(Ordering::Relaxed) {
            NEVER => {
                let is_in_head = self.is_in_head.load(Ordering::Relaxed);
                let limit = if is_in_head { limits.header_timeout } else { limits.idle_timeout };
                let _ = self.since.compare_exchange(LATELY, self.age(), Ordering::Relaxed, Ordering::Relaxed);
                self.requests.load(Ordering::Relaxed) == 0
                    && quiet(self.since.load(Ordering::Relaxed)) > limit
            }
            // What waits to be written is no idleness, whether its request has ended or not.
            since => quiet(since) > limits.write_timeout,
        }
    }

    fn wrote(&self) {
        let was_stuck = self.stuck_since.swap(NEVER, Ordering::Relaxed) != NEVER;
        if was_stuck || self.requests.load(Ordering::Relaxed) == 0 {
            self.mark();
            self.give_end();
        }
    }

    /// Nothing waits to be written.
    fn wrote_all(&self) {
        if self.is_taken.load(Ordering::Relaxed) {
            self.is_taken.store(false, Ordering::Relaxed);
            self.is_short.store(false, Ordering::Relaxed);
        }
    }

    fn is_stuck(&self) {
        let _ = self.stuck_since.compare_exchange(NEVER, self.age(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether an answer is still due to a client that says that it sends no more. Such a client may have closed
    /// one half of the connection only, and reads.
    fn owes_answer(&self) -> bool {
        let is_busy = self.requests.load(Ordering::Relaxed) > 0;
        (is_busy && !self.ends_with_client.load(Ordering::Relaxed))
            || self.stuck_since.load(Ordering::Relaxed) != NEVER
    }

    fn hold_end(&self, waker: &Waker) {
        if let Ok(mut held) = self.held_end.lock() {
            *held = Some(waker.clone());
        }
    }

    /// Lets the connection see the end of the client's bytes, if it was held back.
    fn give_end(&self) {
        if let Ok(mut held) = self.held_end.lock()
            && let Some(waker) = held.take()
        {
            waker.wake();
        }
    }
}

/// The connection on which a request came. A client that sends no more is still given its answer, unless its request
/// says that it ends with its client.
#[derive(Debug)]
pub struct ClientConnection(pub(super) Arc<Activity>);

impl ClientConnection {
    /// What the bodies of the client's peer hold.
    pub fn bodies(&self) -> &Arc<PeerAccount> {
        &self.0.bodies
    }

    /// Ends the present request as soon as the client says that it sends no more.
    pub fn ends_request(&self) {
        self.0.ends_with_client.store(true, Ordering::Relaxed);
        self.0.give_end();
    }
}

/// Marks a connection as busy for as long as a request is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.ends_with_client.store(false, Ordering::Relaxed);
        Self(activity.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
        self.0.mark();
        self.0.give_end();
    }
}

/// The most bytes that are read at once. hyper doubles its buffer whenever one is read full, up to the size of the
/// largest head, and an upload that its service doesn't take holds several. One byte less than 64 KiB fills none.
const READ_MAX: u64 = (64 << 10) - 1;

/// A stream that notes when a head begins and when its peer takes what is written.
pub(super) struct TrackedIo {
    stream: Take<TcpStream>,
    activity: Arc<Activity>,
    follower: Follower,
}

impl TrackedIo {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self { stream: stream.take(READ_MAX), activity, follower: Follower::new() }
    }

    fn came(&mut self, bytes: &[u8]) {
        let (activity, follower) = (&self.activity, &mut self.follower);
        activity.is_heard.store(true, Ordering::Relaxed);
        let heads = follower.heads();
        follower.follow(bytes);
        let is_in_head = follower.is_in_head();
        let was_in_head = activity.is_in_head.swap(is_in_head, Ordering::Relaxed);
        if is_in_head && !(was_in_head && heads == follower.heads()) {
            activity.mark();
        }
        if let Some(number) = follower.ambiguous() {
            activity.ambiguous.store(number, Ordering::Relaxed);
        }
        if let Some(number) = follower.fragment() {
            activity.fragment.store(number, Ordering::Relaxed);
        }
    }

    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(_) => self.activity.wrote(),
            Poll::Pending => self.activity.is_stuck(),
        }
        written
    }
}

impl Drop for TrackedIo {
    fn drop(&mut self) {
        // A reset tells the client, which would take an ordinary end for the answer's (RFC 9112 §8).
        if self.activity.is_short.load(Ordering::Relaxed) {
            let _gone_already = self.stream.get_ref().set_zero_linger();
        }
    }
}

impl AsyncRead for TrackedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, has_room) = (buf.filled().len(), buf.remaining() > 0);
        self.stream.set_limit(READ_MAX);
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = &buf.filled()[before..];
        let is_end = has_room && came.is_empty() && matches!(read, Poll::Ready(Ok(())));
        if !came.is_empty() {
            self.came(came);
        } else if is_end && self.follower.is_between() && self.activity.owes_answer() {
            self.activity.hold_end(cx.waker());
            return Poll::Pending;
        }
        read
    }
}

impl AsyncWrite for TrackedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.stream.get_mut()).poll_write(cx, buf);
        self.written(written)
    }

    /// hyper flushes once it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.activity.wrote_all();
        Pin::new(self.stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.stream.get_mut()).poll_write_vectored(cx, bufs);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }
}

/// A body that marks its connection as busy until the body is dropped. If the body fails, hyper drops what it
/// has not written yet. So the failure is told one turn later, and what came before goes out.
pub(super) struct BusyBody<B> {
    body: B,
    failed: Option<Box<dyn Error + Send + Sync>>,
    /// Whether only the connection's end tells the client where the body ends.
    ends_with_connection: bool,
    busy: Busy,
}

impl<B: Body> BusyBody<B> {
    /// `marks_end`: the client's protocol can tell where a body of unknown length ends.
    pub(super) fn new(body: B, marks_end: bool, busy: Busy) -> Self {
        let ends_with_connection = !marks_end && body.size_hint().exact().is_none();
        Self { body, failed: None, ends_with_connection, busy }
    }

    /// Notes that the client has less than the whole body, until the last of it `is_taken` and written.
    fn note_end(&self, is_taken: bool) {
        if self.ends_with_connection {
            self.busy.0.is_short.store(true, Ordering::Relaxed);
            self.busy.0.is_taken.store(is_taken, Ordering::Relaxed);
        }
    }
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
        // A body that must not be sent, as the answer's to HEAD, is never asked for.
        self.note_end(false);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // hyper asks for nothing behind trailers.
        let is_last = |frame: &Result<Frame<Bytes>, _>| frame.as_ref().is_ok_and(Frame::is_trailers);
        let has_failed = matches!(frame, Some(Err(_)));
        self.note_end(!has_failed && (frame.as_ref().is_none_or(is_last) || self.body.is_end_stream()));
        match frame {
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
