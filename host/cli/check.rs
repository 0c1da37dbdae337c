//! `oncegate check`

use super::{Output, USAGE, flags, say};
use crate::config::{
    self, ComponentSource, Config, Durability, Fault, Faults, Place, Policy, Route, StoreKind,
};
use crate::policy::Engine;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

/// Say what a configuration means, or everything that is wrong with it
///
/// Reads the file, the ONCEGATE_ variables and the flags as `serve` would, and starts nothing.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate check --config oncegate.toml\n  \
    oncegate check --config oncegate.toml --output json | jq '.faults[] | {line, problem}'\n\n\
    Code 0: it can be served, though there may be warnings. Code 1: it has faults.")]
pub(super) struct Args {
    #[command(flatten)]
    flags: flags::Args,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(args: &Args, env: Vec<(String, String)>) -> ExitCode {
    let loaded = config::load(&args.flags.clone().source(env));
    let checked = loaded.and_then(|config| {
        check_policies(&config)?;
        Ok(config)
    });
    match (&checked, args.output) {
        (Ok(config), Output::Text) => say::out(summary(config)),
        (Ok(config), Output::Json) => say::json(&summary_json(config)),
        (Err(faults), Output::Text) => say::error(faults, ""),
        (Err(faults), Output::Json) => say::json(&faults_json(faults)),
    }
    match checked {
        Ok(_) => ExitCode::SUCCESS,
        Err(faults) if faults.are_usage() => ExitCode::from(USAGE),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Loads every policy as `serve` would: read, compiled, configured, tested by its own vectors.
fn check_policies(config: &Config) -> Result<(), Faults> {
    let fault = |name: &str, error: String| Fault {
        place: config.file.clone().map_or(Place::Flag("--policy"), Place::Whole),
        key: format!("policies.{name}.component"),
        problem: error,
        help: "repair the component or its settings; \"builtin:idempotency-key\" is always there".into(),
    };
    let engine = match Engine::new(1) {
        Ok(engine) => engine,
        Err(error) => return Err(Faults(vec![fault("*", error.to_string())])),
    };
    let load = |policy: &Arc<Policy>| {
        let loaded = engine.load(policy).and_then(|generation| {
            let mut routes = config.routes.iter().filter(|route| route.policy.as_ref() == Some(&policy.name));
            routes.try_for_each(|route| generation.fits(route))
        });
        let Err(error) = loaded.map_err(|error| error.located(config)) else { return Vec::new() };
        match error.settings {
            Some(faults) => faults.0,
            None => vec![fault(&policy.name, error.to_string())],
        }
    };
    let faults: Vec<Fault> = config.policies.values().flat_map(load).collect();
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
}

fn summary(config: &Config) -> String {
    let file = config.file.as_ref().map_or("the configuration".into(), |file| file.display().to_string());
    let addresses: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    let admin = config.server.admin.map_or("off".into(), |address| address.to_string());
    let mut text = format!("{file} is fine\n\n");
    let _ = writeln!(text, "  listen   {}", addresses.join(", "));
    let _ = writeln!(text, "  admin    {admin}");
    let _ = writeln!(text, "  ledger   {}", store(config));
    for (i, route) in config.routes.iter().enumerate() {
        let _ = writeln!(text, "  {}   {}", if i == 0 { "routes" } else { "      " }, line(config, route));
    }
    if !config.warnings.is_empty() {
        text.push('\n');
    }
    for warning in &config.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn store(config: &Config) -> String {
    match (&config.ledger.store, config.ledger.durability) {
        (StoreKind::Memory, _) => "memory".into(),
        (StoreKind::Embedded(path), Durability::Sync) => format!("embedded in {}", path.display()),
        (StoreKind::Embedded(path), Durability::Async) => format!("embedded in {}, async", path.display()),
    }
}

/// `charges: POST api.example.com/v1/charges → billing (http://127.0.0.1:9000), policy payments (…)`
fn line(config: &Config, route: &Route) -> String {
    let methods =
        if route.methods.is_empty() { String::new() } else { format!("{} ", route.methods.join(", ")) };
    let host = route.host.as_deref().unwrap_or_default();
    let url = url(config, route).map_or(String::new(), |url| format!(" ({url})"));
    let policy = match &route.policy {
        None => "not guarded".to_owned(),
        Some(name) => {
            format!("policy {name}{}", component(config, name).map_or(String::new(), |c| format!(" ({c})")))
        }
    };
    format!("{}: {methods}{host}{} → {}{url}, {policy}", route.name, path(route), route.upstream)
}

fn path(route: &Route) -> &str {
    if route.path.is_empty() { "/" } else { &route.path }
}

fn url(config: &Config, route: &Route) -> Option<String> {
    let upstream = config.upstreams.get(&route.upstream)?;
    Some(format!("http://{}:{}", upstream.host, upstream.port))
}

fn component(config: &Config, policy: &str) -> Option<String> {
    Some(match &config.policies.get(policy)?.component {
        ComponentSource::Builtin(name) => format!("builtin:{name}"),
        ComponentSource::File(path) => path.display().to_string(),
    })
}

fn summary_json(config: &Config) -> Value {
    let route = |route: &std::sync::Arc<Route>| {
        json!({
            "name": &*route.name,
            "host": route.host,
            "path": path(route),
            "methods": route.methods,
            "upstream": &*route.upstream,
            "url": url(config, route),
            "policy": route.policy.as_deref(),
            "component": route.policy.as_deref().and_then(|name| component(config, name)),
        })
    };
    let (store, folder) = match &config.ledger.store {
        StoreKind::Memory => ("memory", None),
        StoreKind::Embedded(path) => ("embedded", Some(path.display().to_string())),
    };
    json!({
        "ok": true,
        "file": config.file.as_ref().map(|file| file.display().to_string()),
        "listen": config.server.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "admin": config.server.admin.map(|address| address.to_string()),
        "ledger": { "store": store, "path": folder },
        "routes": config.routes.iter().map(route).collect::<Vec<_>>(),
        "warnings": config.warnings,
    })
}

fn faults_json(faults: &Faults) -> Value {
    let one = |fault: &Fault| {
        let mut value = json!({ "key": fault.key, "problem": fault.problem, "help": fault.help });
        let place = match &fault.place {
            Place::File { file, line, column, .. } => {
                json!({ "file": file.display().to_string(), "line": line, "column": column })
            }
            Place::Whole(file) => json!({ "file": file.display().to_string() }),
            Place::Environment(name) => json!({ "variable": name }),
            Place::Flag(name) => json!({ "flag": name }),
            Place::Nowhere => json!({}),
        };
        if let (Value::Object(value), Value::Object(place)) = (&mut value, place) {
            value.extend(place);
        }
        value
    };
    json!({ "ok": false, "faults": faults.0.iter().map(one).collect::<Vec<_>>() })
}
