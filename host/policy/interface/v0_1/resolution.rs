//! `resolution` of version 0.1: questions about lost attempts, and the findings from their answers.

use super::bindings::{hooks, wit};
use super::lift::{pairs, returned};
use super::lower::{self, ReplyLists, owned_field};
use crate::engine::state::InstanceState;
use crate::interface::failure::{Broken, Failure};
use crate::interface::rules::{self, broken};
use crate::interface::{Finding, FoundReply, Outbound, Receipt, Reply};
use bytes::Bytes;
use http::HeaderValue;
use std::time::Duration;
use wasmtime::Store;

/// Calls `question`.
pub(super) fn question(
    guest: &hooks::resolution::Guest,
    store: &mut Store<InstanceState>,
    receipt: &Receipt,
    time: Duration,
) -> Result<Option<Outbound>, Failure> {
    let lifted = returned(guest.call_question(store, lower::receipt(receipt)), time)?;
    Ok(lifted.map(|lifted| outbound("question", lifted)).transpose()?)
}

/// Calls `reading`.
pub(super) fn reading(
    guest: &hooks::resolution::Guest,
    store: &mut Store<InstanceState>,
    receipt: &Receipt,
    asked: &Outbound,
    reply: &Reply,
    time: Duration,
) -> Result<Finding, Failure> {
    let lists = ReplyLists::of(reply);
    // The values that the policy handed out were UTF-8, so they come back unchanged.
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let fields: Vec<_> =
        asked.fields.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let fields: Vec<_> = fields.iter().map(owned_field).collect();
    let question = wit::OutboundParam {
        method: asked.method.as_str(),
        path: asked.path.as_str(),
        fields: &fields,
        body: asked.body.as_deref(),
    };
    let lifted = guest.call_reading(store, lower::receipt(receipt), question, lists.lower(reply));
    Ok(finding(returned(lifted, time)?)?)
}

pub(super) fn outbound(place: &'static str, lifted: wit::OutboundResult) -> Result<Outbound, Broken> {
    rules::method(place, &lifted.method)?;
    Ok(Outbound {
        method: http::Method::from_bytes(lifted.method.as_bytes()).unwrap_or_default(),
        path: rules::path(place, &lifted.path)?,
        fields: rules::fields(place, pairs(lifted.fields), |_| false)?,
        body: lifted.body.map(Bytes::from),
    })
}

pub(super) fn finding(lifted: hooks::resolution::Finding) -> Result<Finding, Broken> {
    use hooks::resolution::Finding as Lifted;
    Ok(match lifted {
        Lifted::Happened(lifted) => Finding::Happened(Box::new(found_reply(lifted)?)),
        Lifted::Consumed => Finding::Consumed,
        Lifted::DidNotHappen => Finding::DidNotHappen,
        Lifted::StillUnknown => Finding::StillUnknown,
        Lifted::Ask(lifted) => Finding::Ask(outbound("finding.ask", lifted)?),
    })
}

/// An answer that a policy hands out.
pub(super) fn found_reply(lifted: wit::ReplyResult) -> Result<FoundReply, Broken> {
    let place = "finding.happened";
    if !(200..=599).contains(&lifted.status) {
        return broken(place, format!("status {}: 200 to 599 is allowed", lifted.status));
    }
    let body = match lifted.payload {
        wit::PayloadResult::Absent => Bytes::new(),
        wit::PayloadResult::Whole(bytes) => Bytes::from(bytes),
        wit::PayloadResult::Withheld
        | wit::PayloadResult::Selected(_)
        | wit::PayloadResult::Oversize
        | wit::PayloadResult::Malformed(_) => {
            return broken(place, "a payload that a policy hands out is `absent` or `whole`");
        }
    };
    if matches!(lifted.status, 204 | 304) && !body.is_empty() {
        return broken(place, format!("a body, and an answer with status {} has none", lifted.status));
    }
    Ok(FoundReply {
        status: lifted.status,
        fields: rules::answer_fields(place, pairs(lifted.fields))?,
        trailers: rules::answer_fields(place, pairs(lifted.trailers))?,
        body,
    })
}
