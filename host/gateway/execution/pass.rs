//! Unguarded requests, which stream both ways (`design/upstreams.md`).

use crate::answer::body::AnswerBody;
use crate::answer::problem::{Code, Problem};
use crate::execution::{outgoing, rpc, tunnel};
use crate::request::arrival::Arrival;
use crate::request::fields;
use crate::request::route::Route;
use crate::worker::Worker;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use oncegate_upstream::{BodyArrival, NoHead, RequestBody, ResponseBody, Sending, Traffic};
use std::rc::Rc;

/// Passes a request on as it arrives, even if the request asks for another protocol that may be passed on.
pub async fn stream(
    worker: &Rc<Worker>,
    route: &Route,
    arrival: Box<Arrival>,
) -> Result<Response<AnswerBody>, Problem> {
    let offered = tunnel::offered(arrival.fields(), arrival.peer, &worker.active().config.server.upgrades);
    match offered.is_empty() {
        true => send(worker, route, arrival).await,
        false => Box::pin(switch(worker, route, arrival, offered)).await,
    }
}

/// Passes a request on that offers these protocols in place of HTTP.
async fn switch(
    worker: &Rc<Worker>,
    route: &Route,
    arrival: Box<Arrival>,
    offered: Vec<String>,
) -> Result<Response<AnswerBody>, Problem> {
    let account = arrival.client.bodies().clone();
    let (peer, head, mut request) = arrival.into_request();
    let client = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let mut request = outgoing::request(route, peer, &head, parts.headers, body);
    let fields = request.headers_mut();
    fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    fields.extend(HeaderValue::from_str(&offered.join(", ")).map(|offered| (header::UPGRADE, offered)));
    let arrival = request.body().arrival();
    let mut response = exchange(worker, route, request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer(response, arrival));
    }
    let protocol = response.headers().get(header::UPGRADE).cloned();
    let upstream = hyper::upgrade::on(&mut response);
    tokio::task::spawn_local(tunnel::carry(worker.clone(), account, client, upstream));
    let mut response = answer(response, arrival);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().extend(protocol.map(|protocol| (header::UPGRADE, protocol)));
    Ok(response)
}

/// Passes a request on. The request gets no other protocol than HTTP.
pub async fn send(
    worker: &Rc<Worker>,
    route: &Route,
    arrival: Box<Arrival>,
) -> Result<Response<AnswerBody>, Problem> {
    proxy(worker, route, streamed(route, arrival)).await
}

/// The request as it goes upstream, with its body as it arrives.
fn streamed(route: &Route, arrival: Box<Arrival>) -> Box<Request<RequestBody>> {
    let peer = arrival.peer;
    let (head, fields, body) = arrival.into_head();
    outgoing::request(route, peer, &head, fields, body.into_request_body())
}

/// Sends a request upstream and returns the answer as it comes.
pub async fn proxy(
    worker: &Rc<Worker>,
    route: &Route,
    request: Box<Request<RequestBody>>,
) -> Result<Response<AnswerBody>, Problem> {
    let arrival = request.body().arrival();
    Ok(answer(exchange(worker, route, request).await?, arrival))
}

async fn exchange(
    worker: &Rc<Worker>,
    route: &Route,
    request: Box<Request<RequestBody>>,
) -> Result<Response<ResponseBody>, Problem> {
    // A method that the route may guard acts, whatever HTTP says of it.
    let method = request.method();
    let acts = route.config.policy.is_some() && route.config.reach().may_guard(method.as_str());
    let is_repeatable = method.is_idempotent() && !acts;
    let sending = if is_repeatable { Sending::Repeatable } else { Sending::Once };
    let pool = worker.pools.of(&route.upstream, Traffic::Unguarded);
    let sent = pool.exchange(request, route.response_timeout(), sending, || true).await;
    sent.map_err(|no_head| match no_head {
        NoHead::Unreachable | NoHead::Forbidden => Problem::new(
            Code::UpstreamUnreachable,
            "The service could not be reached, and nothing was sent to it.",
        ),
        NoHead::Broken => Problem::new(
            Code::UpstreamBroken,
            "The service broke off without an answer. The request was not guarded here, and may have taken effect.",
        ),
        NoHead::Unreadable => Problem::new(
            Code::UpstreamBroken,
            "The service's answer says in no readable way where its body ends. The request was not guarded here, and \
             may have taken effect.",
        ),
        NoHead::Switched => Problem::new(
            Code::UpstreamBroken,
            "The service switched to a protocol that nobody asked it for, or before it had the whole request. The \
             request was not guarded here, and may have taken effect.",
        ),
        NoHead::TimedOut => Problem::new(
            Code::UpstreamTimeout,
            "The service did not answer in time. The request was not guarded here, and may have taken effect.",
        ),
        NoHead::Aborted => Problem::new(
            Code::BadRequest,
            "The body was cut short, stopped arriving or is no body. The request was not guarded here, and what came \
             of it was sent to the service.",
        )
        .because("its body was cut short, or is none"),
    })
}

/// The upstream's answer as the client gets it. `arrival`: of the request's body, if it streams.
fn answer(response: Response<ResponseBody>, arrival: Option<BodyArrival>) -> Response<AnswerBody> {
    let mut response = response.map(|body| AnswerBody::Passed(body.watched()));
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields::remove_hop_by_hop(fields);
    fields::remove_ours(fields);
    fields::clean_announcement(fields, |_| true);
    let trailers = rpc::trailers_to_come(fields);
    fields::announce(fields, trailers);
    // The rest of a request whose answer came early may never be read, so no request can follow it.
    if !switches && arrival.is_some_and(|arrival| !arrival.is_whole()) {
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
