//! The description of an operation, for the look-up and the admin interface.

use oncegate_core::{OperationId, Record, State, Timestamp, View};
use serde::{Deserialize, Serialize};

/// The outcome and times of an operation, without anything that was sent or answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationDescription {
    /// The number of executions that were begun.
    pub attempts: u32,
    /// When the first execution was begun.
    pub first_attempt: String,
    /// Until when the operation's answer is recorded.
    pub expires: String,
    /// Until when anything about the operation is recorded.
    pub forgotten: String,
    /// How the operation ended, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// When the operation ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
    /// The status of the operation's answer.
    #[serde(default, skip_serializing_if = "DescribedStatus::is_missing")]
    pub status: DescribedStatus,
    /// The reason why the outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when the outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<String>,
    /// Until when the operation's executor may execute it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<String>,
    /// Another key of the operation, under which the operation's state is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_under: Option<String>,
}

/// The status of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DescribedStatus {
    /// There is no answer.
    #[default]
    #[serde(skip)]
    Missing,
    /// There was an answer with this status; none: nobody knows the status.
    Of(Option<u16>),
}

impl DescribedStatus {
    fn is_missing(&self) -> bool {
        *self == Self::Missing
    }
}

/// Describes an operation by its record.
pub fn describe(record: &Record, now: Timestamp) -> OperationDescription {
    let mut description = OperationDescription {
        attempts: record.attempts,
        first_attempt: record.first_attempt.to_string(),
        expires: record.expires_at().to_string(),
        forgotten: record.forgotten_at().to_string(),
        ..OperationDescription::default()
    };
    let outcome = |word: &str| Some(word.to_owned());
    match &record.state {
        State::Executing { lease_until } => {
            description.lease_until = Some(lease_until.to_string());
            if record.view(now) == View::Unknown {
                description.outcome = outcome("unknown");
                description.reason = Some("lease-lapsed".to_owned());
            }
        }
        State::Completed { at, answer } => {
            description.outcome = outcome("completed");
            description.completed = Some(at.to_string());
            description.status = DescribedStatus::Of(Some(answer.status));
        }
        State::Consumed { at, summary } => {
            description.outcome = outcome("consumed");
            description.completed = Some(at.to_string());
            description.status = DescribedStatus::Of(summary.status);
        }
        State::Unknown { since, reason } => {
            description.outcome = outcome("unknown");
            description.unknown_since = Some(since.to_string());
            description.reason = Some(reason.word().to_owned());
        }
        State::Pointer(pointer) => description.kept_under = Some(pointer.target.to_string()),
    }
    description
}

/// The answer to a look-up.
#[derive(Debug, Serialize)]
pub struct LookUp {
    operation: String,
    state: &'static str,
    #[serde(flatten)]
    description: OperationDescription,
}

impl LookUp {
    /// The answer to a look-up of this operation.
    pub fn new(id: OperationId, record: &Record, now: Timestamp) -> Self {
        Self { operation: id.to_string(), state: record.view(now).word(), description: describe(record, now) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_that_nobody_knows_is_null() {
        for (status, expected) in [
            (DescribedStatus::Missing, None),
            (DescribedStatus::Of(None), Some(json!(null))),
            (DescribedStatus::Of(Some(201)), Some(json!(201))),
        ] {
            let description = OperationDescription { status, ..OperationDescription::default() };
            let document = json!(description);
            assert_eq!(document.get("status"), expected.as_ref());
            assert_eq!(serde_json::from_value::<OperationDescription>(document).unwrap(), description);
        }
    }
}
