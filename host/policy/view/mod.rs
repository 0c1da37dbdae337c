//! What a policy sees of a request or an answer, and what the parts of its key stand for.

pub(crate) mod coding;
pub(crate) mod document;
pub(crate) mod parts;
pub(crate) mod seen;

pub use seen::{NoDocument, NotUtf8, Seen, fields, normal_authority, payload};
pub(crate) use seen::{document, selected};
