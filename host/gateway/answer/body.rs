//! Bodies of answers to clients.

use crate::ledger::Interest;
use crate::upstream::ResponseBody;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::sync::{Notify, mpsc};

/// The answer broke off, and so must what the client gets.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut short")]
pub struct Cut;

/// The body of an answer to a client.
#[derive(Debug)]
pub enum AnswerBody {
    /// All of it, with trailers.
    Whole(Option<Bytes>, Option<HeaderMap>),
    /// As an execution captures it.
    Captured(Captured),
    /// Of an unguarded request: as it comes.
    Passed(ResponseBody),
}

impl AnswerBody {
    /// All of it.
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes), None)
    }

    /// Leaves trailers out, where it is whole.
    pub fn remove_trailers(&mut self) {
        if let Self::Whole(_, trailers) = self {
            *trailers = None;
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(body, trailers) => Poll::Ready(
                (body.take().map(Frame::data)).or_else(|| trailers.take().map(Frame::trailers)).map(Ok),
            ),
            Self::Captured(captured) => captured.poll_frame(cx).map_err(Into::into),
            Self::Passed(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body, trailers) => body.is_none() && trailers.is_none(),
            Self::Captured(_) => false,
            Self::Passed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // With trailers the length stays open, so that the framing can carry them.
            Self::Whole(_, Some(_)) => SizeHint::default(),
            Self::Whole(body, None) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Self::Captured(captured) => captured.length.map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Passed(body) => body.size_hint(),
        }
    }
}

/// What is on its way from an execution to its client, in bytes.
#[derive(Debug, Default)]
struct Underway {
    bytes: Cell<usize>,
    moved: Notify,
}

/// The client's end of an answer that an execution captures.
#[derive(Debug)]
pub struct Captured {
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, Cut>>,
    length: Option<u64>,
    underway: Rc<Underway>,
    interest: Option<Interest>,
}

/// The execution's end. Never waits for the client, unless it asks to.
#[derive(Debug)]
pub struct Feed {
    frames: mpsc::UnboundedSender<Result<Frame<Bytes>, Cut>>,
    underway: Rc<Underway>,
    is_cut: Cell<bool>,
}

/// Both ends. `length`: of the whole body, where it is known.
pub fn captured(length: Option<u64>) -> (Feed, Captured) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let underway = Rc::new(Underway::default());
    (
        Feed { frames: sender, underway: underway.clone(), is_cut: Cell::new(false) },
        Captured { frames: receiver, length, underway, interest: None },
    )
}

impl Captured {
    /// The client's interest lasts as long as this.
    pub fn hold(&mut self, interest: Interest) {
        self.interest = Some(interest);
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
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

impl Drop for Captured {
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
        let underway = self.underway.bytes.get();
        if self.frames.send(Ok(Frame::data(data.clone()))).is_ok() {
            self.underway.bytes.set(underway + data.len());
        }
    }

    /// Sends the trailers.
    pub fn trailers(&self, trailers: HeaderMap) {
        if self.is_closed() {
            return;
        }
        let _ = self.frames.send(Ok(Frame::trailers(trailers)));
    }

    /// Cuts the answer short: nothing goes out after it.
    pub fn cut(&self) {
        if !self.is_cut.replace(true) {
            let _ = self.frames.send(Err(Cut));
        }
    }

    /// Whether the client is gone, or cut off.
    pub fn is_closed(&self) -> bool {
        self.is_cut.get() || self.frames.is_closed()
    }

    /// Waits until less than `bytes` are on their way, or the client is gone.
    pub async fn drained_below(&self, bytes: usize) {
        while self.underway.bytes.get() >= bytes && !self.is_closed() {
            self.underway.moved.notified().await;
        }
    }
}
