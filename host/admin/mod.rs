//! The admin interface, on its own listener: JSON, problem documents for errors, changes by POST
//! and DELETE only (DESIGN §10).
//!
//! `/livez`, `/readyz` and `/metrics` answer anyone who can reach the listener. Everything else
//! needs a `Host` of its own, so that no web page can talk to it by a name that it made point
//! here (DNS rebinding), and beyond loopback the token.

mod operations;

pub use operations::Resolution;

use crate::activation::{ActivationReport, ReloadError, Reloader};
use crate::config::StoreKind;
use crate::gateway::Shared;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use oncegate_core::keyspaces::list::Blocker;
use oncegate_core::{OperationId, View};
use serde::Serialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

type Reply = Response<Full<Bytes>>;

/// Of a reload's body, which says one thing.
const CONSENT_BYTES_MAX: usize = 4 << 10;

/// What the interface answers from.
#[derive(Debug)]
struct Admin {
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    address: Option<SocketAddr>,
    started: std::time::Instant,
}

/// Serves the interface for as long as it is polled.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, reloader: Arc<Reloader>) {
    let address = listener.local_addr().ok();
    let admin = Arc::new(Admin { shared, reloader, address, started: std::time::Instant::now() });
    // Owns its connections, so that they end with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an admin connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let admin = admin.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let admin = admin.clone();
                async move { Ok::<_, Infallible>(admin.answer(request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30))
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended");
            }
        });
    }
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (request.method(), &segments[..]) {
            (&Method::GET, ["livez"]) => text(StatusCode::OK, "alive\n"),
            (&Method::GET, ["readyz"]) => match self.shared.unready() {
                None => text(StatusCode::OK, "ready\n"),
                Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {why}\n")),
            },
            (&Method::GET, ["metrics"]) => self.metrics(),
            (method, ["v1", rest @ ..]) => {
                if let Err(refused) = self.admit(request.headers()) {
                    return refused;
                }
                let method = method.clone();
                self.route(&method, rest, request).await
            }
            _ => problem(
                StatusCode::NOT_FOUND,
                "not-found",
                "There is no such page: see `oncegate --help` or the README for the admin interface.",
            ),
        }
    }

    async fn route(&self, method: &Method, segments: &[&str], request: Request<Incoming>) -> Reply {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let is = |wanted: Method| *method == wanted;
        match segments {
            ["status"] if is(Method::GET) => json_reply(&self.status()),
            ["policies"] if is(Method::GET) => json_reply(&self.policies()),
            ["upstreams"] if is(Method::GET) => json_reply(&self.upstreams()),
            ["operations"] if is(Method::GET) => operations::list(&self.shared, &query).await,
            ["operations", id] if is(Method::GET) => self.operation(id).await,
            ["operations", id] if is(Method::DELETE) => match id.parse() {
                Ok(id) => operations::forget(&self.shared, id, &query).await,
                Err(_) => no_id(),
            },
            ["operations", id, "resolve"] if is(Method::POST) => match id.parse() {
                Ok(id) => self.resolve(id, request).await,
                Err(_) => no_id(),
            },
            ["reload"] if is(Method::POST) => match consent(request).await {
                Ok(accept_duplicates) => reloaded(self.reloader.reload(accept_duplicates).await),
                Err(refused) => refused,
            },
            ["policies", name, "reload"] if is(Method::POST) => match consent(request).await {
                Ok(accept_duplicates) => reloaded(self.reloader.reload_policy(name, accept_duplicates).await),
                Err(refused) => refused,
            },
            ["policies", name, "rollback"] if is(Method::POST) => {
                reloaded(self.reloader.roll_back(name).await)
            }
            ["status" | "policies" | "upstreams" | "operations" | "reload"]
            | ["operations", _]
            | ["operations", _, "resolve"]
            | ["policies", _, "reload" | "rollback"] => problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Look with GET, change with POST, forget an operation with DELETE.",
            ),
            _ => problem(StatusCode::NOT_FOUND, "not-found", "There is no such page under /v1."),
        }
    }

    fn metrics(&self) -> Reply {
        let body = self.shared.metrics.render(&self.shared.snapshot());
        answer(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body.into())
    }

    /// Only under a name of this listener, and beyond loopback only with the token.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Reply> {
        let active = self.shared.active.load();
        let server = &active.config.server;
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.is_own_name(host, &server.admin_hosts) {
            return Err(problem(
                StatusCode::FORBIDDEN,
                "foreign-host",
                "The admin interface does not answer under this host name: use its address, or list the name in `server.admin_hosts`.",
            ));
        }
        // A page of somebody else's can make a browser ask without knowing the answer.
        let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
        let is_own = |origin: &str| {
            origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
        };
        if !origin.is_none_or(is_own) {
            return Err(problem(
                StatusCode::FORBIDDEN,
                "foreign-origin",
                "The admin interface is not asked by pages of another origin.",
            ));
        }
        let Some(token) = &server.admin_token else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
        // Hashes compare without telling how far they agree.
        if blake3::hash(given) == blake3::hash(token.as_bytes()) {
            return Ok(());
        }
        Err(problem(
            StatusCode::UNAUTHORIZED,
            "token-required",
            "The admin interface wants the token of `server.admin_token_file` as `Authorization: Bearer …`.",
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

    fn status(&self) -> Value {
        let snapshot = self.shared.snapshot();
        let active = self.shared.active.load();
        let size = crate::store::Store::size(self.shared.ledger.store());
        let (store, folder) = match &active.config.ledger.store {
            StoreKind::Memory => ("memory", None),
            StoreKind::Embedded(folder) => ("embedded", Some(folder.display().to_string())),
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "ready": self.shared.unready().is_none(),
            "unready_reason": self.shared.unready(),
            "ledger": {
                "store": store,
                "path": folder,
                "durability": format!("{:?}", active.config.ledger.durability).to_lowercase(),
                "deployment": &*active.config.ledger.deployment,
                "time": self.shared.ledger.clock().now().to_string(),
                "wall_clock_ahead_seconds": self.shared.ledger.clock().wall_ahead(),
                "records": size.records,
                "bytes": size.bytes,
                "executing": snapshot.executing,
                "cached": snapshot.cached,
                "settlements_overdue": snapshot.settlements_overdue,
            },
            "connections": snapshot.connections,
            "buffers_bytes": snapshot.buffers,
            "configuration": active.config.file.as_ref().map(|file| file.display().to_string()),
            "last_reload_error": self.reloader.last_error(),
            "warnings": active.config.warnings,
            "routes": active.routes.iter().map(|route| json!({
                "name": &*route.config.name,
                "host": route.config.host,
                "path": if route.config.path.is_empty() { "/" } else { &route.config.path },
                "methods": route.config.methods,
                "upstream": &*route.config.upstream,
                "policy": route.config.policy.as_deref(),
            })).collect::<Vec<_>>(),
            "key_spaces": active.generations.keys().map(|policy| {
                (policy.to_string(), self.key_spaces(policy))
            }).collect::<serde_json::Map<_, _>>(),
        })
    }

    fn policies(&self) -> Value {
        let active = self.shared.active.load();
        json!({
            "policies": active.generations.values().map(|generation| {
                let mut entry = json!(generation.describe());
                entry["error"] = self.reloader.policy_error(generation.name()).into();
                entry["last_load"] = json!(self.reloader.last_attempt(generation.name()));
                let before = self.reloader.before(generation.name());
                entry["rollback_to"] = json!(before.map(|before| before.number()));
                entry["key_spaces"] = self.key_spaces(generation.name());
                let unavailable = active.spaces.unavailable.get(generation.name());
                entry["refused_makers"] = self.refused_derivers(generation.name());
                entry["refuses_because"] = json!(unavailable.map(|unavailable| &*unavailable.why));
                entry
            }).collect::<Vec<_>>(),
            "last_reload_error": self.reloader.last_error(),
        })
    }

    /// The key spaces by which a policy's keys are derived, with what holds each open and how to end that.
    fn key_spaces(&self, policy: &str) -> Value {
        let ledger = &self.shared.ledger;
        let active = self.shared.active.load();
        let deciding = active.spaces.open.get(policy).map(|active| active.guard.number);
        let spaces = ledger.spaces();
        let listed = spaces.list(policy).map_or(&[][..], |list| &list.spaces);
        let held = |number| {
            let blockers = ledger.blockers(policy, number);
            blockers.iter().map(|blocker| blocked_by(blocker, &ledger.gateway())).collect::<Vec<_>>()
        };
        let one = |space: &oncegate_core::keyspaces::list::Space| {
            json!({
                "number": space.number.0,
                "key_schema": &*space.deriver.key_schema,
                "key_epoch": space.deriver.key_epoch,
                "component_sha256": &*space.deriver.component,
                "settings_sha256": &*space.deriver.settings,
                "decides": Some(space.number) == deciding,
                "held_open_by": held(space.number),
            })
        };
        listed.iter().map(one).collect()
    }

    /// Components under settings that were seen to break the promise of their key-schema, and are kept out.
    fn refused_derivers(&self, policy: &str) -> Value {
        let spaces = self.shared.ledger.spaces();
        let refused = spaces.list(policy).map_or(&[][..], |list| &list.refused);
        let one = |refused: &oncegate_core::keyspaces::list::Refused| {
            json!({
                "key_schema": &*refused.deriver.key_schema,
                "key_epoch": refused.deriver.key_epoch,
                "component_sha256": &*refused.deriver.component,
                "settings_sha256": &*refused.deriver.settings,
                "why": &*refused.why,
            })
        };
        refused.iter().map(one).collect()
    }

    fn upstreams(&self) -> Value {
        let active = self.shared.active.load();
        let upstreams = active.upstreams.values().map(|upstream| {
            let (counters, slots) = (&upstream.metrics, upstream.slots());
            json!({
                "name": &**upstream.name(),
                "address": upstream.address(),
                "dedupes": upstream.config.dedupes,
                "executions": slots.executions(),
                "waiters": slots.waiters(),
                "answered": counters.answered.get(),
                "unreachable": counters.unreachable.get(),
                "broken": counters.broken.get(),
                "timed_out": counters.timed_out.get(),
            })
        });
        json!({ "upstreams": upstreams.collect::<Vec<_>>() })
    }

    async fn operation(&self, id: &str) -> Reply {
        let Ok(id) = id.parse() else { return no_id() };
        let ledger = &self.shared.ledger;
        let now = ledger.clock().now();
        match ledger.load(id).await {
            Err(error) => operations::unavailable(&error),
            Ok(Some(found)) if found.record.view(now) != View::Absent => {
                let mut document = operations::document(id, &found, now);
                document["evidence"] = ledger.evidence(id).iter().map(evidence).collect();
                json_reply(&document)
            }
            Ok(_) => operations::missing(),
        }
    }

    async fn resolve(&self, id: OperationId, request: Request<Incoming>) -> Reply {
        let (parts, body) = request.into_parts();
        match Limited::new(body, operations::BODY_BYTES_MAX).collect().await {
            Ok(body) => operations::resolve(&self.shared, id, &parts.headers, &body.to_bytes()).await,
            Err(error) if error.is::<http_body_util::LengthLimitError>() => problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "A resolution has at most 4 MiB. An answer that is larger can be said to be consumed.",
            ),
            Err(_) => problem(StatusCode::BAD_REQUEST, "bad-request", "The body broke off."),
        }
    }
}

