//! The body of a guarded request: read whole, within bounds, before anything is claimed.

use crate::gateway::answer::problem::{Code, Problem};
use crate::gateway::shared::{Reservation, Shared};
use crate::gateway::worker::Worker;
use crate::upstream::RequestBody;
use bytes::{Bytes, BytesMut};
use http::Request;
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// So much of a body that nobody wants is read all the same, and for so long.
const LEFT_BYTES_MAX: u64 = 1 << 20;
const LEFT_TIME_MAX: Duration = Duration::from_secs(2);

/// A body that may be read or passed on.
#[derive(Debug)]
pub struct InboundBody {
    state: State,
    has_body: bool,
    reserved: Reservation,
}

#[derive(Debug)]
enum State {
    Unread(DrainOnDrop),
    Read(Bytes),
}

/// A body that is read to its end by somebody, within bounds. A client that is still writing would get a
/// reset instead of its answer, and one that sends its body after its head would lose its connection.
#[derive(Debug)]
pub struct DrainOnDrop(Option<Incoming>);

impl DrainOnDrop {
    /// Nobody has read it yet.
    pub fn new(incoming: Incoming) -> Self {
        Self(Some(incoming))
    }

    fn into_inner(mut self) -> Option<Incoming> {
        self.0.take()
    }
}

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        if let Some(incoming) = self.0.take().filter(|incoming| !incoming.is_end_stream()) {
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

/// Whether a connection must end with the answer to this request, should its body be left unread: it
/// may be long, or its client waits to be asked for it.
pub fn ends_connection<B: Body>(request: &Request<B>) -> bool {
    let length = request.body().size_hint().exact();
    !request.body().is_end_stream()
        && (request.headers().contains_key(http::header::EXPECT)
            || length.is_none_or(|length| length > LEFT_BYTES_MAX))
}

impl InboundBody {
    /// A body that nobody has read.
    pub fn new(incoming: Incoming, shared: &Arc<Shared>) -> Self {
        let has_body = !incoming.is_end_stream();
        Self {
            state: State::Unread(DrainOnDrop::new(incoming)),
            has_body,
            reserved: Reservation::none(shared),
        }
    }

    /// There is a body. No body and an empty one are the same.
    pub fn has_body(&self) -> bool {
        match &self.state {
            State::Unread(_) => self.has_body,
            State::Read(bytes) => !bytes.is_empty(),
        }
    }

    /// The body, whole. A cut upload leaves nothing behind: nothing is claimed yet.
    pub async fn read(&mut self, worker: &Worker) -> Result<Bytes, Problem> {
        let unread = match &mut self.state {
            State::Read(bytes) => return Ok(bytes.clone()),
            State::Unread(unread) => unread,
        };
        let bytes = match &mut unread.0 {
            Some(incoming) if self.has_body => read_whole(worker, incoming, &mut self.reserved).await?,
            _ => Bytes::new(),
        };
        self.state = State::Read(bytes.clone());
        Ok(bytes)
    }

    /// The request as it goes on unguarded: what was read is sent whole, what was not streams.
    pub fn into_request(self, parts: Parts) -> Request<RequestBody> {
        let body = match self.state {
            State::Unread(unread) => {
                unread.into_inner().map_or_else(RequestBody::empty, RequestBody::Streamed)
            }
            State::Read(bytes) => RequestBody::Whole(bytes),
        };
        Request::from_parts(parts, body)
    }

    /// What it holds of the budget, to be kept as long as the body is.
    pub fn into_reservation(self) -> Reservation {
        self.reserved
    }
}

async fn read_whole(
    worker: &Worker,
    incoming: &mut Incoming,
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
    let mut read = 0;
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let Ok(frame) = timeout(limits.idle_timeout, incoming.frame()).await else {
            return Err(Problem::new(
                Code::BadRequest,
                "The body stopped arriving. Nothing was sent; send it again.",
            )
            .worth_asking_again());
        };
        let data = match frame {
            None => break,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_) => continue,
            },
            Some(Err(_)) => {
                return Err(Problem::new(
                    Code::BadRequest,
                    "The body was cut short. Nothing was sent; send it again.",
                )
                .worth_asking_again());
            }
        };
        read += data.len();
        if read > limits.body_bytes {
            return Err(too_large(limits.body_bytes));
        }
        take(reserved, read.saturating_sub(reserved.bytes()))?;
        // Most bodies come in one piece, which needs no copy.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.reserve(announced.max(2 * read));
                all.extend_from_slice(&first);
                first = Bytes::new();
            }
            all.extend_from_slice(&data);
        }
        // Of announced length, and all there: nothing more to wait for.
        if incoming.is_end_stream() {
            break;
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
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
