//! The limits of a policy, and the errors at a limit.

use std::time::Duration;

/// The most bytes of a component's file.
pub(crate) const COMPONENT_BYTES_MAX: u64 = 64 << 20;
/// The most bytes of the custom section with test vectors.
pub(crate) const VECTORS_BYTES_MAX: usize = 256 << 10;
/// The longest time that a component may compile.
pub(crate) const COMPILE_TIME_MAX: Duration = Duration::from_secs(60);
/// The longest compile time for an author's commands: an author who sees that it takes long can stop it.
pub(crate) const AUTHOR_COMPILE_TIME_MAX: Duration = Duration::from_secs(3600);
/// The longest time that a call may keep a worker from its other connections.
pub(crate) const INLINE_TIME_MAX: Duration = Duration::from_millis(5);
/// A policy whose call takes longer than this, in ticks of a millisecond of which the first is partly over,
/// has its next calls made on policy threads. On a worker a few slow calls would delay every request.
pub(crate) const LINGER_TICKS: u64 = 2;
/// A call that takes less than this is quick for certain.
pub(crate) const QUICK_TIME_MAX: Duration = Duration::from_millis(1);
/// The longest time on a processor that reading a large body takes.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(1);
/// The longest time to make and configure an instance if no connection waits behind it.
pub(crate) const SETUP_TIME_MAX: Duration = Duration::from_secs(1);
/// The most bytes that a component hands over in one call of a hook, to imports too.
pub(crate) const HANDED_BYTES_MAX: usize = 1 << 20;
/// The most bytes of one line of the log.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 4 << 10;
/// The most lines of the log in one call of a hook.
pub(crate) const LOG_LINES_MAX: u32 = 64;
/// The most elements of all tables of an instance together.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Calls after which a reused instance makes room for a new one.
pub(crate) const INSTANCE_CALLS_MAX: u32 = 100_000;

/// The memory limit was reached. Growth traps instead of failing. Otherwise an instance that grew
/// before would decide differently from a fresh one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {limit} bytes of memory")]
pub(crate) struct MemoryExceeded {
    pub(crate) limit: usize,
}

/// More was handed over than one call may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {HANDED_BYTES_MAX} bytes handed to the host in one call")]
pub(crate) struct HandedTooMuch;

/// An import was called while no hook ran.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("`{0}` is called from a start function: imports are for the hooks")]
pub(crate) struct OutsideHook(pub(crate) &'static str);

/// A function of WASI was called that the virtual WASI doesn't have.
#[derive(Clone, Debug, thiserror::Error)]
#[error("it called `{0}`, which is not there: a policy has no files, sockets or processes")]
pub(crate) struct NotThere(pub(crate) String);
