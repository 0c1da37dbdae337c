//! What bounds a policy, and the state of one instance that is held against it.

use std::sync::Arc;
use std::time::Duration;
use wasmtime::{ResourceLimiter, UpdateDeadline};

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
const LINGER_TICKS: u64 = 2;
/// A call that takes less is quick for certain.
pub(crate) const QUICK_TIME_MAX: Duration = Duration::from_millis(1);
/// How long an instance may take to be made and configured where no connection waits behind it.
pub(crate) const SETUP_TIME_MAX: Duration = Duration::from_secs(1);
/// What a component hands over in one call of a hook, to imports too.
const HANDED_BYTES_MAX: usize = 1 << 20;
/// Of one line of the log.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 4 << 10;
/// Lines of the log in one call of a hook.
pub(crate) const LOG_LINES_MAX: u32 = 64;
/// Elements of all tables of an instance together.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Calls after which a reused instance makes room for a new one.
pub(crate) const INSTANCE_CALLS_MAX: u32 = 100_000;

/// How long a thing may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallBudget {
    /// To make an instance and configure it.
    pub(crate) setup: Duration,
    /// To answer one call.
    pub(crate) call: Duration,
}

impl CallBudget {
    /// On a worker, where `time` is the policy's own limit.
    pub(crate) fn inline(time: Duration) -> Self {
        let call = time.min(INLINE_TIME_MAX);
        Self { setup: INLINE_TIME_MAX, call }
    }

    /// On a policy thread.
    pub(crate) fn off_worker(time: Duration) -> Self {
        Self { setup: time.max(SETUP_TIME_MAX), call: time }
    }

    /// While loading: nobody waits, and a machine that compiles is a busy one.
    pub(crate) fn loading(time: Duration) -> Self {
        let time = time.max(SETUP_TIME_MAX);
        Self { setup: time, call: time }
    }
}

/// The memory limit was reached. Growth traps in place of failing, for an instance that grew
/// before would otherwise decide differently from a fresh one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {limit} bytes of memory")]
pub(crate) struct MemoryExceeded {
    limit: usize,
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

/// How long a guest may go on. A machine with too much to do would fail good policies if all the
/// time that passes counted: past the first look a guest is held to the processor's time.
#[derive(Debug, Default)]
pub(crate) struct DeadlineExtension {
    /// Ticks after the first look.
    rest: u64,
    /// The thread's time on a processor at the first look.
    since: Option<Duration>,
    extensions: u32,
}

impl DeadlineExtension {
    /// So often a guest that didn't get to run is given its rest again.
    const EXTENSIONS_MAX: u32 = 8;

    /// A call begins that has so many ticks. Returns those to the first look.
    fn begin(ticks: u64) -> (Self, u64) {
        let first = (ticks / 2).clamp(1, LINGER_TICKS);
        (Self { rest: ticks.saturating_sub(first).max(1), since: None, extensions: 0 }, first)
    }

    /// The deadline passed.
    fn look(&mut self, on_processor: Duration) -> UpdateDeadline {
        let Some(since) = self.since else {
            self.since = Some(on_processor);
            return UpdateDeadline::Continue(self.rest);
        };
        // A tick is a millisecond, and the first may be over when it is set.
        let spent = on_processor.saturating_sub(since) + Duration::from_millis(1);
        if self.extensions >= Self::EXTENSIONS_MAX || spent >= Duration::from_millis(self.rest) {
            return UpdateDeadline::Interrupt;
        }
        self.extensions += 1;
        UpdateDeadline::Continue(self.rest)
    }
}

/// What an instance's store carries.
pub(crate) struct InstanceState {
    policy: Arc<str>,
    memory_max: usize,
    memory: usize,
    table_elements: usize,
    handed_left: usize,
    lines_left: u32,
    in_hook: bool,
    extension: DeadlineExtension,
    /// The numbers of the virtual WASI, once one was asked for.
    random: Option<blake3::OutputReader>,
    /// Lines of the log, where they are collected instead of going to the operator's.
    log: Option<Vec<String>>,
}

impl InstanceState {
    /// Of an instance of `policy` that may have so many bytes of memory.
    pub(crate) fn new(policy: Arc<str>, memory_max: usize) -> Self {
        Self {
            policy,
            memory_max,
            memory: 0,
            table_elements: 0,
            handed_left: HANDED_BYTES_MAX,
            lines_left: LOG_LINES_MAX,
            in_hook: false,
            extension: DeadlineExtension::default(),
            random: None,
            log: None,
        }
    }

    /// From now on lines of the log are collected.
    pub(crate) fn collect_log(&mut self) {
        self.log.get_or_insert_default();
    }

