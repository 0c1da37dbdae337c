//! Documents: bodies read by their content type, as the comment on `payload` in `policy.wit` has
//! it. So the values that a policy finds in a document, and the fingerprint made of it, don't depend on how a
//! client happened to write it.
//!
//! This room knows nothing of requests, content codings or wasm. A document is two flat buffers. One has the
//! nodes in the order in which they stand, so that the tree below a node is a range of indexes. The other has
//! all their text. Nothing is allocated for a node.

mod builder;
mod fault;
mod multipart;
mod number;
mod parse;
mod read;
mod tree;

pub use fault::DocumentFault;
pub(crate) use read::canonical_json;
pub use tree::{Document, DocumentFormat};

#[cfg(test)]
mod tests;
