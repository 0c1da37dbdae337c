//! When an execution is given up: nobody wants its answer any more, where the route says that this
//! ends it, or the gateway shuts down and its grace is over.

use crate::config::ClientGone;
use crate::gateway::execution::execute::Execution;
use crate::ledger::Permit;
use oncegate_core::Doubt;
use std::cell::Cell;
use tokio::sync::Notify;

/// A worker's word to its executions that they have to end now.
#[derive(Debug, Default)]
pub struct Curfew {
    rung: Cell<bool>,
    bell: Notify,
}

impl Curfew {
    /// Now.
    pub fn ring(&self) {
        self.rung.set(true);
        self.bell.notify_waiters();
    }

    async fn rung(&self) {
        // One thread: nothing rings between the look and the wait.
        if !self.rung.get() {
            self.bell.notified().await;
        }
    }
}

impl Execution {
    /// Comes back when it is to be given up, with the reason.
    pub(super) async fn abandoned(&self, permit: &Permit) -> Doubt {
        match self.route.config.client_gone {
            ClientGone::Finish => self.worker.curfew.rung().await,
            ClientGone::Close => tokio::select! {
                biased;
                () = self.worker.curfew.rung() => {}
                () = permit.deserted() => return Doubt::Deserted,
            },
        }
        Doubt::Abandoned
    }
}
