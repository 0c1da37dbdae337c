//! An operator's view of a running gateway: metrics and the program's own log.

pub mod log;
pub mod metrics;
