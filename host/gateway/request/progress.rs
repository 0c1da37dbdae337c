//! The progress of a request on its way.

use crate::access::AccessRecord;
use crate::answer::present::Presenter;
use crate::edge::{After, Peer};
use crate::request::body;
use crate::worker::Worker;
use http::Request;
use http_body::Body;
use std::rc::Rc;

/// Everything that a request's answer needs to know, wherever the request's way ends.
#[derive(Debug)]
pub struct RequestProgress {
    /// The request as counters and the access log see it.
    pub access: AccessRecord,
    /// The presenter, if the policy that decided speaks the caller's protocol.
    pub presenter: Option<Presenter>,
    /// Whether the connection stays open if the request is refused now.
    pub after_refusal: After,
}

impl RequestProgress {
    /// Begins the progress of a request that came in.
    pub fn begin<B: Body>(worker: &Rc<Worker>, request: &Request<B>, peer: Peer) -> Self {
        Self {
            access: AccessRecord::begin(worker, request, peer),
            presenter: None,
            after_refusal: body::after_refusal(request),
        }
    }

    /// Notes that the body has been read, so the connection has nothing unread of this request.
    pub fn body_read(&mut self) {
        self.after_refusal = After::Stay;
    }
}
