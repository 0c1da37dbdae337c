//! The hooks beside `policy` as a test vector or an author calls them: what they are asked, what they
//! say, and how that is written. The gateway's own calls go through `run::pool::InstancePool`.

use crate::policy::interface::failure::Failure;
use crate::policy::interface::v0_1::Exports;
use crate::policy::interface::{
    Changes, Finding, FoundReply, Outbound, OwnedOperation, ProblemView, Receipt, Reply, Settlement, Wording,
};
use crate::policy::run::instance::Instance;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use oncegate_core::OperationId;
use oncegate_core::problem::Code;
use serde_json::{Value, json};
use std::time::Duration;

/// A hook that a component may export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the hooks of policy.wit")]
pub enum Hook {
    Settle,
    Question,
    Reading,
    Present,
    Explain,
}

impl Hook {
    /// All of them, in the order of policy.wit.
    pub const ALL: [Self; 5] = [Self::Settle, Self::Question, Self::Reading, Self::Present, Self::Explain];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Question => "question",
            Self::Reading => "reading",
            Self::Present => "present",
            Self::Explain => "explain",
        }
    }

    /// The interface that it is of.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Settle => "outcome",
            Self::Question | Self::Reading => "resolution",
            Self::Present | Self::Explain => "presentation",
        }
    }

    /// Whether a component with these exports has it.
    pub const fn is_in(self, exports: Exports) -> bool {
        match self {
            Self::Settle => exports.outcome,
            Self::Question | Self::Reading => exports.resolution,
            Self::Present | Self::Explain => exports.presentation,
        }
    }
}

/// A call of one of these hooks.
#[derive(Clone, Debug)]
pub(crate) enum HookCall {
    Settle(Receipt, Reply),
    Question(Receipt),
    Reading(Receipt, Outbound, Reply),
    Present(Receipt, OwnedOperation, Reply),
    Explain(OwnedOperation, ProblemView),
}

impl HookCall {
    pub(crate) fn hook(&self) -> Hook {
        match self {
            Self::Settle(..) => Hook::Settle,
            Self::Question(..) => Hook::Question,
            Self::Reading(..) => Hook::Reading,
            Self::Present(..) => Hook::Present,
            Self::Explain(..) => Hook::Explain,
        }
    }

    /// Makes it.
    pub(crate) fn ask(&self, instance: &mut Instance, time: Duration) -> Result<HookResult, Failure> {
        Ok(match self {
            Self::Settle(receipt, reply) => HookResult::Settle(instance.settle(receipt, reply, time)?),
            Self::Question(receipt) => HookResult::Question(instance.question(receipt, time)?),
            Self::Reading(receipt, asked, reply) => {
                HookResult::Reading(instance.reading(receipt, asked, reply, time)?)
            }
            Self::Present(receipt, operation, reply) => {
                HookResult::Present(instance.present(receipt, &operation.borrowed(), reply, time)?)
            }
            Self::Explain(operation, problem) => {
                HookResult::Explain(instance.explain(&operation.borrowed(), problem, time)?)
            }
        })
    }
}

/// What one of these hooks settlement.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the hooks of policy.wit")]
pub enum HookResult {
    Settle(Option<Settlement>),
    Question(Option<Outbound>),
    Reading(Finding),
    Present(Option<Changes>),
    Explain(Option<Wording>),
}

impl HookResult {
    /// As test vectors write it, so that it can be copied into one. A body that isn't text is
    /// `{"bytes": […]}`.
    pub fn json(&self) -> Value {
        match self {
            Self::Settle(None) | Self::Question(None) | Self::Present(None) | Self::Explain(None) => {
                Value::Null
            }
            Self::Settle(Some(settlement)) => json!({
                "disposition": settlement.disposition.word(),
                "memo": settlement.memo.as_deref(),
                "retention-seconds": settlement.retention.map(|time| time.as_secs()),
            }),
            Self::Question(Some(question)) => outbound(question),
            Self::Reading(Finding::Consumed) => "consumed".into(),
            Self::Reading(Finding::DidNotHappen) => "did-not-happen".into(),
            Self::Reading(Finding::StillUnknown) => "still-unknown".into(),
            Self::Reading(Finding::Ask(next)) => json!({ "ask": outbound(next) }),
            Self::Reading(Finding::Happened(found)) => json!({ "happened": reply(found) }),
            Self::Present(Some(changes)) => json!({
                "set": pairs(changes.set.iter().map(|(name, value)| (name, value))),
                "remove": changes.remove.iter().map(HeaderName::as_str).collect::<Vec<_>>(),
                "body": changes.body.as_ref().map(text),
            }),
            Self::Explain(Some(wording)) => json!({
                "status": wording.status,
                "fields": pairs(wording.fields.iter().map(|(name, value)| (name, value))),
                "body": text(&wording.body),
            }),
        }
    }
}

fn outbound(question: &Outbound) -> Value {
    json!({
        "method": question.method.as_str(),
        "path": question.path.as_str(),
        "fields": pairs(question.fields.iter().map(|(name, value)| (name, value))),
        "body": question.body.as_ref().map(text),
    })
}

fn reply(found: &FoundReply) -> Value {
    let fields = |fields: &HeaderMap| pairs(fields.iter());
    json!({
        "status": found.status,
        "fields": fields(&found.fields),
        "trailers": fields(&found.trailers),
        "body": text(&found.body),
    })
}

fn pairs<'a>(fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Value {
    fields.map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])).collect()
}

fn text(body: &Bytes) -> Value {
    match std::str::from_utf8(body) {
        Ok(text) => text.into(),
        Err(_) => json!({ "bytes": &body[..] }),
    }
}

impl ProblemView {
    /// The gateway's own answer with this code, as far as the code tells; none: it is no such code.
    pub fn of_code(name: &str, operation: Option<OperationId>) -> Option<Self> {
        let code = Code::of_name(name)?;
        let retryable = code.is_retryable();
        Some(Self {
            status: code.status(),
            code: name.into(),
            detail: format!("what the gateway says of {name}"),
            operation_id: operation.map(|id| id.to_string()),
            outcome: None,
            retryable,
            retry_after_seconds: retryable.then_some(1),
            first_status: None,
            first_location: None,
        })
    }
}
