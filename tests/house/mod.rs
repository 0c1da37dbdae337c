//! The repository held to its own rules: which room may name which, no circles between files, citations
//! that lead somewhere, words with one meaning, sizes. Each rule is shown to see a planted fault.

mod citations;
mod paths;
mod rooms;
mod sizes;
mod tree;
mod words;
