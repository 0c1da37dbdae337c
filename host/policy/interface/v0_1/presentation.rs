//! `presentation` of version 0.1: speaking the caller's protocol.

use super::bindings::{hooks, wit};
use super::lift::{pairs, returned};
use super::lower::{self, ReplyLists, field, selection};
use crate::engine::state::InstanceState;
use crate::interface::failure::{Broken, Failure};
use crate::interface::rules::{self, broken};
use crate::interface::{AnswerChanges, Operation, ProblemView, Receipt, Reply, Wording};
use http::HeaderName;
use oncegate_core::Disposition;
use std::time::Duration;
use wasmtime::Store;

/// The most names that a policy may remove at once.
const REMOVED_MAX: usize = 16;

/// Calls `present`.
pub(super) fn present(
    guest: &hooks::presentation::Guest,
    store: &mut Store<InstanceState>,
    receipt: &Receipt,
    operation: &Operation<'_>,
    reply: &Reply,
    time: Duration,
) -> Result<Option<AnswerChanges>, Failure> {
    let fields: Vec<_> = operation.fields.iter().map(field).collect();
    let selected = selection(&operation.payload);
    let asked = lower::operation(operation, &fields, &selected);
    let lists = ReplyLists::of(reply);
    let lifted = guest.call_present(store, lower::receipt(receipt), asked, lists.lower(reply));
    let lifted = returned(lifted, time)?;
    Ok(lifted.map(|lifted| changes(lifted, reply.status)).transpose()?)
}

/// Calls `explain`.
pub(super) fn explain(
    guest: &hooks::presentation::Guest,
    store: &mut Store<InstanceState>,
    operation: &Operation<'_>,
    problem: &ProblemView,
    time: Duration,
) -> Result<Option<Wording>, Failure> {
    let fields: Vec<_> = operation.fields.iter().map(field).collect();
    let selected = selection(&operation.payload);
    let asked = lower::operation(operation, &fields, &selected);
    let lowered = hooks::presentation::Problem {
        status: problem.status,
        code: &problem.code,
        detail: &problem.detail,
        operation_id: problem.operation_id.as_deref(),
        outcome: problem.outcome.map(disposition),
        retryable: problem.retryable,
        retry_after_seconds: problem.retry_after_seconds,
        first_status: problem.first_status,
        first_location: problem.first_location.as_deref(),
    };
    let lifted = returned(guest.call_explain(store, asked, lowered), time)?;
    Ok(lifted.map(wording).transpose()?)
}

const fn disposition(disposition: Disposition) -> wit::Disposition {
    match disposition {
        Disposition::Completed => wit::Disposition::Completed,
        Disposition::Consumed => wit::Disposition::Consumed,
        Disposition::NotApplied => wit::Disposition::NotApplied,
        Disposition::Unknown => wit::Disposition::Unknown,
    }
}

/// True if an answer with this status never has a body (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
const fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 205 | 304)
}

/// True for fields that no answer gets from a policy, beside those of `guard.forward`.
fn is_the_hosts(name: &str) -> bool {
    matches!(name, "set-cookie" | "idempotent-replayed")
}

pub(super) fn changes(lifted: hooks::presentation::Changes, status: u16) -> Result<AnswerChanges, Broken> {
    rules::at_most("changes.remove", lifted.remove.len(), REMOVED_MAX)?;
    if lifted.body.as_ref().is_some_and(|body| !body.is_empty()) && is_bodiless(status) {
        return broken("changes.body", format!("an answer with the status {status} has no body"));
    }
    Ok(AnswerChanges {
        set: rules::fields("changes.set", pairs(lifted.set), is_the_hosts)?,
        remove: lifted.remove.iter().map(|name| removed(name)).collect::<Result<_, _>>()?,
        body: lifted.body.map(Into::into),
    })
}

fn removed(name: &str) -> Result<HeaderName, Broken> {
    rules::field_name("changes.remove", name, is_the_hosts)
}

pub(super) fn wording(lifted: hooks::presentation::Wording) -> Result<Wording, Broken> {
    if !matches!(lifted.status, 200..=299 | 400..=599) {
        return broken("wording.status", format!("{}: 200 to 599 is allowed, but not 3xx", lifted.status));
    }
    if !lifted.body.is_empty() && is_bodiless(lifted.status) {
        return broken("wording.body", format!("an answer with the status {} has no body", lifted.status));
    }
    let more = |name: &str| is_the_hosts(name) || name == "content-encoding";
    Ok(Wording {
        status: lifted.status,
        fields: rules::fields("wording.fields", pairs(lifted.fields), more)?,
        body: lifted.body.into(),
    })
}
