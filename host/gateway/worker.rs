//! A worker: policy instances and upstream connections on a thread of its own. The state that workers share
//! is in [`Shared`].

use crate::edge::{self, Listeners, Orders};
use crate::execution::abandon::ShutdownSignal;
use crate::shared::{ActiveConfig, Shared};
use oncegate_core::PrincipalId;
use oncegate_policy::{self as policy, Generation, HookCall, HookResult};
use oncegate_upstream::Pools;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// The state of one worker.
#[derive(Debug)]
pub struct Worker {
    /// The state that all workers share.
    pub shared: Arc<Shared>,
    /// Policy instances.
    pub policies: policy::InstancePool,
    /// Sent when executions have to end.
    pub shutdown: ShutdownSignal,
    /// Connections to upstreams.
    pub pools: Pools,
}

impl Worker {
    /// A worker without instances and connections.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            policies: policy::InstancePool::new(&shared.engine),
            shutdown: ShutdownSignal::default(),
            shared,
            pools: Pools::default(),
        }
    }

    /// The active configuration.
    pub fn active(&self) -> Arc<ActiveConfig> {
        self.shared.active.load_full()
    }

    /// Calls a hook of a policy, and counts the call. `decide` is counted by its route.
    pub async fn call(
        &self,
        generation: &Arc<Generation>,
        principal: &PrincipalId,
        call: HookCall,
    ) -> Result<HookResult, policy::Failure> {
        let (hook, begun) = (call.hook().name(), Instant::now());
        let result = self.policies.call(generation, principal, call).await;
        self.shared.metrics.policy_called(generation.name(), hook, begun.elapsed());
        result
    }
}

/// An order to the workers.
#[derive(Clone, Debug)]
pub enum WorkerOrder {
    /// Drop the instances of all generations but these.
    RetireAllBut(Arc<[u64]>),
    /// End executions: each settles as unknown, or as not applied if nothing was sent.
    EndExecutions,
}

/// The worker threads.
#[derive(Debug)]
pub struct Workers(edge::WorkerThreads<WorkerOrder>);

impl Workers {
    /// Starts a thread for each worker's listeners.
    pub fn start(shared: &Arc<Shared>, listeners: Listeners) -> io::Result<Self> {
        let (edge, shared) = (shared.edge.clone(), shared.clone());
        edge::WorkerThreads::start(&edge, listeners, move || Worker::new(shared.clone())).map(Self)
    }

    /// A handle that tells the workers which generations are still active.
    pub fn retirement(&self) -> Retirement {
        Retirement(self.0.orders().clone())
    }

    /// Ends executions.
    pub fn end_executions(&self) {
        self.0.orders().give(&WorkerOrder::EndExecutions);
    }

    /// Ends the threads. Executions that still run on them are dropped, and settle as unknown.
    pub fn stop(self) {
        self.0.stop();
    }
}

/// Tells every worker to drop instances of generations that are no longer active.
#[derive(Clone, Debug, Default)]
pub struct Retirement(Orders<WorkerOrder>);

impl Retirement {
    /// Tells every worker to drop the instances of all generations but these.
    pub fn retire_all_but(&self, active: &[u64]) {
        self.0.give(&WorkerOrder::RetireAllBut(active.into()));
    }
}
