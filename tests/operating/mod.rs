//! What operators do and see: commands, configuration, the admin interface, shutdown.

pub mod access;
pub mod asking;
pub mod bad_input;
pub mod commands;
pub mod copies;
pub mod demo;
pub mod descriptors;
pub mod logs;
pub mod operations;
pub mod output;
pub mod preflight;
pub mod probes;
pub mod shutdown;
pub mod telling;
pub mod upstream_places;
pub mod versions;
