//! What has become of a request's body on its way to the upstream: the body is in hyper's hands then, and the
//! exchange watches it from outside.

use std::cell::Cell;
use std::rc::Rc;
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
            over: Notify::new(),
        })
    }

    /// The request is about to be sent.
    pub(super) fn begins(&self) {
        self.at.set(Instant::now());
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

    /// Ends when the request is out of time: `idle` without a piece of the body, or `answer` after its end.
    pub(super) async fn ran_out(&self, answer: Duration, idle: Duration) -> RanOut {
        loop {
            let (at, is_running) = (self.at.get(), self.state.get() == UploadState::Running);
            let deadline = at + if is_running { idle } else { answer };
            tokio::select! {
                () = sleep_until(deadline) => {}
                () = self.over.notified(), if is_running => continue,
            }
            if self.at.get() == at {
                return match (is_running, self.waits_for_client.get()) {
                    (false, _) => RanOut::Answer,
                    (true, true) => RanOut::Client,
                    (true, false) => RanOut::Upstream,
                };
            }
        }
    }
}
