//! The state that workers share: the active configuration behind one pointer, the ledger, bounds and
//! counters.

use crate::edge::EdgeState;
use crate::execution::generations::ExecutionGenerations;
use crate::request::drift::DriftDetector;
use crate::request::known::KnownPrincipals;
use crate::request::route::{Route, RoutingTable};
use crate::request::unproven::UnprovenShare;
use arc_swap::ArcSwap;
use oncegate_config::Config;
use oncegate_core::{PrincipalId, Secret};
use oncegate_keyspaces::{Deriving, SpaceTable};
use oncegate_ledger::Ledger;
use oncegate_observe::metrics::{BacklogSeen, Metrics, Snapshot};
use oncegate_policy::{Failure, Generation, Generations};
use oncegate_store::{Kind, Size, Store};
use oncegate_upstream::UpstreamTable;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// A configuration with its policies loaded. An active configuration never changes: a reload makes another.
#[derive(Debug)]
pub struct ActiveConfig {
    /// The configuration.
    pub config: Config,
    /// Routes with their policies.
    pub routes: RoutingTable,
    /// The active generations, by policy name.
    pub generations: Generations,
    /// The key spaces in which the generations derive keys.
    pub spaces: SpaceTable<Arc<Generation>>,
    /// Upstreams, by name.
    pub upstreams: UpstreamTable,
}

impl ActiveConfig {
    /// Joins a configuration with the generations of its policies and the key spaces in which they
    /// derive keys. `before`: the upstreams of the configuration that was active before.
    pub fn new(
        config: Config,
        generations: Generations,
        spaces: SpaceTable<Arc<Generation>>,
        before: &UpstreamTable,
        metrics: &Metrics,
    ) -> Self {
        let upstreams = before.next(&config.upstreams, metrics);
        let routes = config.routes.iter().filter_map(|route| {
            let upstream = upstreams.get(&route.upstream)?.clone();
            Some(Arc::new(Route {
                config: route.clone(),
                upstream,
                generation: route.policy.as_ref().and_then(|policy| generations.get(policy)).cloned(),
                spaces: route.policy.as_ref().and_then(|policy| spaces.open.get(policy)).cloned(),
                is_unavailable: route
                    .policy
                    .as_ref()
                    .is_some_and(|policy| spaces.unavailable.contains_key(policy)),
                metrics: metrics.route(&route.name, route.policy.as_deref()),
            }))
        });
        let routes = RoutingTable::new(routes.collect());
        Self { config, routes, generations, spaces, upstreams }
    }
}

impl Deriving for ActiveConfig {
    type Generation = Arc<Generation>;

    fn generations(&self) -> &Generations {
        &self.generations
    }

    fn spaces(&self) -> &SpaceTable<Arc<Generation>> {
        &self.spaces
    }
}

/// The state that workers share.
#[derive(Debug)]
pub struct Shared {
    /// The active configuration.
    pub active: ArcSwap<ActiveConfig>,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// The ledger's secret.
    pub secret: Secret,
    /// The policy engine.
    pub engine: Arc<oncegate_policy::Engine>,
    /// Counters.
    pub metrics: Metrics,
    /// Counts executions that were repeated under another principal.
    pub drift: DriftDetector,
    /// The principals whose failures count in a trial, and who have all of the ledger.
    pub known: KnownPrincipals,
    /// What the ledger keeps of all others.
    pub unproven: UnprovenShare,
    /// The generations that decided executions with an outcome that may have to be asked about.
    pub decided_by: ExecutionGenerations,
    /// Notified when a generation fails its trial.
    pub condemned: Notify,
    /// Listeners, connections and their bodies.
    pub edge: Arc<EdgeState>,
    /// Executions that run on tasks of their own until they settle.
    pub executions: AtomicUsize,
}

impl Shared {
    /// Makes the shared state, before workers run.
    pub fn new(
        active: ActiveConfig,
        ledger: Arc<Ledger>,
        secret: Secret,
        engine: Arc<oncegate_policy::Engine>,
        metrics: Metrics,
    ) -> Self {
        Self {
            edge: Arc::new(EdgeState::new(active.config.server.limits.buffers)),
            active: ArcSwap::from_pointee(active),
            ledger,
            secret,
            engine,
            metrics,
            drift: DriftDetector::default(),
            known: KnownPrincipals::default(),
            unproven: UnprovenShare::default(),
            decided_by: ExecutionGenerations::default(),
            condemned: Notify::new(),
            executions: AtomicUsize::new(0),
        }
    }

    /// Makes this the active configuration.
    pub fn activate(&self, next: ActiveConfig) {
        self.edge.bodies.resize(next.config.server.limits.buffers);
        self.active.store(Arc::new(next));
    }

    /// Whether the gateway shuts down.
    pub fn is_draining(&self) -> bool {
        self.edge.is_draining()
    }

    /// Counts a policy's failure for this principal. Too many failures for known callers within its trial condemn the
    /// generation.
    pub fn policy_failed(&self, generation: &Generation, principal: &PrincipalId, failure: &Failure) {
        self.metrics.policy_failed(generation.name(), failure.kind());
        if let Some(caller) = self.known.caller(principal)
            && generation.failed(failure, caller)
        {
            self.condemned.notify_one();
        }
    }

    /// How long this principal waits for room in the ledger, if it is unproven, and the share of such is taken.
    pub fn unproven_wait(&self, principal: &PrincipalId) -> Option<Duration> {
        match self.known.caller(principal) {
            Some(_) => None,
            None => self.unproven.wait(|| self.ledger.store().size(), self.ledger.clock().now()),
        }
    }

    /// Whether the ledger has room for an answer of so many bytes by which the service did nothing for this principal.
    pub fn keeps_failure(&self, principal: &PrincipalId, bytes: usize) -> bool {
        let (store, clock) = (self.ledger.store(), self.ledger.clock());
        self.known.caller(principal).is_some() || self.unproven.has_room(bytes, || store.size(), clock.now())
    }

    /// The gauges of the process, as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let Size { kinds, backlog, unmarked, .. } = self.ledger.store().size();
        Snapshot {
            executing: self.ledger.executing() as u64,
            records: Kind::ALL.map(|kind| (kind.word(), kinds.count(kind))).to_vec(),
            cached: self.ledger.cached() as u64,
            unreadable: self.ledger.unreadable(),
            settlements_overdue: self.ledger.settlements_overdue(),
            buffers: self.edge.bodies.held() as u64,
            connections: self.edge.connections.load(Ordering::Relaxed) as u64,
            unmarked,
            backlog: backlog.map(|backlog| BacklogSeen {
                write_buffers: backlog.write_buffers,
                journal: backlog.journal,
                flushes: backlog.flushes,
                since_compaction: backlog.compacted_at.elapsed().as_secs(),
            }),
            tunnels: self.edge.tunnels.load(Ordering::Relaxed) as u64,
        }
    }

    /// Why the gateway isn't ready for requests, if it isn't.
    pub fn unready(&self) -> Option<&'static str> {
        if self.is_draining() {
            return Some("draining");
        }
        let overdue = self.ledger.settlements_overdue() > 0;
        let trouble = self.ledger.store().trouble();
        let trouble = trouble.or(overdue.then_some("the store does not take settlements"));
        // While one route can guard, the gateway stays ready and refuses requests of the others with a
        // reason.
        let active = self.active.load();
        let mut guarding = active.routes.iter().filter(|route| route.config.policy.is_some()).peekable();
        let unavailable = guarding.peek().is_some() && guarding.all(|route| route.is_unavailable);
        trouble.or(unavailable.then_some("no policy can guard anything: `oncegate reload` says why"))
    }
}
