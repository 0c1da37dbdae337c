//! The body of a request. A guarded request's body is read whole, within bounds, before anything is claimed.

use crate::answer::problem::{Code, Problem};
use crate::edge::{After, Direction, PeerAccount, Reservation};
use crate::pieces::Pieces;
use bytes::Bytes;
use http::Request;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use oncegate_config::Limits;
use oncegate_upstream::{RequestBody, UnreadBody};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::time::{Instant, timeout_at};

/// The longest unwanted body after which its connection stays open.
const UNWANTED_BYTES_MAX: u64 = 1 << 20;

/// The body of a request, which may be read or passed on.
#[derive(Debug)]
pub struct InboundBody {
    unread: Option<UnreadBody>,
    /// The body, if it was read whole, with its part of the budget.
    whole: Option<Bytes>,
}

/// Whether the connection stays open if this request is refused with its body unread. The body may be
/// long, or the client may wait to be asked for the body.
pub fn after_refusal<B: Body>(request: &Request<B>) -> After {
    let length = request.body().size_hint().exact();
    let may_be_long = request.headers().contains_key(http::header::EXPECT)
        || length.is_none_or(|length| length > UNWANTED_BYTES_MAX);
    match !request.body().is_end_stream() && may_be_long {
        true => After::Close,
        false => After::Stay,
    }
}

impl InboundBody {
    /// A body that nobody has read.
    pub fn new(incoming: Incoming) -> Self {
        Self { unread: Some(UnreadBody::new(incoming)), whole: None }
    }

    /// Whether there is a body. An empty body is no body.
    pub fn has_body(&self) -> bool {
        match (&self.whole, &self.unread) {
            (Some(whole), _) => !whole.is_empty(),
            (None, Some(unread)) => !unread.is_end_stream(),
            (None, None) => false,
        }
    }

    /// The body, if it was read.
    pub fn bytes(&self) -> Option<&Bytes> {
        self.whole.as_ref()
    }

    /// Reads the whole body. A cut upload leaves nothing behind, because nothing is claimed yet. `bodies`: what the
    /// bodies of the client's peer hold.
    pub async fn read(&mut self, bodies: &Arc<PeerAccount>, limits: &Limits) -> Result<Bytes, Problem> {
        if let Some(whole) = &self.whole {
            return Ok(whole.clone());
        }
        let bytes = match &mut self.unread {
            Some(unread) if !unread.is_end_stream() => read_whole(unread, bodies, limits).await?,
            _ => Bytes::new(),
        };
        self.unread = None;
        self.whole = Some(bytes.clone());
        Ok(bytes)
    }

    /// The body of the unguarded request: whole if it was read, else as it streams in.
    pub fn into_request_body(self) -> RequestBody {
        match (self.whole, self.unread) {
            (Some(whole), _) => RequestBody::Whole(whole),
            (None, Some(unread)) => RequestBody::Streamed(unread),
            (None, None) => RequestBody::empty(),
        }
    }
}

/// Reads a body. Of the budget it takes what has arrived, so that announcing a body takes nothing.
async fn read_whole(
    incoming: &mut UnreadBody,
    bodies: &Arc<PeerAccount>,
    limits: &Limits,
) -> Result<Bytes, Problem> {
    if incoming.size_hint().exact().is_some_and(|length| length > limits.body_bytes as u64) {
        return Err(too_large(limits.body_bytes));
    }
    let mut reserved = Reservation::none(bodies, Direction::In);
    let (mut pieces, mut ends) = (Pieces::default(), None);
    while let Some(data) = next_piece(incoming, limits, &mut ends).await? {
        if pieces.bytes() + data.len() > limits.body_bytes {
            return Err(too_large(limits.body_bytes));
        }
        pieces.push(data);
        if !reserved.cover(pieces.held()) {
            bodies.tell_full(Direction::In);
            return Err(Problem::new(
                Code::Overloaded,
                "The gateway holds as much of bodies as it may, of all clients or of those at this address \
                 (`server.limits.buffers`). Nothing was sent; ask again a little later.",
            )
            .because("there is no room for its body"));
        }
        // A body of announced length is complete: there is nothing more to wait for.
        if incoming.is_end_stream() {
            break;
        }
    }
    reserved.shrink(pieces.bytes());
    Ok(reserved.hold(pieces.join()))
}

/// The next piece of data; none at the end. `ends`: when the body's time is over, once it had to be waited for.
async fn next_piece(
    incoming: &mut UnreadBody,
    limits: &Limits,
    ends: &mut Option<Instant>,
) -> Result<Option<Bytes>, Problem> {
    loop {
        let at_hand = poll_fn(|cx| Poll::Ready(Pin::new(&mut *incoming).poll_frame(cx))).await;
        let frame = match at_hand {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let now = Instant::now();
                let (ends, idle) =
                    (*ends.get_or_insert(now + limits.body_timeout), now + limits.idle_timeout);
                let frame = timeout_at(ends.min(idle), incoming.frame()).await;
                frame.map_err(|_| if ends <= idle { too_slow() } else { stood_still() })?
            }
        };
        match frame {
            None => return Ok(None),
            Some(Err(_)) => {
                let detail = "The body was cut short. Nothing was sent; send it again.";
                return Err(incomplete("its body was cut short", detail));
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn too_slow() -> Problem {
    incomplete(
        "its body took longer than `server.limits.body_timeout`",
        "The body took too long to arrive (`server.limits.body_timeout`). Nothing was sent; send it again, or have the \
         operator raise that.",
    )
}

fn stood_still() -> Problem {
    incomplete(
        "its body stood still for `server.limits.idle_timeout`",
        "The body took too long to arrive: nothing came of it for `server.limits.idle_timeout`. Nothing was sent; send \
         it again.",
    )
}

fn incomplete(cause: &'static str, detail: &'static str) -> Problem {
    Problem::new(Code::BadRequest, detail).because(cause).worth_asking_again()
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        format!(
            "The body of a guarded request may have {limit} bytes here, because it is read whole before it is sent. \
             Send less, or have the operator raise `server.limits.body_bytes`."
        ),
    )
}
