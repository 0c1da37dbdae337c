//! A gateway's process: it runs tasks until it ends, and it can stand still.

use crate::world::{Event, World, elapsed, locked};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a process runs between two standstills.
const BETWEEN: Duration = Duration::from_millis(100);

/// One process of one gateway.
#[derive(Debug)]
pub struct Process {
    gateway: usize,
    world: Arc<World>,
    alive: AtomicBool,
    ended: Notify,
    paused_until: Mutex<Option<Instant>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Process {
    /// A process of this gateway.
    pub fn start(world: &Arc<World>, gateway: usize) -> Arc<Self> {
        world.say(|| format!("gateway {gateway} starts"));
        Arc::new(Self {
            gateway,
            world: world.clone(),
            alive: AtomicBool::new(true),
            ended: Notify::new(),
            paused_until: Mutex::default(),
            tasks: Mutex::default(),
        })
    }

    /// The gateway of this process.
    pub fn gateway(&self) -> usize {
        self.gateway
    }

    /// Whether the process still runs.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Ends when the process has ended.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Runs a task for as long as the process lives.
    pub fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + 'static) -> AbortHandle {
        let task = Task { process: self.clone(), work: Box::pin(work), nap: None };
        let handle = tokio::task::spawn_local(task).abort_handle();
        let mut tasks = locked(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle.clone());
        handle
    }

    /// Ends the process: nothing of it takes another step.
    pub fn crash(&self) {
        if self.alive.swap(false, Ordering::Relaxed) {
            self.world.note(Event::Crashed { gateway: self.gateway });
            locked(&self.tasks).drain(..).for_each(|task| task.abort());
            self.ended.notify_one();
        }
    }

    /// A point in the process's work at which it may end or stand still.
    pub async fn step(&self, what: &'static str) {
        if self.ends_at(what) {
            pending::<()>().await;
        }
        // The next standstill does not lengthen this one: `settle_after` must be the longest.
        let stood = locked(&self.paused_until).is_some_and(|until| until + BETWEEN > Instant::now());
        if !stood && self.world.happens(self.world.faults.pause) {
            let span = self.world.up_to(self.world.faults.pause_max);
            self.world.say(|| format!("gateway {} stands still for {span:?} at: {what}", self.gateway));
            self.world.note(Event::Paused { gateway: self.gateway });
            *locked(&self.paused_until) = Some(Instant::now() + span);
            tokio::task::yield_now().await;
        }
    }

    /// The same where the work can't stand still. True: the process has ended.
    pub fn ends_at(&self, what: &'static str) -> bool {
        if self.world.happens(self.world.faults.crash) {
            self.world.say(|| format!("gateway {} ends at: {what}", self.gateway));
            self.crash();
        }
        !self.is_alive()
    }

    fn standstill(&self) -> Option<Instant> {
        let until = (*locked(&self.paused_until))?;
        (until > Instant::now()).then_some(until)
    }
}

/// A task that stands still with its process.
struct Task<F> {
    process: Arc<Process>,
    work: Pin<Box<F>>,
    nap: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = &mut *self;
        while let Some(until) = task.process.standstill() {
            let nap = task.nap.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if nap.deadline() != until {
                nap.as_mut().reset(until);
            }
            if nap.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            task.nap = None;
        }
        debug_assert!(elapsed().as_secs() < 3_600, "a run takes seconds");
        task.work.as_mut().poll(cx)
    }
}
