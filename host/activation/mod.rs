//! Puts a configuration and its policies in force, all or nothing: at a start, at a reload while requests
//! flow, and for `oncegate check` up to the point where something would be written. [`plan`] says in which order.
//!
//! A request keeps the configuration that it began with. A fault leaves the active one alone and is told.

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
pub use promise::PromiseBroken;
pub use reload::Reloader;
pub use report::{ActivationReport, PolicyReport};
pub use start::start;
