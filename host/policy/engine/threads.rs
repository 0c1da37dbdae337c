//! Threads for calls that take longer than a worker can spare.

use crate::engine::join::join;
use crate::engine::processor::processor_time;
use crate::interface::failure::Failure;
use crate::run::generation::Generation;
use crate::run::instance_cache::{InstanceCache, InstanceCaches};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

type Job = Box<dyn FnOnce(&mut InstanceCaches) + Send>;

/// The threads for slow calls. They end when this value is dropped, after the calls that they have.
pub(crate) struct Threads {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        // Each policy has fewer permits than there are threads, and each job holds one: the queue
        // is short because permits are few.
        let (jobs, queue) = crossbeam_channel::unbounded();
        let mut this = Self { jobs: Some(jobs), threads: Vec::with_capacity(count) };
        for number in 0..count {
            let queue = queue.clone();
            let name = format!("policy-{number}");
            this.threads.push(Builder::new().name(name).spawn(move || serve(&queue))?);
        }
        Ok(this)
    }

    /// Calls a hook of `generation` on a policy thread.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        generation: &Arc<Generation>,
        hook: impl FnOnce(&mut InstanceCache, &Generation) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let held = Arc::clone(generation);
        let call = move |caches: &mut InstanceCaches| {
            let begun = processor_time();
            let result = hook(caches.of(&held), &held);
            if let Err(Failure::Instantiate(_)) = result {
                // Perhaps idle instances of older generations fill the engine's pool.
                caches.make_room(&held);
            }
            held.slow_policy.took(processor_time().saturating_sub(begun));
            result
        };
        let turn = generation.slow_policy.turn().await?;
        self.run(turn, call).await
    }

    /// Does the host's own work for `generation` on a policy thread. It has a queue of its own, so that large documents
    /// don't hold up the calls of a slow policy.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        generation: &Arc<Generation>,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = generation.documents.turn().await?;
        self.run(turn, |_| work()).await
    }

    async fn run<T: Send + 'static>(
        &self,
        turn: OwnedSemaphorePermit,
        work: impl FnOnce(&mut InstanceCaches) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |caches| {
            let result = work(caches);
            drop(turn);
            // Nobody waits any more: the client left.
            let _ = answer.send(result);
        });
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        if !matches!(sent, Some(Ok(()))) {
            return Err(Failure::Lost);
        }
        answered.await.unwrap_or(Err(Failure::Lost))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            join(thread);
        }
    }
}

fn serve(queue: &Receiver<Job>) {
    /// After this time, idle instances cost more memory than they save time.
    const IDLE: Duration = Duration::from_secs(1);
    /// The niceness of policy threads. If cores are few, workers come first: a slow policy is slow for its
    /// own requests.
    const NICENESS: i32 = 10;
    // The niceness is this thread's alone, on Linux. If it can't be had the threads compete as equals.
    let _ = rustix::process::setpriority_process(None, NICENESS);
    let mut caches = InstanceCaches::default();
    loop {
        match queue.recv_timeout(IDLE) {
            Ok(job) => {
                if catch_unwind(AssertUnwindSafe(|| job(&mut caches))).is_err() {
                    caches.clear();
                }
            }
            Err(RecvTimeoutError::Timeout) => caches.clear(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
