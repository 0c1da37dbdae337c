//! What stands behind the edge.

use super::peer::Peer;
use super::state::EdgeState;
use crate::config;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;

/// What a worker answers requests with. Each worker makes its own, on its own thread.
pub trait EdgeService: 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static;
    /// What the workers can be told from outside.
    type Order: Clone + Send + 'static;

    /// What all workers' connections share.
    fn edge(&self) -> &Arc<EdgeState>;

    /// Reads the server's configuration as it is now.
    fn server<T>(&self, read: impl FnOnce(&config::Server) -> T) -> T;

    /// Called once, before the first connection.
    fn begin(self: &Rc<Self>, worker: usize);

    /// Does what the workers were told.
    fn obey(&self, order: Self::Order);

    /// Answers a request, whatever happens.
    fn answer(
        self: Rc<Self>,
        peer: Peer,
        framing: Framing,
        request: Request<Incoming>,
    ) -> impl Future<Output = Answered<Self::Body>>;
}

/// What a request's head says of where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One thing, or nothing.
    Clear,
    /// Two things, of which hyper takes one and forgets the other.
    Ambiguous,
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answered<B> {
    /// The answer.
    pub response: Response<B>,
    /// What becomes of the connection after it.
    pub after: After,
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It takes the next request.
    Stay,
    /// It ends, and the client is told so.
    Close,
}
