//! The capture of an execution's answer: the part that is kept, and the part that still waits to go
//! to the client (`design/answers.md`).

use crate::edge::{Direction, PeerAccount, Reservation};
use crate::execution::rpc::OwnStatus;
use crate::pieces::Pieces;
use crate::request::fields;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use oncegate_core::{Answer, AnswerSummary, Disposition, UnknownReason};
use oncegate_policy::view::ShownBody;
use oncegate_policy::{Failure, Generation, InstancePool, Payload, PayloadWant, Plan, Reply};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// An answer, as far as it arrived.
#[derive(Debug)]
pub struct CapturedAnswer {
    /// The answer's head, without hop-by-hop fields.
    pub head: Parts,
    /// The answer's body.
    pub capture: Capture,
    /// The reason why the body broke off, if it did.
    pub cut: Option<UnknownReason>,
}

/// An answer's body, as far as it has arrived.
#[derive(Debug)]
pub struct Capture {
    /// The trailers, if there are some.
    pub trailers: Option<HeaderMap>,
    /// The bytes of the whole body, if the upstream said how many.
    pub length: Option<u64>,
    /// The data that has not gone to the client yet.
    unsent: Pieces,
    kept: Pieces,
    size: usize,
    limit: usize,
    over: bool,
    keep_none: bool,
    own_status: Option<OwnStatus>,
    reserved: Reservation,
    /// Whether more data had to wait than may be held. Such data is lost.
    spilled: bool,
}

impl Capture {
    /// A capture with nothing in it. `asked`: the request's fields. `head`: without hop-by-hop fields.
    /// `limit`: larger answers are not kept. `bodies`: what the bodies of the client's peer hold.
    pub fn new(asked: &HeaderMap, head: &Parts, limit: usize, bodies: &Arc<PeerAccount>) -> Self {
        let length =
            head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut keeps = head.headers.get_all("oncegate-keep").into_iter();
        Self {
            trailers: None,
            length,
            unsent: Pieces::default(),
            kept: Pieces::default(),
            size: 0,
            limit,
            over: false,
            keep_none: keeps.any(|keep| keep.as_bytes().eq_ignore_ascii_case(b"none")),
            own_status: OwnStatus::of(asked, head),
            reserved: Reservation::none(bodies, Direction::Out),
            spilled: false,
        }
    }

    /// Takes a piece of data in.
    pub fn take(&mut self, data: Bytes) {
        self.size += data.len();
        if let Some(own) = &mut self.own_status {
            own.take(&data);
        }
        if !self.over {
            self.kept.push(data.clone());
            // A lack of budget is a lack of room: the answer still passes, but isn't kept.
            self.over = self.size > self.limit || !self.reserved.cover(self.kept.held());
            if self.over {
                self.kept = Pieces::default();
                self.reserved.shrink(0);
            }
        }
        self.unsent.push(data);
    }

    /// Takes the trailers in, without those that a trailer can't say.
    pub fn end_with(&mut self, mut trailers: HeaderMap) {
        fields::clean_trailers(&mut trailers);
        self.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
    }

    /// Data that may go to the client before the record is durable: all but the last piece of a body
    /// whose length is known.
    pub fn sendable(&mut self) -> Pieces {
        match self.length.is_some_and(|length| self.size as u64 >= length) {
            true => self.unsent.all_but_the_last(),
            false => std::mem::take(&mut self.unsent),
        }
    }

    /// The whole body as far as it is unsent, with its part of the budget, and the trailers.
    pub fn into_whole(self) -> (Bytes, Option<HeaderMap>) {
        (self.reserved.hold(self.unsent.join()), self.trailers)
    }

    /// What is unsent of the body, the trailers, and the whole body's part of the budget.
    pub fn into_rest(self) -> (Pieces, Option<HeaderMap>, Reservation) {
        (self.unsent, self.trailers, self.reserved)
    }

    /// Charges the budget for the last piece, which must wait with the other unsent pieces. If the budget
    /// has no room, all unsent pieces are given up.
    pub fn hold_unsent(&mut self) {
        if self.spilled || !self.reserved.cover(self.unsent.held()) {
            self.spilled = true;
            self.unsent = Pieces::default();
        }
    }

    /// Whether the answer could not be held whole.
    pub fn is_spilled(&self) -> bool {
        self.spilled
    }

    /// Whether the answer is too large to be kept.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the body is kept.
    pub fn is_kept(&self) -> bool {
        !self.over && !self.keep_none
    }

    /// The meaning of the whole answer by its own status, if its protocol has one.
    pub fn own_status(&self, head: &Parts) -> Option<Disposition> {
        let body = || (!self.over).then(|| self.kept.copied());
        self.own_status.as_ref()?.judge(head, self.trailers.as_ref(), body)
    }

    /// The answer to keep, copied once into allocations of exactly its size.
    pub fn answer(&self, head: &Parts, strip: &[String]) -> Answer {
        self.answer_with(fields::kept(&head.headers, head.status.as_u16(), strip), head, strip)
    }

    /// The answer of an execution that was not applied, for the requests that waited for it.
    pub fn shared(&self, head: &Parts, strip: &[String]) -> Answer {
        self.answer_with(fields::shared(&head.headers, head.status.as_u16(), strip), head, strip)
    }

    fn answer_with(&self, fields: Vec<(Bytes, Bytes)>, head: &Parts, strip: &[String]) -> Answer {
        let status = head.status.as_u16();
        let trailers = self.trailers.as_ref().map(|trailers| fields::kept(trailers, status, strip));
        Answer { status, fields, body: self.kept.copied(), trailers: trailers.unwrap_or_default() }
    }

    /// A summary of the answer, for a record that keeps no body.
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

    /// The answer as `settle` sees it, with this of its body.
    pub fn reply(&self, head: &Parts, plan: &Plan, payload: Payload, complete: bool) -> Reply {
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
            payload,
            complete,
        }
    }

    /// The part of the body that `settle` gets to see.
    pub async fn payload(
        &self,
        head: &Parts,
        generation: &Arc<Generation>,
        policies: &InstancePool,
        turns: &Arc<Semaphore>,
    ) -> Result<Payload, Failure> {
        match generation.plan().response_payload {
            _ if self.size == 0 => Ok(Payload::Absent),
            PayloadWant::Nothing => Ok(Payload::Withheld),
            _ if self.over => Ok(Payload::Oversize),
            PayloadWant::Pointers(_) | PayloadWant::Whole(_) => {
                let body = Arc::new(ShownBody::new(&head.headers, self.kept.copied(), self.limit));
                policies.payload(generation, &body, |plan| &plan.response_payload, turns).await
            }
        }
    }
}
