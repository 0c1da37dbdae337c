//! The service behind the edge, which answers requests.

use super::activity::ClientConnection;
use super::follow::HeadFault;
use super::peer::Peer;
use super::state::EdgeState;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use oncegate_config as config;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;

/// A service that answers a worker's requests. Each worker makes its own service, on its own thread.
pub trait EdgeService: 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static;
    /// An order that workers take from other threads.
    type Order: Clone + Send + 'static;

    /// The state that the connections of all workers share.
    fn edge(&self) -> &Arc<EdgeState>;

    /// Reads the server's configuration as it is now.
    fn server<T>(&self, read: impl FnOnce(&config::Server) -> T) -> T;

    /// Begins to serve. The edge calls this once, before the first connection.
    fn begin(self: &Rc<Self>, worker: usize);

    /// Carries out an order.
    fn obey(&self, order: Self::Order);

    /// Notes that a head was refused which is none by HTTP's grammar, or is too large to be read.
    fn unreadable(&self);

    /// Answers a request. There is always an answer. The request is boxed, because each future on its way would
    /// have room for it twice.
    fn answer(
        self: Rc<Self>,
        peer: Peer,
        fault: Option<HeadFault>,
        client: ClientConnection,
        request: Box<Request<Incoming>>,
    ) -> impl Future<Output = Answered<Self::Body>>;
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answered<B> {
    /// The answer.
    pub response: Response<B>,
    /// Whether the connection stays open after the answer.
    pub after: After,
}

/// Whether a connection stays open after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The connection takes the next request.
    Stay,
    /// The connection ends, and the client is told so.
    Close,
}
