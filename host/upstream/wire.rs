//! The socket of a connection to an upstream.

use super::sockets::UpstreamSocket;
use super::writes::Writes;
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::net::TcpStream;

/// The most bytes that are read at once. hyper doubles its buffer whenever one is read full, up to the size of the
/// largest head, and an answer whose client takes nothing holds several. Less than this costs processor time.
const READ_MAX: u64 = 96 << 10;

/// A stream on which an answer that has arrived is still read when the request can't be written any more. A
/// service may answer before it has read the whole request, and end the connection (RFC 9112 §9.5). hyper
/// gives the answer up at the first failed write, so it learns of no failed write: it writes into nothing
/// until it has read the answer, or the end.
///
/// The connection's end is a reset unless all that was written has arrived: what the system has not sent yet would
/// go out after an ordinary close, too, minutes later. That holds from the start, because a process that is killed
/// has no last word.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Take<TcpStream>,
    takes_nothing: bool,
    /// Whether all had arrived when hyper ended its side of the connection. None: it has not.
    shut: Option<bool>,
    writes: Arc<Writes>,
    /// The socket's place, for as long as it is open, also in a tunnel's hands.
    _place: Arc<UpstreamSocket>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, writes: Arc<Writes>, place: Arc<UpstreamSocket>) -> Self {
        let _broken_already = stream.set_zero_linger();
        Self { stream: stream.take(READ_MAX), takes_nothing: false, shut: None, writes, _place: place }
    }

    /// Whether all that hyper had to write has arrived.
    fn has_sent_all(&self) -> bool {
        !self.writes.is_stuck() && unacknowledged(self.stream.get_ref()) == 0
    }

    /// The result of a write of `bytes` bytes as hyper learns it.
    fn written(&mut self, written: Poll<io::Result<usize>>, bytes: usize) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else {
            self.writes.stuck();
            return Poll::Pending;
        };
        self.writes.took(written.as_ref().copied().unwrap_or_default());
        Poll::Ready(written.or_else(|error| {
            tracing::debug!(%error, "an upstream takes no more of a request");
            self.takes_nothing = true;
            Ok(bytes)
        }))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let has_sent_all = || self.shut.unwrap_or_else(|| self.has_sent_all());
        if self.writes.is_tunnel() || (!self.writes.is_cut() && has_sent_all()) {
            let _gone_already = SockRef::from(self.stream.get_ref()).set_linger(None);
        }
    }
}

/// The bytes that were written and that the other system has not acknowledged; zero where the system doesn't tell.
#[expect(unsafe_code, reason = "no crate of ours asks a socket for its `TIOCOUTQ`")]
fn unacknowledged(stream: &TcpStream) -> libc::c_int {
    let mut bytes = 0;
    // SAFETY: the descriptor is open as long as `stream` is, and the system writes one `int` to `bytes` (tcp(7)).
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if asked == 0 { bytes } else { 0 }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.set_limit(READ_MAX);
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        // What comes acknowledges what had arrived when it was sent.
        if read.is_ready() && self.writes.may_be_behind() && unacknowledged(self.stream.get_ref()) == 0 {
            self.writes.arrived();
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.takes_nothing {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(self.stream.get_mut()).poll_write(cx, buf);
        self.written(written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        if self.takes_nothing {
            return Poll::Ready(Ok(bytes));
        }
        let written = Pin::new(self.stream.get_mut()).poll_write_vectored(cx, bufs);
        self.written(written, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The end that is sent now has to be acknowledged, too.
        if self.shut.is_none() {
            self.shut = Some(self.has_sent_all());
        }
        Pin::new(self.stream.get_mut()).poll_shutdown(cx)
    }
}
