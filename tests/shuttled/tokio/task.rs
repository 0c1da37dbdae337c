//! As `tokio::task`.

pub use shuttle::future::yield_now;

use shuttle::future::{AbortHandle, spawn};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Why a task has no result. A panic in one ends the test, and nobody asks after an aborted one.
#[derive(Debug)]
pub enum JoinError {}

/// As tokio's.
#[derive(Debug)]
pub struct JoinSet<T> {
    results: (UnboundedSender<T>, UnboundedReceiver<T>),
    tasks: Vec<AbortHandle>,
    under_way: usize,
}

impl<T: Send + 'static> JoinSet<T> {
    /// As tokio's.
    #[expect(clippy::new_without_default, reason = "as tokio's is used")]
    pub fn new() -> Self {
        Self { results: unbounded_channel(), tasks: Vec::new(), under_way: 0 }
    }

    /// As tokio's.
    pub fn is_empty(&self) -> bool {
        self.under_way == 0
    }

    /// As tokio's, but for the handle.
    pub fn spawn(&mut self, task: impl Future<Output = T> + Send + 'static) {
        let result = self.results.0.clone();
        self.tasks.push(spawn(async move { drop(result.send(task.await)) }).abort_handle());
        self.under_way += 1;
    }

    /// As tokio's.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        if self.is_empty() {
            return None;
        }
        let result = self.results.1.recv().await?;
        self.under_way -= 1;
        Some(Ok(result))
    }

    /// As tokio's.
    pub async fn join_all(mut self) -> Vec<T> {
        let mut results = Vec::new();
        while let Some(Ok(result)) = self.join_next().await {
            results.push(result);
        }
        results
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        if self.under_way > 0 {
            self.tasks.iter().for_each(AbortHandle::abort);
        }
    }
}
