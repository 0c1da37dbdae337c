//! Workers: a thread each, with a runtime, listeners, upstream pools and policy instances of its
//! own. What they share is in [`Shared`].

use crate::gateway::edge::connection::{self, IdleTimer};
use crate::gateway::execution::abandon::ShutdownSignal;
use crate::gateway::execution::probe;
use crate::gateway::shared::Counted;
use crate::gateway::{ActiveConfig, Peer, Shared};
use crate::policy::{self, Generation};
use crate::upstream::Pools;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

/// Connections that wait to be accepted, for each listener.
const BACKLOG: i32 = 1024;

/// A worker's own.
#[derive(Debug)]
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Policy instances.
    pub policies: policy::InstancePool,
    /// Sent when executions have to end.
    pub shutdown: ShutdownSignal,
    /// Connections to upstreams.
    pub pools: Pools,
}

impl Worker {
    /// The active configuration.
    pub fn active(&self) -> Arc<ActiveConfig> {
        self.shared.active.load_full()
    }

    /// A call of a policy's hook, counted. `decide` is counted by its route.
    pub async fn timed<T>(
        &self,
        generation: &Generation,
        hook: &'static str,
        call: impl Future<Output = T>,
    ) -> T {
        let begun = std::time::Instant::now();
        let said = call.await;
        self.shared.metrics.policy_called(generation.name(), hook, begun.elapsed());
        said
    }
}

/// Sockets that are bound and not yet served: one for each address and worker.
#[derive(Debug)]
pub struct Listeners {
    /// Where they listen, with the ports that the system chose.
    pub addresses: Vec<SocketAddr>,
    by_worker: Vec<Vec<TcpListener>>,
}

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {}", explain(.cause))]
pub struct BindError {
    address: SocketAddr,
    cause: io::Error,
}

fn explain(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use; is another oncegate running? Stop it, or choose another port with --listen"
                .into()
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need privileges, choose a higher one with --listen".into()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; choose one that it has".into(),
        _ => cause.to_string(),
    }
}

impl Listeners {
    /// Binds each address, once without `SO_REUSEPORT` so that a second gateway on the same port
    /// is refused instead of taking half of the traffic, then once for each worker with it.
    pub fn bind(addresses: &[SocketAddr], workers: usize) -> Result<Self, BindError> {
        let mut bound = Self { addresses: Vec::new(), by_worker: (0..workers).map(|_| Vec::new()).collect() };
        for address in addresses {
            let refused = |cause| BindError { address: *address, cause };
            let exclusive = socket(*address, false).map_err(refused)?;
            let chosen = exclusive.local_addr().map_err(refused)?.as_socket().unwrap_or(*address);
            drop(exclusive);
            for sockets in &mut bound.by_worker {
                let socket = socket(chosen, true).map_err(refused)?;
                socket.listen(BACKLOG).map_err(refused)?;
                sockets.push(socket.into());
            }
            bound.addresses.push(chosen);
        }
        Ok(bound)
    }
}

fn socket(address: SocketAddr, share_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Else a restart would have to wait for the old connections' TIME_WAIT. On Linux it lets
    // nobody take the port of a socket that listens.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share_port)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if !share_port {
        // Binding alone does not collide with a listener that has SO_REUSEADDR; listening does.
        socket.listen(1)?;
    }
    Ok(socket)
}

/// How far the workers are with their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Ending,
    Stopped,
}

/// The worker threads.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<Phase>,
    retire: Vec<mpsc::UnboundedSender<Vec<u64>>>,
}

impl Workers {
    /// Starts a thread for each worker's listeners.
    pub fn start(shared: &Arc<Shared>, listeners: Listeners) -> io::Result<Self> {
        let stop = watch::Sender::new(Phase::Serving);
        let mut workers = Self { threads: Vec::new(), stop, retire: Vec::new() };
        for (number, sockets) in listeners.by_worker.into_iter().enumerate() {
            let (retire, retired) = mpsc::unbounded_channel();
            let (shared, stop) = (shared.clone(), workers.stop.subscribe());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                // One of them asks about unknown outcomes, beside its requests.
                .spawn(move || run(shared, sockets, stop, retired, number == 0))?;
            workers.threads.push(thread);
            workers.retire.push(retire);
        }
        Ok(workers)
    }

