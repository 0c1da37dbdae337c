//! The connections of the admin interface: few, so that they leave files for the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};

/// The most connections at a time.
const CONNECTIONS_MAX: usize = 64;

/// The open connections, which end with this.
#[derive(Debug, Default)]
pub(super) struct AdminConnections {
    tasks: JoinSet<()>,
    open: VecDeque<AdminConnection>,
}

#[derive(Debug)]
struct AdminConnection {
    task: AbortHandle,
    is_asking: AskingMark,
}

/// Whether a connection has a request that is being answered. A request whose body has not come is none yet.
#[derive(Clone, Debug, Default)]
pub(super) struct AskingMark(Arc<AtomicBool>);

impl AskingMark {
    /// Says whether a request is being answered.
    pub(super) fn is(&self, asking: bool) {
        self.0.store(asking, Ordering::Relaxed);
    }
}

impl AdminConnections {
    /// Serves one more connection. If there are too many, the one that has been open for longest without asking
    /// anything now gives way: whoever fills them up does not keep a probe of `/livez` from its answer.
    pub(super) async fn add<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        serve: impl FnOnce(AskingMark) -> F,
    ) {
        if self.tasks.len() >= CONNECTIONS_MAX {
            // What the others have sent is read first, so that they are seen to ask.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|connection| !connection.task.is_finished());
        if self.open.len() >= CONNECTIONS_MAX {
            let quiet =
                self.open.iter().position(|connection| !connection.is_asking.0.load(Ordering::Relaxed));
            let Some(quiet) = quiet.and_then(|at| self.open.remove(at)) else {
                tracing::warn!("all {CONNECTIONS_MAX} admin connections are asking: a further one is closed");
                return;
            };
            quiet.task.abort();
        }
        let is_asking = AskingMark::default();
        let task = self.tasks.spawn(serve(is_asking.clone()));
        self.open.push_back(AdminConnection { task, is_asking });
    }
}
