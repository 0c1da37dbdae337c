//! Operations, shown and changed by hand (`design/admin.md`). A change names its action and its reason,
//! counts only at the version that was shown, and is logged.

use super::api::{LateSettlementReport, OperationDocument, OperationRecord, ProbingStatus};
use super::reply::{AdminReply, problem, problem_with, sorted_json};
use super::resolution::{GivenAnswer, OperatorVerdict, Resolution, check_reason};
use crate::gateway::{ActiveConfig, Shared, answer};
use crate::ledger::{Intervention, LateSettlement};
use crate::store::{StoreError, Version, Versioned};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use oncegate_core::problem::Code;
use oncegate_core::{Answer, AnswerSummary, OperationId, Outcome, Timestamp, Unchanged, View};
use serde_json::Map;
use std::sync::Arc;

/// The limit of a resolution's body: an answer of 1 MiB in base64, and more.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;

/// `GET /v1/operations/{id}`
pub(super) async fn show(shared: &Shared, id: OperationId) -> AdminReply {
    let ledger = &shared.ledger;
    let now = ledger.clock().now();
    match ledger.load(id).await {
        Err(error) => unavailable(&error),
        Ok(Some(found)) if found.record.view(now) != View::Absent => {
            let late = ledger.late_settlements(id).iter().map(late_settlement).collect();
            sorted_json(&OperationDocument { evidence: Some(late), ..operation(id, &found, now) })
        }
        Ok(_) => missing(),
    }
}

/// An operation with its record.
pub(super) fn operation(id: OperationId, found: &Versioned, now: Timestamp) -> OperationDocument {
    let record = &found.record;
    let (origin, view) = (&record.origin, record.view(now));
    let recorded = OperationRecord {
        description: answer::describe(record, now),
        version: found.version.0.to_string(),
        route: origin.route.to_string(),
        policy: origin.policy.to_string(),
        key_schema: origin.key_schema.to_string(),
        key_epoch: origin.key_epoch,
        method: origin.method.to_string(),
        authority: origin.authority.to_string(),
        path: origin.path.to_string(),
        principal: origin.principal.to_string(),
        first_sent: origin.first_sent.map(|at| Timestamp::from_secs(at.into()).to_string()),
        execution: record.execution.to_string(),
        resent: record.resent,
        memo: record.memo.as_deref().map(str::to_owned),
        resolved_at: record.resolved_because.as_ref().and(record.finished_at()).map(|at| at.to_string()),
        resolved_because: record.resolved_because.as_deref().map(str::to_owned),
        probing: record.probing.filter(|_| view == View::Unknown).map(|probing| ProbingStatus {
            tries: probing.tries,
            // A probe is never due before the outcome is unknown. One that is due at once has a time long
            // ago.
            next: probing.next.map(|at| at.max(record.unknown_since().unwrap_or_default()).to_string()),
        }),
    };
    OperationDocument { recorded: Some(recorded), ..no_record(id, view) }
}

fn no_record(id: OperationId, view: View) -> OperationDocument {
    OperationDocument {
        operation: id.to_string(),
        state: view.word().to_owned(),
        recorded: None,
        evidence: None,
        left_out: Vec::new(),
    }
}

/// A settlement that came too late and changed nothing.
fn late_settlement(late: &LateSettlement) -> LateSettlementReport {
    LateSettlementReport {
        at: late.at.to_string(),
        execution: late.execution.to_string(),
        outcome: late.outcome.word().to_owned(),
        status: late.status,
        reason: late.reason.word().to_owned(),
    }
}

/// `POST /v1/operations/{id}/resolve`
pub(super) async fn resolve(shared: &Shared, id: OperationId, fields: &HeaderMap, body: &[u8]) -> AdminReply {
    // A page in somebody's browser can post text here without asking first, but not JSON.
    let content_type =
        fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().map(str::trim) != Some("application/json") {
        return problem_with(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::BadRequest,
            "Send the resolution as `Content-Type: application/json`.",
            Map::new(),
        );
    }
    let Resolution { version, reason, verdict } = match Resolution::parse(body) {
        Ok(wanted) => wanted,
        Err(faults) => return bad_request(&faults),
    };
    let strip = match shared.ledger.load(id).await {
        Ok(Some(found)) => strip_of(&shared.active.load(), &found),
        Ok(None) => Vec::new(),
        Err(error) => return unavailable(&error),
    };
    let (outcome, left_out) = match verdict {
        OperatorVerdict::NotApplied => (Outcome::NotApplied, Vec::new()),
        OperatorVerdict::Consumed(status) => {
            (Outcome::Consumed(AnswerSummary { status, ..AnswerSummary::default() }), Vec::new())
        }
        OperatorVerdict::Completed(given) => {
            let (answer, left_out) = answer_to_record(&given, &strip);
            (Outcome::Completed(Arc::new(answer)), left_out)
        }
    };
    let word = outcome.disposition().word();
    match shared.ledger.resolve(id, version, &outcome, &reason).await {
        Ok(Intervention::Done(standing)) => {
            tracing::warn!(operation = %id, outcome = word, reason, "an operator resolved an unknown outcome");
            sorted_json(&OperationDocument { left_out, ..now_standing(shared, id, standing.as_ref()) })
        }
        other => not_done(shared, id, other, "resolved"),
    }
}

const SHOWN: &str = "the number that `GET /v1/operations/ID` showed";

/// `DELETE /v1/operations/{id}?version=&reason=`
pub(super) async fn forget(shared: &Shared, id: OperationId, query: &str) -> AdminReply {
    let (version, reason) = match forget_parameters(query) {
        Ok(wanted) => wanted,
        Err(faults) => return bad_request(&faults),
    };
    match shared.ledger.forget(id, version).await {
        Ok(Intervention::Done(_)) => {
            tracing::warn!(operation = %id, reason, "an operator had an operation forgotten: its key is free");
            sorted_json(&now_standing(shared, id, None))
        }
        other => not_done(shared, id, other, "forgotten"),
    }
}

