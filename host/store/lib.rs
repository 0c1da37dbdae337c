//! Stores only swap. The core decides which record to put. A store loads, compares and swaps, and lists the
//! due operations (`verbs`). One conformance suite (`conformance.rs`) runs on every store.
//!
//! - `memory`, `embedded`: the existing stores; `any` is the one that the configuration names.
//! - `timed`: reports how long each call takes.
//! - `confirmed`: a store with ledger time beside it, which reads back the result of an unclear write. The
//!   ledger and its key spaces speak to this one.
//! - `clock`: ledger time.

// Threads interleaved: what they share comes from these crates, in every file of this one.
#[cfg(feature = "shuttle")]
extern crate shuttled_dashmap as dashmap;
#[cfg(feature = "shuttle")]
extern crate shuttled_std as std;
#[cfg(feature = "shuttle")]
extern crate shuttled_tokio as tokio;

pub mod any;
mod clock;
mod confirmed;
mod document;
#[cfg(feature = "embedded")]
pub mod embedded;
mod listings;
pub mod memory;
mod orphans;
mod size;
mod timed;
mod verbs;

#[cfg(all(any(test, feature = "testing"), not(feature = "shuttle")))]
pub mod conformance;
#[cfg(all(any(test, feature = "testing"), not(feature = "shuttle")))]
pub mod faulty;

pub use any::{AnyStore, ConfiguredStore};
pub use clock::Clock;
pub use confirmed::Confirmed;
pub use document::DocumentError;
#[cfg(feature = "embedded")]
pub use embedded::{Embedded, MarkError, MarkFile, OpenError, Recovered};
pub use memory::{IdHasher, Memory};
pub use orphans::Orphans;
pub use size::{Backlog, Kind, Kinds, Size};
pub use timed::{CallTimes, StoreCall, Timed};
pub use verbs::{Said, ScanScope, Scanned, Stamped, Store, StoreError, Swap, Version, Versioned};
