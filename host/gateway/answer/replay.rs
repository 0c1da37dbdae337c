//! Kept answers, sent again.

use crate::answer::body::AnswerBody;
use crate::answer::names::{Replayed, mark, status};
use crate::request::fields;
use http::Response;
use oncegate_core::{Answer, OperationId};

/// The kept answer, sent again.
pub fn replay(id: OperationId, answer: &Answer) -> Response<AnswerBody> {
    let mut response = restored(answer);
    mark(response.headers_mut(), id, Replayed::Yes);
    response
}

/// The answer of an execution that the request waited for and that proved not to be applied.
pub fn shared(id: OperationId, answer: &Answer) -> Response<AnswerBody> {
    let mut response = restored(answer);
    mark(response.headers_mut(), id, Replayed::No);
    response
}

fn restored(answer: &Answer) -> Response<AnswerBody> {
    let trailers = (!answer.trailers.is_empty()).then(|| fields::restored(&answer.trailers, 0));
    let body = (!answer.body.is_empty()).then(|| answer.body.clone());
    let mut fields = fields::restored(&answer.fields, 4);
    trailers.iter().for_each(|trailers| fields::announce(&mut fields, trailers.keys()));
    let mut response = Response::new(AnswerBody::Whole(body, trailers));
    *response.status_mut() = status(answer.status);
    *response.headers_mut() = fields;
    response
}
