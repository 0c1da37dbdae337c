//! How long a call of a policy may take, by where it is made.

use crate::engine::limits::{INLINE_TIME_MAX, SETUP_TIME_MAX};
use std::time::Duration;

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
