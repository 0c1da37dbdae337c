//! An answer's body, piece by piece.

use super::pool::{BodyError, ResponseBody};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use oncegate_core::UnknownReason;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::timeout;

/// A piece of an answer's body.
#[derive(Debug)]
pub enum Piece {
    /// Data.
    Data(Bytes),
    /// Trailers.
    Trailers(HeaderMap),
    /// The body arrived to its end.
    End,
    /// The body broke off, for this reason.
    Cut(UnknownReason),
}

impl Piece {
    fn of(frame: Option<Result<Frame<Bytes>, BodyError>>) -> Self {
        match frame {
            None => Self::End,
            Some(Err(_)) => Self::Cut(UnknownReason::Broken),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Self::Data(data),
                Err(frame) => frame.into_trailers().map_or(Self::Data(Bytes::new()), Self::Trailers),
            },
        }
    }
}

impl ResponseBody {
    /// The next piece, or a cut if no piece comes within `idle`.
    pub async fn next_piece(&mut self, idle: Duration) -> Piece {
        let frame = poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx));
        match timeout(idle, frame).await {
            Ok(frame) => Piece::of(frame),
            Err(_) => Piece::Cut(UnknownReason::TimedOut),
        }
    }

    /// The next piece, if it has arrived. The connection's task hands on what it has read only when asked,
    /// so the task gets one turn.
    pub async fn piece_at_once(&mut self) -> Option<Piece> {
        let mut asked = false;
        poll_fn(|cx| match Pin::new(&mut *self).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(Piece::of(frame))),
            Poll::Pending if asked => Poll::Ready(None),
            Poll::Pending => {
                asked = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await
    }
}
