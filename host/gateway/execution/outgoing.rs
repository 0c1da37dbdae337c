//! Requests as they go upstream.

use crate::edge::Peer;
use crate::request::fields;
use crate::request::head::RequestHead;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Version};
use oncegate_upstream::RequestBody;

/// The client's fields as they go upstream.
pub fn prepare_fields(fields: &mut HeaderMap, head: &RequestHead, peer: Peer) {
    fields::remove_hop_by_hop(fields);
    fields::remove_ours(fields);
    // The gateway itself answers `Expect`, by reading the body.
    fields.remove(header::EXPECT);
    // The service reads the host by which the request was routed and keyed.
    if let Ok(host) = HeaderValue::from_str(&head.authority) {
        fields.insert(header::HOST, host);
    }
    fields::add_forwarding(fields, peer, &head.authority);
}

/// A request with these fields to the client's target.
pub fn request(head: &RequestHead, fields: HeaderMap, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.version_mut() = Version::HTTP_11;
    // The target was parsed when the request came in, so it parses again.
    *request.uri_mut() = head.target().parse().unwrap_or_default();
    *request.headers_mut() = fields;
    request
}
