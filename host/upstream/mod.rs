//! Upstreams: what the gateway knows of each while it runs, and the way of a request to them.
//!
//! This room is the only one that names hyper's client. It tells apart what was surely not sent and what
//! may have been; what that means for an operation is for others to say. `design/upstreams.md`.

mod attempts;
mod body;
mod exchange;
mod h1;
mod pieces;
mod pool;
mod runtime;
mod slots;

pub use attempts::{Attempted, Retry, attempts};
pub use body::RequestBody;
pub use exchange::NoHead;
pub use h1::send_once;
pub use pieces::Piece;
pub use pool::{Pool, Pools, ResponseBody};
pub use runtime::{Upstream, UpstreamTable, upstreams};
pub use slots::{Admission, NotAdmitted, Slot, Slots};

#[cfg(test)]
mod tests;
