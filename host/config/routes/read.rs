//! Reading the routes.

use super::checks::{
    NO_PATH, check_anonymous, check_methods, check_when_unknown, compare, refuse_guarding, warn,
    warn_of_strange,
};
use super::keys::{
    CLIENT_GONE, HOST, METHODS, NAME, ON_ERROR, OUTCOMES, PATH, POLICY, PRINCIPAL, PRINCIPAL_CHANGED,
    RESPONSE_TIMEOUT, STRIP, UPSTREAM, WHEN_UNKNOWN, WHILE_RUNNING,
};
use super::types::RouteConfig;
use crate::answers::{self, ANSWERS};
use crate::outcomes;
use crate::policies::Policy;
use crate::principal::{self, Principal};
use crate::reading::{Item, Reading, Section, SetBy};
use crate::remembering::{self, Bounds, Remembering};
use crate::server::Server;
use crate::upstreams::UpstreamConfig;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The parts of the configuration that routes refer to and inherit from.
pub(crate) struct Scope<'a> {
    pub(crate) server: &'a Server,
    pub(crate) principal: &'a Principal,
    pub(crate) remembering: Remembering,
    pub(crate) bounds: Bounds,
    pub(crate) upstreams: &'a BTreeMap<Arc<str>, Arc<UpstreamConfig>>,
    pub(crate) policies: &'a BTreeMap<Arc<str>, Arc<Policy>>,
}

/// Reads the sections.
pub(crate) fn read(reading: &Reading, item: Option<Item<'_>>, scope: &Scope<'_>) -> Vec<Arc<RouteConfig>> {
    let Some(item) = item else { return Vec::new() };
    let items = item.clone().list();
    if items.is_empty() {
        item.refuse("at least one [[routes]]");
    }
    let mut routes: Vec<(SetBy, RouteConfig)> = Vec::new();
    for item in items {
        let set_by = item.node.set_by.clone();
        let Some(section) = Section::of(item) else { continue };
        let route = route(section, scope);
        compare(reading, &set_by, &route, &routes);
        routes.push((set_by, route));
    }
    let routes: Vec<_> = routes.into_iter().map(|(_, route)| Arc::new(route)).collect();
    warn(reading, &routes, scope.upstreams, scope.policies);
    routes
}

fn route(mut section: Section<'_>, scope: &Scope<'_>) -> RouteConfig {
    let name = section.find(&NAME);
    if let Some(name) = &name {
        // Faults below then name the route, whatever its number in the file.
        section.path = format!("routes.{name}");
    }
    section.later(&["reauthorize"]);
    let host = section.find(&HOST);
    let path = section.find_within(&PATH, &scope.server.paths);
    let methods = section.find(&METHODS).unwrap_or_default();
    let upstream = section.find_within(&UPSTREAM, &names(scope.upstreams));
    let policy = section.find_within(&POLICY, &names(scope.policies));
    let while_running = section.get(&WHILE_RUNNING);
    let when_unknown = section.get(&WHEN_UNKNOWN);
    let on_error = section.get(&ON_ERROR);
    let outcomes = section.item(&OUTCOMES).map(|item| outcomes::read(item.list())).unwrap_or_default();
    let remembering = remembering::read_of_route(&mut section, scope.remembering, &scope.bounds);
    let route = RouteConfig {
        name: name.unwrap_or_default().into(),
        host,
        path: path.unwrap_or_else(|| NO_PATH.to_owned()),
        methods,
        upstream: upstream.unwrap_or_default(),
        policy,
        while_running,
        when_unknown,
        on_error,
        outcomes,
        client_gone: section.get(&CLIENT_GONE),
        principal_changed: section.get(&PRINCIPAL_CHANGED),
        answers: answers::read(section.section(&ANSWERS)),
        strip: section.get(&STRIP),
        response_timeout: section.find(&RESPONSE_TIMEOUT),
        times: remembering.times,
        wait: remembering.wait,
        body_kept: remembering.body_kept,
        principal: Arc::new(principal::read_of_route(
            section.section(&PRINCIPAL),
            scope.principal,
            scope.server,
        )),
    };
    check(&mut section, &route, scope);
    section.close();
    route
}

/// Checks the route's keys together.
fn check(section: &mut Section<'_>, route: &RouteConfig, scope: &Scope<'_>) {
    warn_of_strange(section, &route.methods);
    if section.set_by(POLICY.name).is_some() {
        check_methods(section, &route.methods);
        check_anonymous(section, route, scope.server);
    } else {
        refuse_guarding(section);
    }
    check_when_unknown(section, route.when_unknown, scope.upstreams.get(&route.upstream), &route.methods);
    outcomes::warn(section.reading, &section.path, &route.outcomes);
}

fn names<T>(tables: &BTreeMap<Arc<str>, T>) -> Vec<Arc<str>> {
    tables.keys().cloned().collect()
}
