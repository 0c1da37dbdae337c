//! Oncegate: the gateway that makes any HTTP service idempotent, with the deduplication policy in
//! WebAssembly. `host/README.md` is the map.

pub mod activation;
pub mod admin;
pub mod cli;
pub mod gateway;
pub mod keyspaces;
pub mod ledger;
pub mod run;
pub mod store;
pub mod upstream;

pub use oncegate_config as config;
pub use oncegate_observe as observe;
pub use oncegate_policy as policy;
