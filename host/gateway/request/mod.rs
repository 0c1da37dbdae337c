//! What the gateway makes of a request before the ledger is asked: its head, its route, who asks, its
//! body, the policy's verdict and the operation with its keys.

#![doc = include_str!("../../design/keys.md")]
#![doc = include_str!("../../design/principal.md")]

pub mod arrival;
pub mod body;
pub mod context;
pub mod drift;
pub mod fields;
pub mod head;
pub mod identify;
pub mod keys;
pub mod principal;
pub mod progress;
pub mod route;
pub mod verdict;