/// The version and the reason, or all that is wrong with them.
fn forget_parameters(query: &str) -> Result<(Version, String), Vec<String>> {
    let (mut version, mut reason, mut faults) = (None, None, Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let is_first = match &*name {
            "version" => {
                let number = value.parse().map(Version);
                version
                    .replace(number.map_err(|_| format!("`version` can't be {value:?}: {SHOWN}")))
                    .is_none()
            }
            "reason" => {
                let text = check_reason(&value).map(|()| value.into_owned());
                reason.replace(text.map_err(|why| format!("`reason`: {why}"))).is_none()
            }
            other => {
                let name = other.escape_debug();
                faults.push(format!("`{name}` is no parameter here: there are version, reason"));
                continue;
            }
        };
        if !is_first {
            faults.push(format!("`{name}` is there twice"));
        }
    }
    let version = version.unwrap_or_else(|| Err(format!("`version` is missing: {SHOWN}")));
    let reason = reason.unwrap_or_else(|| Err("`reason` is missing: say why, it is logged".to_owned()));
    match (version, reason) {
        (Ok(version), Ok(reason)) if faults.is_empty() => Ok((version, reason)),
        (version, reason) => Err(faults.into_iter().chain(version.err()).chain(reason.err()).collect()),
    }
}

fn now_standing(shared: &Shared, id: OperationId, standing: Option<&Versioned>) -> OperationDocument {
    match standing {
        Some(standing) => operation(id, standing, shared.ledger.clock().now()),
        None => no_record(id, View::Absent),
    }
}

/// Why a change was not made.
fn not_done(
    shared: &Shared,
    id: OperationId,
    why: Result<Intervention, StoreError>,
    done: &str,
) -> AdminReply {
    match why {
        Err(error) => unavailable(&error),
        Ok(Intervention::Missing) => missing(),
        Ok(Intervention::Changed(standing)) => {
            let state = standing.record.view(shared.ledger.clock().now()).word();
            let version = standing.version.0;
            problem(
                Code::Changed,
                &format!(
                    "Operation {id} has changed since it was shown: it is {state} now, version {version}. Look at it again and decide anew."
                ),
            )
        }
        Ok(Intervention::Living) => problem(
            Code::Executing,
            &format!(
                "An execution of operation {id} has not ended in this gateway, so it may yet take effect or be told. Wait for its end."
            ),
        ),
        Ok(Intervention::Refused(why)) => refused(id, why, done),
        Ok(Intervention::Done(_)) => problem(Code::Changed, &format!("Operation {id} has been {done}.")),
    }
}

fn refused(id: OperationId, why: Unchanged, done: &str) -> AdminReply {
    match why {
        Unchanged::Executing => problem(
            Code::Executing,
            &format!("Operation {id} is executing and can't be {done}. Wait for its end."),
        ),
        Unchanged::Unresolved => problem(
            Code::Unresolved,
            &format!("Nobody knows the outcome of operation {id}: it has to be resolved, not {done}."),
        ),
        Unchanged::Pointer => problem(
            Code::Pointer,
            &format!(
                "Operation {id} is another key of one that has an id of its own: look at it, and change that one."
            ),
        ),
        Unchanged::Final
        | Unchanged::Lapsed
        | Unchanged::OtherExecution
        | Unchanged::Absent
        | Unchanged::NotDue => {
            problem(Code::Final, &format!("The outcome of operation {id} is known, so it can't be {done}."))
        }
    }
}

fn missing() -> AdminReply {
    problem(Code::NotFound, "The ledger has no record of this operation.")
}

pub(super) fn unavailable(error: &StoreError) -> AdminReply {
    problem(Code::LedgerUnavailable, &error.to_string())
}

pub(super) fn bad_request(faults: &[String]) -> AdminReply {
    problem(Code::BadRequest, &format!("{}.", faults.join("; ")))
}

fn strip_of(active: &ActiveConfig, found: &Versioned) -> Vec<String> {
    let route = active.routes.of(&found.record.origin);
    route.map(|route| route.config.strip.clone()).unwrap_or_default()
}

/// The answer to record, by the rules for every recorded answer, and the names of the fields that they leave
/// out.
fn answer_to_record(given: &GivenAnswer, strip: &[String]) -> (Answer, Vec<String>) {
    let mut fields = HeaderMap::new();
    given.fields.iter().for_each(|(name, value)| _ = fields.append(name, value.clone()));
    let kept = answer::kept_fields(&fields, given.status, strip);
    let is_kept = |name: &HeaderName| kept.iter().any(|(own, _)| own == name.as_str().as_bytes());
    let left_out = fields.keys().filter(|name| !is_kept(name)).map(ToString::to_string).collect();
    let answer =
        Answer { status: given.status, fields: kept, body: given.body.clone(), trailers: Vec::new() };
    (answer, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderValue;

    #[test]
    fn an_answer_by_hand_is_recorded_as_any_other() {
        let field = |name: &'static str| (HeaderName::from_static(name), HeaderValue::from_static("1"));
        let given = GivenAnswer {
            status: 201,
            fields: vec![field("x-a"), field("set-cookie"), field("connection"), field("x-b"), field("x-a")],
            body: Bytes::from_static(b"hi"),
        };
        let (answer, left_out) = answer_to_record(&given, &["x-b".to_owned()]);
        assert_eq!(answer.fields.len(), 2, "both of x-a: {answer:?}");
        assert_eq!(left_out, ["set-cookie", "connection", "x-b"]);
    }
}
