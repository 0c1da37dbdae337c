//! `[[routes]]`: which requests go to which upstream under which policy.

use super::answers;
use super::ledger::{self, Bounds, kept};
use super::outcomes::{self, StatusRule};
use super::policies::Policy;
use super::principal::{self, Principal};
use super::reach::Reach;
use super::reading::units::{is_host, is_name, is_token, nearest};
use super::reading::{Item, NAME_HELP, Origin, Reading, Section};
use super::server::{Server, is_loopback};
use super::upstreams::{TIMEOUT, UpstreamConfig};
use oncegate_core::{Times, WhenUnknown, WhileRunning};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// `[[routes]]`, with everything that it inherits.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// Its name.
    pub name: Arc<str>,
    /// Host name in lower case without port; none: any.
    pub host: Option<String>,
    /// Path prefix on segment borders, without a slash at the end; `/` itself is "".
    pub path: String,
    /// Methods; empty: all.
    pub methods: Vec<String>,
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The policy's name; none: plain proxying.
    pub policy: Option<Arc<str>>,
    /// For a running execution.
    pub while_running: WhileRunning,
    /// For an unknown outcome.
    pub when_unknown: WhenUnknown,
    /// Ledger down or policy failing to load.
    pub on_error: OnError,
    /// The operator's word on answers, tried in order before everything else.
    pub outcomes: Vec<StatusRule>,
    /// Other statuses for the gateway's own answers, by problem code.
    pub answers: BTreeMap<String, u16>,
    /// How long things stand.
    pub times: Times,
    /// How long a duplicate waits.
    pub wait: Duration,
    /// Larger answers are consumed.
    pub body_kept: usize,
    /// Fields of answers that are not kept, lower-case.
    pub strip: Vec<String>,
    /// In place of the upstream's.
    pub response_timeout: Option<Duration>,
    /// Who asks.
    pub principal: Arc<Principal>,
    /// What happens to an execution whose clients are all gone.
    pub client_gone: ClientGone,
    /// What the same under another principal means.
    pub principal_changed: PrincipalChanged,
}

impl RouteConfig {
    /// Which requests it takes.
    pub fn reach(&self) -> Reach<'_> {
        Reach { host: self.host.as_deref(), path: &self.path, methods: &self.methods }
    }
}

/// `routes.on_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// 503.
    Refuse,
    /// Send it unguarded.
    Bypass,
}

/// `routes.principal_changed`: the same key and content under another principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalChanged {
    /// Each principal's operation is its own; that it happened is counted and told.
    Count,
    /// The second principal is refused.
    Refuse,
}

/// `routes.client_gone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientGone {
    /// The execution goes on.
    Finish,
    /// The upstream's connection is closed when the last client is gone.
    Close,
}

/// Stands in for a path that is at fault. No path is like it.
const NO_PATH: &str = "?";

/// What routes refer to and inherit from.
pub(super) struct Scope<'a> {
    pub(super) server: &'a Server,
    pub(super) principal: &'a Principal,
    pub(super) ledger: &'a ledger::Read,
    pub(super) upstreams: &'a BTreeMap<Arc<str>, Arc<UpstreamConfig>>,
    pub(super) policies: &'a BTreeMap<Arc<str>, Arc<Policy>>,
}

/// The sections' meaning.
pub(super) fn read(reading: &Reading, item: Option<Item<'_>>, scope: &Scope<'_>) -> Vec<Arc<RouteConfig>> {
    let Some(item) = item else { return Vec::new() };
    let items = item.clone().list();
    if items.is_empty() {
        item.refuse("at least one [[routes]]");
    }
    let mut routes: Vec<(Origin, RouteConfig)> = Vec::new();
    for item in items {
        let origin = item.node.origin.clone();
        let Some(section) = Section::of(item) else { continue };
        let route = route(section, scope);
        compare(reading, &origin, &route, &routes);
        routes.push((origin, route));
    }
    let routes: Vec<_> = routes.into_iter().map(|(_, route)| Arc::new(route)).collect();
    warn(reading, &routes, scope);
    routes
}

