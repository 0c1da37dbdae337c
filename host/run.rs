//! Wiring: from a configuration to a running gateway, and to its end.

mod descriptors;
mod signals;

use crate::activation::{self, ActivationError, Archive, Occasion, Reloader};
use crate::admin;
use crate::config::{self, Config, Source, StoreKind};
use crate::gateway::{BindError, Listeners, Shared, Workers};
use crate::keyspaces;
use crate::ledger::{Keeper, KeeperThread, Ledger};
use crate::observe::metrics::STORE_CALLS;
use crate::policy::{Engine, EngineError};
use crate::store::{
    AnyStore, CallTimes, Clock, ConfiguredStore, Embedded, MarkFile, Memory, Recovered, Store as _,
    StoreCall, Timed,
};
use oncegate_core::{LostRecords, Timestamp};
use signals::Signals;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long the end waits for the store to take settlements that the store refused before.
const SETTLE_AT_END: Duration = Duration::from_secs(5);
/// How long the last answers may take to reach their clients after `shutdown_grace`.
const TELL_AT_END: Duration = Duration::from_secs(1);

/// The reason why a gateway doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration can't be put in force.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// The gateway can't listen for requests.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin interface can't listen.
    #[error(
        "can't listen on {0} for the admin interface: {1}; choose another address with --admin, or `--admin off`"
    )]
    BindAdmin(SocketAddr, std::io::Error),
    /// The ledger refuses the configuration, or the policy engine can't be set up.
    #[error("{0}")]
    Refused(config::Faults),
    /// A thread or the runtime can't be started.
    #[error("a thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl ServeError {
    /// The faults with their places and remedies, if places in the configuration are at fault.
    pub fn faults(&self) -> Option<&config::Faults> {
        match self {
            Self::Activation(error) => error.faults(),
            Self::Refused(faults) => Some(faults),
            Self::Bind(_) | Self::BindAdmin(..) | Self::Thread(_) => None,
        }
    }

    /// Whether the mistake is in the command that was typed and not in a file.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Activation(error) if error.is_usage())
    }
}

/// The fault that this machine can't run policies.
pub fn no_engine(error: &EngineError) -> config::Faults {
    let fault = config::Fault {
        place: config::Place::Machine,
        key: "policies".to_owned(),
        problem: format!("this machine can't run policies: {error}"),
        help: String::new(),
    };
    config::Faults(vec![fault])
}

/// Runs a gateway until a signal ends it. SIGHUP reloads the configuration.
/// `lost`: the treatment of records that would lose their keys by this configuration.
pub fn serve(source: Source, lost: LostRecords) -> Result<(), ServeError> {
    // Signals are caught first: their defaults would end the process while its port takes clients, or, in a
    // container, be ignored.
    let signals = Signals::catch()?;
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let mut gateway = Gateway::start(source, lost).await?;
        signals.started(&gateway.shared);
        gateway.tasks.push(tokio::spawn(reload_at(signals.clone(), gateway.reloader.clone())));
        // Who started the gateway may take nothing from standard output.
        let announced = gateway.announcement();
        tokio::task::spawn_blocking(move || announce(&announced));
        signals.end.notified().await;
        gateway.stop().await;
        Ok(())
    });
    // A reload may still wait for a disk. Nobody needs what becomes of it.
    runtime.shutdown_background();
    served
}

/// Reloads at each SIGHUP.
async fn reload_at(signals: Arc<Signals>, reloader: Arc<Reloader>) {
    loop {
        signals.reload.notified().await;
        // The reloader logs a refusal.
        let _ = reloader.reload(LostRecords::Refuse, Occasion::SIGHUP).await;
    }
}

/// Says that the gateway is ready, on a line of standard output that scripts can wait for.
fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading standard output, so errors are ignored.
    let _ = out.write_all(line.as_bytes());
    let _ = out.flush();
}

