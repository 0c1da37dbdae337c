//! The end of executions that are given up. Either the gateway shuts down and its grace is over, or no client
//! wants the answer any more and the route says that this ends the execution.

use oncegate_config::ClientGone;
use oncegate_core::UnknownReason;
use oncegate_ledger::Permit;
use std::cell::Cell;
use tokio::sync::Notify;

/// Tells the executions of a worker that they must end now.
#[derive(Debug, Default)]
pub struct ShutdownSignal {
    is_sent: Cell<bool>,
    sent: Notify,
}

impl ShutdownSignal {
    /// Ends the executions.
    pub fn send(&self) {
        self.is_sent.set(true);
        self.sent.notify_waiters();
    }

    async fn sent(&self) {
        // A worker has one thread, so no signal can come between the check and the wait.
        if !self.is_sent.get() {
            self.sent.notified().await;
        }
    }
}

/// Waits until an execution is to be given up, and returns the reason.
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
