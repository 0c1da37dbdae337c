//! Settings checked against the JSON Schema that a component carries in `oncegate:settings`.
//!
//! The check knows as much of JSON Schema 2020-12 as settings need: `type`, `enum`, `const`, `properties`,
//! `required`, `additionalProperties`, `items`, `minItems`, `maxItems`, `uniqueItems`, `minLength`,
//! `maxLength`, `pattern`, `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `anyOf`,
//! `oneOf`, `allOf`, and `$ref` to a place of the same schema. All other keywords are for other
//! readers, and `configure` has the last word anyway.

use oncegate_config::{Segment, SettingFault, dotted, nearest};
use regex_lite::Regex;
use serde_json::{Map, Value};

/// `$ref`s and nesting deeper than this mean that the schema turns in a circle.
const DEPTH_MAX: usize = 64;
/// The most faults that are reported: nobody reads more.
const FAULTS_MAX: usize = 20;

/// The faults of `settings` by `schema`, the text of a section that is JSON.
pub(crate) fn check(schema: &str, settings: &Map<String, Value>) -> Vec<SettingFault> {
    let Ok(root) = serde_json::from_str::<Value>(schema) else { return Vec::new() };
    let mut check = SchemaCheck { root: &root, path: Vec::new(), depth: 0 };
    let mut faults = check.value(&root, &Value::Object(settings.clone()));
    faults.truncate(FAULTS_MAX);
    faults
}

struct SchemaCheck<'s> {
    root: &'s Value,
    path: Vec<Segment>,
    depth: usize,
}

impl SchemaCheck<'_> {
    fn value(&mut self, schema: &Value, value: &Value) -> Vec<SettingFault> {
        if self.depth >= DEPTH_MAX {
            return Vec::new();
        }
        self.depth += 1;
        let faults = match schema {
            Value::Bool(false) => vec![self.fault(value, "nothing at all")],
            Value::Object(schema) => self.keywords(schema, value),
            _ => Vec::new(),
        };
        self.depth -= 1;
        faults
    }

    fn keywords(&mut self, schema: &Map<String, Value>, value: &Value) -> Vec<SettingFault> {
        // A value of another kind has no other fault worth reporting.
        if let Some(help) = kind_fault(schema, value) {
            return vec![self.fault(value, &help)];
        }
        let mut faults = Vec::new();
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)).cloned();
            faults.extend(target.map(|target| self.value(&target, value)).unwrap_or_default());
        }
        if let Some(help) = scalar_fault(schema, value) {
            faults.push(self.fault(value, &help));
        }
        match value {
            Value::Object(table) => faults.extend(self.table(schema, table)),
            Value::Array(list) => faults.extend(self.list(schema, list)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        for all in schemas(schema, "allOf") {
            faults.extend(self.value(all, value));
        }
        for name in ["anyOf", "oneOf"] {
            faults.extend(self.alternatives(schemas(schema, name), value));
        }
        faults
    }

    /// Checks that one of these schemas fits. If none fits, the faults are those by the schema that was most
    /// likely meant.
    fn alternatives(&mut self, schemas: &[Value], value: &Value) -> Vec<SettingFault> {
        let mut best: Option<Vec<SettingFault>> = None;
        for schema in schemas {
            let faults = self.value(schema, value);
            if faults.is_empty() {
                return faults;
            }
            // A fault further in means that the outside fitted.
            let depth = |faults: &[SettingFault]| faults.iter().map(|fault| fault.path.len()).max();
            // If the value's kind fits a later alternative, that one's faults say more than "another kind".
            let of_kind = |faults: &[SettingFault]| !faults.iter().any(|fault| fault.help.starts_with(KIND));
            let better = best
                .as_deref()
                .is_none_or(|best| (depth(&faults), of_kind(&faults)) > (depth(best), of_kind(best)));
            if better {
                best = Some(faults);
            }
        }
        best.unwrap_or_default()
    }

    fn table(&mut self, schema: &Map<String, Value>, table: &Map<String, Value>) -> Vec<SettingFault> {
        let empty = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let mut faults = Vec::new();
        for (name, value) in table {
            self.path.push(Segment::Name(name.clone()));
            match (known.get(name), schema.get("additionalProperties")) {
                (Some(schema), _) => faults.extend(self.value(schema, value)),
                (None, Some(Value::Bool(false))) => faults.push(self.unknown(name, known)),
                (None, Some(schema)) => faults.extend(self.value(schema, value)),
                (None, None) => {}
            }
            self.path.pop();
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str).filter(|name| !table.contains_key(*name)) {
            let path = self.path.clone();
            let problem = format!("`{}.{name}` is missing", dotted(&path));
            faults.push(SettingFault { path, problem, help: "the component needs it".into() });
        }
        faults
    }

    fn unknown(&self, name: &str, known: &Map<String, Value>) -> SettingFault {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let help = match nearest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if names.is_empty() => "the component has no settings".into(),
            None => format!("there are: {}", names.join(", ")),
        };
        let problem = format!("`{}` is no setting of this component", dotted(&self.path));
        SettingFault { path: self.path.clone(), problem, help }
    }

    fn list(&mut self, schema: &Map<String, Value>, list: &[Value]) -> Vec<SettingFault> {
        let mut faults = Vec::new();
        if let Some(items) = schema.get("items") {
            for (index, value) in list.iter().enumerate() {
                self.path.push(Segment::Index(index));
                faults.extend(self.value(items, value));
                self.path.pop();
            }
        }
        faults
    }

    fn fault(&self, value: &Value, help: &str) -> SettingFault {
        let problem = format!("`{}` can't be {}", dotted(&self.path), shown(value));
        SettingFault { path: self.path.clone(), problem, help: help.into() }
    }
}