/// The runtime for everything but requests and the ledger's keeper: admin, reloads, and one for signals.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    workers: Workers,
    reloader: Arc<Reloader>,
    listening: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    keeper: KeeperThread,
    tasks: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Starts a gateway. The gateway binds first, so that a second gateway on the same port changes nothing.
    /// `lost`: as for [`serve`].
    pub async fn start(source: Source, lost: LostRecords) -> Result<Self, ServeError> {
        let config = config::load(&source).map_err(ActivationError::Config)?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let listeners = Listeners::bind(&config.server.listen, config.server.workers)?;
        let listening = listeners.addresses.clone();
        let admin = match config.server.admin {
            Some(address) => {
                Some(TcpListener::bind(address).await.map_err(|e| ServeError::BindAdmin(address, e))?)
            }
            None => None,
        };
        let descriptors = descriptors::claim();
        let connections = config.server.limits.connections;
        let engine =
            Engine::new(config.server.workers).map_err(|error| ServeError::Refused(no_engine(&error)))?;
        let places = config.clone();
        let refused = |error: ActivationError| match error.faults() {
            Some(_) => ServeError::Activation(error),
            None => ServeError::Refused(config::Faults(vec![error.of_ledger(&places)])),
        };
        let (ledger, keeper) = open_ledger(&config, lost).await.map_err(refused)?;
        let archive = Archive::of(&config);
        let started = activation::start(config, engine, ledger, &archive, None, lost).await;
        let shared = Arc::new(started.map_err(refused)?);
        shared.edge.files.store(descriptors.clients, Ordering::Relaxed);
        if let Some(warning) = shared.edge.short_of_files(connections) {
            tracing::warn!("{warning}");
        }
        shared.active.load().upstreams.bound_connections(descriptors.upstreams);
        let keeper = KeeperThread::start(keeper)?;
        let workers = Workers::start(&shared, listeners)?;
        let reloader = Arc::new(Reloader::new(source, shared.clone(), workers.retirement()));
        let mut tasks = vec![
            tokio::spawn(reloader.clone().watch()),
            tokio::spawn(reloader.clone().watch_trials()),
            tend(reloader.clone()),
            beat(shared.clone()),
        ];
        let admin_address = admin.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some(listener) = admin {
            tasks.push(tokio::spawn(admin::serve(listener, shared.clone(), reloader.clone())));
        }
        Ok(Self { shared, workers, reloader, listening, admin: admin_address, keeper, tasks })
    }

    /// The addresses on which the gateway listens for requests.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// The address on which the admin interface listens; none: off.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The line that says that the gateway is ready.
    fn announcement(&self) -> String {
        let listening: Vec<String> =
            self.listening.iter().map(|address| format!("http://{address}")).collect();
        let admin = self.admin.map_or_else(|| "off".to_owned(), |address| format!("http://{address}"));
        format!("listening on {} admin {admin}\n", listening.join(" "))
    }

    /// Drains the gateway: readiness fails, listeners accept queued connections and close, connections end
    /// with their present request, executions settle or become unknown, the store is flushed.
    pub async fn stop(self) {
        let shared = &self.shared;
        let grace = shared.active.load().config.server.shutdown_grace;
        let deadline = Instant::now() + grace;
        let (executions, connections) = self.under_way();
        tracing::info!(executions, connections, ?grace, "draining: not ready any more");
        let listeners = shared.edge.listeners.load(Ordering::Relaxed);
        shared.edge.draining.send_replace(true);
        until(deadline, || shared.edge.listeners.load(Ordering::Relaxed) == 0).await;
        let queued = shared.edge.queued.load(Ordering::Relaxed);
        tracing::info!(listeners, queued, "listeners are closed; what was queued is accepted");
        until(deadline, || self.under_way() == (0, 0)).await;
        match self.under_way() {
            (0, 0) => tracing::info!("connections and executions have ended"),
            _ => self.give_up().await,
        }
        let (shared, workers) = (self.shared, self.workers);
        // Joining threads blocks, so it has a thread of its own: the keeper goes on meanwhile.
        let _ = tokio::task::spawn_blocking(move || workers.stop()).await;
        until(Instant::now() + SETTLE_AT_END, || shared.ledger.settlements_overdue() == 0).await;
        let overdue = shared.ledger.settlements_overdue();
        if overdue > 0 {
            tracing::error!(
                overdue,
                "the store did not take these outcomes: after a restart they are unknown"
            );
        }
        for task in &self.tasks {
            task.abort();
        }
        let records = shared.ledger.store().size().kinds.total();
        // The last owner of the store closes it, and the close writes everything that is not on disk yet.
        for task in self.tasks {
            let _ = task.await;
        }
        // That joins threads, so it has a thread of its own, too: signals are heard meanwhile.
        let (keeper, reloader) = (self.keeper, self.reloader);
        let close = move || {
            keeper.stop();
            drop((reloader, shared));
        };
        let _ = tokio::task::spawn_blocking(close).await;
        tracing::info!(records, "the store is flushed and closed");
    }

    /// Ends executions when `shutdown_grace` is over, and waits until their clients are told.
    async fn give_up(&self) {
        // An execution that began now would be given up at once, with its outcome in doubt.
        self.shared.active.load().upstreams.close();
        let (executions, connections) = self.under_way();
        tracing::warn!(
            executions,
            connections,
            "`shutdown_grace` is over: what still executes becomes unknown, and connections are closed"
        );
        if executions > 0 {
            self.workers.end_executions();
            until(Instant::now() + SETTLE_AT_END, || self.shared.executions.load(Ordering::Relaxed) == 0)
                .await;
        }
        until(Instant::now() + TELL_AT_END, || self.shared.edge.connections.load(Ordering::Relaxed) == 0)
            .await;
        let connections = self.shared.edge.connections.load(Ordering::Relaxed);
        if connections > 0 {
            tracing::warn!(connections, "connections that are still open are cut");
        }
    }

    fn under_way(&self) -> (usize, usize) {
        (self.shared.executions.load(Ordering::Relaxed), self.shared.edge.connections.load(Ordering::Relaxed))
    }
}

