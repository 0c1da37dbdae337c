//! `[policies.NAME]`: a component, its settings and its limits.

use super::reading::tree::{Located, of_value};
use super::reading::units::{nearest, parse_hex};
use super::reading::{Item, PlainKey, Section, SetBy, Table, TableKey, Unset, Value};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `[policies.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The policy's name in the configuration.
    pub name: Arc<str>,
    /// The component.
    pub component: ComponentSource,
    /// The component's pinned digest.
    pub sha256: Option<[u8; 32]>,
    /// The settings that `configure` gets.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// The key epoch, which the operator raises to say that keys change.
    pub key_epoch: u64,
    /// Whether instances are used again.
    pub instances: Instances,
    /// How long after its activation a failing generation is rolled back by itself; zero: never.
    pub trial: Duration,
    /// The most time of one call, on a policy thread.
    pub time: Duration,
    /// The most memory of one instance, in bytes.
    pub memory: usize,
}

/// The source of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentSource {
    /// `builtin:NAME`, without the prefix.
    Builtin(String),
    /// A file, absolute or relative to the process (the configuration's folder is put in front).
    File(PathBuf),
}

/// `policies.NAME.instances`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// Pooled per worker.
    Reuse,
    /// A new one for each call.
    Fresh,
}

/// Components that are compiled into the program.
const BUILT_IN: &[&str] = &["idempotency-key", "webhook", "content"];
/// Components that a later version will have compiled in.
const BUILT_IN_LATER: &[&str] = &["mcp"];

const TIME_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);
/// Bounds of the time in which a new generation may be rolled back by itself; zero: never.
const TRIAL_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
/// Bounds of an instance's memory: from the smallest in which a component of any language starts, to the most
/// that 32 bits can address.
const MEMORY_BOUNDS: RangeInclusive<usize> = (1 << 20)..=(4 << 30);

const COMPONENT: PlainKey<ComponentSource> = PlainKey::new(
    "component",
    Unset::Fault("name a component: component = \"builtin:idempotency-key\", or the path of a .wasm file"),
    component,
    "`\"builtin:idempotency-key\"`, or the path of a `.wasm` component.",
);
const SHA256: PlainKey<[u8; 32]> = PlainKey::new(
    "sha256",
    Unset::Nothing(""),
    |item| item.parsed("64 hexadecimal digits, as sha256sum prints them", parse_hex),
    "The component's digest; another file is not loaded.",
);
const SETTINGS: PlainKey<serde_json::Map<String, serde_json::Value>> = PlainKey::new(
    "settings",
    Unset::Nothing("`{}`"),
    settings,
    "What the component's `configure` gets, as JSON; held against the schema that it carries. No secrets: it is kept with the ledger.",
);
const KEY_EPOCH: PlainKey<u64> = PlainKey::new(
    "key_epoch",
    Unset::Value("0"),
    |item| item.whole(&(0..=i64::MAX as u64), "a whole number from 0; raise it to say that keys change"),
    "Raise it to say that keys change.",
);
const TRIAL: PlainKey<Duration> = PlainKey::new(
    "trial",
    Unset::Value("\"10m\""),
    |item| item.duration(&TRIAL_BOUNDS),
    "How long a new generation that fails ten times, for three callers or more that had an operation executed since the start, is rolled back by itself; `\"0s\"`: never.",
);
const INSTANCES: PlainKey<Instances> = PlainKey::new(
    "instances",
    Unset::Value("\"reuse\""),
    |item| item.choice(&[("reuse", Instances::Reuse), ("fresh", Instances::Fresh)]),
    "`\"fresh\"`: a new instance for each call.",
);
const LIMITS: TableKey = TableKey::table("limits");
const TIME: PlainKey<Duration> =
    PlainKey::new("time", Unset::Value("\"50ms\""), |item| item.duration(&TIME_BOUNDS), "Of one call.");
const MEMORY: PlainKey<usize> =
    PlainKey::new("memory", Unset::Value("\"64MiB\""), |item| item.size(&MEMORY_BOUNDS), "Of one instance.");

