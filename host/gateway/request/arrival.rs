//! A request as it was received.

use crate::answer::problem::Problem;
use crate::edge::{ClientConnection, Peer};
use crate::request::body::InboundBody;
use crate::request::head::RequestHead;
use crate::request::{principal, readings};
use crate::shared::ActiveConfig;
use http::Request;
use http::header::HeaderMap;
use http::request::Parts;
use hyper::body::Incoming;
use oncegate_config::Principal;
use oncegate_core::{PrincipalId, Secret};
use oncegate_upstream::RequestBody;

/// A request as it was received. An arrival has everything that establishes the principal, from before the
/// first exit of the request's way.
#[derive(Debug)]
pub struct Arrival {
    /// The other end of the connection.
    pub peer: Peer,
    /// The request's head, normalised.
    pub head: RequestHead,
    /// The request's body.
    pub body: InboundBody,
    /// The connection on which the request came.
    pub client: ClientConnection,
    parts: Parts,
}

impl Arrival {
    /// Reads the head of a request. Nobody reads the body of a refused request, so that body is drained.
    /// An arrival is boxed, because each future on its way would have room for it twice.
    pub fn read(
        peer: Peer,
        client: ClientConnection,
        request: Request<Incoming>,
        active: &ActiveConfig,
    ) -> Result<Box<Self>, Problem> {
        let (parts, incoming) = request.into_parts();
        let body = InboundBody::new(incoming);
        let server = &active.config.server;
        let mut head = RequestHead::read(&parts, peer.protocol, server.limits.header_bytes)?;
        head.normalise(server.paths, &active.routes)?;
        readings::refuse_second(&parts.headers, &head, server.paths, &active.routes)?;
        Ok(Box::new(Self { peer, head, body, client, parts }))
    }

    /// The request's fields.
    pub fn fields(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Refuses a stranger that says who asks, by these rules of a route.
    pub fn refuse_impostor(&self, rules: &Principal) -> Result<(), Problem> {
        principal::refuse_impostor(rules, self.fields(), self.peer)
    }

    /// The principal of the request, by these rules of a route.
    pub fn principal(&self, rules: &Principal, secret: &Secret) -> Result<PrincipalId, Problem> {
        principal::establish(rules, secret, self.fields(), &self.head.query, self.peer)
    }

    /// The request as it goes on unguarded. A body that was read is sent whole, any other body streams.
    pub fn into_request(self: Box<Self>) -> (Peer, RequestHead, Request<RequestBody>) {
        (self.peer, self.head, Request::from_parts(self.parts, self.body.into_request_body()))
    }

    /// The request's head, fields and body.
    pub fn into_head(self: Box<Self>) -> (RequestHead, HeaderMap, InboundBody) {
        (self.head, self.parts.headers, self.body)
    }
}
