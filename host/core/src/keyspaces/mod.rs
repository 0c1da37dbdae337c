//! Key spaces while a policy's keys change (`design/key-changes.md`): the list of each policy's spaces, and
//! the claim of one operation under its keys in all of them.

mod chain;
pub mod claim;
pub mod codec;
pub mod keys;
pub mod list;
