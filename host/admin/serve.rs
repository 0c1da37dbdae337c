//! The listener of the admin interface: checks who may ask, and picks the page that answers.
//!
//! `/livez`, `/readyz` and `/metrics` answer anyone who can reach the listener. Every other page needs a
//! `Host` of this listener, so that no web page can talk to it by a name that was made to point here (DNS
//! rebinding). Beyond loopback every other page needs the token, too.

use super::body::{self, AdminBodyFault};
use super::connections::{AdminConnections, AskingMark};
use super::context::Admin;
use super::reply::{AdminReply, problem, reply, sorted_json, text};
use super::{listing, operations, policies, status, upstreams};
use crate::activation::Reloader;
use crate::gateway::Shared;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};

use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use oncegate_config::Limits;
use oncegate_core::OperationId;
use oncegate_core::problem::Code;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

/// The admin interface on its listener.
#[derive(Debug)]
struct AdminService {
    admin: Admin,
    address: Option<SocketAddr>,
}

/// Serves the admin interface for as long as it is polled.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, reloader: Arc<Reloader>) {
    let address = listener.local_addr().ok();
    let admin = Admin { shared, reloader, started: Instant::now() };
    let service = Arc::new(AdminService { admin, address });
    let mut connections = AdminConnections::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an admin connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        connections.add(|is_asking| converse(service.clone(), stream, is_asking)).await;
    }
}

/// Serves a connection until either side ends it.
async fn converse(service: Arc<AdminService>, stream: TcpStream, is_asking: AskingMark) {
    let head = service.limits(|limits| limits.header_timeout);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (service, is_asking) = (service.clone(), is_asking.clone());
        async move {
            is_asking.is(request.body().is_end_stream());
            request.extensions_mut().insert(is_asking.clone());
            let answer = service.answer(request).await;
            is_asking.is(false);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "an admin connection ended");
    }
}

/// How a token is sent.
const BEARER: &[u8] = b"Bearer ";

impl AdminService {
    fn limits<T>(&self, read: impl FnOnce(&Limits) -> T) -> T {
        read(&self.admin.shared.active.load().config.server.limits)
    }

