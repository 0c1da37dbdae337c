//! Requests and answers on the wire.

pub mod framing;