/// Whether a reload may give records up: `{"accept_duplicates": true}`. No body: it may not.
async fn consent(request: Request<Incoming>) -> Result<bool, Reply> {
    #[derive(Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Consent {
        #[serde(default)]
        accept_duplicates: bool,
    }
    let refuse = |detail: &str| problem(StatusCode::BAD_REQUEST, "bad-request", detail);
    let body = Limited::new(request.into_body(), CONSENT_BYTES_MAX).collect().await;
    let body = body.map_err(|_| refuse("The body broke off, or has more than 4 KiB."))?.to_bytes();
    if body.is_empty() {
        return Ok(false);
    }
    let said: Result<Consent, _> = serde_json::from_slice(&body);
    said.map(|consent| consent.accept_duplicates).map_err(|error| {
        refuse(&format!("A reload has no body, or `{{\"accept_duplicates\": true}}`: {error}."))
    })
}

fn no_id() -> Reply {
    problem(StatusCode::BAD_REQUEST, "bad-request", "An operation id is 64 lower-case hexadecimal digits.")
}

/// What holds a key space open, and what ends that.
fn blocked_by(blocker: &Blocker, own: &oncegate_core::GatewayId) -> Value {
    let whose =
        |gateway| if gateway == own { "this gateway".to_owned() } else { format!("gateway {gateway}") };
    let (by, ends) = match blocker {
        Blocker::Only => ("it is the only one".to_owned(), "when another one becomes active"),
        Blocker::Decides(gateway) => (
            format!("{}, or a request in flight in it, decides by it", whose(gateway)),
            "reload that gateway with another key space, and wait for its requests; or stop it",
        ),
        Blocker::Behind(gateway) => (
            format!("{} does not derive keys in all the others yet", whose(gateway)),
            "it does so by itself; or stop it",
        ),
        Blocker::Records(since) => (
            format!("records claimed until {since} may be left"),
            "wait until they are forgotten (retention and tombstone); resolve unknown ones with `oncegate ops \
             resolve`, or forget finished ones with `oncegate ops forget`",
        ),
    };
    json!({ "by": by, "ends": ends })
}

