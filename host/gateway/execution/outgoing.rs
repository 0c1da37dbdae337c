//! Requests as they go upstream.

use crate::edge::Peer;
use crate::request::fields;
use crate::request::head::RequestHead;
use crate::request::principal::is_credential;
use crate::request::route::Route;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Version};
use http_body::Body;
use oncegate_upstream::RequestBody;

/// A request to the client's target. `own`: the client's fields.
pub fn request(
    route: &Route,
    peer: Peer,
    head: &RequestHead,
    own: HeaderMap,
    body: RequestBody,
) -> Box<Request<RequestBody>> {
    let mut fields = own;
    let is_framed =
        fields.contains_key(header::CONTENT_LENGTH) || fields.contains_key(header::TRANSFER_ENCODING);
    prepare(&mut fields, head, peer);
    frame(&mut fields, is_framed, &body);
    // Trailers come when nobody looks at fields any more.
    fields::clean_announcement(&mut fields, |name| !is_credential(&route.config.principal, name));
    let mut request = Box::new(Request::new(body));
    *request.method_mut() = head.method.clone();
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = head.target();
    *request.headers_mut() = fields;
    request
}

fn prepare(fields: &mut HeaderMap, head: &RequestHead, peer: Peer) {
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

/// Makes the framing anew from the body. `is_framed`: the client's request said how long its body is. An
/// empty body then gets a length, too: some services want the length of every POST (411).
fn frame(fields: &mut HeaderMap, is_framed: bool, body: &RequestBody) {
    fields.remove(header::CONTENT_LENGTH);
    match body.size_hint().exact() {
        // hyper drops a GET's and HEAD's body of unknown length unless it is told the framing.
        None => _ = fields.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
        Some(length) => {
            if is_framed || length > 0 {
                fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            // A body with a length has no trailers.
            fields.remove(header::TRAILER);
        }
    }
}
