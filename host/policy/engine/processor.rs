//! The time that a thread has had on a processor.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The processor time that this thread has used. A machine that is busy with other things distorts it less
/// than the wall clock.
pub(crate) fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), nanos)
}
