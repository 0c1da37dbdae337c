//! The overlay: values from the environment and the command line, laid over the file's values.

use super::report::Reading;
use super::source::{Flags, OF_THE_PROGRAM, Source};
use super::tree::{Located, SetBy, Table, Value, of_value};
use super::unknown::variable;

/// Tables, which a variable of one level overrides as a whole.
const TABLES: [&str; 6] = ["SERVER", "PRINCIPAL", "LEDGER", "UPSTREAMS", "POLICIES", "ROUTES"];

/// Lays everything over the file's tree: first the configuration that `--upstream` alone stands for, then the
/// environment, then the flags, which win.
pub(crate) fn lay_over(reading: &Reading, source: &Source, tree: &mut Table) {
    stand_in(&source.flags, tree);
    for (name, value) in &source.env {
        let Some(rest) = name.strip_prefix("ONCEGATE_") else { continue };
        if let Some(meant) =
            rest.strip_prefix('_').filter(|rest| rest.contains("__") || TABLES.contains(rest))
        {
            let problem = format!("{name} is no variable of Oncegate");
            let help = format!("did you mean `ONCEGATE_{}`?", meant.trim_start_matches('_'));
            reading.fault(&SetBy::Env(name.clone()), "", problem, help);
        } else if rest.contains("__") || TABLES.contains(&rest) {
            put_variable(reading, tree, name, rest, value);
        } else if !OF_THE_PROGRAM.contains(&rest) && !is_of_service(rest, value) {
            reading.strays.borrow_mut().push(name.clone());
        }
    }
    put_flags(reading, &source.flags, tree);
}

/// Whether Kubernetes sets such a variable for a Service whose name begins with `oncegate`:
/// `ONCEGATE_SERVICE_HOST`, `ONCEGATE_PORT`, `ONCEGATE_PORT_8080_TCP_ADDR`, `ONCEGATE_ADMIN_SERVICE_PORT_HTTP`.
fn is_of_service(rest: &str, value: &str) -> bool {
    let words: Vec<&str> = rest.split('_').collect();
    let is_service =
        words.ends_with(&["SERVICE", "HOST"]) || words.windows(2).any(|two| two == ["SERVICE", "PORT"]);
    let is_link = match words.as_slice() {
        [.., "PORT", port, protocol] | [.., "PORT", port, protocol, "PROTO" | "PORT" | "ADDR"] => {
            port.parse::<u16>().is_ok() && matches!(*protocol, "TCP" | "UDP" | "SCTP")
        }
        _ => false,
    };
    is_service || is_link || (words.ends_with(&["PORT"]) && value.contains("://"))
}

/// `--upstream URL` alone is a whole configuration.
fn stand_in(flags: &Flags, tree: &mut Table) {
    let none = |tree: &Table, name| tree.node(name).is_none();
    if flags.upstream.is_none() || !none(tree, "routes") || !none(tree, "upstreams") {
        return;
    }
    let set_by = SetBy::Flag("--upstream");
    let text = |text: &str| Value::Text(text.to_owned());
    tree.put(&["upstreams", "default", "urls"], &set_by, text(flags.upstream.as_deref().unwrap_or_default()));
    if none(tree, "policies") {
        tree.put(&["policies", "default", "component"], &SetBy::Nothing, text("builtin:idempotency-key"));
    }
    let policy = only_name(tree, "policies").unwrap_or_else(|| "default".to_owned());
    let mut route = Table::default();
    for (name, value) in [("name", "default"), ("path", "/"), ("upstream", "default"), ("policy", &policy)] {
        route.put(&[name], &set_by, text(value));
    }
    let route = Located { set_by: set_by.clone(), value: Value::Table(route) };
    tree.put(&["routes"], &set_by, Value::List(vec![route]));
}

/// The name of the only table in a table of tables.
fn only_name(tree: &Table, section: &str) -> Option<String> {
    match names(tree, section).as_slice() {
        [name] => Some(name.clone()),
        _ => None,
    }
}

fn names(tree: &Table, section: &str) -> Vec<String> {
    let table = tree.node(section).and_then(|node| node.value.table());
    table.map(|table| table.0.iter().map(|entry| entry.name.clone()).collect()).unwrap_or_default()
}

/// A text as a value. Lists and tables are read as TOML; any other text is read later as the key asks.
fn value_of(text: &str, set_by: &SetBy) -> Value {
    let bracketed = text.trim_start().starts_with(['[', '{']);
    let parsed = if bracketed { of_value(text.trim(), set_by) } else { None };
    parsed.unwrap_or_else(|| Value::Loose(text.to_owned()))
}

/// Lays one variable over the tree. `__` separates levels. Names of upstreams, policies and routes are found
/// without regard to case and with `_` for `-` and `.`.
fn put_variable(reading: &Reading, tree: &mut Table, variable: &str, rest: &str, text: &str) {
    let set_by = SetBy::Env(variable.to_owned());
    let levels: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
    let value = value_of(text, &set_by);
    match levels.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [section @ ("upstreams" | "policies" | "routes"), name, key @ ..] if !key.is_empty() => {
            put_named(reading, tree, &set_by, (section, name), key, value);
        }
        levels => put_checked(reading, tree, &set_by, levels, value),
    }
}

