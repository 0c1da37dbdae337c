//! Which answer the caller of an operation gets, first and again.

pub mod clients;
pub mod dedup;
pub mod ended;
pub mod fidelity;
pub mod inflight;
pub mod judging;
pub mod outcomes;
pub mod presentation;
pub mod upstreams;
