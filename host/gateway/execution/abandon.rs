//! When an execution is given up: nobody wants its answer any more, where the route says that this
//! ends it, or the gateway shuts down and its grace is over.

use crate::config::ClientGone;
use crate::gateway::execution::execute::Execution;
use crate::ledger::Permit;
use oncegate_core::UnknownReason;
use std::cell::Cell;
use tokio::sync::Notify;

/// A worker's word to its executions that they have to end now.
#[derive(Debug, Default)]
pub struct ShutdownSignal {
    is_sent: Cell<bool>,
    told: Notify,
}

impl ShutdownSignal {
    /// Now.
    pub fn send(&self) {
        self.is_sent.set(true);
        self.told.notify_waiters();
    }

    async fn sent(&self) {
        // One thread: nothing rings between the look and the wait.
        if !self.is_sent.get() {
            self.told.notified().await;
        }
    }
}

impl Execution {
    /// Comes back when it is to be given up, with the reason.
    pub(super) async fn abandoned(&self, permit: &Permit) -> UnknownReason {
        match self.route.config.client_gone {
            ClientGone::Finish => self.worker.shutdown.sent().await,
            ClientGone::Close => tokio::select! {
                biased;
                () = self.worker.shutdown.sent() => {}
                () = permit.deserted() => return UnknownReason::Deserted,
            },
        }
        UnknownReason::Abandoned
    }
}
