//! Oncegate: the gateway that makes any HTTP service idempotent, with the deduplication policy in
//! WebAssembly. `host/README.md` is the map.

pub mod cli;
pub mod config;
pub mod policy;
pub mod run;
pub mod store;