fn route(mut section: Section<'_>, scope: &Scope<'_>) -> RouteConfig {
    let name = section
        .needed("name", "give the route a name; logs and metrics use it")
        .and_then(|item| item.parsed(NAME_HELP, |text| is_name(text).then(|| text.to_owned())));
    if let Some(name) = &name {
        // Faults below then say whose they are, whatever its number in the file.
        section.path = format!("routes.{name}");
    }
    section.later(&["reauthorize"]);
    let host = section.item("host").and_then(|item| host(&item));
    let path = section
        .needed("path", "a path that begins with `/`; `/` itself takes everything")
        .and_then(|item| path(&item));
    let methods: Vec<String> = section
        .item("methods")
        .map(|item| item.list())
        .unwrap_or_default()
        .iter()
        .filter_map(method)
        .collect();
    let upstream = named(&mut section, "upstream", true, scope.upstreams.keys());
    let policy = named(&mut section, "policy", false, scope.policies.keys());
    let guarded = section.said("policy").is_some();
    if guarded {
        check_methods(&mut section, &methods);
    } else {
        refuse_guarding(&section);
    }
    let upstream_meant = upstream.as_ref().and_then(|name| scope.upstreams.get(name.as_str()));
    let when_unknown = when_unknown(&mut section, upstream_meant, &methods);
    let bounds = Bounds { ledger: &scope.ledger.ledger, server: scope.server };
    let kept = kept(&mut section, scope.ledger.defaults, &bounds);
    let waits = [("wait", WhileRunning::Wait), ("reject", WhileRunning::Reject)];
    let errors = [("refuse", OnError::Refuse), ("bypass", OnError::Bypass)];
    let gone = [("finish", ClientGone::Finish), ("close", ClientGone::Close)];
    let changed = [("count", PrincipalChanged::Count), ("refuse", PrincipalChanged::Refuse)];
    let route = RouteConfig {
        name: name.unwrap_or_default().into(),
        host,
        path: path.unwrap_or_else(|| NO_PATH.to_owned()),
        methods,
        upstream: upstream.unwrap_or_default().into(),
        policy: policy.map(Arc::from),
        while_running: section.choice("while_running", &waits, WhileRunning::Wait),
        when_unknown,
        on_error: section.choice("on_error", &errors, OnError::Refuse),
        outcomes: section.item("outcomes").map(|item| outcomes::read(item.list())).unwrap_or_default(),
        answers: answers::read(section.section("answers")),
        times: kept.times,
        wait: kept.wait,
        body_kept: kept.body_kept,
        strip: section
            .item("strip")
            .map(|item| item.list())
            .unwrap_or_default()
            .iter()
            .filter_map(field_name)
            .collect(),
        response_timeout: section.item("response_timeout").and_then(|item| item.duration(&TIMEOUT)),
        principal: Arc::new(principal::read(
            section.section("principal"),
            Some(scope.principal),
            scope.server,
        )),
        client_gone: section.choice("client_gone", &gone, ClientGone::Finish),
        principal_changed: section.choice("principal_changed", &changed, PrincipalChanged::Count),
    };
    outcomes::warn(section.reading, &section.path, &route.outcomes);
    section.close();
    route
}

fn host(item: &Item<'_>) -> Option<String> {
    let text = item.text("a host name, like \"api.example.com\"")?.to_lowercase();
    let help = if text.contains('*') {
        "a whole name; without `host` the route takes every host"
    } else if text.contains("://") || text.contains('/') {
        "the name alone, without scheme and path, like \"api.example.com\""
    } else {
        "a name without a port, like \"api.example.com\" or \"[::1]\""
    };
    if is_host(&text) {
        return Some(text);
    }
    item.refuse(help);
    None
}

/// Without the slash at the end; `/` is "".
fn path(item: &Item<'_>) -> Option<String> {
    let text = item.text("a path that begins with `/`")?;
    let help = if !text.starts_with('/') {
        format!("a path begins with a slash: \"/{text}\"")
    } else if text.contains('*') {
        "a path is a prefix as it is and needs no `*`".to_owned()
    } else if text.contains(['?', '#']) {
        "the path alone: queries don't choose the route".to_owned()
    } else if text.split('/').any(|segment| segment == "." || segment == "..") || text.contains("//") {
        "a path without `.`, `..` and empty segments".to_owned()
    } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
        "visible ASCII characters; write others percent-encoded, as they are sent".to_owned()
    } else {
        return Some(text.trim_end_matches('/').to_owned());
    };
    item.refuse(help);
    None
}

