//! Checks of a route's keys together, and of several routes together.

use super::keys::WHEN_UNKNOWN;
use super::types::{OnError, PrincipalChanged, RouteConfig};
use crate::policies::Policy;
use crate::reading::units::nearest;
use crate::reading::{Item, Reading, Section, SetBy};
use crate::server::{Server, is_loopback};
use crate::upstreams::UpstreamConfig;
use oncegate_core::WhenUnknown;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The stand-in for a faulty path. No real path equals it.
pub(super) const NO_PATH: &str = "?";

/// Refuses keys that bear on the promises of a guarded route: they let somebody believe that the route is
/// guarded.
pub(super) fn refuse_guarding(section: &Section<'_>) {
    for (name, set_by) in section.guarding() {
        let path = format!("{}.{name}", section.path);
        let problem = format!("`{path}` means nothing on a route without a policy, which guards nothing");
        section.reading.fault(set_by, &path, problem, "add `policy = \"NAME\"`, or remove it");
    }
}

/// Checks for HEAD, OPTIONS and TRACE, which are never guarded.
pub(super) fn check_methods(section: &Section<'_>, methods: &[String]) {
    let safe = |method: &&String| matches!(method.as_str(), "HEAD" | "OPTIONS" | "TRACE");
    let never: Vec<&str> = methods.iter().filter(safe).map(String::as_str).collect();
    if never.is_empty() {
        return;
    }
    let words = never.join(" and ");
    if never.len() == methods.len() {
        let set_by = section.set_by("methods").unwrap_or(&section.set_by).clone();
        section.reading.fault(
            &set_by,
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

/// Methods that anybody has registered for HTTP (IANA's list, without those that no route takes).
const REGISTERED: [&str; 38] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// Warns of methods that nobody registered: a slip of the pen makes a route that takes nothing.
pub(super) fn warn_of_strange(section: &Section<'_>, methods: &[String]) {
    for method in methods.iter().filter(|method| !REGISTERED.contains(&method.as_str())) {
        let meant = nearest(method, REGISTERED);
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
        section.reading.warn(format!(
            "route `{}`: nobody has registered the method {method:?}, and only requests that have it are taken by it{meant}",
            section.path.trim_start_matches("routes.")
        ));
    }
}

/// Checks that `when_unknown` suits the upstream.
pub(super) fn check_when_unknown(
    section: &mut Section<'_>,
    when_unknown: WhenUnknown,
    upstream: Option<&Arc<UpstreamConfig>>,
    methods: &[String],
) {
    let (Some(item), Some(upstream)) = (section.item(&WHEN_UNKNOWN), upstream) else { return };
    match when_unknown {
        WhenUnknown::Probe if upstream.settle_after.is_none() => item.reading.warn(format!(
            "`{}` is \"probe\" and `upstreams.{}.settle_after` is not set: that an operation did not happen is then never believed, and no key is freed; set it to the time after which no execution takes effect any more",
            item.path, upstream.name
        )),
        WhenUnknown::Resend => check_repeats(&item, upstream, methods),
        WhenUnknown::Hold | WhenUnknown::Probe => {}
    }
}

fn check_repeats(item: &Item<'_>, upstream: &UpstreamConfig, methods: &[String]) {
    // No methods: all of them.
    let harmless = match methods {
        [] => upstream.takes_repeats("POST"),
        methods => methods.iter().all(|method| upstream.takes_repeats(method)),
    };
    if harmless {
        return;
    }
    item.fault(
        format!("`{}` is \"resend\", and nothing says that running an operation twice does no harm", item.path),
        format!(
            "set `upstreams.{0}.dedupes = true` if the upstream honours the key itself, or `upstreams.{0}.accept_repeats = true` to accept repeats, or limit the route to methods = [\"PUT\", \"DELETE\"]",
            upstream.name
        ),
    );
}

/// Refuses a guarded route that other machines can reach and that nobody told what a request of nobody means: all
/// such callers would share their keys, and nobody would have said so.
pub(super) fn check_anonymous(section: &Section<'_>, route: &RouteConfig, server: &Server) {
    let open = server.listen.iter().find(|address| !is_loopback(address));
    if let (Some(address), None) = (open, route.principal.anonymous) {
        section.reading.fault(
            &section.set_by,
            &format!("{}.principal.anonymous", section.path),
            format!(
                "`{}` can be reached on {address} and `principal.anonymous` is not set: requests that carry no credential would share their keys, and their answers",
                section.path
            ),
            "set `principal.anonymous` (or ONCEGATE_PRINCIPAL__ANONYMOUS) to \"refuse\", or to \"share\" if all such callers are one party",
        );
    }
}

/// Notes faults of two routes with one name, and of two routes that match the same requests.
pub(super) fn compare(
    reading: &Reading,
    set_by: &SetBy,
    route: &RouteConfig,
    before: &[(SetBy, RouteConfig)],
) {
    let same_name = |(_, other): &&(SetBy, RouteConfig)| !route.name.is_empty() && other.name == route.name;
    let line = |set_by| reading.line(set_by).map_or_else(String::new, |line| format!(" (line {line})"));
    if let Some((other, _)) = before.iter().find(same_name) {
        let problem =
            format!("there are two routes named `{}`: the other one{} comes first", route.name, line(other));
        reading.fault(set_by, &format!("routes.{}", route.name), problem, "give each a name of its own");
    }
    let alike = |other: &RouteConfig| {
        let both_all = route.methods.is_empty() && other.methods.is_empty();
        let shared = route.methods.iter().any(|method| other.methods.contains(method));
        // A route with a faulty path takes no request yet.
        let same_path = other.path == route.path && route.path != NO_PATH;
        other.host == route.host && same_path && (both_all || shared)
    };
    if let Some((place, other)) = before.iter().find(|(_, other)| alike(other)) {
        reading.fault(
            set_by,
            &format!("routes.{}", route.name),
            format!(
                "`{}`{} and `{}`{} take the same requests: same host, path and method",
                other.name,
                line(place),
                route.name,
                line(set_by)
            ),
            "make one of them more specific by host, path or methods, or remove it",
        );
    }
}

/// Warns about the routes.
pub(super) fn warn(
    reading: &Reading,
    routes: &[Arc<RouteConfig>],
    upstreams: &BTreeMap<Arc<str>, Arc<UpstreamConfig>>,
    policies: &BTreeMap<Arc<str>, Arc<Policy>>,
) {
    for route in routes.iter().filter(|route| route.policy.is_some()) {
        if route.on_error == OnError::Bypass {
            reading.warn(format!(
                "route `{}` has `on_error = \"bypass\"`: while the ledger is down or its policy is not loaded, requests run unguarded, each time they come",
                route.name
            ));
        }
        let as_done: Vec<&str> =
            route.answers.iter().filter(|(_, status)| **status < 300).map(|(code, _)| &**code).collect();
        if !as_done.is_empty() {
            reading.warn(format!(
                "route `{}` has `answers` that turn {} into a success: clients take it for done and don't ask again, whether or not it was done",
                route.name,
                as_done.join(", ")
            ));
        }
        if route.principal_changed == PrincipalChanged::Refuse {
            reading.warn(format!(
                "route `{}` has `principal_changed = \"refuse\"`: who sends a request again that another caller sent under the same key learns that it was sent, and who sends it first keeps the other out; it is for routes whose callers are one party",
                route.name
            ));
        }
    }
    for name in upstreams.keys().filter(|name| routes.iter().all(|route| route.upstream != **name)) {
        reading.warn(format!("no route uses the upstream `{name}`"));
    }
    for name in policies.keys().filter(|name| routes.iter().all(|route| route.policy.as_ref() != Some(name)))
    {
        reading.warn(format!("no route uses the policy `{name}`"));
    }
}
