//! Kept answers, sent again.

use crate::answer::body::AnswerBody;
use crate::answer::names::{Replayed, mark, status};
use crate::answer::problem::{Code, Problem};
use crate::edge::{Direction, PeerAccount};
use crate::request::fields;
use http::Response;
use oncegate_core::{Answer, OperationId};
use std::sync::Arc;

/// The kept answer, sent again. `bodies`: what the bodies of the client's peer hold.
pub fn replay(
    id: OperationId,
    answer: &Answer,
    bodies: &Arc<PeerAccount>,
) -> Result<Response<AnswerBody>, Problem> {
    restored(id, answer, bodies, Replayed::Yes)
}

/// The answer of an execution that the request waited for and that proved not to be applied.
pub fn shared(
    id: OperationId,
    answer: &Answer,
    bodies: &Arc<PeerAccount>,
) -> Result<Response<AnswerBody>, Problem> {
    restored(id, answer, bodies, Replayed::No)
}

fn restored(
    id: OperationId,
    answer: &Answer,
    bodies: &Arc<PeerAccount>,
    replayed: Replayed,
) -> Result<Response<AnswerBody>, Problem> {
    let trailers = (!answer.trailers.is_empty()).then(|| fields::restored(&answer.trailers, 0));
    let Some(body) = bodies.hold(Direction::Out, answer.body.clone()) else {
        return Err(no_room(id, bodies, replayed));
    };
    let body = (!body.is_empty()).then_some(body);
    let mut fields = fields::restored(&answer.fields, 4);
    trailers.iter().for_each(|trailers| fields::announce(&mut fields, trailers.keys()));
    let mut response = Response::new(AnswerBody::Whole(body, trailers));
    *response.status_mut() = status(answer.status);
    *response.headers_mut() = fields;
    mark(response.headers_mut(), id, replayed);
    Ok(response)
}

/// The problem when there is no room for the answer of an operation. The operator is told, too.
pub fn no_room(id: OperationId, bodies: &PeerAccount, replayed: Replayed) -> Problem {
    bodies.tell_full(Direction::Out);
    let detail = format!(
        "The gateway holds as much of answers as it may for clients that have not taken them (`server.limits.buffers`). \
         {} Ask again with the same key a little later.",
        what_is_kept(replayed)
    );
    Problem::new(Code::Overloaded, detail).of(id)
}

/// What stands of an answer that can't be shown now.
pub const fn what_is_kept(replayed: Replayed) -> &'static str {
    match replayed {
        Replayed::Yes => "The answer to this operation is kept, and nothing will run twice.",
        Replayed::No => {
            "The operation that this request waited for was not applied, and its answer is not kept: the \
                         next attempt runs."
        }
    }
}
