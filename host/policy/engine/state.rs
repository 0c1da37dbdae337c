//! The state of one instance, held against the limits.

use crate::engine::deadline::DeadlineExtension;
use crate::engine::limits::{
    HANDED_BYTES_MAX, HandedTooMuch, LOG_LINES_MAX, MemoryExceeded, OutsideHook, TABLE_ELEMENTS_MAX,
};
use crate::engine::processor::processor_time;
use std::sync::Arc;
use wasmtime::{ResourceLimiter, UpdateDeadline};

/// The data that an instance's store carries.
pub(crate) struct InstanceState {
    policy: Arc<str>,
    memory_max: usize,
    memory: usize,
    table_elements: usize,
    handed_left: usize,
    lines_left: u32,
    in_hook: bool,
    extension: DeadlineExtension,
    /// The random numbers of the virtual WASI, once the guest has asked for one.
    random: Option<blake3::OutputReader>,
    /// Lines of the log, if they are collected instead of going to the operator's log.
    log: Option<Vec<String>>,
}

impl InstanceState {
    /// The state of an instance of `policy` that may have so many bytes of memory.
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

    /// Collects lines of the log from now on.
    pub(crate) fn collect_log(&mut self) {
        self.log.get_or_insert_default();
    }

    /// True if lines of the log are collected.
    pub(crate) fn collects_log(&self) -> bool {
        self.log.is_some()
    }

    /// Collects a line.
    pub(crate) fn add_line(&mut self, line: String) {
        if let Some(log) = &mut self.log {
            log.push(line);
        }
    }

    /// The lines that were collected since the last call.
    pub(crate) fn take_log(&mut self) -> Vec<String> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Grants a guest that is about to run so many ticks of the epoch. Returns the ticks to the first look.
    pub(crate) fn grant(&mut self, ticks: u64) -> u64 {
        let (extension, first) = DeadlineExtension::begin(ticks);
        self.extension = extension;
        first
    }

    /// True if the guest took longer than a worker can spare, since it was last granted time.
    pub(crate) fn lingered(&self) -> bool {
        self.extension.has_lingered()
    }

    /// Decides at a passed deadline if the guest goes on.
    pub(crate) fn overdue(&mut self) -> UpdateDeadline {
        self.extension.look(processor_time())
    }

    /// Begins a hook's call. Returns the bytes that it may hand over.
    pub(crate) fn enter(&mut self) -> usize {
        self.in_hook = true;
        self.handed_left = HANDED_BYTES_MAX;
        self.lines_left = LOG_LINES_MAX;
        self.random = None;
        self.handed_left
    }

    /// Ends a hook's call.
    pub(crate) fn leave(&mut self) {
        self.in_hook = false;
    }

    /// Charges for `bytes` that `import` was given. Returns the bytes that are left to hand over.
    pub(crate) fn charge(&mut self, import: &'static str, bytes: usize) -> wasmtime::Result<usize> {
        if !self.in_hook {
            return Err(OutsideHook(import).into());
        }
        self.charge_runtime(bytes)
    }

    /// Charges for `bytes` that a language's runtime moved, which it may do outside of hooks too. Returns the
    /// bytes that are left.
    pub(crate) fn charge_runtime(&mut self, bytes: usize) -> wasmtime::Result<usize> {
        self.handed_left = self.handed_left.checked_sub(bytes).ok_or(HandedTooMuch)?;
        Ok(self.handed_left)
    }

    /// The next random bytes. Each call gets the same sequence anew, for every policy and instance.
    pub(crate) fn random_bytes(&mut self, length: usize) -> Vec<u8> {
        let random = self.random.get_or_insert_with(|| blake3::Hasher::new().finalize_xof());
        let mut bytes = vec![0; length];
        random.fill(&mut bytes);
        bytes
    }

    /// One number from the same sequence as [`random_bytes`](Self::random_bytes).
    pub(crate) fn random_u64(&mut self) -> u64 {
        self.random_bytes(8).try_into().map_or(0, u64::from_le_bytes)
    }

    /// True if one more line may be logged.
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
