//! One claim of an operation under several keys: `design/key-changes.md`.
//!
//! While a policy's keys change, an operation has a key in each key space on the policy's list. The operation
//! is claimed under all of them, lowest space first, and executes only when all are claimed. The record under
//! the highest key has state and answer; the records under the others are pointers to it.
//!
//! [`MultiKeyClaim`] is that claim as a machine. It asks for one load or one swap at a time and takes in the
//! store's reply. With one key, and no pointer in the way, it asks for one swap and is done.
//!
//! An operation that ended unknown is sent again under the key that has its record, which may be a lower one.
//! That key is then the end of the claim: the other keys, higher ones too, are first claimed as pointers to
//! it. A resend must hold the same keys as a first execution.
//!
//! Where a changed principal is refused (`design/principal.md`), the common keys, which are the same keys
//! without the principal, are claimed before all others, as pointers too. Two principals share nothing but
//! these. A common key turns a claim away or holds it up; it never lets a claim execute that would not
//! execute without it.
//!
//! Each rule here was found with the exhaustive model `model/keyspaces.py`. `model/keyspaces.rs` steps this
//! code through the scenes of that model; `tests/simulation/breaks` shows that both see each rule broken.

mod follow;
mod look;
mod machine;
mod result;
mod steps;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use machine::Phase;
pub use machine::{Ask, MultiKeyClaim, StoreReply};
pub use result::{ClaimResult, NotWon};
