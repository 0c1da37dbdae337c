//! A bound on the time that reading a body takes.

use crate::engine::processor::processor_time;
use std::time::Duration;

/// The processor time at which this thread gives a body up.
#[derive(Clone, Copy, Debug)]
pub struct Until(Option<Duration>);

/// A body was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

impl Until {
    /// For bodies that are small, or that nobody waits behind.
    pub const THE_END: Self = Self(None);

    /// So much of this thread's time on a processor from now on.
    pub(crate) fn spent(time: Duration) -> Self {
        Self(Some(processor_time().saturating_add(time)))
    }

    /// Fails once the time is up.
    pub(crate) fn look(self) -> Result<(), Late> {
        match self.0 {
            Some(end) if processor_time() >= end => Err(Late),
            Some(_) | None => Ok(()),
        }
    }
}
