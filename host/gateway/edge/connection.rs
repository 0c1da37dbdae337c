//! One client connection: hyper's server, and how the connection ends.

use super::activity::{Activity, Busy, BusyBody, ClientConnection, TrackedIo};
use super::budget::PeerAccount;
use super::peer::{Peer, Protocol};
use super::service::{After, Answered, EdgeService};
use super::state::{Counted, EdgeState};
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;

/// The smallest buffer that hyper takes.
const HEAD_BYTES_MIN: usize = 8192;

/// Serves a connection until either side ends it.
pub(super) async fn serve<S: EdgeService>(
    service: Rc<S>,
    _counted: (Counted<EdgeState>, Counted<PeerAccount>),
    stream: TcpStream,
    peer: Peer,
    bodies: Arc<PeerAccount>,
) {
    let limit = service.server(|server| server.limits.header_bytes).max(HEAD_BYTES_MIN);
    let activity = Arc::new(Activity::new(bodies));
    service.edge().open.add(&activity);
    let ending = Rc::new(service.edge().draining.subscribe());
    let came_late = *ending.borrow();
    let hyper_service = service_fn({
        let (service, activity) = (service.clone(), activity.clone());
        move |request: Request<Incoming>| {
            let busy = Busy::new(&activity);
            let service = service.clone();
            let (fault, client) = (activity.take_fault(), ClientConnection(activity.clone()));
            let ending = ending.clone();
            let peer = Peer { protocol: Protocol::of(request.version()), ..peer };
            let request = Box::new(request);
            // Boxed, because hyper would move the future, and each connection would have room for its
            // kilobytes, used or not.
            Box::pin(async move {
                let answered = service.answer(peer, fault, client, request).await;
                let is_ending = came_late || ending.has_changed().unwrap_or(true);
                let response = finished(answered, is_ending);
                Ok::<_, Infallible>(response.map(|body| BusyBody::new(body, peer.protocol.marks_end, busy)))
            })
        }
    });
    let io = TokioIo::new(TrackedIo::new(stream, activity.clone()));
    // `pipeline_flush` stays off: it would remove the bound on written bytes, and hold a whole answer to a
    // slow client in memory.
    let connection =
        http1::Builder::new().max_buf_size(limit).serve_connection(io, hyper_service).with_upgrades();
    let mut connection = pin!(connection);
    let mut draining = service.edge().draining.subscribe();
    let (mut is_draining, mut told) = (false, false);
    loop {
        tokio::select! {
            // A request that has arrived is read before the connection is told to end, so that it is still
            // answered.
            biased;
            ended = connection.as_mut() => {
                ended.unwrap_or_else(|error| broke_off(&*service, peer, &error));
                break;
            }
            () = activity.close.notified() => if !activity.goes_on() { break },
            _ = draining.wait_for(|draining| *draining), if !is_draining => is_draining = true,
            () = activity.first_word(), if is_draining && !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    activity.leave();
}

/// Notes a connection that ended as none should.
fn broke_off<S: EdgeService>(service: &S, peer: Peer, error: &hyper::Error) {
    if error.is_parse() {
        service.unreadable();
    }
    tracing::debug!(peer = %peer.address, %error, "a connection ended");
}

/// The service's answer as it goes out. It says if the connection ends after it: because the service wants it, or
/// because the gateway `is_ending`.
fn finished<B>(answered: Answered<B>, is_ending: bool) -> Response<B> {
    let Answered { mut response, after } = answered;
    // The version is the sender's (RFC 9110 §6.2), whoever the answer is from.
    *response.version_mut() = Version::HTTP_11;
    // So is the reason: an answer has the one that its replay has.
    response.extensions_mut().remove::<ReasonPhrase>();
    if response.status().canonical_reason().is_none() {
        // hyper would write `<none>`.
        response.extensions_mut().insert(ReasonPhrase::from_static(b""));
    }
    // Set before hyper is told to shut down, so that requests already queued are still answered.
    let ends = is_ending || after == After::Close;
    if ends && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
