//! The gateway's answers to clients: problem documents, replays of kept answers, look-ups, and the
//! body that carries any of them.

pub mod body;
mod describe;
pub mod first;
pub mod present;
pub mod problem;
pub mod respond;
pub mod stream;

pub use describe::{DescribedStatus, Description, LookUp, describe};
pub use problem::document as problem_document;
pub use respond::kept_fields;
