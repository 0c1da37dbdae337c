//! Routes, and the choice of a request's route: the most specific one by host, then path, then method.

use crate::request::principal;
use http::Method;
use oncegate_config::{self as config, Principal};
use oncegate_core::{Origin, SpaceNumber, host_of};
use oncegate_keyspaces::{ActiveSpaces, OlderGeneration};
use oncegate_ledger::{WaitingPlace, WaitingRoom};
use oncegate_observe::metrics::RouteMetrics;
use oncegate_policy::{Generation, PayloadWant};
use oncegate_upstream::{Admission, Upstream};
use std::sync::Arc;
use std::time::Duration;

/// A route with everything that serving it needs.
#[derive(Debug)]
pub struct Route {
    /// The route's configuration.
    pub config: Arc<config::RouteConfig>,
    /// The route's upstream.
    pub upstream: Arc<Upstream>,
    /// The active generation of the route's policy; none: plain proxying.
    pub generation: Option<Arc<Generation>>,
    /// The key spaces of the route's policy; none: the policy has no key spaces yet.
    pub spaces: Option<ActiveSpaces<Arc<Generation>>>,
    /// Whether keys can't be derived in one of the spaces. If so, requests that could be guarded are refused.
    pub is_unavailable: bool,
    /// The route's counters.
    pub metrics: RouteMetrics,
}

impl Route {
    /// How long to wait for the head of an answer.
    pub fn response_timeout(&self) -> Duration {
        self.config.response_timeout.unwrap_or(self.upstream.config.response_timeout)
    }

    /// The active generation, if it or an older one judges this method here.
    pub fn judge(&self, method: &Method) -> Option<&Arc<Generation>> {
        let generation = self.generation.as_ref()?;
        let reads = |older: &OlderGeneration<Arc<Generation>>| self.judges(&older.generation, method);
        (self.judges(generation, method) || self.older().iter().any(reads)).then_some(generation)
    }

    /// Whether this generation judges this method here.
    pub fn judges(&self, generation: &Generation, method: &Method) -> bool {
        judges(&self.config, generation, method.as_str())
    }

    /// Whether nobody can tell now by which key this method would be guarded here.
    pub fn is_unavailable_for(&self, method: &Method) -> bool {
        self.is_unavailable && self.config.reach().may_guard(method.as_str())
    }

    /// Whether a request with this method is guarded here, or refused because nobody can tell by which key.
    fn may_guard(&self, method: &Method) -> bool {
        self.judge(method).is_some() || self.is_unavailable_for(method)
    }

    /// The generations of the other key spaces on the policy's list.
    pub fn older(&self) -> &[OlderGeneration<Arc<Generation>>] {
        self.spaces.as_ref().map_or(&[], |spaces| &spaces.older)
    }

    /// Whether any generation that judges this method wants to see the body.
    pub fn wants_body(&self, method: &Method) -> bool {
        let older = self.older().iter().map(|older| &older.generation);
        let mut judging = self.generation.iter().chain(older).filter(|one| self.judges(one, method));
        judging.any(|generation| generation.plan().request_payload != PayloadWant::Nothing)
    }

    /// The number of the key space of one of the route's generations.
    pub fn number_of(&self, generation: &Generation) -> SpaceNumber {
        let older = self.older().iter().find(|older| older.generation.number() == generation.number());
        let own = || self.spaces.as_ref().map_or(SpaceNumber(0), |spaces| spaces.guard.number);
        older.map_or_else(own, |older| older.number)
    }

    /// The version of the list of key spaces by which keys are derived here.
    pub fn list_version(&self) -> u64 {
        self.spaces.as_ref().map_or(0, |spaces| spaces.version)
    }

    /// The term of this gateway's lease on the list in which the route's spaces were entered.
    pub fn term(&self) -> u64 {
        self.spaces.as_ref().map_or(0, |spaces| spaces.term)
    }
}

/// Whether this generation judges this method on this route.
pub fn judges(route: &config::RouteConfig, generation: &Generation, method: &str) -> bool {
    let plan = generation.plan();
    let is_planned = plan.methods.iter().any(|planned| planned == method);
    let is_left_open = plan.methods.is_empty() && method != "GET";
    route.reach().may_guard(method) && (is_planned || is_left_open)
}

/// A request waits at its route's upstream for an execution.
impl WaitingRoom for Route {
    fn enter(&self) -> Option<WaitingPlace> {
        Some(Box::new(self.upstream.admit(Admission::Waiter).ok()?))
    }
}

/// All routes, the most specific one first.
#[derive(Debug)]
pub struct RoutingTable {
    routes: Vec<Arc<Route>>,
    /// The rules of principals that have a source which only a trusted proxy sets.
    trusting: Vec<Arc<Principal>>,
}

impl RoutingTable {
    /// Puts the routes in order.
    pub fn new(mut routes: Vec<Arc<Route>>) -> Self {
        routes.sort_by_key(|route| route.config.reach().rank());
        let mut trusting: Vec<Arc<Principal>> = Vec::new();
        for rules in routes.iter().map(|route| &route.config.principal) {
            if principal::header_sources(rules).next().is_some() && !trusting.contains(rules) {
                trusting.push(rules.clone());
            }
        }
        Self { routes, trusting }
    }

    /// The rules of principals that have a source which only a trusted proxy sets.
    pub fn trusting(&self) -> &[Arc<Principal>] {
        &self.trusting
    }

    /// The route of a request. `host`: in lower case, without a port.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Option<&Arc<Route>> {
        self.routes.iter().find(|route| route.config.reach().takes(host, path, method.as_str()))
    }

    /// Whether the route of such a request may guard it.
    pub fn may_guard(&self, host: &str, path: &str, method: &Method) -> bool {
        self.find(host, path, method).is_some_and(|route| route.may_guard(method))
    }

    /// Whether a route at this host has a policy. An empty host may be any.
    pub fn guards(&self, host: &str) -> bool {
        let at = |own: Option<&str>| host.is_empty() || own.is_none_or(|own| own == host);
        self.routes.iter().any(|route| route.config.policy.is_some() && at(route.config.host.as_deref()))
    }

    /// The host of the route that takes a request which names no host; empty if every host is the route's.
    /// None: routes of several hosts take it, or one of some host and one of every host.
    pub fn host_of_hostless(&self, path: &str, method: &Method) -> Option<&str> {
        let takes = |route: &&Arc<Route>| route.config.reach().takes_hostless(path, method.as_str());
        let taking = self.routes.iter().filter(takes);
        let mut hosts = taking.map(|route| route.config.host.as_deref().unwrap_or_default());
        let first = hosts.next().unwrap_or_default();
        hosts.all(|other| other == first).then_some(first)
    }

    /// The route with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes.iter().find(|route| *route.config.name == *name)
    }

    /// The route of a record: the route that the record names. If that route is gone or has another policy,
    /// the route that the record's request takes now.
    pub fn of(&self, origin: &Origin) -> Option<&Arc<Route>> {
        let same = |route: &&Arc<Route>| route.config.policy.as_ref() == Some(&origin.policy);
        let meets = |route: &&Arc<Route>| {
            route.config.reach().takes(host_of(&origin.authority), &origin.path, &origin.method)
        };
        let named = self.named(&origin.route);
        let met = || self.routes.iter().find(meets).filter(same);
        named.filter(same).or_else(met).or(named)
    }

    /// All routes.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }
}