/// Tends the gateway's place on the lists of key spaces.
fn tend(reloader: Arc<Reloader>) -> JoinHandle<()> {
    tokio::spawn(async move { keyspaces::tend(&*reloader).await })
}

/// Gives the beat by which a worker that stands still is noticed.
fn beat(shared: Arc<Shared>) -> JoinHandle<()> {
    tokio::spawn(async move { shared.edge.heart.beat().await })
}

/// Waits until the condition holds or the deadline has come.
async fn until(deadline: Instant, holds: impl Fn() -> bool) {
    while !holds() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The metrics of the store's calls.
#[derive(Debug)]
struct StoreMetrics;

impl CallTimes for StoreMetrics {
    fn took(&self, call: StoreCall, time: Duration) {
        let histogram = match call {
            StoreCall::Load => &STORE_CALLS.load,
            StoreCall::Swap => &STORE_CALLS.swap,
            StoreCall::Due => &STORE_CALLS.due,
            StoreCall::Scan => &STORE_CALLS.scan,
        };
        histogram.observe(time.as_secs_f64());
    }
}

async fn open_ledger(
    config: &Config,
    lost: LostRecords,
) -> Result<(Arc<Ledger>, Keeper<ConfiguredStore>), ActivationError> {
    let (store, recovered, clock, cache) = match &config.ledger.store {
        StoreKind::Memory => {
            let store = AnyStore::Memory(Arc::new(Memory::new(config.ledger.memory)));
            (store, Recovered::default(), Clock::start(Timestamp::default()), None)
        }
        StoreKind::Embedded(path) => {
            let mark = config.ledger.mark_file.clone();
            let mark = mark.map(|path| MarkFile { path, lost, is_only_read: false });
            let (store, recovered) = Embedded::open_marked(path, config.ledger.durability, mark.as_ref())?;
            if Embedded::is_open_to_others(path) {
                tracing::warn!(folder = %path.display(), "other users can read the data folder, and recorded answers and the ledger's secret are in it: take that from them (`chmod o=`)");
            }
            let clock = Clock::resume(&store, recovered.last_time).await?;
            (AnyStore::Embedded(store), recovered, clock, Some(config.ledger.memory))
        }
    };
    let Recovered { records, orphans, .. } = recovered;
    if records > 0 {
        tracing::info!(records, orphans = orphans.ids.len(), "the ledger is open");
    }
    Ok(Ledger::opened(Timed::new(store, Arc::new(StoreMetrics)), clock, cache, orphans))
}
