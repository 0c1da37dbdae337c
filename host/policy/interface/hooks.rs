//! The hooks that a component may export beside `policy`: the arguments and the result of each, and how test
//! vectors write them. The gateway, a vector and an author's command all call a hook with a [`HookCall`].

use crate::interface::{
    AnswerChanges, Finding, FoundReply, Outbound, OwnedOperation, PolicySettlement, ProblemView, Receipt,
    Reply, Wording,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use oncegate_core::OperationId;
use oncegate_core::problem::Code;
use serde_json::{Value, json};

/// An interface that a component may export beside `policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the interfaces of policy.wit")]
pub enum Interface {
    Outcome,
    Resolution,
    Presentation,
}

impl Interface {
    /// All interfaces, in the order of policy.wit.
    pub const ALL: [Self; 3] = [Self::Outcome, Self::Resolution, Self::Presentation];

    /// The interface's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::Resolution => "resolution",
            Self::Presentation => "presentation",
        }
    }
}

/// The interfaces that a component exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports([bool; Interface::ALL.len()]);

impl Exports {
    /// True if the component exports this interface.
    pub const fn has(self, interface: Interface) -> bool {
        self.0[interface as usize]
    }

    /// Adds an interface that the component exports.
    pub(crate) fn add(&mut self, interface: Interface) {
        self.0[interface as usize] = true;
    }

    /// The interfaces that the component exports.
    pub fn iter(self) -> impl Iterator<Item = Interface> {
        Interface::ALL.into_iter().filter(move |interface| self.has(*interface))
    }
}

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
    /// All hooks, in the order of policy.wit.
    pub const ALL: [Self; 5] = [Self::Settle, Self::Question, Self::Reading, Self::Present, Self::Explain];

    /// The hook's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Question => "question",
            Self::Reading => "reading",
            Self::Present => "present",
            Self::Explain => "explain",
        }
    }

    /// The interface that the hook belongs to.
    pub const fn interface(self) -> Interface {
        match self {
            Self::Settle => Interface::Outcome,
            Self::Question | Self::Reading => Interface::Resolution,
            Self::Present | Self::Explain => Interface::Presentation,
        }
    }

    /// True if a component with these exports has the hook.
    pub const fn is_in(self, exports: Exports) -> bool {
        exports.has(self.interface())
    }

    /// The arguments that the hook is called with.
    pub(crate) const fn arguments(self) -> &'static [HookArgument] {
        use HookArgument::{Asked, Operation, Problem, Receipt, Reply};
        match self {
            Self::Settle => &[Receipt, Reply],
            Self::Question => &[Receipt],
            Self::Reading => &[Receipt, Asked, Reply],
            Self::Present => &[Receipt, Operation, Reply],
            Self::Explain => &[Operation, Problem],
        }
    }

    /// A call of the hook, with arguments from `source`.
    pub(crate) fn call_from<S: ArgumentSource>(self, source: &mut S) -> Result<HookCall, S::Fault> {
        Ok(match self {
            Self::Settle => HookCall::Settle { receipt: source.receipt()?, reply: source.settled_reply()? },
            Self::Question => HookCall::Question { receipt: source.receipt()? },
            Self::Reading => {
                let receipt = source.receipt()?;
                let asked = source.asked(&receipt)?;
                HookCall::Reading { receipt, asked, reply: source.found_reply()? }
            }
            Self::Present => HookCall::Present {
                receipt: source.receipt()?,
                operation: source.operation()?,
                reply: source.kept_reply()?,
            },
            Self::Explain => HookCall::Explain { operation: source.operation()?, problem: source.problem()? },
        })
    }
}

/// An argument of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookArgument {
    /// The ledger's knowledge of the operation.
    Receipt,
    /// The operation that `decide` saw.
    Operation,
    /// An answer.
    Reply,
    /// The question that the answer belongs to.
    Asked,
    /// One of the gateway's own answers.
    Problem,
}

/// The source of arguments that no request makes: a test vector, or an author.
pub(crate) trait ArgumentSource {
    /// Why the hook can't be called.
    type Fault;

    /// The ledger's knowledge of the operation.
    fn receipt(&mut self) -> Result<Receipt, Self::Fault>;

    /// The operation that `decide` saw.
    fn operation(&mut self) -> Result<OwnedOperation, Self::Fault>;

    /// An answer that is to be settled: the parts that the plan declared.
    fn settled_reply(&mut self) -> Result<Reply, Self::Fault>;

    /// The question that was asked about the operation.
    fn asked(&mut self, receipt: &Receipt) -> Result<Outbound, Self::Fault>;

    /// The whole answer to a question.
    fn found_reply(&mut self) -> Result<Reply, Self::Fault>;

    /// The whole answer that is to be replayed.
    fn kept_reply(&mut self) -> Result<Reply, Self::Fault>;

    /// One of the gateway's own answers.
    fn problem(&mut self) -> Result<ProblemView, Self::Fault>;
}

/// A call of a hook.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the hooks of policy.wit and their parameters")]
pub enum HookCall {
    Settle { receipt: Receipt, reply: Reply },
    Question { receipt: Receipt },
    Reading { receipt: Receipt, asked: Outbound, reply: Reply },
    Present { receipt: Receipt, operation: OwnedOperation, reply: Reply },
    Explain { operation: OwnedOperation, problem: ProblemView },
}

impl HookCall {
    /// The hook that is called.
    pub fn hook(&self) -> Hook {
        match self {
            Self::Settle { .. } => Hook::Settle,
            Self::Question { .. } => Hook::Question,
            Self::Reading { .. } => Hook::Reading,
            Self::Present { .. } => Hook::Present,
            Self::Explain { .. } => Hook::Explain,
        }
    }
}

/// The result of a hook.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the hooks of policy.wit")]
pub enum HookResult {
    Settle(Option<PolicySettlement>),
    Question(Option<Outbound>),
    Reading(Finding),
    Present(Option<AnswerChanges>),
    Explain(Option<Wording>),
}

impl HookResult {
    /// The result for a component that doesn't export the hook.
    pub(crate) const fn nothing(hook: Hook) -> Self {
        match hook {
            Hook::Settle => Self::Settle(None),
            Hook::Question => Self::Question(None),
            Hook::Reading => Self::Reading(Finding::StillUnknown),
            Hook::Present => Self::Present(None),
            Hook::Explain => Self::Explain(None),
        }
    }

    /// The settlement that `settle` returned.
    pub fn settlement(self) -> Option<PolicySettlement> {
        if let Self::Settle(settlement) = self { settlement } else { None }
    }

    /// The question that `question` returned.
    pub fn question(self) -> Option<Outbound> {
        if let Self::Question(question) = self { question } else { None }
    }

    /// The finding that `reading` returned.
    pub fn finding(self) -> Finding {
        if let Self::Reading(finding) = self { finding } else { Finding::StillUnknown }
    }

    /// The changes that `present` returned.
    pub fn changes(self) -> Option<AnswerChanges> {
        if let Self::Present(changes) = self { changes } else { None }
    }

    /// The wording that `explain` returned for a problem.
    pub fn wording(self) -> Option<Wording> {
        if let Self::Explain(wording) = self { wording } else { None }
    }

    /// The result as test vectors write it, so that it can be copied into one. A body that isn't text is
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
    /// The gateway's own answer with this code, as far as the code tells; none: the gateway has no such code.
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
