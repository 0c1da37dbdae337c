//! Upstreams: the runtime object of each upstream, and the way of a request to it.
//!
//! This room is the only one that names hyper's client. The room tells apart requests that were surely not
//! sent and requests that may have been sent; other rooms say what that means for an operation.
//! `design/upstreams.md`.

mod attempts;
mod body;
mod exchange;
mod framing;
mod h1;
mod pieces;
mod pool;
mod runtime;
mod slots;
mod sockets;
mod upload;
mod wire;
mod writes;

pub use attempts::{Attempted, Retry, attempts};
pub use body::{BodyArrival, RequestBody, UnreadBody};
pub use exchange::{NoHead, Sending};
pub use framing::elements;
pub use h1::send_once;
pub use pieces::Piece;
pub use pool::{BodyError, Pool, Pools, ResponseBody, Traffic};
pub use runtime::{Upstream, UpstreamTable};
pub use slots::{Admission, NotAdmitted, Slot, Slots};

#[cfg(test)]
mod tests;