    /// A way to tell the workers which generations are still active.
    pub fn retirement(&self) -> Retirement {
        Retirement(self.retire.clone())
    }

    /// Ends executions: each settles as unknown, or as not applied where nothing was sent.
    pub fn end_executions(&self) {
        self.stop.send_replace(Phase::Ending);
    }

    /// Ends the threads. What still runs on them is dropped, and settles as unknown.
    pub fn stop(self) {
        self.stop.send_replace(Phase::Stopped);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

/// Tells every worker to drop instances of generations that are no longer active.
#[derive(Clone, Debug, Default)]
pub struct Retirement(Vec<mpsc::UnboundedSender<Vec<u64>>>);

impl Retirement {
    /// All generations but these.
    pub fn retire_all_but(&self, keep: &[u64]) {
        for worker in &self.0 {
            // A worker that is gone has none.
            let _ = worker.send(keep.to_vec());
        }
    }
}

fn run(
    shared: Arc<Shared>,
    sockets: Vec<TcpListener>,
    mut stop: watch::Receiver<Phase>,
    mut retired: mpsc::UnboundedReceiver<Vec<u64>>,
    asks: bool,
) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "a worker could not start");
            return;
        }
    };
    runtime.block_on(async move {
        let worker = Rc::new(Worker {
            policies: policy::InstancePool::new(&shared.engine),
            shutdown: ShutdownSignal::default(),
            shared,
            pools: Pools::default(),
        });
        let idle = Rc::new(IdleTimer::default());
        for socket in sockets {
            tokio::task::spawn_local(listen(worker.clone(), socket, idle.clone()));
        }
        tokio::task::spawn_local(idle.clone().run(worker.clone()));
        if asks {
            tokio::task::spawn_local(probe::run(worker.clone()));
        }
        loop {
            tokio::select! {
                _ = stop.changed() => match *stop.borrow_and_update() {
                    Phase::Serving => {}
                    Phase::Ending => worker.shutdown.send(),
                    Phase::Stopped => return,
                },
                keep = retired.recv() => match keep {
                    Some(keep) => worker.policies.retire(&keep),
                    None => return,
                },
            }
        }
    });
    // Tasks that are left must not hold the thread.
    drop(runtime);
}

async fn listen(worker: Rc<Worker>, socket: TcpListener, idle: Rc<IdleTimer>) {
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener could not be served");
            return;
        }
    };
    let _counted = Counted::new(&worker.shared, |shared| &shared.listeners);
    let mut draining = worker.shared.draining.subscribe();
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => admit(&worker, stream, address, &idle, &mut full),
            Err(error) => {
                // Out of descriptors, most often: a pause lets connections end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // What is queued is accepted before the listener closes: whoever is in the queue was told that
    // somebody listens.
    let Ok(listener) = listener.into_std() else { return };
    for _ in 0..BACKLOG {
        let Ok((stream, address)) = listener.accept() else { return };
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            worker.shared.queued.fetch_add(1, Ordering::Relaxed);
            admit(&worker, stream, address, &idle, &mut full);
        }
    }
}

/// Serves a connection, where there is room for it.
fn admit(worker: &Rc<Worker>, stream: TcpStream, address: SocketAddr, idle: &Rc<IdleTimer>, full: &mut bool) {
    let server = &worker.active().config.server;
    if worker.shared.connections.load(Ordering::Relaxed) >= server.limits.connections {
        if !std::mem::replace(full, true) {
            tracing::warn!(
                limit = server.limits.connections,
                "`server.limits.connections` is reached: further ones are closed"
            );
        }
        return;
    }
    *full = false;
    let _ = stream.set_nodelay(true);
    let address = address.ip().to_canonical();
    let trusted = server.trusted_proxies.iter().any(|network| network.contains(&address));
    let peer = Peer { address, trusted };
    tokio::task::spawn_local(connection::serve(worker.clone(), stream, peer, idle.clone()));
}