fn schemas<'s>(schema: &'s Map<String, Value>, name: &str) -> &'s [Value] {
    schema.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The beginning of help about a value's kind.
const KIND: &str = "it is ";

/// The help for a value of another kind than `type` says.
fn kind_fault(schema: &Map<String, Value>, value: &Value) -> Option<String> {
    let kinds: Vec<&str> = match schema.get("type")? {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        // A kind that only a later JSON Schema knows.
        _ => true,
    };
    let word = |kind: &&str| match *kind {
        "object" => "a table".to_owned(),
        "array" => "a list".into(),
        "string" => "a text".into(),
        "boolean" => "true or false".into(),
        "integer" => "a whole number".into(),
        "number" => "a number".into(),
        other => other.to_owned(),
    };
    let words: Vec<String> = kinds.iter().map(word).collect();
    (!kinds.iter().any(|kind| is(kind))).then(|| format!("{KIND}{}", words.join(" or ")))
}

/// The help for a keyword about one value alone that isn't met.
fn scalar_fault(schema: &Map<String, Value>, value: &Value) -> Option<String> {
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let words: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        return Some(format!("one of {}", words.join(", ")));
    }
    if let Some(only) = schema.get("const").filter(|only| *only != value) {
        return Some(format!("only {only}"));
    }
    let size = |name: &str| schema.get(name).and_then(Value::as_u64);
    let outside = |count: usize, least: &str, most: &str, what: &str| {
        let (least, most) = (size(least), size(most));
        let count = count as u64;
        if least.is_some_and(|least| count < least) || most.is_some_and(|most| count > most) {
            return Some(bounds(least.map(|n| n.to_string()), most.map(|n| n.to_string()), what));
        }
        None
    };
    match value {
        Value::String(text) => {
            let pattern = schema.get("pattern").and_then(Value::as_str);
            let regex = pattern.and_then(|pattern| Some((pattern, Regex::new(pattern).ok()?)));
            let mismatch = regex.filter(|(_, regex)| !regex.is_match(text));
            outside(text.chars().count(), "minLength", "maxLength", "characters")
                .or_else(|| mismatch.map(|(pattern, _)| format!("a text that matches {pattern}")))
        }
        Value::Array(list) => outside(list.len(), "minItems", "maxItems", "elements").or_else(|| {
            let unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
            let twice = list.iter().enumerate().any(|(index, one)| list[..index].contains(one));
            (unique && twice).then(|| "a list that has nothing twice".into())
        }),
        Value::Number(number) => {
            let number = number.as_f64()?;
            let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
            let fits = bound("minimum").is_none_or(|least| number >= least)
                && bound("maximum").is_none_or(|most| number <= most)
                && bound("exclusiveMinimum").is_none_or(|least| number > least)
                && bound("exclusiveMaximum").is_none_or(|most| number < most);
            let text = |name: &str| schema.get(name).map(ToString::to_string);
            let least = text("minimum").or_else(|| text("exclusiveMinimum").map(|n| format!("above {n}")));
            let most = text("maximum").or_else(|| text("exclusiveMaximum").map(|n| format!("below {n}")));
            (!fits).then(|| bounds(least, most, ""))
        }
        Value::Null | Value::Bool(_) | Value::Object(_) => None,
    }
}

fn bounds(least: Option<String>, most: Option<String>, what: &str) -> String {
    let text = match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most} {what}"),
        (Some(least), None) => format!("at least {least} {what}"),
        (None, Some(most)) => format!("at most {most} {what}"),
        (None, None) => what.to_owned(),
    };
    text.trim_end().to_owned()
}