    async fn answer(&self, mut request: Request<Incoming>) -> AdminReply {
        // HEAD is GET without the body, which hyper leaves out (RFC 9110 §9.3.2).
        if request.method() == Method::HEAD {
            *request.method_mut() = Method::GET;
        }
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (request.method(), &segments[..]) {
            (&Method::GET, ["livez"]) => match self.admin.shared.edge.heart.stands_still() {
                None => text(StatusCode::OK, "alive\n"),
                Some((worker, seconds)) => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    &format!("not alive: worker {worker} stands still for {seconds} s\n"),
                ),
            },
            (&Method::GET, ["readyz"]) => match self.admin.shared.unready() {
                None => text(StatusCode::OK, "ready\n"),
                Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {why}\n")),
            },
            (&Method::GET, ["metrics"]) => self.metrics(),
            (_, ["livez" | "readyz" | "metrics"]) => not_allowed(LOOK),
            (_, ["v1", rest @ ..]) => match self.admit(&request) {
                Ok(()) => self.route(rest, request).await,
                Err(refused) => refused,
            },
            _ => problem(
                Code::NotFound,
                "There is no such page: there are /livez, /readyz, /metrics and those under /v1. `oncegate ops --help` and `oncegate reload --help` say what commands ask of them.",
            ),
        }
    }

    async fn route(&self, segments: &[&str], request: Request<Incoming>) -> AdminReply {
        let (get, post, delete) = (&Method::GET, &Method::POST, &Method::DELETE);
        let query = request.uri().query().unwrap_or_default().to_owned();
        let method = request.method().clone();
        match (&method, segments) {
            (m, ["status"]) if m == get => sorted_json(&status::status(&self.admin)),
            (m, ["policies"]) if m == get => sorted_json(&policies::policies(&self.admin)),
            (m, ["upstreams"]) if m == get => sorted_json(&upstreams::list(&self.admin.shared)),
            (m, ["operations"]) if m == get => listing::list(&self.admin.shared, &query).await,
            (m, ["operations", id]) if m == get => match parse_id(id) {
                Ok(id) => operations::show(&self.admin.shared, id).await,
                Err(refused) => refused,
            },
            (m, ["operations", id]) if m == delete => match parse_id(id) {
                Ok(id) => {
                    let shared = self.admin.shared.clone();
                    to_its_end(async move { operations::forget(&shared, id, &query).await }).await
                }
                Err(refused) => refused,
            },
            (m, ["operations", id, "resolve"]) if m == post => match parse_id(id) {
                Ok(id) => self.resolve(id, request).await,
                Err(refused) => refused,
            },
            (m, ["reload"]) if m == post => self.reload(None, request).await,
            (m, ["policies", name, "reload"]) if m == post => self.reload(Some(name), request).await,
            (m, ["policies", name, "rollback"]) if m == post => {
                let (reloader, name) = (self.admin.reloader.clone(), (*name).to_owned());
                to_its_end(async move { policies::roll_back(&reloader, &name).await }).await
            }
            (_, ["status" | "policies" | "upstreams" | "operations"]) => not_allowed(LOOK),
            (_, ["operations", _]) => not_allowed("GET, HEAD, DELETE"),
            (_, ["reload"] | ["operations", _, "resolve"] | ["policies", _, "reload" | "rollback"]) => {
                not_allowed("POST")
            }
            _ => problem(
                Code::NotFound,
                "There is no such page under /v1: there are /v1/status, /v1/operations, /v1/operations/ID, /v1/operations/ID/resolve, /v1/policies, /v1/policies/NAME/reload, /v1/policies/NAME/rollback, /v1/upstreams and /v1/reload.",
            ),
        }
    }

    fn metrics(&self) -> AdminReply {
        let body = self.admin.shared.metrics.render(&self.admin.shared.snapshot());
        reply(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body.into())
    }

    async fn reload(&self, policy: Option<&str>, request: Request<Incoming>) -> AdminReply {
        let (time, is_asking) = (self.limits(|limits| limits.body_timeout), asking(&request));
        let lost = match policies::read_request(request, time).await {
            Ok(lost) => lost,
            Err(refused) => return refused,
        };
        is_asking.is(true);
        let (reloader, policy) = (self.admin.reloader.clone(), policy.map(str::to_owned));
        to_its_end(async move { policies::reload(&reloader, policy.as_deref(), lost).await }).await
    }

    async fn resolve(&self, id: OperationId, request: Request<Incoming>) -> AdminReply {
        let is_asking = asking(&request);
        let (parts, body) = request.into_parts();
        let time = self.limits(|limits| limits.body_timeout);
        match body::read(body, operations::BODY_BYTES_MAX, time).await {
            Ok(body) => {
                is_asking.is(true);
                let shared = self.admin.shared.clone();
                let change = async move { operations::resolve(&shared, id, &parts.headers, &body).await };
                to_its_end(change).await
            }
            Err(AdminBodyFault::TooLarge) => problem(
                Code::BodyTooLarge,
                "A resolution has at most 4 MiB. An answer that is larger can be said to be consumed.",
            ),
            Err(AdminBodyFault::Incomplete) => problem(
                Code::BadRequest,
                "The body broke off, or took too long to arrive. Nothing was changed.",
            ),
        }
    }

    /// Admits a request under a name of this listener only, and beyond loopback only with the token.
    fn admit<B>(&self, request: &Request<B>) -> Result<(), AdminReply> {
        let headers = request.headers();
        let active = self.admin.shared.active.load();
        let server = &active.config.server;
        let hosts: Vec<&HeaderValue> = headers.get_all(header::HOST).into_iter().collect();
        let host = match hosts[..] {
            [host] => host.to_str().unwrap_or_default(),
            _ => "",
        };
        // The target's own authority wins over `Host` (RFC 9112 §3.2.2). Both have to be names of this listener.
        let target = request.uri().authority().map_or(host, |target| target.as_str());
        if ![host, target].iter().all(|name| self.is_own_name(name, &server.admin_hosts)) {
            return Err(problem(
                Code::ForeignHost,
                "The admin interface does not answer under this host name: use its address, or list the name in `server.admin_hosts`.",
            ));
        }
        // Another site's page can make a browser send a request whose answer the page can't read.
        let mut origins = headers.get_all(header::ORIGIN).into_iter();
        let is_own = |origin: &HeaderValue| {
            let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            authority.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(target))
        };
        // Browsers write one of four words, of which two are no other site's.
        let mut sites = headers.get_all("sec-fetch-site").into_iter();
        let is_own_site = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
        if !origins.all(is_own) || !sites.all(is_own_site) {
            return Err(problem(
                Code::ForeignOrigin,
                "The admin interface is not asked by pages of another origin.",
            ));
        }
        let Some(token) = &server.admin_token else { return Ok(()) };
        let Some(given) = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes) else {
            return Err(problem(
                Code::TokenRequired,
                "The admin interface wants a token, and the request has none: send that of `server.admin_token_file` as `Authorization: Bearer …`; commands take it from `--token-file FILE`.",
            ));
        };
        // A scheme is the same in any letter case (RFC 9110 §11.1).
        let given = match given.split_at_checked(BEARER.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => token.trim_ascii(),
            _ => b"",
        };
        // The comparison of hashes doesn't show how far the tokens agree.
        if blake3::hash(given) == blake3::hash(token.as_bytes()) {
            return Ok(());
        }
        Err(problem(
            Code::TokenRequired,
            "The token is not that of `server.admin_token_file`: name the same file in `--token-file`, or send what is in it as `Authorization: Bearer …`.",
        ))
    }

    fn is_own_name(&self, host: &str, listed: &[String]) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let is_own_address = |ip: IpAddr| {
            ip.is_loopback() || self.address.is_some_and(|own| own.ip() == ip || own.ip().is_unspecified())
        };
        name.eq_ignore_ascii_case("localhost")
            || name.parse().is_ok_and(is_own_address)
            || listed.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// The methods of pages that change nothing.
const LOOK: &str = "GET, HEAD";

fn not_allowed(allow: &'static str) -> AdminReply {
    let words = "Look with GET, change with POST, forget an operation with DELETE.";
    let mut reply = problem(Code::MethodNotAllowed, words);
    reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    reply
}

/// Makes a change on a task of its own, so that a client that leaves doesn't leave half a change.
async fn to_its_end(change: impl Future<Output = AdminReply> + Send + 'static) -> AdminReply {
    match tokio::spawn(change).await {
        Ok(reply) => reply,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The mark of the request's connection, for when its body is there.
fn asking(request: &Request<Incoming>) -> AskingMark {
    request.extensions().get().cloned().unwrap_or_default()
}

fn parse_id(text: &str) -> Result<OperationId, AdminReply> {
    text.parse()
        .map_err(|_| problem(Code::BadRequest, "An operation id is 64 lower-case hexadecimal digits."))
}
