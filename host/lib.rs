//! Oncegate: the gateway that makes any HTTP service idempotent, with the deduplication policy in
//! WebAssembly. `host/README.md` is the map.

pub mod activation;
pub mod admin;
pub mod cli;
pub mod run;

pub use oncegate_config as config;
pub use oncegate_gateway as gateway;
pub use oncegate_keyspaces as keyspaces;
pub use oncegate_ledger as ledger;
pub use oncegate_observe as observe;
pub use oncegate_policy as policy;
pub use oncegate_store as store;
pub use oncegate_upstream as upstream;
