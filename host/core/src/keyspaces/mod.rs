//! The key spaces of each policy, and the claim of one operation under several keys.

pub mod claim;
pub mod codec;
pub mod list;
