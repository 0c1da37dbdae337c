//! The view that a policy has of a request or an answer, and the values of its key's parts.

pub mod coding;
pub mod document;
pub mod parts;
pub(crate) mod seen;
mod shown;
mod until;

pub use seen::{NotUtf8, Seen, fields, payload};
pub use shown::{DocumentForm, NoDocument, ShownBody};
pub use until::{Late, Until};
