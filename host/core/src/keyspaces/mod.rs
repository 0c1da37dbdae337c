//! The key spaces of each policy, and the claim of one operation under several keys.

mod chain;
pub mod claim;
pub mod codec;
pub mod keys;
pub mod list;
