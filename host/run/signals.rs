//! What operators and supervisors say by signals. A thread of its own hears them, whatever the others wait for, from
//! before the gateway listens until its process ends.

use crate::gateway::Shared;
use crate::observe::log;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// Signals to end that come within this time of the first are the first: `timeout`, shells and supervisors signal a
/// process and then its group.
const ONE: Duration = Duration::from_secs(1);
/// The exit code of a gateway that was ended with work left.
const CUT_SHORT: i32 = 1;

/// What a signal means.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    /// The gateway ends in order, and at once if it is told so again.
    End,
    /// The configuration is read again.
    Reload,
    /// Nothing. Uncaught, the signal would end the process.
    Nothing,
    /// A file has reached the size limit: the write fails, and whoever writes says so.
    FailedWrite,
}

/// The signals that are caught, with their names and numbers. Other servers reopen logs by USR1 and start their next
/// version by USR2, so that scripts may send them.
fn known() -> [(&'static str, SignalKind, Meaning); 7] {
    [
        ("SIGTERM", SignalKind::terminate(), Meaning::End),
        ("SIGINT", SignalKind::interrupt(), Meaning::End),
        ("SIGQUIT", SignalKind::quit(), Meaning::End),
        ("SIGHUP", SignalKind::hangup(), Meaning::Reload),
        ("SIGUSR1", SignalKind::user_defined1(), Meaning::Nothing),
        ("SIGUSR2", SignalKind::user_defined2(), Meaning::Nothing),
        ("SIGXFSZ", SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()), Meaning::FailedWrite),
    ]
}

/// What the signals so far ask for.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Notified when the gateway has to end.
    pub(super) end: Notify,
    /// Notified when the configuration has to be read again.
    pub(super) reload: Notify,
    /// The gateway, once it has started. The store is closed by its last owner, which is not the thread of signals.
    started: OnceLock<Weak<Shared>>,
}

impl Signals {
    /// Catches the signals from now on.
    pub(super) fn catch() -> io::Result<Arc<Self>> {
        let signals = Arc::new(Self::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let caught = {
            let _entered = runtime.enter();
            let catch = |(name, kind, meaning)| Ok((name, meaning, signal(kind)?));
            known().into_iter().map(catch).collect::<io::Result<Vec<_>>>()?
        };
        let theirs = signals.clone();
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || runtime.block_on(theirs.hear(caught)))?;
        Ok(signals)
    }

    /// Notes that this gateway has started.
    pub(super) fn started(&self, gateway: &Arc<Shared>) {
        // A process has one gateway.
        let _ = self.started.set(Arc::downgrade(gateway));
    }

    async fn hear(&self, mut caught: Vec<(&'static str, Meaning, Signal)>) {
        let mut ends_since: Option<Instant> = None;
        loop {
            let (signal, meaning) = next(&mut caught).await;
            match (meaning, ends_since) {
                (Meaning::End, None) => {
                    ends_since = Some(Instant::now());
                    if self.started.get().is_none() {
                        tracing::info!(signal, "the gateway ends in order once it has started");
                    }
                    self.end.notify_one();
                }
                (Meaning::End, Some(since)) if since.elapsed() < ONE => {}
                (Meaning::End, Some(_)) => self.end_at_once(),
                (Meaning::Reload, _) => self.reload.notify_one(),
                (Meaning::Nothing, _) => {
                    tracing::info!(
                        signal,
                        "this signal does nothing here: SIGHUP reloads, SIGTERM ends in order, and the log goes to \
                         standard error"
                    );
                }
                (Meaning::FailedWrite, _) => {}
            }
        }
    }

    /// Ends the process. To return would close the store, which may wait for its disk.
    fn end_at_once(&self) -> ! {
        let gateway = self.started.get().and_then(Weak::upgrade);
        let count = |of: fn(&Shared) -> usize| gateway.as_deref().map_or(0, of);
        let executions = count(|shared| shared.executions.load(Ordering::Relaxed));
        let connections = count(|shared| shared.edge.connections.load(Ordering::Relaxed));
        tracing::warn!(
            executions,
            connections,
            "a second signal: ending without waiting; what still executes becomes unknown"
        );
        log::flush();
        std::process::exit(CUT_SHORT)
    }
}

/// The next signal that comes.
async fn next(caught: &mut [(&'static str, Meaning, Signal)]) -> (&'static str, Meaning) {
    poll_fn(|cx| {
        let mut came = caught.iter_mut().filter_map(|(name, meaning, signal)| {
            signal.poll_recv(cx).is_ready().then_some((*name, *meaning))
        });
        came.next().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
