//! The ways in which a policy fails a call.

use crate::engine::limits::{HandedTooMuch, MemoryExceeded, NotThere, OutsideHook};
use std::time::Duration;
use wasmtime::{PoolConcurrencyLimitError, Trap};

/// A rule of `policy.wit` that a result breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Broken {
    /// The field of the interface, such as `plan.request-fields`.
    pub place: &'static str,
    /// The value that was found, and the rule.
    pub what: String,
}

/// Why a call of a policy brought no usable result. The text is for the operator's log: it can
/// quote the component, so no client sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// WebAssembly trapped, or the host refused what the guest tried.
    #[error("trapped: {0}")]
    Trap(String),
    /// The call ran out of time.
    #[error("not done after {0:?}: the policy loops, or needs a larger `limits.time`")]
    Deadline(Duration),
    /// The host was not done in time with a large body that the policy wants to see.
    #[error("a body is not read after {0:?}")]
    Body(Duration),
    /// The call ran out of memory.
    #[error("{0}: the policy leaks, or needs a larger `limits.memory`")]
    Memory(String),
    /// The component handed over more than one call may.
    #[error("more than 1 MiB handed to the host in one call")]
    Handed,
    /// The hook returned an `err`.
    #[error("returned an err: {0}")]
    Err(String),
    /// The result breaks a rule of the interface.
    #[error("invalid result: {0}")]
    Invalid(#[from] Broken),
    /// No instance could be made.
    #[error("no instance could be made: {0}")]
    Instantiate(String),
    /// Too many of the policy's slow calls wait for a policy thread.
    #[error("{0} slow calls of this policy wait already")]
    Busy(usize),
    /// The host's own thread was lost in this call.
    #[error("the policy thread ended in mid-call")]
    Lost,
}

impl Failure {
    /// True if the failure is the policy's own doing, and the same on every machine.
    pub fn is_its_own(&self) -> bool {
        match self {
            Self::Trap(_) | Self::Memory(_) | Self::Handed | Self::Err(_) | Self::Invalid(_) => true,
            Self::Deadline(_) | Self::Body(_) | Self::Instantiate(_) | Self::Busy(_) | Self::Lost => false,
        }
    }

    /// The failure's name in metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline(_) => "deadline",
            Self::Body(_) => "body",
            Self::Memory(_) => "memory",
            Self::Handed => "handed",
            Self::Err(_) => "err",
            Self::Invalid(_) => "invalid",
            Self::Instantiate(_) => "instantiate",
            Self::Busy(_) => "busy",
            Self::Lost => "lost",
        }
    }

    /// The failure that wasmtime reported for a call that had `time`.
    pub(crate) fn of_call(error: &wasmtime::Error, time: Duration) -> Self {
        if let Some(exceeded) = error.downcast_ref::<MemoryExceeded>() {
            return Self::Memory(exceeded.to_string());
        }
        if error.is::<HandedTooMuch>() || is_hostcall_fuel(error) {
            return Self::Handed;
        }
        if let Some(outside) = error.downcast_ref::<OutsideHook>() {
            return Self::Trap(outside.to_string());
        }
        if let Some(absent) = error.downcast_ref::<NotThere>() {
            return Self::Trap(absent.to_string());
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Deadline(time),
            Some(_) => Self::Trap(one_line(error)),
            // Every other error of a call is about lifting the result.
            None => Self::Invalid(Broken { place: "canonical ABI", what: one_line(error) }),
        }
    }

    /// The failure that wasmtime reported for an instantiation that had `time`.
    pub(crate) fn of_instantiation(error: &wasmtime::Error, time: Duration) -> Self {
        let limited = error.is::<MemoryExceeded>()
            || error.is::<OutsideHook>()
            || error.is::<NotThere>()
            || error.is::<Trap>();
        if limited && !error.is::<PoolConcurrencyLimitError>() {
            return Self::of_call(error, time);
        }
        Self::Instantiate(one_line(error))
    }
}

/// wasmtime keeps the type of this error to itself.
fn is_hostcall_fuel(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().ends_with("fuel allocated for hostcalls has been exhausted")
}

/// An error with its causes and the guest's frames, as one bounded line of a log.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    const BYTES_MAX: usize = 1 << 10;
    let mut line = String::new();
    for piece in format!("{error:#}").split_whitespace() {
        if line.len() + piece.len() >= BYTES_MAX {
            line.push_str(" …");
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(piece);
    }
    line
}
