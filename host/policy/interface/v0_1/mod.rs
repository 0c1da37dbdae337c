//! Version 0.1 of the interface.
//!
//! What goes in is borrowed from the host's own types (`lower`). What comes out is converted into
//! them and checked against the rules in the comments of `policy.wit` on the way: what all hooks have
//! in `lift`, and the rest in a file for each interface. The parts of a key are the interface's own
//! type throughout: moving each into another one costs a twentieth of a call. A second version of the
//! interface will have a folder beside this one.

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