    /// Whether they are.
    pub(crate) fn collects_log(&self) -> bool {
        self.log.is_some()
    }

    /// Collects a line.
    pub(crate) fn add_line(&mut self, line: String) {
        if let Some(log) = &mut self.log {
            log.push(line);
        }
    }

    /// The lines that were collected since this was last asked.
    pub(crate) fn take_log(&mut self) -> Vec<String> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A guest is about to run for so many ticks of the epoch. Returns those to the first look.
    pub(crate) fn grant(&mut self, ticks: u64) -> u64 {
        let (extension, first) = DeadlineExtension::begin(ticks);
        self.extension = extension;
        first
    }

    /// Whether the guest took longer than a worker likes to wait, since it was last granted time.
    pub(crate) fn lingered(&self) -> bool {
        self.extension.since.is_some()
    }

    /// The deadline passed: whether the guest goes on.
    pub(crate) fn overdue(&mut self) -> UpdateDeadline {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let part = |number: i64| u64::try_from(number).unwrap_or(0);
        self.extension.look(Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec)))
    }

    /// A hook is about to be called. Returns the bytes that it may hand over.
    pub(crate) fn enter(&mut self) -> usize {
        self.in_hook = true;
        self.handed_left = HANDED_BYTES_MAX;
        self.lines_left = LOG_LINES_MAX;
        self.random = None;
        self.handed_left
    }

    /// The hook is done.
    pub(crate) fn leave(&mut self) {
        self.in_hook = false;
    }

    /// `import` was given `bytes`. Returns what is left to hand over.
    pub(crate) fn charge(&mut self, import: &'static str, bytes: usize) -> wasmtime::Result<usize> {
        if !self.in_hook {
            return Err(OutsideHook(import).into());
        }
        self.charge_runtime(bytes)
    }

    /// A language's runtime moved `bytes`, which it may do outside of hooks too. Returns what is left.
    pub(crate) fn charge_runtime(&mut self, bytes: usize) -> wasmtime::Result<usize> {
        self.handed_left = self.handed_left.checked_sub(bytes).ok_or(HandedTooMuch)?;
        Ok(self.handed_left)
    }

    /// The next of the numbers that each call gets anew, the same for every policy and instance.
    pub(crate) fn random_bytes(&mut self, length: usize) -> Vec<u8> {
        let random = self.random.get_or_insert_with(|| blake3::Hasher::new().finalize_xof());
        let mut bytes = vec![0; length];
        random.fill(&mut bytes);
        bytes
    }

    /// As [`random_bytes`](Self::random_bytes), one number.
    pub(crate) fn random_u64(&mut self) -> u64 {
        self.random_bytes(8).try_into().map_or(0, u64::from_le_bytes)
    }

    /// Whether one more line may be logged.
    pub(crate) fn take_line(&mut self) -> bool {
        let some_left = self.lines_left > 0;
        self.lines_left = self.lines_left.saturating_sub(1);
        some_left
    }

    /// The policy's name.
    pub(crate) fn policy(&self) -> &Arc<str> {
        &self.policy
    }

    /// Bytes of linear memory that the instance has.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }
}

impl ResourceLimiter for InstanceState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.memory.saturating_add(desired.saturating_sub(current));
        if grown > self.memory_max {
            return Err(MemoryExceeded { limit: self.memory_max }.into());
        }
        self.memory = grown;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.table_elements.saturating_add(desired.saturating_sub(current));
        if grown > TABLE_ELEMENTS_MAX {
            // Tables are memory too, and the caller's remedy is the same.
            return Err(MemoryExceeded { limit: self.memory_max }.into());
        }
        self.table_elements = grown;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_on(extension: &mut DeadlineExtension, on_processor: u64) -> bool {
        matches!(extension.look(Duration::from_millis(on_processor)), UpdateDeadline::Continue(_))
    }

    #[test]
    fn who_runs_all_the_time_has_the_time_and_no_more() {
        let (mut extension, first) = DeadlineExtension::begin(51);
        assert_eq!((first, extension.rest), (2, 49));
        assert!(goes_on(&mut extension, 1002));
        assert!(!goes_on(&mut extension, 1051));
    }

    #[test]
    fn who_does_not_get_to_run_has_longer_but_not_for_ever() {
        let (mut extension, _) = DeadlineExtension::begin(6);
        assert!(goes_on(&mut extension, 0), "the first look");
        for _ in 0..DeadlineExtension::EXTENSIONS_MAX {
            assert!(goes_on(&mut extension, 1), "it ran for a millisecond of four");
        }
        assert!(!goes_on(&mut extension, 1));
    }
}
