//! The view that a policy has of a request or an answer, and the values of its key's parts.

pub mod coding;
pub mod document;
pub mod parts;
pub(crate) mod seen;

pub use seen::{NoDocument, NotUtf8, Seen, fields, payload};
pub use seen::{document, selected};
