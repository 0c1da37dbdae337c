//! Bodies of answers to clients.

use crate::answer::stream::ClientStream;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use oncegate_upstream::ResponseBody;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of an answer to a client.
#[derive(Debug)]
pub enum AnswerBody {
    /// The whole body, with trailers.
    Whole(Option<Bytes>, Option<HeaderMap>),
    /// The body as an execution releases it.
    Streamed(ClientStream),
    /// The answer to an unguarded request, as it comes.
    Passed(ResponseBody),
}

impl AnswerBody {
    /// A whole body without trailers.
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes), None)
    }

    /// Removes the trailers of a whole body.
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
            Self::Streamed(stream) => stream.poll_frame(cx).map_err(Into::into),
            Self::Passed(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body, trailers) => body.is_none() && trailers.is_none(),
            Self::Streamed(_) => false,
            Self::Passed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // With trailers the length stays open, so that the framing can carry them.
            Self::Whole(_, Some(_)) => SizeHint::default(),
            Self::Whole(body, None) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed(stream) => stream.length().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Passed(body) => body.size_hint(),
        }
    }
}
