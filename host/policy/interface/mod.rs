//! The interface of policies: its types, the versions of it that components speak, the rules that
//! results must keep, the imports that a component may have, and how a call fails.

pub(crate) mod failure;
pub(crate) mod hooks;
pub(crate) mod imports;
pub(crate) mod rules;
mod types;
pub(crate) mod v0_1;
pub(crate) mod wasi;

pub use types::{
    AnswerChanges, Finding, FingerprintRule, Found, FoundReply, Guard, Operation, Outbound, OwnedOperation,
    Payload, PayloadWant, Plan, PolicyRefusal, PolicySettlement, ProblemView, Receipt, Reply, RequestField,
    Verdict, Wording,
};
