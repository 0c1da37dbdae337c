//! The time that a call of a policy may take, by the place where it is made.

use crate::engine::limits::{INLINE_TIME_MAX, SETUP_TIME_MAX};
use std::time::Duration;

/// The time that a call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallBudget {
    /// The time to make an instance and configure it.
    pub(crate) setup: Duration,
    /// The time to answer one call.
    pub(crate) call: Duration,
}

impl CallBudget {
    /// The budget on a worker, where `time` is the policy's own limit.
    pub(crate) fn inline(time: Duration) -> Self {
        let call = time.min(INLINE_TIME_MAX);
        Self { setup: INLINE_TIME_MAX, call }
    }

    /// The budget on a policy thread.
    pub(crate) fn off_worker(time: Duration) -> Self {
        Self { setup: time.max(SETUP_TIME_MAX), call: time }
    }

    /// The budget while loading: nobody waits, and a machine that compiles is a busy one.
    pub(crate) fn loading(time: Duration) -> Self {
        let time = time.max(SETUP_TIME_MAX);
        Self { setup: time, call: time }
    }
}
