//! `outcome` of version 0.1: the meaning of an answer.

use super::bindings::hooks::outcome as wit;
use super::lift::{disposition, retention, returned};
use super::lower::{self, ReplyLists};
use crate::engine::state::InstanceState;
use crate::interface::failure::{Broken, Failure};
use crate::interface::rules::{self, broken};
use crate::interface::{PolicySettlement, Receipt, Reply};
use oncegate_core::Disposition;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Store;

/// Calls `settle`.
pub(super) fn settle(
    guest: &wit::Guest,
    store: &mut Store<InstanceState>,
    receipt: &Receipt,
    reply: &Reply,
    time: Duration,
) -> Result<Option<PolicySettlement>, Failure> {
    let lists = ReplyLists::of(reply);
    let lifted = returned(guest.call_settle(store, lower::receipt(receipt), lists.lower(reply)), time)?;
    Ok(lifted.map(|lifted| settlement(lifted, reply.complete)).transpose()?)
}

pub(super) fn settlement(lifted: wit::Settlement, complete: bool) -> Result<PolicySettlement, Broken> {
    let disposition = disposition(lifted.disposition);
    if disposition == Disposition::NotApplied && !complete {
        return broken("settlement.disposition", "an incomplete answer is never `not-applied`");
    }
    rules::memo("settlement.memo", lifted.memo.as_deref())?;
    Ok(PolicySettlement {
        disposition,
        memo: lifted.memo.map(Arc::from),
        retention: retention("settlement.retention-seconds", lifted.retention_seconds)?,
    })
}
