//! The end of a thread of the policy host.

use std::thread::JoinHandle;

/// Waits for a thread's end.
pub(crate) fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the policy host panicked");
    }
}
