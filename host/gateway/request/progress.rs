//! How far a request has come on its way.

use crate::gateway::access::AccessRecord;
use crate::gateway::answer::present::Presenter;
use crate::gateway::edge::{After, Peer};
use crate::gateway::request::body;
use http::Request;
use http_body::Body;

/// What a request's answer has to know, wherever its way ends.
#[derive(Debug)]
pub struct RequestProgress {
    /// The request as counters and the access log see it.
    pub access: AccessRecord,
    /// Words answers in the caller's protocol, where the policy that decided speaks one.
    pub presenter: Option<Presenter>,
    /// What becomes of the connection should the request be refused now.
    pub after_refusal: After,
}

impl RequestProgress {
    /// A request came in.
    pub fn begin<B: Body>(request: &Request<B>, peer: Peer) -> Self {
        Self {
            access: AccessRecord::begin(request, peer),
            presenter: None,
            after_refusal: body::after_refusal(request),
        }
    }

    /// Nothing of it is unread on its connection any more.
    pub fn body_read(&mut self) {
        self.after_refusal = After::Stay;
    }
}