fn method(item: &Item<'_>) -> Option<String> {
    const KNOWN: [&str; 5] = ["POST", "PUT", "PATCH", "DELETE", "GET"];
    let text = item.text("a method, like \"POST\"")?;
    if text == "CONNECT" {
        item.refuse("CONNECT is always refused: this is no forward proxy");
    } else if !is_token(&text) {
        item.refuse("a method, like \"POST\"");
    } else if KNOWN.iter().any(|known| known.eq_ignore_ascii_case(&text)) && !KNOWN.contains(&text.as_str()) {
        item.refuse(format!("methods are case-sensitive: \"{}\"", text.to_uppercase()));
    } else {
        return Some(text);
    }
    None
}

fn field_name(item: &Item<'_>) -> Option<String> {
    item.parsed("the name of a header, like \"x-request-id\"", |text| {
        is_token(text).then(|| text.to_lowercase())
    })
}

/// A name that must be that of an upstream or a policy.
fn named<'a>(
    section: &mut Section<'_>,
    key: &'static str,
    needed: bool,
    names: impl Iterator<Item = &'a Arc<str>>,
) -> Option<String> {
    let names: Vec<&str> = names.map(AsRef::as_ref).collect();
    let table = if key == "upstream" { "upstreams" } else { "policies" };
    let item =
        if needed { section.needed(key, &format!("name one of [{table}.NAME]")) } else { section.item(key) }?;
    let text = item.text(&format!("the NAME of a [{table}.NAME]"))?;
    if names.contains(&text.as_str()) {
        return Some(text);
    }
    let help = match (nearest(&text, names.iter().copied()), names.as_slice()) {
        (Some(meant), _) => format!("did you mean {meant:?}?"),
        (None, _) if text.starts_with("builtin:") => {
            format!("a route names a [policies.NAME]: add one with component = {text:?}")
        }
        (None, []) => format!("add a [{table}.{}]", if is_name(&text) { text.as_str() } else { "NAME" }),
        (None, names) => format!("there are: {}", names.join(", ")),
    };
    item.fault(format!("`{}` is {text:?}, and there is no [{table}.{text}]", item.path), help);
    None
}

/// A key that only means something with a policy lets somebody believe that the route is guarded.
fn refuse_guarding(section: &Section<'_>) {
    for key in [
        "while_running",
        "when_unknown",
        "on_error",
        "outcomes",
        "retention",
        "tombstone",
        "unknown_retention",
    ]
    .into_iter()
    .chain(["lease", "wait", "body_kept", "strip", "principal", "client_gone", "principal_changed"])
    {
        if let Some(origin) = section.said(key) {
            let path = format!("{}.{key}", section.path);
            let problem = format!("`{path}` means nothing on a route without a policy, which guards nothing");
            section.reading.fault(origin, &path, problem, "add `policy = \"NAME\"`, or remove it");
        }
    }
}

/// HEAD, OPTIONS and TRACE are never guarded.
fn check_methods(section: &mut Section<'_>, methods: &[String]) {
    let safe = |method: &&String| matches!(method.as_str(), "HEAD" | "OPTIONS" | "TRACE");
    let never: Vec<&str> = methods.iter().filter(safe).map(String::as_str).collect();
    if never.is_empty() {
        return;
    }
    let words = never.join(" and ");
    if never.len() == methods.len() {
        let origin = section.said("methods").unwrap_or(&section.origin).clone();
        section.reading.fault(
            &origin,
            &format!("{}.methods", section.path),
            format!("`{}.methods` has nothing but {words}, which are never guarded", section.path),
            "add the methods that act, like \"POST\", or remove `policy`",
        );
    } else {
        section.reading.warn(format!(
            "route `{}`: {words} requests are proxied and never guarded",
            section.path.trim_start_matches("routes.")
        ));
    }
}