/// A settlement that came too late and changed nothing.
fn evidence(evidence: &crate::ledger::Evidence) -> Value {
    json!({
        "at": evidence.at.to_string(),
        "execution": evidence.execution.to_string(),
        "outcome": evidence.outcome.word(),
        "status": evidence.status,
        "reason": evidence.reason.word(),
    })
}

fn reloaded(outcome: Result<ActivationReport, ReloadError>) -> Reply {
    match outcome {
        Ok(report) => json_reply(&report),
        Err(error) => {
            let (status, code) = match &error {
                ReloadError::NoSuchPolicy(..) => (StatusCode::NOT_FOUND, "not-found"),
                ReloadError::NothingBefore(_) => (StatusCode::CONFLICT, "nothing-before"),
                ReloadError::Broken(_) => (StatusCode::INTERNAL_SERVER_ERROR, "reload-failed"),
                ReloadError::Config(_)
                | ReloadError::Unchangeable(_)
                | ReloadError::Policy(_)
                | ReloadError::Promise(_)
                | ReloadError::Identity(_)
                | ReloadError::Resolve(_) => (StatusCode::UNPROCESSABLE_ENTITY, "reload-refused"),
            };
            let mut document = problem_document(status, code, &error.to_string());
            if !error.steps().is_empty() {
                document["steps"] = json!(error.steps());
            }
            answer(status, "application/problem+json", document.to_string().into())
        }
    }
}

fn json_reply(document: &impl Serialize) -> Reply {
    let mut body = serde_json::to_vec_pretty(document).unwrap_or_default();
    body.push(b'\n');
    answer(StatusCode::OK, "application/json", body.into())
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Reply {
    let document = problem_document(status, code, detail);
    answer(status, "application/problem+json", document.to_string().into())
}

fn problem_document(status: StatusCode, code: &str, detail: &str) -> Value {
    json!({
        "type": format!("urn:oncegate:problem:{code}"),
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": code,
        "detail": detail,
    })
}

fn text(status: StatusCode, body: &str) -> Reply {
    answer(status, "text/plain; charset=utf-8", body.to_owned().into())
}

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
