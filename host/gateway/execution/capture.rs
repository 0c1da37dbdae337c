//! What an execution takes in of its answer.

use crate::gateway::execution::rpc::OwnStatus;
use crate::gateway::request::fields;
use crate::gateway::shared::{Reservation, Shared};
use crate::policy::{Payload, PayloadWant, Plan, Reply, view};
use crate::upstream::ResponseBody;
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http_body::{Body, Frame};
use oncegate_core::{Answer, AnswerSummary, Disposition, UnknownReason};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A piece of an answer's body.
#[derive(Debug)]
pub enum Piece {
    /// Data.
    Data(Bytes),
    /// Trailers.
    Trailers(HeaderMap),
    /// It arrived to its end.
    End,
    /// It did not.
    Cut(UnknownReason),
}

fn piece(frame: Option<Result<Frame<Bytes>, hyper::Error>>) -> Piece {
    match frame {
        None => Piece::End,
        Some(Err(_)) => Piece::Cut(UnknownReason::Broken),
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) => Piece::Data(data),
            Err(frame) => frame.into_trailers().map_or(Piece::Data(Bytes::new()), Piece::Trailers),
        },
    }
}

/// The next piece, if it comes within `idle`.
pub async fn next_piece(body: &mut ResponseBody, idle: Duration) -> Piece {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
    match tokio::time::timeout(idle, frame).await {
        Ok(frame) => piece(frame),
        Err(_) => Piece::Cut(UnknownReason::TimedOut),
    }
}

/// The next piece, if it is here already. The connection's task hands on what it has read only
/// when asked, so it is given one turn.
pub async fn piece_at_once(body: &mut ResponseBody) -> Option<Piece> {
    let mut asked = false;
    poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(Some(piece(frame))),
        Poll::Pending if asked => Poll::Ready(None),
        Poll::Pending => {
            asked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// An answer's body as far as it is here.
#[derive(Debug)]
pub struct Capture {
    /// What has not gone to the client yet.
    pub unsent: Vec<Bytes>,
    /// Trailers, where there are some.
    pub trailers: Option<HeaderMap>,
    /// Bytes of the whole body, where the upstream said so.
    pub length: Option<u64>,
    kept: Vec<Bytes>,
    size: usize,
    limit: usize,
    over: bool,
    keep_none: bool,
    own_status: Option<OwnStatus>,
    reserved: Reservation,
    /// More than what may be held had to be held back.
    spilled: bool,
}

impl Capture {
    /// Nothing yet. `asked`: the request's fields. `head`: without its hop-by-hop fields. `limit`:
    /// larger answers are not kept.
    pub fn new(asked: &HeaderMap, head: &Parts, limit: usize, shared: &Arc<Shared>) -> Self {
        let length =
            head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let keep = head.headers.get("oncegate-keep");
        Self {
            unsent: Vec::new(),
            trailers: None,
            length,
            kept: Vec::new(),
            size: 0,
            limit,
            over: false,
            keep_none: keep.is_some_and(|keep| keep.as_bytes().eq_ignore_ascii_case(b"none")),
            own_status: OwnStatus::of(asked, head),
            reserved: Reservation::none(shared),
            spilled: false,
        }
    }

    /// Takes a piece in.
    pub fn take(&mut self, data: Bytes) {
        self.size += data.len();
        if let Some(own) = &mut self.own_status {
            own.take(&data);
        }
        if !self.over {
            // Out of budget is out of room: the answer still passes, but isn't kept.
            self.over = self.size > self.limit || !self.reserved.grow(data.len());
            if self.over {
                self.kept = Vec::new();
            } else {
                self.kept.push(data.clone());
            }
        }
        self.unsent.push(data);
    }

    /// What may go to the client before the record is durable: all but the last piece of a body
    /// whose length is known.
    pub fn sendable(&mut self) -> Vec<Bytes> {
        let is_last = self.length.is_some_and(|length| self.size as u64 >= length);
        let held = if is_last { self.unsent.pop() } else { None };
        let sendable = std::mem::take(&mut self.unsent);
        self.unsent.extend(held);
        sendable
    }

    /// What came last waits with what is unsent: it takes of the budget, or all of it is given up.
    pub fn hold_unsent(&mut self) {
        let held = if self.over { self.size } else { 0 };
        let more = held.saturating_sub(self.reserved.bytes());
        if self.spilled || !self.reserved.grow(more) {
            self.spilled = true;
            self.unsent = Vec::new();
        }
    }

    /// It could not be held whole.
    pub fn is_spilled(&self) -> bool {
        self.spilled
    }

    /// It is larger than what is kept.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Its body is kept.
    pub fn is_kept(&self) -> bool {
        !self.over && !self.keep_none
    }

    /// What the whole answer says of itself, where its protocol has a status of its own.
    pub fn own_status(&self, head: &Parts) -> Option<Disposition> {
        let body = || (!self.over).then(|| self.body());
        self.own_status.as_ref()?.judge(head, self.trailers.as_ref(), body)
    }

    fn body(&self) -> Bytes {
        let mut body = BytesMut::with_capacity(self.size);
        self.kept.iter().for_each(|data| body.extend_from_slice(data));
        body.freeze()
    }

    /// The answer to keep: copied once, into allocations of just its size.
    pub fn answer(&self, head: &Parts, strip: &[String]) -> Answer {
        self.answer_with(fields::kept(&head.headers, head.status.as_u16(), strip), head, strip)
    }

    /// The answer for those who waited, of an execution that was not applied.
    pub fn shared(&self, head: &Parts, strip: &[String]) -> Answer {
        self.answer_with(fields::shared(&head.headers, head.status.as_u16(), strip), head, strip)
    }

    fn answer_with(&self, fields: Vec<(Bytes, Bytes)>, head: &Parts, strip: &[String]) -> Answer {
        let status = head.status.as_u16();
        let trailers = self.trailers.as_ref().map(|trailers| fields::kept(trailers, status, strip));
        Answer { status, fields, body: self.body(), trailers: trailers.unwrap_or_default() }
    }

    /// What is known of it where no body is kept.
    pub fn summary(&self, head: &Parts) -> AnswerSummary {
        let text =
            |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok()).map(Arc::from);
        AnswerSummary {
            status: Some(head.status.as_u16()),
            location: text(header::LOCATION),
            content_location: text(header::CONTENT_LOCATION),
            etag: text(header::ETAG),
        }
    }

    /// The answer as `settle` sees it.
    pub fn reply(&self, head: &Parts, plan: &Plan, complete: bool) -> Reply {
        let declared = |fields: &HeaderMap| {
            let of = |name: &HeaderName| {
                let values = fields.get_all(name).into_iter();
                let text =
                    |value: &HeaderValue| std::str::from_utf8(value.as_bytes()).ok().map(str::to_owned);
                let texts = values.filter_map(|value| Some((name.to_string(), text(value)?)));
                texts.collect::<Vec<_>>()
            };
            plan.response_fields.iter().flat_map(of).collect()
        };
        Reply {
            status: head.status.as_u16(),
            fields: declared(&head.headers),
            trailers: self.trailers.as_ref().map(declared).unwrap_or_default(),
            payload: self.payload(head, &plan.response_payload),
            complete,
        }
    }

    fn payload(&self, head: &Parts, want: &PayloadWant) -> Payload {
        match want {
            _ if self.size == 0 => Payload::Absent,
            PayloadWant::Nothing => Payload::Withheld,
            _ if self.over => Payload::Oversize,
            want => view::payload(want, &head.headers, Some(&self.body()), self.limit),
        }
    }
}