fn put_named(
    reading: &Reading,
    tree: &mut Table,
    set_by: &SetBy,
    (section, name): (&str, &str),
    key: &[&str],
    value: Value,
) {
    let plain = |text: &str| text.to_lowercase().replace(['-', '.'], "_");
    let tables: Vec<(String, &mut Located)> =
        match tree.0.iter_mut().find(|e| e.name == section).map(|e| &mut e.node.value) {
            Some(Value::Table(table)) => table.0.iter_mut().map(|e| (e.name.clone(), &mut e.node)).collect(),
            Some(Value::List(list)) => list.iter_mut().map(|node| (route_name(node), node)).collect(),
            _ => Vec::new(),
        };
    let there: Vec<String> = tables.iter().map(|(found, _)| found.clone()).collect();
    let meant: Vec<&str> = there.iter().map(String::as_str).filter(|found| plain(found) == name).collect();
    let SetBy::Env(variable) = set_by else { return };
    let (problem, help) = match meant.as_slice() {
        [one] => {
            let node = tables.into_iter().find(|(found, _)| found == one).map(|(_, node)| node);
            if let Some(Located { value: Value::Table(table), .. }) = node {
                return put_checked(reading, table, set_by, key, value);
            }
            (format!("{variable} overrides nothing: `{section}.{one}` is no table"), "make it a table".to_owned())
        }
        [] => {
            let help = match there.is_empty() {
                true => "there are none".to_owned(),
                false => format!("there are: {}", there.join(", ")),
            };
            (format!("{variable} overrides nothing: there is no `{name}` among the {section}"), help)
        }
        several => (
            format!("{variable} does not say which of the {section} it means: {}", several.join(", ")),
            "names that differ in case, `-`, `.` and `_` only are one to a variable: rename one, or set it in the file"
                .to_owned(),
        ),
    };
    reading.fault(set_by, &format!("{section}.{name}"), problem, help);
}

fn route_name(node: &Located) -> String {
    let name = node.value.table().and_then(|table| table.node("name"));
    if let Some(Located { value: Value::Text(name), .. }) = name { name.clone() } else { String::new() }
}

/// Puts a value unless its path leads through something that isn't a table.
fn put_checked(reading: &Reading, tree: &mut Table, set_by: &SetBy, levels: &[&str], value: Value) {
    let mut table = &*tree;
    for (depth, level) in levels.iter().enumerate().take(levels.len().saturating_sub(1)) {
        match table.node(level).map(|node| &node.value) {
            Some(Value::Table(inner)) => table = inner,
            None => break,
            Some(other) => {
                let path = levels[..=depth].join(".");
                let problem =
                    format!("`{path}` is {} and has no `{}` in it", other.found(), levels[depth + 1]);
                return reading.fault(set_by, &path, problem, format!("override `{path}` as a whole"));
            }
        }
    }
    tree.put(levels, set_by, value);
}

fn put_flags(reading: &Reading, flags: &Flags, tree: &mut Table) {
    let loose = |text: &str| Value::Loose(text.to_owned());
    if !flags.listen.is_empty() {
        tree.put(&["server", "listen"], &SetBy::Flag("--listen"), loose(&flags.listen.join(",")));
    }
    let plain: [(&'static str, &Option<String>, [&str; 2]); 3] = [
        ("--admin", &flags.admin, ["server", "admin"]),
        ("--store", &flags.store, ["ledger", "store"]),
        ("--data", &flags.data, ["ledger", "path"]),
    ];
    for (flag, value, path) in plain {
        if let Some(text) = value {
            tree.put(&path, &SetBy::Flag(flag), loose(text));
        }
    }
    if let Some(workers) = flags.workers {
        tree.put(&["server", "workers"], &SetBy::Flag("--workers"), loose(&workers.to_string()));
    }
    let only: [(&'static str, &Option<String>, &str, &str); 3] = [
        ("--upstream", &flags.upstream, "upstreams", "urls"),
        ("--policy", &flags.policy, "policies", "component"),
        ("--settings", &flags.settings, "policies", "settings"),
    ];
    for (flag, value, section, key) in only {
        let Some(text) = value else { continue };
        match only_name(tree, section) {
            Some(name) => {
                tree.put(&[section, &name, key], &SetBy::Flag(flag), value_of(text, &SetBy::Flag(flag)))
            }
            None => say_which(reading, tree, flag, section, key),
        }
    }
}

/// Notes the fault of a flag for a key of the only upstream or policy, when there isn't exactly one.
fn say_which(reading: &Reading, tree: &Table, flag: &'static str, section: &str, key: &str) {
    let names = names(tree, section);
    let set_by = SetBy::Flag(flag);
    if names.is_empty() {
        let help = if section == "policies" {
            "add --upstream URL, or a [policies.NAME] to the file"
        } else {
            "add an [upstreams.NAME] to the file"
        };
        return reading.fault(
            &set_by,
            section,
            format!("{flag} has nothing to change: there are no {section}"),
            help,
        );
    }
    let first = variable(&format!("{section}.{}.{key}", names[0]));
    reading.fault(
        &set_by,
        section,
        format!("{flag} does not say which of the {section} it means: {}", names.join(", ")),
        format!("change `{section}.NAME.{key}` in the file, or set {first}"),
    );
}
