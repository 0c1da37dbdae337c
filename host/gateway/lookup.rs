//! `GET /.oncegate/operations/{id}`, for the operation's own principal. To any other principal the
//! operation does not exist.

use crate::answer::LookUp;
use crate::answer::body::AnswerBody;
use crate::answer::problem::{Code, Problem};
use crate::request::arrival::Arrival;
use crate::request::head::SoughtOperation;
use crate::shared::{ActiveConfig, Shared};
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use oncegate_core::View;

/// Answers a look-up.
pub async fn answer(
    shared: &Shared,
    active: &ActiveConfig,
    arrival: &Arrival,
    sought: SoughtOperation,
) -> Result<Response<AnswerBody>, Problem> {
    let SoughtOperation::Id(id) = sought else { return Err(not_found()) };
    let found = shared.ledger.find(id).await.map_err(|error| {
        tracing::error!(operation = %id, %error, "the ledger is unavailable");
        Problem::new(Code::LedgerUnavailable, "The ledger can't be asked now. Ask again.")
    })?;
    let now = shared.ledger.clock().now();
    let record = found.map(|versioned| versioned.record).ok_or_else(not_found)?;
    let route = active.routes.of(&record.origin).ok_or_else(not_found)?;
    let principal = arrival.principal(&route.config.principal, &shared.secret).map_err(|_| not_found())?;
    if principal != record.origin.principal || record.view(now) == View::Absent {
        return Err(not_found());
    }
    let document = serde_json::to_value(LookUp::new(id, &record, now)).unwrap_or_default();
    let mut response = Response::new(AnswerBody::whole(document.to_string().into()));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn not_found() -> Problem {
    Problem::new(
        Code::NotFound,
        "There is no operation of yours with this id: it was never begun, was forgotten, or is another's.",
    )
}
