//! The filter of a list of operations: the query of `GET /v1/operations`.

use crate::config::parse_duration;
use crate::store::{ScanScope, Versioned};
use oncegate_core::{OperationId, Timestamp, View};
use std::time::Duration;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// The parameters.
const NAMES: [&str; 6] = ["state", "route", "older_than", "newer_than", "limit", "after"];
const STATES: [View; 5] = [View::Executing, View::Completed, View::Consumed, View::Unknown, View::Expired];

/// The filter of a list of operations.
#[derive(Debug, PartialEq)]
pub(super) struct OperationFilter {
    state: Option<View>,
    route: Option<String>,
    older_than: Option<Duration>,
    newer_than: Option<Duration>,
    pub(super) limit: usize,
    pub(super) after: Option<OperationId>,
}

impl OperationFilter {
    /// Reads a query. Every fault names its parameter and says what would be accepted.
    pub(super) fn parse(query: &str) -> Result<Self, Vec<String>> {
        let mut filter = Self {
            state: None,
            route: None,
            older_than: None,
            newer_than: None,
            limit: LIMIT_DEFAULT,
            after: None,
        };
        let mut faults = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if seen.iter().any(|before| *before == *name) {
                faults.push(format!("`{}` is there twice", name.escape_debug()));
                continue;
            }
            seen.push(name.to_string());
            if let Err(help) = filter.set(&name, &value) {
                faults.push(help);
            }
        }
        if faults.is_empty() { Ok(filter) } else { Err(faults) }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let refused = |help: &str| format!("`{name}` can't be {value:?}: {help}");
        // A form sends empty parameters, too; they count as absent.
        if value.is_empty() && NAMES.contains(&name) {
            return Ok(());
        }
        match name {
            "state" => {
                let state = STATES.into_iter().find(|state| state.word() == value);
                let words: Vec<&str> = STATES.iter().map(|state| state.word()).collect();
                self.state = Some(state.ok_or_else(|| refused(&format!("one of {}", words.join(", "))))?);
            }
            "route" => self.route = Some(value.to_owned()),
            "older_than" | "newer_than" => {
                let help = || refused("a duration like \"90s\", \"10m\" or \"24h\"");
                let age = if name == "older_than" { &mut self.older_than } else { &mut self.newer_than };
                *age = Some(parse_duration(value).ok_or_else(help)?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                self.limit = limit.ok_or_else(|| refused(&format!("a number from 1 to {LIMIT_MAX}")))?;
            }
            "after" => {
                let id =
                    value.parse().map_err(|_| refused("an operation id, the `next` of the page before"))?;
                self.after = Some(id);
            }
            _ => {
                return Err(format!(
                    "`{}` is no parameter here: there are {}",
                    name.escape_debug(),
                    NAMES.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// The scopes in which all that the filter takes is stored. An executing record whose lease has lapsed is
    /// unknown; so what becomes unknown passes from the first scope to the second.
    pub(super) fn scopes(&self) -> &'static [ScanScope] {
        match self.state {
            Some(View::Executing) => &[ScanScope::Executing],
            Some(View::Unknown) => &[ScanScope::Executing, ScanScope::Unknown],
            _ => &[ScanScope::All],
        }
    }

    pub(super) fn takes(&self, found: &Versioned, now: Timestamp) -> bool {
        let (record, view) = (&found.record, found.record.view(now));
        // A pointer is another key of an operation, and the operation is listed itself.
        !matches!(view, View::Absent | View::Pointer)
            && self.state.is_none_or(|state| state == view)
            && self.route.as_ref().is_none_or(|route| **route == *record.origin.route)
            && self.older_than.is_none_or(|age| now.since(record.first_attempt) > age)
            && self.newer_than.is_none_or(|age| now.since(record.first_attempt) <= age)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn a_filter_that_cannot_be_meant_names_its_parameter() {
        for (query, expected) in [
            ("state=lost", "`state` can't be \"lost\": one of executing, completed"),
            ("older_than=5", "`older_than` can't be \"5\": a duration"),
            ("newer_than=5", "`newer_than` can't be \"5\": a duration"),
            ("limit=0", "`limit` can't be \"0\": a number from 1 to 1000"),
            ("limit=1001", "`limit` can't be"),
            ("after=abc", "`after` can't be \"abc\": an operation id"),
            ("states=unknown", "`states` is no parameter here: there are state, route"),
            ("state=unknown&state=expired", "`state` is there twice"),
        ] {
            let faults = OperationFilter::parse(query).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{query}: {faults:?}");
        }
        assert_eq!(OperationFilter::parse("limit=0&after=x").unwrap_err().len(), 2, "all at once");
        let all = OperationFilter::parse("state=&route=&older_than=&newer_than=&limit=&after=").unwrap();
        assert_eq!(all, OperationFilter::parse("").unwrap());
    }
}
