//! The faults of test vectors, and the faults that they show.

use crate::interface::failure::Failure;

/// The most cases that a component may carry.
pub(super) const CASES_MAX: usize = 1000;

/// Why a component fails its own test vectors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum VectorFault {
    #[error("`oncegate:vectors` can't be read: {0}")]
    Format(String),
    #[error("`oncegate:vectors` has version {0}: this gateway reads version 1")]
    Version(u32),
    #[error("{0} cases, at most {CASES_MAX} are allowed")]
    TooMany(usize),
    #[error("case `{case}`: the request can't be read: {why}")]
    Request { case: String, why: String },
    #[error("case `{case}`: {why}")]
    Form { case: String, why: String },
    #[error("case `{case}`: the answer can't be read: {why}")]
    Answer { case: String, why: String },
    #[error(
        "case `{case}` expects `{hook}`, and the component doesn't export `oncegate:policy/{interface}`: export it, or \
         take the case away"
    )]
    NotExported { case: String, hook: &'static str, interface: &'static str },
    #[error("case `{case}` expects `{hook}`, which is never asked here: {why}")]
    NeverAsked { case: String, hook: &'static str, why: String },
    #[error("case `{case}`: {failure}")]
    Failed { case: String, failure: Failure },
    #[error("case `{case}`: `{hook}` {failure}")]
    HookFailed { case: String, hook: &'static str, failure: Failure },
    #[error("case `{case}`: expected {expected}, found {found}")]
    Differs { case: String, expected: String, found: String },
    #[error("case `{case}`: a used instance decides differently from a fresh one: the policy is not pure")]
    Impure { case: String },
    #[error(
        "case `{case}`: a used instance answers `{hook}` with {used}, a fresh one with {fresh}: the policy is not pure"
    )]
    ImpureHook { case: String, hook: &'static str, used: String, fresh: String },
    #[error("`{group}` names the case `{case}`, which is not there or is not guarded")]
    Unkeyed { group: &'static str, case: String },
    #[error("cases `{first}` and `{second}` must have the same key and don't")]
    NotSame { first: String, second: String },
    #[error("cases `{first}` and `{second}` must have different keys and don't")]
    NotDifferent { first: String, second: String },
}
