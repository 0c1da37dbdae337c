//! What bounds a policy, and how it comes to a bound.

use std::time::Duration;

/// Of a component's file.
pub(crate) const COMPONENT_BYTES_MAX: u64 = 64 << 20;
/// Of the custom section with test vectors.
pub(crate) const VECTORS_BYTES_MAX: usize = 256 << 10;
/// How long a component may compile.
pub(crate) const COMPILE_TIME_MAX: Duration = Duration::from_secs(60);
/// How long for an author's commands: one who sees that it takes long can stop it himself.
pub(crate) const AUTHOR_COMPILE_TIME_MAX: Duration = Duration::from_secs(3600);
/// How long a call may keep a worker from its other connections.
pub(crate) const INLINE_TIME_MAX: Duration = Duration::from_millis(5);
/// A policy whose call takes longer than this, in ticks of a millisecond of which the first is partly
/// over, has its next calls made on policy threads: on a worker a few of them would be everybody's delay.
pub(crate) const LINGER_TICKS: u64 = 2;
/// A call that takes less is quick for certain.
pub(crate) const QUICK_TIME_MAX: Duration = Duration::from_millis(1);
/// How long an instance may take to be made and configured where no connection waits behind it.
pub(crate) const SETUP_TIME_MAX: Duration = Duration::from_secs(1);
/// What a component hands over in one call of a hook, to imports too.
pub(crate) const HANDED_BYTES_MAX: usize = 1 << 20;
/// Of one line of the log.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 4 << 10;
/// Lines of the log in one call of a hook.
pub(crate) const LOG_LINES_MAX: u32 = 64;
/// Elements of all tables of an instance together.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Calls after which a reused instance makes room for a new one.
pub(crate) const INSTANCE_CALLS_MAX: u32 = 100_000;

/// The memory limit was reached. Growth traps in place of failing, for an instance that grew
/// before would otherwise decide differently from a fresh one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {limit} bytes of memory")]
pub(crate) struct MemoryExceeded {
    pub(crate) limit: usize,
}

/// More was handed over than one call may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {HANDED_BYTES_MAX} bytes handed to the host in one call")]
pub(crate) struct HandedTooMuch;

/// An import was called while no hook was.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("`{0}` is called from a start function: imports are for the hooks")]
pub(crate) struct OutsideHook(pub(crate) &'static str);

/// Something of WASI was called that the virtual one doesn't have.
#[derive(Clone, Debug, thiserror::Error)]
#[error("it called `{0}`, which is not there: a policy has no files, sockets or processes")]
pub(crate) struct NotThere(pub(crate) String);
