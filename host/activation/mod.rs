//! Puts a configuration and its policies in force, all or nothing. A start does it, and a reload while
//! requests flow; `oncegate check` goes as far as the first write. `plan.rs` has the order.
//!
//! A request keeps the configuration that it began with. A fault leaves the active configuration alone and is
//! reported.

mod archive;
mod commit;
mod error;
mod history;
mod loader;
mod plan;
mod policies;
pub mod preflight;
mod promise;
mod reload;
mod report;
mod rollback;
mod start;
mod tend;
mod watch;

pub use archive::Archive;
pub use error::ActivationError;
pub use history::Attempt;
pub use loader::{LoaderError, PolicyLoader};
pub use policies::doubts;
pub use promise::PromiseBroken;
pub use reload::Reloader;
pub use report::{ActivationReport, Occasion, PolicyReport};
pub use start::start;
