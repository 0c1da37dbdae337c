//! When an execution is given up: nobody wants its answer any more, where the route says that this
//! ends it, or the gateway shuts down and its grace is over.

use super::execute::{Execution, NoAnswer};
use super::problem::{Code, Problem};
use crate::config::ClientGone;
use crate::ledger::Permit;
use oncegate_core::{Doubt, Outcome};
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

/// It was given up without an answer. `asked`: whether something may be sent, so that it may have been.
pub(super) fn without_answer(doubt: Doubt, asked: bool) -> NoAnswer {
    let (code, detail) = match (doubt, asked) {
        (Doubt::Deserted, false) => {
            (Code::UpstreamUnreachable, "No client was left to wait for the answer, and nothing was sent.")
        }
        (_, false) => (
            Code::Draining,
            "The gateway shut down before the request was sent to the service. Asking again with the same key is safe.",
        ),
        (Doubt::Deserted, true) => (
            Code::UpstreamBroken,
            "No client was left to wait for the answer, so the connection to the service was closed. Nobody knows \
             whether the operation took effect. It is held and will not be run again under this key.",
        ),
        (_, true) => (
            Code::UpstreamTimeout,
            "The gateway shut down before the service answered. Nobody knows whether the operation took effect. It is \
             held and will not be run again under this key.",
        ),
    };
    let outcome = if asked { Outcome::Unknown(doubt) } else { Outcome::NotApplied };
    NoAnswer { problem: Problem::new(code, detail), outcome }
}
