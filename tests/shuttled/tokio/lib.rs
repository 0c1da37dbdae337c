//! `tokio` for the ledger where shuttle interleaves it (`tests/threads.rs`). Tasks are shuttle's. Time stands still
//! but for [`time::advance`]. What needs no runtime is tokio's own; each step of a [`sync::Notify`] is one at which
//! another thread may go on.

pub use ::tokio::{join, runtime, select};

pub mod task;
pub mod time;

/// As `tokio::sync`.
pub mod sync {
    pub use ::tokio::sync::*;

    use shuttle::sync::atomic::{AtomicBool, Ordering};

    /// As tokio's.
    #[derive(Debug, Default)]
    pub struct Notify(::tokio::sync::Notify);

    impl Notify {
        /// As tokio's.
        pub const fn new() -> Self {
            Self(::tokio::sync::Notify::const_new())
        }

        /// As tokio's.
        pub fn notified(&self) -> futures::Notified<'_> {
            let_others_go_on();
            self.0.notified()
        }

        /// As tokio's.
        pub fn notify_one(&self) {
            let_others_go_on();
            self.0.notify_one();
        }

        /// As tokio's.
        pub fn notify_waiters(&self) {
            let_others_go_on();
            self.0.notify_waiters();
        }
    }

    /// A step of no effect. Unlike a yield it tells the scheduler nothing of this thread's progress.
    fn let_others_go_on() {
        AtomicBool::new(false).load(Ordering::SeqCst);
    }
}
