//! The upstream's answer as it came, for the client whose request was executed.

use crate::answer::body::AnswerBody;
use crate::answer::names::{Replayed, mark};
use crate::execution::rpc;
use crate::request::fields;
use http::Response;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use oncegate_core::OperationId;

/// The answer to the first caller. `head`: without hop-by-hop fields.
pub fn first(operation: OperationId, head: &Parts, body: AnswerBody) -> Response<AnswerBody> {
    let mut own = head.headers.clone();
    fields::remove_ours(&mut own);
    match &body {
        AnswerBody::Whole(_, Some(trailers)) => {
            own.remove(CONTENT_LENGTH);
            fields::announce(&mut own, trailers.keys());
        }
        // A stream's trailers are known too late to be announced, so those of its protocol are announced.
        AnswerBody::Streamed(_) => fields::announce(&mut own, rpc::trailers_to_come(&head.headers)),
        AnswerBody::Whole(_, None) | AnswerBody::Passed(_) => {}
    }
    mark(&mut own, operation, Replayed::No);
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = own;
    response
}
