//! What the gateway makes of a request before the ledger is asked: its head, its route, who asks, its
//! body, and the operation that the policy sees in it.

pub mod body;
pub mod drift;
pub mod fields;
pub mod head;
pub mod identify;
pub mod principal;
pub mod route;
