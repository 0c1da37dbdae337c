//! The arguments of hooks, borrowed from the host's own types.

use super::bindings::wit;
use crate::interface::{Found, Operation, Payload, Receipt, Reply};

/// The operation that `decide` and the hooks of `presentation` are called with.
pub(super) fn operation<'a>(
    operation: &'a Operation<'_>,
    fields: &'a [wit::FieldParam<'a>],
    selected: &'a [wit::FoundParam<'a>],
) -> wit::Operation<'a> {
    wit::Operation { method: operation.method, fields, payload: payload(&operation.payload, selected) }
}

/// The lists that a reply borrows.
pub(super) struct ReplyLists<'a> {
    fields: Vec<wit::FieldParam<'a>>,
    trailers: Vec<wit::FieldParam<'a>>,
    selected: Vec<wit::FoundParam<'a>>,
}

impl<'a> ReplyLists<'a> {
    pub(super) fn of(reply: &'a Reply) -> Self {
        Self {
            fields: reply.fields.iter().map(owned_field).collect(),
            trailers: reply.trailers.iter().map(owned_field).collect(),
            selected: selection(&reply.payload),
        }
    }

    pub(super) fn lower(&'a self, reply: &'a Reply) -> wit::ReplyParam<'a> {
        wit::ReplyParam {
            status: reply.status,
            fields: &self.fields,
            trailers: &self.trailers,
            payload: payload(&reply.payload, &self.selected),
            complete: reply.complete,
        }
    }
}

/// A borrowed field.
pub(super) fn field<'a>(&(name, value): &(&'a str, &'a str)) -> wit::FieldParam<'a> {
    wit::FieldParam { name, value }
}

/// An owned field.
pub(super) fn owned_field((name, value): &(String, String)) -> wit::FieldParam<'_> {
    wit::FieldParam { name, value }
}

/// The places of a selected payload.
pub(super) fn selection(payload: &Payload) -> Vec<wit::FoundParam<'_>> {
    let Payload::Selected(places) = payload else { return Vec::new() };
    places.iter().map(found).collect()
}

fn found(place: &Found) -> wit::FoundParam<'_> {
    match place {
        Found::Nothing => wit::FoundParam::Nothing,
        Found::Text(text) => wit::FoundParam::Text(text),
        Found::Json(json) => wit::FoundParam::Json(json),
    }
}

fn payload<'a>(payload: &'a Payload, selected: &'a [wit::FoundParam<'a>]) -> wit::PayloadParam<'a> {
    match payload {
        Payload::Absent => wit::PayloadParam::Absent,
        Payload::Withheld => wit::PayloadParam::Withheld,
        Payload::Selected(_) => wit::PayloadParam::Selected(selected),
        Payload::Whole(bytes) => wit::PayloadParam::Whole(bytes),
        Payload::Oversize => wit::PayloadParam::Oversize,
        Payload::Malformed(why) => wit::PayloadParam::Malformed(why),
    }
}

/// The receipt of an operation.
pub(super) fn receipt(receipt: &Receipt) -> wit::Receipt<'_> {
    wit::Receipt {
        operation_id: &receipt.operation_id,
        route: &receipt.route,
        method: &receipt.method,
        authority: &receipt.authority,
        path: &receipt.path,
        principal: receipt.principal.as_deref(),
        key_schema: &receipt.key_schema,
        attempts: receipt.attempts,
        first_attempt: receipt.first_attempt,
        memo: receipt.memo.as_deref(),
    }
}
