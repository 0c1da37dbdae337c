//! Version 0.1 of the interface.
//!
//! Arguments are borrowed from the host's own types (`lower`). Results are converted into these types and
//! checked against the rules in the comments of `policy.wit` on the way: `lift` has the parts that all hooks
//! share, and a file for each interface has the rest. The parts of a key have the interface's own type
//! throughout: moving each into another type costs a twentieth of a call. A second version of the interface
//! will have a folder beside this one.

mod bindings;
mod guest;
mod indices;
mod lift;
mod lower;
mod outcome;
mod policy;
mod presentation;
mod resolution;

pub use bindings::{Attribute, Part, Shape};
pub(crate) use guest::Hooks;
pub(crate) use indices::Indices;

#[cfg(test)]
mod tests;
