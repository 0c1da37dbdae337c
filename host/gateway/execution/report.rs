//! The report of an execution to its client.

use crate::answer::body::AnswerBody;
use crate::answer::problem::Problem;
use http::Response;
use oncegate_ledger::Claimed;
use std::cell::RefCell;
use tokio::sync::oneshot;

/// The report of an execution to its client.
#[derive(Debug)]
pub enum Report {
    /// The execution has this answer.
    Answered(Response<AnswerBody>),
    /// The execution has no answer but this problem.
    Failed(Problem),
    /// The claim was not won.
    Claimed(Claimed),
}

/// The client that caused an execution. The client gets one report, and may have left.
#[derive(Debug)]
pub struct Client(RefCell<Option<oneshot::Sender<Report>>>);

impl Client {
    /// A client, and the receiver of its report.
    pub fn new() -> (Self, oneshot::Receiver<Report>) {
        let (client, report) = oneshot::channel();
        (Self(RefCell::new(Some(client))), report)
    }

    /// Sends the report. A client that left needs none.
    pub fn tell(&self, report: Report) {
        if let Some(client) = self.0.take() {
            let _ = client.send(report);
        }
    }

    /// Whether the client has been told anything, even if only the head of an answer.
    pub fn is_told(&self) -> bool {
        self.0.borrow().is_none()
    }
}
