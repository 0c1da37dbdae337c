//! The admin interface, on its own listener: JSON, problem documents for errors, changes by POST
//! and DELETE only (`design/admin.md`).

pub mod api;
mod body;
mod connections;
mod context;
mod filter;
mod listing;
mod operations;
mod policies;
mod reply;
mod resolution;
mod serve;
mod status;
mod upstreams;

pub use resolution::{Resolution, check_reason};
pub use serve::serve;
