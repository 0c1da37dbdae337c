//! Requests that nothing guards: they stream both ways.

use crate::gateway::Peer;
use crate::gateway::answer::body::AnswerBody;
use crate::gateway::answer::problem::{Code, Problem};
use crate::gateway::execution::exchange::{self, NoHead};
use crate::gateway::execution::rpc;
use crate::gateway::request::fields;
use crate::gateway::request::head::Head;
use crate::gateway::request::route::Route;
use crate::gateway::worker::Worker;
use crate::upstream::{RequestBody, ResponseBody};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::rc::Rc;

/// Passes a request on as it comes in.
pub async fn stream(
    worker: &Rc<Worker>,
    route: &Route,
    peer: Peer,
    head: &Head,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Problem> {
    let Some(protocol) = request.headers().get(header::UPGRADE).cloned() else {
        return send(worker, route, peer, head, request.map(RequestBody::Streamed)).await;
    };
    let client = hyper::upgrade::on(&mut request);
    let mut fields = request.headers().clone();
    prepare_fields(&mut fields, head, peer);
    fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(header::UPGRADE, protocol);
    let request = self::request(head, fields, RequestBody::Streamed(request.into_body()));
    let mut response = exchange(worker, route, request).await?;
    let upgrade = (response.status() == StatusCode::SWITCHING_PROTOCOLS)
        .then(|| (hyper::upgrade::on(&mut response), response.headers().get(header::UPGRADE).cloned()));
    let mut response = answer(response);
    if let Some((upstream, protocol)) = upgrade {
        tokio::task::spawn_local(tunnel(client, upstream));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            response.headers_mut().insert(header::UPGRADE, protocol);
        }
    }
    Ok(response)
}

/// Passes a request on. Its fields are the client's.
pub async fn send(
    worker: &Rc<Worker>,
    route: &Route,
    peer: Peer,
    head: &Head,
    request: Request<RequestBody>,
) -> Result<Response<AnswerBody>, Problem> {
    let (parts, body) = request.into_parts();
    let mut fields = parts.headers;
    prepare_fields(&mut fields, head, peer);
    Ok(answer(exchange(worker, route, self::request(head, fields, body)).await?))
}

/// The client's fields as they go upstream.
pub fn prepare_fields(fields: &mut HeaderMap, head: &Head, peer: Peer) {
    fields::remove_hop_by_hop(fields);
    fields::remove_ours(fields);
    // The gateway has answered it, or will, by reading the body.
    fields.remove(header::EXPECT);
    // A target's own authority stands for `Host` (RFC 9112 §3.2.2), which may name another.
    let is_named = |host: &HeaderValue| {
        let host = host.as_bytes();
        host.strip_suffix(b":80").unwrap_or(host).eq_ignore_ascii_case(head.authority.as_bytes())
    };
    if !fields.get(header::HOST).is_some_and(is_named)
        && let Ok(host) = HeaderValue::from_str(&head.authority)
    {
        fields.insert(header::HOST, host);
    }
    fields::add_forwarding(fields, peer.address, peer.trusted, &head.authority);
}

/// A request with these fields to the client's target.
pub fn request(head: &Head, fields: HeaderMap, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.version_mut() = Version::HTTP_11;
    // It came in as a target, so it is one.
    *request.uri_mut() = head.target().parse().unwrap_or_default();
    *request.headers_mut() = fields;
    request
}

async fn exchange(
    worker: &Rc<Worker>,
    route: &Route,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, Problem> {
    let fresh = !request.method().is_idempotent();
    let sent = exchange::send(worker, route, request, fresh, || true).await;
    sent.map_err(|no_head| match no_head {
        NoHead::Unreachable | NoHead::Forbidden => Problem::new(
            Code::UpstreamUnreachable,
            "The service could not be reached, and nothing was sent to it.",
        ),
        NoHead::Broken => Problem::new(
            Code::UpstreamBroken,
            "The service broke off without an answer. The request was not guarded here, and may have taken effect.",
        ),
        NoHead::TimedOut => Problem::new(
            Code::UpstreamTimeout,
            "The service did not answer in time. The request was not guarded here, and may have taken effect.",
        ),
    })
}

fn answer(response: Response<ResponseBody>) -> Response<AnswerBody> {
    let mut response = response.map(AnswerBody::Passed);
    fields::remove_hop_by_hop(response.headers_mut());
    fields::remove_ours(response.headers_mut());
    let trailers = rpc::trailers_to_come(response.headers());
    fields::announce(response.headers_mut(), trailers);
    response
}

/// Both sides speak another protocol now: what one says goes to the other, until one ends.
async fn tunnel(client: OnUpgrade, upstream: OnUpgrade) {
    if let (Ok(client), Ok(upstream)) = (client.await, upstream.await) {
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await;
    }
}
