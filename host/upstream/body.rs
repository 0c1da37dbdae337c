//! Bodies of requests to upstreams.

use super::upload::Upload;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// How much of a body that nobody wants is read, in bytes and in time.
const LEFT_BYTES_MAX: u64 = 64 << 20;
const LEFT_TIME_MAX: Duration = Duration::from_secs(2);

/// The body of a request.
#[derive(Debug)]
pub enum RequestBody {
    /// The whole body, which was read before.
    Whole(Bytes),
    /// A body that is passed on as it arrives.
    Streamed(UnreadBody),
}

/// A body that has not been read to its end. If it is dropped so, it is drained within bounds. Otherwise a
/// client that is still writing would get a reset instead of its answer, and a client that sends its body
/// after its head would lose its connection.
#[derive(Debug)]
pub struct UnreadBody {
    incoming: Option<Incoming>,
    arrival: BodyArrival,
    upload: Rc<Upload>,
}

/// Whether a body has been read to its end, known also when the body is elsewhere.
#[derive(Clone, Debug)]
pub struct BodyArrival(Rc<Cell<bool>>);

impl BodyArrival {
    /// Whether the body has been read to its end.
    pub fn is_whole(&self) -> bool {
        self.0.get()
    }
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    /// Whether the body has been read to its end, to be asked when the body is on its way; none: it was read
    /// before.
    pub fn arrival(&self) -> Option<BodyArrival> {
        match self {
            Self::Whole(_) => None,
            Self::Streamed(unread) => Some(unread.arrival.clone()),
        }
    }

    /// What becomes of the body when it is sent. None: nothing of it is still to come from the client.
    pub(super) fn upload(&self) -> Option<Rc<Upload>> {
        match self {
            Self::Streamed(unread) if !unread.is_end_stream() => Some(unread.upload.clone()),
            Self::Whole(_) | Self::Streamed(_) => None,
        }
    }

    /// The same body, where nothing of it is still to come from the client.
    pub(super) fn copy(&self) -> Option<Self> {
        match self {
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            Self::Streamed(unread) => unread.is_end_stream().then(Self::empty),
        }
    }
}

impl UnreadBody {
    /// A body that nobody has read.
    pub fn new(incoming: Incoming) -> Self {
        let is_whole = incoming.is_end_stream();
        let arrival = BodyArrival(Rc::new(Cell::new(is_whole)));
        Self { incoming: Some(incoming), arrival, upload: Upload::new() }
    }
}

impl Body for UnreadBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.upload.is_held() {
            return Poll::Pending;
        }
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = Pin::new(&mut *incoming).poll_frame(cx);
        let is_whole = matches!(frame, Poll::Ready(None)) || incoming.is_end_stream();
        if is_whole {
            self.arrival.0.set(true);
        }
        match &frame {
            Poll::Pending => self.upload.waits(),
            Poll::Ready(Some(Err(_))) => self.upload.broke(),
            Poll::Ready(_) if is_whole => self.upload.over(),
            Poll::Ready(_) => self.upload.moved(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for UnreadBody {
    fn drop(&mut self) {
        self.upload.over();
        if let Some(incoming) = self.incoming.take().filter(|_| !self.arrival.is_whole()) {
            tokio::task::spawn_local(timeout(LEFT_TIME_MAX, drain(incoming)));
        }
    }
}

async fn drain(mut incoming: Incoming) {
    let mut left = LEFT_BYTES_MAX;
    while let Some(Ok(frame)) = incoming.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, |data| data.len() as u64)) else {
            return;
        };
        left = rest;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Streamed(unread) => Pin::new(unread).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Streamed(unread) => unread.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed(unread) => unread.size_hint(),
        }
    }
}