/// Reads the sections.
pub(super) fn read(sections: Vec<(String, Section<'_>)>) -> BTreeMap<Arc<str>, Arc<Policy>> {
    let one = |(name, section)| {
        let policy = policy(name, section);
        (policy.name.clone(), Arc::new(policy))
    };
    sections.into_iter().map(one).collect()
}

fn policy(name: String, mut section: Section<'_>) -> Policy {
    let component = section.find(&COMPONENT);
    let sha256 = section.find(&SHA256);
    let settings = section.find(&SETTINGS).unwrap_or_default();
    let key_epoch = section.get(&KEY_EPOCH);
    let trial = section.get(&TRIAL);
    let instances = section.get(&INSTANCES);
    let mut limits = section.section(&LIMITS);
    let policy = Policy {
        name: name.into(),
        component: component.unwrap_or(ComponentSource::Builtin(String::new())),
        sha256,
        settings,
        key_epoch,
        instances,
        trial,
        time: limits.get(&TIME),
        memory: limits.get(&MEMORY),
    };
    limits.close();
    section.close();
    policy
}

fn component(item: &Item<'_>) -> Option<ComponentSource> {
    let help = "\"builtin:idempotency-key\", or the path of a .wasm file";
    item.reading.setting(&item.path, &item.node.set_by);
    let text = item.text(help)?;
    let Some(name) = text.strip_prefix("builtin:") else {
        return Some(ComponentSource::File(item.path(help)?));
    };
    if BUILT_IN.contains(&name) {
        return Some(ComponentSource::Builtin(name.to_owned()));
    }
    if BUILT_IN_LATER.contains(&name) {
        item.fault(format!("`{}` is {text:?}, which is not in this version yet", item.path), built_in());
        return None;
    }
    let meant = nearest(name, BUILT_IN.iter().chain(BUILT_IN_LATER).copied());
    let help = meant.map_or_else(built_in, |meant| format!("did you mean \"builtin:{meant}\"?"));
    item.fault(format!("`{}` is {text:?}, and there is no such built-in policy", item.path), help);
    None
}

fn built_in() -> String {
    let names: Vec<String> = BUILT_IN.iter().map(|name| format!("\"builtin:{name}\"")).collect();
    format!("there are: {}", names.join(", "))
}

/// Reads settings. Settings go to the component as JSON, so a value that JSON doesn't have is a fault.
fn settings(item: &Item<'_>) -> Option<serde_json::Map<String, serde_json::Value>> {
    item.reading.setting(&item.path, &item.node.set_by);
    if let Some(text) = item.node.value.loose() {
        let parsed = serde_json::from_str(text).ok();
        if parsed.is_none() {
            item.refuse("a table in JSON or TOML, like {\"required\": true} or { required = true }");
        }
        return parsed;
    }
    let Some(table) = item.node.value.table() else {
        item.refuse("a table: { from = [\"header:idempotency-key\"], required = true }");
        return None;
    };
    json_of(item, &item.path, table)
}

fn json_of(item: &Item<'_>, path: &str, table: &Table) -> Option<serde_json::Map<String, serde_json::Value>> {
    let each =
        table.0.iter().map(|e| Some((e.name.clone(), json(item, &format!("{path}.{}", e.name), &e.node)?)));
    // All values are read before the first failure is returned, so that each fault is noted.
    each.collect::<Vec<_>>().into_iter().collect()
}

/// The value of a variable, where TOML reads it as a number, as true or false, or as a text in quotes. Any other text is
/// meant as it is.
fn plain_value(text: &str, set_by: &SetBy) -> Option<Value> {
    let is_plain = |value: &Value| match value {
        Value::Flag(_) | Value::Text(_) | Value::Whole(Some(_), _) | Value::Decimal(Some(_), _) => true,
        Value::Whole(None, _)
        | Value::Decimal(None, _)
        | Value::Date(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Loose(_) => false,
    };
    of_value(text, set_by).filter(is_plain)
}

fn json(item: &Item<'_>, path: &str, node: &Located) -> Option<serde_json::Value> {
    item.reading.setting(path, &node.set_by);
    if let Some(value) = node.value.loose().and_then(|text| plain_value(text, &node.set_by)) {
        return json(item, path, &Located { set_by: node.set_by.clone(), value });
    }
    let refuse = |set_by: &SetBy, help: &str| {
        item.reading.fault(set_by, path, format!("`{path}` can't be {}", node.value.found()), help);
    };
    Some(match &node.value {
        Value::Text(text) | Value::Loose(text) => serde_json::Value::String(text.clone()),
        Value::Flag(flag) => serde_json::Value::Bool(*flag),
        Value::Whole(Some(number), _) => (*number).into(),
        Value::Decimal(Some(number), _) => (*number).into(),
        Value::Whole(None, _) | Value::Decimal(None, _) => {
            refuse(&node.set_by, "settings are JSON: a number that 64 bits can hold, not nan or inf");
            return None;
        }
        Value::Date(_) => {
            refuse(&node.set_by, "settings are JSON, which has no dates: write it in quotes");
            return None;
        }
        Value::List(list) => {
            let each = list.iter().enumerate().map(|(i, node)| json(item, &format!("{path}[{i}]"), node));
            serde_json::Value::Array(each.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?)
        }
        Value::Table(table) => serde_json::Value::Object(json_of(item, path, table)?),
    })
}
