//! What the client of an execution is told.

use crate::gateway::answer::body::AnswerBody;
use crate::gateway::answer::problem::Problem;
use crate::ledger::Claimed;
use http::Response;
use std::cell::RefCell;
use tokio::sync::oneshot;

/// What the client is told.
#[derive(Debug)]
pub enum Report {
    /// This answer.
    Answered(Response<AnswerBody>),
    /// There is no answer, and this is why.
    Failed(Problem),
    /// The claim was not won.
    Claimed(Claimed),
}

/// The client that brought an execution about. It is told once, and may have left.
#[derive(Debug)]
pub struct Client(RefCell<Option<oneshot::Sender<Report>>>);

impl Client {
    /// A client, and where its report arrives.
    pub fn new() -> (Self, oneshot::Receiver<Report>) {
        let (client, report) = oneshot::channel();
        (Self(RefCell::new(Some(client))), report)
    }

    /// Tells it. A client that left needs no report.
    pub fn tell(&self, report: Report) {
        if let Some(client) = self.0.take() {
            let _ = client.send(report);
        }
    }

    /// Whether it has been told, be it only the head of an answer.
    pub fn is_told(&self) -> bool {
        self.0.borrow().is_none()
    }
}
