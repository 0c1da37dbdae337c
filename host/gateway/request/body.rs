//! The body of a request. A guarded request's body is read whole, within bounds, before anything is claimed.

use crate::answer::problem::{Code, Problem};
use crate::edge::After;
use crate::shared::Reservation;
use crate::worker::Worker;
use bytes::{Bytes, BytesMut};
use http::Request;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use oncegate_upstream::{RequestBody, UnreadBody};
use std::time::Duration;
use tokio::time::timeout;

/// The longest unwanted body after which its connection stays open.
const UNWANTED_BYTES_MAX: u64 = 1 << 20;

/// The body of a request, which may be read or passed on.
#[derive(Debug)]
pub struct InboundBody {
    unread: Option<UnreadBody>,
    whole: Option<WholeBody>,
}

/// A body that was read whole.
#[derive(Debug)]
struct WholeBody {
    bytes: Bytes,
    reserved: Reservation,
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
            (Some(whole), _) => !whole.bytes.is_empty(),
            (None, Some(unread)) => !unread.is_end_stream(),
            (None, None) => false,
        }
    }

    /// The body, if it was read.
    pub fn bytes(&self) -> Option<&Bytes> {
        self.whole.as_ref().map(|whole| &whole.bytes)
    }

    /// Reads the whole body. A cut upload leaves nothing behind, because nothing is claimed yet.
    pub async fn read(&mut self, worker: &Worker) -> Result<Bytes, Problem> {
        if let Some(whole) = &self.whole {
            return Ok(whole.bytes.clone());
        }
        let mut reserved = Reservation::none(&worker.shared);
        let bytes = match &mut self.unread {
            Some(unread) if !unread.is_end_stream() => read_whole(worker, unread, &mut reserved).await?,
            _ => Bytes::new(),
        };
        self.unread = None;
        self.whole = Some(WholeBody { bytes: bytes.clone(), reserved });
        Ok(bytes)
    }

    /// The body of the unguarded request: whole if it was read, else as it streams in.
    pub fn into_request_body(self) -> RequestBody {
        match (self.whole, self.unread) {
            (Some(whole), _) => RequestBody::Whole(whole.bytes),
            (None, Some(unread)) => RequestBody::Streamed(unread),
            (None, None) => RequestBody::empty(),
        }
    }

    /// The body's share of the budget, to be kept as long as the body.
    pub fn into_reservation(self) -> Option<Reservation> {
        self.whole.map(|whole| whole.reserved)
    }
}

async fn read_whole(
    worker: &Worker,
    incoming: &mut UnreadBody,
    reserved: &mut Reservation,
) -> Result<Bytes, Problem> {
    let active = worker.active();
    let limits = &active.config.server.limits;
    let length = incoming.size_hint().exact();
    if length.is_some_and(|length| length > limits.body_bytes as u64) {
        return Err(too_large(limits.body_bytes));
    }
    let announced = length.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    take(reserved, announced)?;
    let mut pieces = Pieces::default();
    while let Some(data) = next_piece(incoming, limits.idle_timeout).await? {
        let read = pieces.read + data.len();
        if read > limits.body_bytes {
            return Err(too_large(limits.body_bytes));
        }
        take(reserved, read.saturating_sub(reserved.bytes()))?;
        pieces.push(data, announced);
        // A body of announced length is complete: there is nothing more to wait for.
        if incoming.is_end_stream() {
            break;
        }
    }
    Ok(pieces.join())
}

/// The next piece of data; none at the end.
async fn next_piece(incoming: &mut UnreadBody, idle: Duration) -> Result<Option<Bytes>, Problem> {
    loop {
        let Ok(frame) = timeout(idle, incoming.frame()).await else {
            return Err(incomplete("The body stopped arriving. Nothing was sent; send it again."));
        };
        match frame {
            None => return Ok(None),
            Some(Err(_)) => {
                return Err(incomplete("The body was cut short. Nothing was sent; send it again."));
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The pieces of a body. Most bodies come in one piece, which needs no copy.
#[derive(Default)]
struct Pieces {
    read: usize,
    first: Bytes,
    all: BytesMut,
}

impl Pieces {
    /// Adds a piece. `announced`: the bytes of the whole body, as far as they are known.
    fn push(&mut self, data: Bytes, announced: usize) {
        self.read += data.len();
        if self.first.is_empty() && self.all.is_empty() {
            self.first = data;
            return;
        }
        if self.all.is_empty() {
            self.all.reserve(announced.max(2 * self.read));
            self.all.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        self.all.extend_from_slice(&data);
    }

    fn join(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

fn incomplete(detail: &'static str) -> Problem {
    Problem::new(Code::BadRequest, detail).worth_asking_again()
}

fn take(reserved: &mut Reservation, bytes: usize) -> Result<(), Problem> {
    if reserved.grow(bytes) {
        return Ok(());
    }
    Err(Problem::new(
        Code::Overloaded,
        "The gateway holds as many bodies as it may. Nothing was sent; ask again a little later.",
    ))
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
