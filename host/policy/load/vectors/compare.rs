//! Compares a hook's result with a case's expectation.

use super::expect::Expect;
use super::fault::VectorFault;
use super::format::Case;
use crate::interface::hooks::HookResult;
use serde_json::Value;

impl Case {
    /// Compares the result of a hook, or the plan's answer, with the expectation.
    pub(super) fn check_result(&self, found: &Value) -> Result<(), VectorFault> {
        let Some(expected) = self.expect.value() else { return Ok(()) };
        if says(expected, found) {
            return Ok(());
        }
        Err(VectorFault::Differs {
            case: self.name.clone(),
            expected: format!("of `{}` {expected}", self.expect.name()),
            found: found.to_string(),
        })
    }

    /// True if the hook is expected to fail with an `err`; null expects any text.
    pub(super) fn expects_err(&self) -> bool {
        self.expect.value().is_some_and(|expected| expected.get("err").is_some())
    }

    /// The part of a hook's result that is compared.
    pub(super) fn compared(&self, result: &HookResult) -> Value {
        match &self.expect {
            Expect::Outcome(_) => result.json().get_mut("disposition").map_or(Value::Null, Value::take),
            _ => result.json(),
        }
    }
}

/// True if `found` is what is expected. Of an object only the members that are written count. A settlement
/// may be written as its disposition alone. Lists of fields have no order except among fields of one name. A
/// body is read as JSON unless a text is expected.
fn says(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(_), Value::Object(found)) if found.contains_key("disposition") => {
            found.get("disposition") == Some(expected)
        }
        (Value::Object(expected), Value::Object(found)) => expected.iter().all(|(name, expected)| {
            found.get(name).is_some_and(|found| match name.as_str() {
                "body" => is_body(expected, found),
                "err" => expected.is_null() || expected == found,
                "fields" | "trailers" | "set" | "remove" => by_name(expected) == by_name(found),
                _ => says(expected, found),
            })
        }),
        (expected, found) => expected == found,
    }
}

fn is_body(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(_) | Value::Null, found) => expected == found,
        (expected, Value::String(text)) => {
            serde_json::from_str::<Value>(text).is_ok_and(|found| found == *expected)
        }
        (expected, found) => expected == found,
    }
}

fn by_name(list: &Value) -> Vec<Value> {
    let name = |pair: &Value| pair.get(0).unwrap_or(pair).as_str().unwrap_or_default().to_ascii_lowercase();
    let mut list = list.as_array().cloned().unwrap_or_default();
    list.sort_by_key(name);
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_what_is_expected_only_what_is_written_counts() {
        let settled = json!({ "disposition": "unknown", "memo": null, "retention-seconds": null });
        let fields =
            json!({ "status": 200, "fields": [["b", "1"], ["a", "1"], ["a", "2"]], "body": "{\"a\": 1}" });
        for (expected, found, fits) in [
            (json!("unknown"), &settled, true),
            (json!("completed"), &settled, false),
            (json!({ "memo": null }), &settled, true),
            (json!({ "memo": "m" }), &settled, false),
            (json!({ "mem": null }), &settled, false),
            (json!(null), &settled, false),
            (json!({}), &json!(null), false),
            (json!({ "fields": [["a", "1"], ["a", "2"], ["b", "1"]] }), &fields, true),
            (json!({ "fields": [["a", "2"], ["a", "1"], ["b", "1"]] }), &fields, false),
            (json!({ "fields": [["a", "1"]] }), &fields, false),
            (json!({ "body": { "a": 1 } }), &fields, true),
            (json!({ "body": "{\"a\": 1}" }), &fields, true),
            (json!({ "body": "{\"a\":1}" }), &fields, false),
            (json!({ "body": null }), &fields, false),
            (json!({ "err": null }), &json!({ "err": "why" }), true),
            (json!({ "err": "why" }), &json!({ "err": "why" }), true),
            (json!({ "err": "how" }), &json!({ "err": "why" }), false),
            (json!({ "err": null }), &settled, false),
        ] {
            assert_eq!(says(&expected, found), fits, "{expected} and {found}");
        }
    }
}
