//! What a policy sees of a request or an answer, and what the parts of its key stand for.

pub mod coding;
pub mod document;
pub mod parts;
pub(crate) mod seen;

pub use seen::{NoDocument, NotUtf8, Seen, fields, normal_authority, payload};
pub use seen::{document, selected};
