//! `std` for the store and the ledger where shuttle interleaves them (`tests/threads.rs`). Locks and atomics are
//! shuttle's: at each of their steps another thread may go on. What is set once (`OnceLock`) is `std`'s.

pub use ::std::*;

/// As `std::sync`.
pub mod sync {
    pub use ::std::sync::*;
    pub use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
}

/// As `std::thread`.
pub mod thread {
    pub use ::std::thread::*;

    /// One, so that a schedule is the same on every machine.
    pub fn available_parallelism() -> ::std::io::Result<::std::num::NonZero<usize>> {
        Ok(::std::num::NonZero::<usize>::MIN)
    }
}