fn shown(value: &Value) -> String {
    const CHARACTERS_MAX: usize = 80;
    match value {
        Value::Object(_) => "a table".into(),
        Value::Array(list) if list.is_empty() => "an empty list".into(),
        Value::Array(_) => "a list".into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let text = value.to_string();
            let cut: String = text.chars().take(CHARACTERS_MAX).collect();
            if cut.len() < text.len() { format!("{cut}…") } else { cut }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use serde_json::json;

    const SCHEMA: &str = include_str!("../../../plugins/idempotency-key/settings.schema.json");

    fn faults(schema: &str, settings: Value) -> Vec<String> {
        let Value::Object(settings) = settings else { panic!("settings are a table") };
        check(schema, &settings).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_built_in_policys_settings_are_held_against_its_own_schema() {
        for good in [
            json!({}),
            json!({ "from": "header:x", "required": true, "min": 1, "max": 4096, "key_time": "ulid" }),
            json!({ "from": ["header:x", "query:y", "body:/z"], "methods": ["POST"] }),
        ] {
            assert_eq!(faults(SCHEMA, good), [""; 0]);
        }
        for (bad, told) in [
            (
                json!({ "requird": true }),
                "`settings.requird` is no setting of this component; did you mean `required`?",
            ),
            (json!({ "required": "yes" }), "`settings.required` can't be \"yes\"; it is true or false"),
            (json!({ "max": 5000 }), "`settings.max` can't be 5000; 1 to 4096"),
            (json!({ "max": 1.5 }), "`settings.max` can't be 1.5; it is a whole number"),
            (
                json!({ "key_time": "uuid" }),
                "`settings.key_time` can't be \"uuid\"; one of \"uuidv7\", \"ulid\"",
            ),
            (
                json!({ "from": ["header:x", "heder:y"] }),
                "`settings.from[1]` can't be \"heder:y\"; a text that matches ^(header:.+|query:.+|body:/.*)$",
            ),
            (json!({ "from": [] }), "`settings.from` can't be an empty list; 1 to 32 elements"),
            (
                json!({ "from": ["query:a", "query:a"] }),
                "`settings.from` can't be a list; a list that has nothing twice",
            ),
        ] {
            assert_eq!(faults(SCHEMA, bad), [told]);
        }
    }

    #[test]
    fn each_keyword_that_is_read_can_fail() {
        for (schema, bad) in [
            (json!({ "type": "string" }), json!(1)),
            (json!({ "type": ["string", "null"] }), json!(1)),
            (json!({ "enum": [1, 2] }), json!(3)),
            (json!({ "const": 1 }), json!(3)),
            (json!({ "properties": { "b": { "type": "string" } } }), json!({ "b": 1 })),
            (json!({ "required": ["b"] }), json!({})),
            (json!({ "additionalProperties": false }), json!({ "b": 1 })),
            (json!({ "additionalProperties": { "type": "string" } }), json!({ "b": 1 })),
            (json!({ "items": { "type": "string" } }), json!([1])),
            (json!({ "minItems": 1 }), json!([])),
            (json!({ "maxItems": 1 }), json!([1, 2])),
            (json!({ "uniqueItems": true }), json!([1, 1])),
            (json!({ "minLength": 2 }), json!("é")),
            (json!({ "maxLength": 1 }), json!("éé")),
            (json!({ "pattern": "^a$" }), json!("b")),
            (json!({ "minimum": 2 }), json!(1)),
            (json!({ "maximum": 2 }), json!(3)),
            (json!({ "exclusiveMinimum": 2 }), json!(2)),
            (json!({ "exclusiveMaximum": 2 }), json!(2)),
            (json!({ "anyOf": [{ "type": "string" }, { "minimum": 2 }] }), json!(1)),
            (json!({ "oneOf": [{ "type": "string" }, { "minimum": 2 }] }), json!(1)),
            (json!({ "allOf": [{ "minimum": 0 }, { "minimum": 2 }] }), json!(1)),
            (json!({ "$ref": "#/$defs/s" }), json!(1)),
            (json!(false), json!(1)),
        ] {
            let whole = json!({ "properties": { "a": schema }, "$defs": { "s": { "type": "string" } } });
            assert_eq!(faults(&whole.to_string(), json!({ "a": bad })).len(), 1, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_turns_in_a_circle_ends() {
        let schema = json!({ "properties": { "a": { "$ref": "#/properties/a" } } }).to_string();
        assert_eq!(faults(&schema, json!({ "a": 1 })), [""; 0]);
    }
}
