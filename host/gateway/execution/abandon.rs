//! When an execution is given up: no client wants its answer any more, where the route says that this
//! ends it, or the gateway shuts down and its grace is over.

use crate::config::ClientGone;
use crate::ledger::Permit;
use oncegate_core::UnknownReason;
use std::cell::Cell;
use tokio::sync::Notify;

/// Tells the executions of a worker that they have to end now.
#[derive(Debug, Default)]
pub struct ShutdownSignal {
    is_sent: Cell<bool>,
    sent: Notify,
}

impl ShutdownSignal {
    /// Ends them.
    pub fn send(&self) {
        self.is_sent.set(true);
        self.sent.notify_waiters();
    }

    async fn sent(&self) {
        // One thread: nothing is sent between the look and the wait.
        if !self.is_sent.get() {
            self.sent.notified().await;
        }
    }
}

/// Comes back when an execution is to be given up, with the reason.
pub async fn abandoned(client_gone: ClientGone, shutdown: &ShutdownSignal, permit: &Permit) -> UnknownReason {
    match client_gone {
        ClientGone::Finish => shutdown.sent().await,
        ClientGone::Close => tokio::select! {
            biased;
            () = shutdown.sent() => {}
            () = permit.clients_gone() => return UnknownReason::ClientsGone,
        },
    }
    UnknownReason::Abandoned
}
