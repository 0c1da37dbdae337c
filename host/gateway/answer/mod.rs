//! The gateway's answers to clients: problem documents, replays of kept answers, look-ups, and the
//! body that carries any of them.

pub mod body;
pub mod first;
pub mod present;
pub mod problem;
pub mod respond;
pub mod stream;
