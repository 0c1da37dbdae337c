//! From a request to the ledger's question: the request's head, route, principal and body, the policy's
//! verdict, and the operation with its keys.

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
pub mod known;
pub mod principal;
pub mod progress;
pub mod readings;
pub mod route;
pub mod unproven;
pub mod verdict;
