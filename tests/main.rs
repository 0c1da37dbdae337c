//! Black-box tests: the real binary as a process, real sockets, an upstream that keeps its own
//! account. Each folder holds claims about what people see; `support` is what they stand on;
//! `accept` measures whole capabilities for `tests/run accept NAME`.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "support offers whole families of which a test takes what it needs")]

mod accept;
mod answers;
mod edge;
mod faults;
mod guests;
mod house;
mod keys;
mod operating;
mod policies;
mod support;
