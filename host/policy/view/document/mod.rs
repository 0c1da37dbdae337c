//! Documents: bodies read by their content type, as the comment on `payload` in `policy.wit` has
//! it, so that what a policy finds in them and what a fingerprint is made of don't depend on how a
//! client happened to write them.
//!
//! Knows nothing of requests, content codings or wasm. A document is two flat buffers: one of
//! nodes in the order in which they stand, so that the tree below a node is a range of indexes, and
//! one of all their text. Nothing is allocated for a node.

mod builder;
mod multipart;
mod number;
mod parse;
mod read;
mod tree;

pub(crate) use read::canonical_json;
pub use tree::Document;

#[cfg(test)]
mod tests;
