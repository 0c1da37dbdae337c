//! What has become of a request's body on its way to the upstream: the body is in hyper's hands then, and the
//! exchange watches it from outside.

use super::writes::Writes;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The progress of one body.
#[derive(Debug)]
pub(super) struct Upload {
    state: Cell<UploadState>,
    /// When the request or its state began, or the last piece was taken.
    at: Cell<Instant>,
    /// The upstream takes more, and the client brings none.
    waits_for_client: Cell<bool>,
    /// The writes to the upstream, once the request is being sent.
    writes: OnceCell<Arc<Writes>>,
    over: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UploadState {
    Running,
    /// All of it was taken, or nobody takes any more.
    Over,
    /// The client broke off, or what it sent is no body.
    Broken,
}

/// The time that a request ran out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RanOut {
    /// No head of an answer came in time after the end of the request.
    Answer,
    /// The upstream stopped taking the body.
    Upstream,
    /// The client stopped bringing the body.
    Client,
}

impl Upload {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            state: Cell::new(UploadState::Running),
            at: Cell::new(Instant::now()),
            waits_for_client: Cell::new(false),
            writes: OnceCell::new(),
            over: Notify::new(),
        })
    }

    /// The request is about to be sent, once.
    pub(super) fn begins(&self, writes: &Arc<Writes>) {
        self.at.set(Instant::now());
        let _ = self.writes.set(writes.clone());
    }

    /// Whether the upstream takes nothing now. No piece is asked for then: hyper would collect them. It asks again
    /// when it has written what it has.
    pub(super) fn is_held(&self) -> bool {
        self.writes.get().is_some_and(|writes| writes.is_stuck())
    }

    /// A piece is asked for, and has not come.
    pub(super) fn waits(&self) {
        self.waits_for_client.set(true);
    }

    /// A piece was taken.
    pub(super) fn moved(&self) {
        self.at.set(Instant::now());
        self.waits_for_client.set(false);
    }

    /// The body has come to its end, or is dropped.
    pub(super) fn over(&self) {
        self.end(UploadState::Over);
    }

    /// The body broke off on the client's side.
    pub(super) fn broke(&self) {
        self.end(UploadState::Broken);
    }

    /// Whether the body has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.state.get() == UploadState::Over
    }

    /// Whether the body broke off on the client's side.
    pub(super) fn is_broken(&self) -> bool {
        self.state.get() == UploadState::Broken
    }

    fn end(&self, state: UploadState) {
        if self.state.get() == UploadState::Running {
            self.state.set(state);
            self.at.set(Instant::now());
            self.over.notify_one();
        }
    }

    /// Ends when the request is out of time: `idle` without progress on its way, or `answer` after its end.
    pub(super) async fn ran_out(&self, writes: &Writes, answer: Duration, idle: Duration) -> RanOut {
        let mut wake = Instant::now() + answer.min(idle);
        loop {
            let is_running = || self.state.get() == UploadState::Running;
            tokio::select! {
                () = sleep_until(wake) => {}
                () = self.over.notified(), if is_running() => {}
            }
            let (is_running, is_stuck, now) = (is_running(), writes.is_stuck(), Instant::now());
            let limit = if is_running || is_stuck { idle } else { answer };
            let deadline = writes.latest(self.at.get()) + limit;
            if now >= deadline {
                return match (is_running, self.waits_for_client.get()) {
                    _ if is_stuck => RanOut::Upstream,
                    (false, _) => RanOut::Answer,
                    (true, true) => RanOut::Client,
                    (true, false) => RanOut::Upstream,
                };
            }
            wake = deadline.min(now + idle);
        }
    }
}

/// The same for a request whose body is there: all of it is written as fast as the upstream takes it.
pub(super) async fn ran_out(writes: &Writes, answer: Duration, idle: Duration) -> RanOut {
    let begun = Instant::now();
    let mut wake = begun + answer.min(idle);
    loop {
        sleep_until(wake).await;
        let (is_stuck, now) = (writes.is_stuck(), Instant::now());
        let deadline = writes.latest(begun) + if is_stuck { idle } else { answer };
        if now >= deadline {
            return if is_stuck { RanOut::Upstream } else { RanOut::Answer };
        }
        // The upstream may stop taking more at any time.
        wake = deadline.min(now + idle);
    }
}
