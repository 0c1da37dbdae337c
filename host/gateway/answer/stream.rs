//! The stream from an execution to its client. The execution feeds the stream, and waits for the client only
//! if it asks to.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use oncegate_ledger::Interest;
use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::sync::{Notify, mpsc};

/// The answer broke off, so the client's stream must break off, too.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut short")]
pub struct Cut;

/// The number of bytes on their way from an execution to its client.
#[derive(Debug, Default)]
struct Underway {
    bytes: Cell<usize>,
    moved: Notify,
}

/// The client's end.
#[derive(Debug)]
pub struct ClientStream {
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, Cut>>,
    length: Option<u64>,
    underway: Rc<Underway>,
    interest: Option<Interest>,
}

/// The execution's end.
#[derive(Debug)]
pub struct Feed {
    frames: mpsc::UnboundedSender<Result<Frame<Bytes>, Cut>>,
    underway: Rc<Underway>,
    is_cut: Cell<bool>,
}

/// Both ends of a stream. `length`: the bytes of the whole body, if known.
pub fn stream(length: Option<u64>) -> (Feed, ClientStream) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let underway = Rc::new(Underway::default());
    (
        Feed { frames: sender, underway: underway.clone(), is_cut: Cell::new(false) },
        ClientStream { frames: receiver, length, underway, interest: None },
    )
}

impl ClientStream {
    /// The bytes of the whole body, if known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Makes the client's interest in the execution last as long as this stream.
    pub fn hold(&mut self, interest: Interest) {
        self.interest = Some(interest);
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let frame = ready!(self.frames.poll_recv(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.underway.bytes.set(self.underway.bytes.get() - data.len());
            self.underway.moved.notify_one();
        }
        Poll::Ready(frame)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.frames.close();
        self.underway.bytes.set(0);
        self.underway.moved.notify_one();
    }
}

impl Feed {
    /// Sends a piece of data.
    pub fn data(&self, data: Bytes) {
        if self.is_closed() {
            return;
        }
        let underway = self.underway.bytes.get() + data.len();
        if self.frames.send(Ok(Frame::data(data))).is_ok() {
            self.underway.bytes.set(underway);
        }
    }

    /// Sends the trailers.
    pub fn trailers(&self, trailers: HeaderMap) {
        if self.is_closed() {
            return;
        }
        let _ = self.frames.send(Ok(Frame::trailers(trailers)));
    }

    /// Cuts the answer short: nothing goes out after the cut.
    pub fn cut(&self) {
        if !self.is_cut.replace(true) {
            let _ = self.frames.send(Err(Cut));
        }
    }

    /// Whether the client is gone, or cut off.
    pub fn is_closed(&self) -> bool {
        self.is_cut.get() || self.frames.is_closed()
    }

    /// Waits until fewer than `bytes` bytes are on their way, or the client is gone.
    pub async fn drained_below(&self, bytes: usize) {
        while self.underway.bytes.get() >= bytes && !self.is_closed() {
            self.underway.moved.notified().await;
        }
    }
}