fn when_unknown(
    section: &mut Section<'_>,
    upstream: Option<&Arc<UpstreamConfig>>,
    methods: &[String],
) -> WhenUnknown {
    let Some(item) = section.item("when_unknown") else { return WhenUnknown::Hold };
    let words = [("hold", WhenUnknown::Hold), ("probe", WhenUnknown::Probe), ("resend", WhenUnknown::Resend)];
    match item.choice(&words) {
        Some(WhenUnknown::Probe) => {
            if let Some(upstream) = upstream.filter(|upstream| upstream.settle_after.is_none()) {
                item.reading.warn(format!(
                    "`{}` is \"probe\" and `upstreams.{}.settle_after` is not set: that an operation did not happen is then never believed, and no key is freed; set it to the time after which no execution takes effect any more",
                    item.path, upstream.name
                ));
            }
            WhenUnknown::Probe
        }
        Some(WhenUnknown::Resend) => {
            let idempotent =
                !methods.is_empty() && methods.iter().all(|m| matches!(m.as_str(), "PUT" | "DELETE"));
            if let Some(upstream) = upstream.filter(|u| !idempotent && !u.dedupes && !u.accept_repeats) {
                item.fault(
                    format!("`{}` is \"resend\", and nothing says that running an operation twice does no harm", item.path),
                    format!(
                        "set `upstreams.{0}.dedupes = true` if the upstream honours the key itself, or `upstreams.{0}.accept_repeats = true` to accept repeats, or limit the route to methods = [\"PUT\", \"DELETE\"]",
                        upstream.name
                    ),
                );
            }
            WhenUnknown::Resend
        }
        Some(WhenUnknown::Hold) | None => WhenUnknown::Hold,
    }
}

/// Two routes with one name, or that one request would match alike.
fn compare(reading: &Reading, origin: &Origin, route: &RouteConfig, before: &[(Origin, RouteConfig)]) {
    let same_name = |(_, other): &&(Origin, RouteConfig)| !route.name.is_empty() && other.name == route.name;
    if before.iter().any(|other| same_name(&other)) {
        let problem = format!("there are two routes named `{}`", route.name);
        reading.fault(origin, &format!("routes.{}", route.name), problem, "give each a name of its own");
    }
    let alike = |other: &RouteConfig| {
        let both_all = route.methods.is_empty() && other.methods.is_empty();
        let shared = route.methods.iter().any(|method| other.methods.contains(method));
        // A route whose path is at fault has none, and takes nothing yet.
        let same_path = other.path == route.path && route.path != NO_PATH;
        other.host == route.host && same_path && (both_all || shared)
    };
    if let Some((_, other)) = before.iter().find(|(_, other)| alike(other)) {
        reading.fault(
            origin,
            &format!("routes.{}", route.name),
            format!(
                "`{}` and `{}` take the same requests: same host, path and method",
                other.name, route.name
            ),
            "make one of them more specific by host, path or methods, or remove it",
        );
    }
}

/// What routes make worth saying.
fn warn(reading: &Reading, routes: &[Arc<RouteConfig>], scope: &Scope<'_>) {
    for route in routes.iter().filter(|route| route.policy.is_some()) {
        if route.on_error == OnError::Bypass {
            reading.warn(format!(
                "route `{}` has `on_error = \"bypass\"`: while the ledger is down or its policy is not loaded, requests run unguarded, each time they come",
                route.name
            ));
        }
        if route.principal_changed == PrincipalChanged::Refuse {
            reading.warn(format!(
                "route `{}` has `principal_changed = \"refuse\"`: who sends a request again that another caller sent under the same key learns that it was sent, and who sends it first keeps the other out; it is for routes whose callers are one party",
                route.name
            ));
        }
        let open = scope.server.listen.iter().find(|address| !is_loopback(address));
        if let Some(address) = open.filter(|_| route.principal.anonymous.is_none()) {
            reading.warn(format!(
                "route `{}` can be reached on {address} and `principal.anonymous` is not set: requests of nobody in particular share their keys, and one with a Cookie is refused; set it to \"share\" or \"refuse\"",
                route.name
            ));
        }
    }
    for name in scope.upstreams.keys().filter(|name| routes.iter().all(|route| route.upstream != **name)) {
        reading.warn(format!("no route uses the upstream `{name}`"));
    }
    for name in
        scope.policies.keys().filter(|name| routes.iter().all(|route| route.policy.as_ref() != Some(name)))
    {
        reading.warn(format!("no route uses the policy `{name}`"));
    }
}
