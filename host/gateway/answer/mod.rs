//! The gateway's answers to clients: problem documents, replays of kept answers, the upstream's answer as
//! it comes, look-ups, and the body that carries any of them (`design/answers.md`, `design/problems.md`).

#![doc = include_str!("../../design/answers.md")]
#![doc = include_str!("../../design/headers.md")]
#![doc = include_str!("../../design/problems.md")]

pub mod body;
mod describe;
pub mod first;
pub mod names;
pub mod present;
pub mod problem;
pub mod refusals;
pub mod replay;
pub mod stream;

pub use crate::request::fields::kept_fields;
pub use describe::{DescribedStatus, LookUp, OperationDescription, describe};
pub use problem::document as problem_document;
