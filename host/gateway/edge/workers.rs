//! Worker threads: each has a runtime, listeners and a service of its own.

use super::heart::WorkerSign;
use super::listener::{Listeners, listen};
use super::service::EdgeService;
use super::state::{Counted, EdgeState};
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

/// How often all connections are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The worker threads, which take orders of the type `O`.
#[derive(Debug)]
pub struct WorkerThreads<O> {
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    orders: Orders<O>,
}

impl<O: Clone + Send + 'static> WorkerThreads<O> {
    /// Starts a thread for each worker's listeners. `make` is called on each thread for its service.
    pub fn start<S: EdgeService<Order = O>>(
        edge: &Arc<EdgeState>,
        listeners: Listeners,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let make = Arc::new(make);
        let mut workers =
            Self { threads: Vec::new(), stop: watch::Sender::new(false), orders: Orders::default() };
        for (number, sockets) in listeners.by_worker.into_iter().enumerate() {
            let (sender, orders) = mpsc::unbounded_channel();
            let (make, stop) = (make.clone(), workers.stop.subscribe());
            // A worker that does not get as far as its first beat is missed, too.
            let sign = edge.heart.follow();
            // Counted here: a gateway that ends at once waits for listeners whose thread has not got to them.
            let count = |socket| (socket, Counted::new(edge, |edge| &edge.listeners));
            let sockets = sockets.into_iter().map(count).collect();
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || run(number, sockets, &*make, stop, orders, sign))?;
            workers.threads.push(thread);
            workers.orders.0.push(sender);
        }
        Ok(workers)
    }

    /// A handle to give orders to all workers.
    pub fn orders(&self) -> &Orders<O> {
        &self.orders
    }

    /// Ends the threads. Tasks that still run on them are dropped.
    pub fn stop(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

/// Gives orders to every worker.
#[derive(Clone, Debug)]
pub struct Orders<O>(Vec<mpsc::UnboundedSender<O>>);

/// Orders to nobody.
impl<O> Default for Orders<O> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<O: Clone> Orders<O> {
    /// Gives every worker this order.
    pub fn give(&self, order: &O) {
        for worker in &self.0 {
            // A worker that is gone has nothing to do any more.
            let _ = worker.send(order.clone());
        }
    }
}

/// Looks at all connections for as long as it is polled, and closes those that are overdue.
async fn close_overdue<S: EdgeService>(service: Rc<S>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let limits = service.server(|server| server.limits.clone());
        service.edge().open.close_overdue(&limits);
    }
}

fn run<S: EdgeService>(
    number: usize,
    sockets: Vec<(TcpListener, Counted<EdgeState>)>,
    make: &impl Fn() -> S,
    mut stop: watch::Receiver<bool>,
    mut orders: mpsc::UnboundedReceiver<S::Order>,
    sign: WorkerSign,
) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "a worker could not start");
            return;
        }
    };
    let beating = sign.clone();
    runtime.block_on(async move {
        let service = Rc::new(make());
        service.begin(number);
        for listener in sockets {
            tokio::task::spawn_local(listen(service.clone(), listener));
        }
        if number == 0 {
            // It looks at the connections of all workers.
            tokio::task::spawn_local(close_overdue(service.clone()));
        }
        tokio::task::spawn_local(async move { beating.beat().await });
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                order = orders.recv() => match order {
                    Some(order) => service.obey(order),
                    None => return,
                },
            }
        }
    });
    sign.end();
    // Remaining tasks must not hold the thread.
    drop(runtime);
}
