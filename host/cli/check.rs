//! `oncegate check`

use super::say::{self, Output, USAGE};
use super::{flags, log};
use crate::activation::doubts;
use crate::activation::preflight::{self, Preflight, PreflightSpace, SpaceRole};
use crate::config::{self, ComponentSource, Config, Fault, Faults, Place, RouteConfig, StoreKind};
use crate::policy::{Engine, Generations};
use crate::run::{self, no_engine};
use crate::store::StoreError;
use oncegate_core::Durability;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

/// Say what a configuration means, or everything that is wrong with it
///
/// Reads the file, the ONCEGATE_ variables and the flags as `serve` would, and starts nothing. Where there is
/// a data folder that no gateway holds, it says which key spaces the policies would have, and whether a start
/// would be refused because of what the ledger has records of.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate check --config oncegate.toml\n  \
    oncegate check --config oncegate.toml --output json \\\n      \
    | jq '.faults[] | {line, problem}'\n\n\
    Code 0: it can be served, though there may be warnings. Code 1: it has faults, or its \
    ledger or this machine refuses it. Code 2: usage: the flags alone are at fault.")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    flags: flags::FlagArgs,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(args: &CheckArgs, env: Vec<(String, String)>) -> ExitCode {
    let told = log::faults(&env);
    let loaded = told.and_then(|()| config::load(&args.flags.clone().source(env)));
    let checked = loaded.and_then(|config| {
        let (engine, generations) = check_policies(&config)?;
        let no_runtime = |error| StoreError::Unavailable(format!("no runtime: {error}").into()).into();
        let looked = run::runtime()
            .map_err(no_runtime)
            .and_then(|runtime| runtime.block_on(preflight::look(&config, &engine, &generations)));
        let preflight = looked.map_err(|refused| match refused.faults() {
            Some(faults) => faults.clone(),
            None => Faults(vec![refused.of_ledger(&config)]),
        })?;
        let spaces = KeySpaceForecast { preflight, generations };
        Ok((config, spaces))
    });
    match (&checked, args.output) {
        (Ok((config, spaces)), Output::Text) => say::out(summary(config, spaces)),
        (Ok((config, spaces)), Output::Json) => say::json(&summary_json(config, spaces)),
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
fn check_policies(config: &Config) -> Result<(Arc<Engine>, Generations), Faults> {
    let engine = Engine::new(1).map_err(|error| no_engine(&error))?;
    match preflight::load_all(config, &engine) {
        Ok(generations) => Ok((engine, generations)),
        Err(errors) => {
            let located = errors.into_iter().filter_map(|error| error.located(config).faults);
            Err(Faults(located.flat_map(|faults| faults.0).collect()))
        }
    }
}

/// A forecast of the policies' key spaces, as far as they can be told.
struct KeySpaceForecast {
    preflight: Preflight,
    generations: Generations,
}

impl KeySpaceForecast {
    fn lines(&self, config: &Config) -> Vec<String> {
        let words =
            |key_schema: &str, key_epoch: u64| format!("(key-schema {key_schema:?}, key_epoch {key_epoch})");
        match &self.preflight {
            Preflight::New => (self.generations.values())
                .map(|own| {
                    let space = words(&own.plan().key_schema, own.key_epoch());
                    format!("{}: begins with a key space {space}", own.name())
                })
                .collect(),
            Preflight::Unseen(why) => {
                let admin = config.server.admin.map_or_else(
                    || "its log tells of changes".to_owned(),
                    |address| {
                        format!(
                            "its admin listener shows the key spaces: `curl http://{address}/v1/policies`, if it was started with this configuration"
                        )
                    },
                );
                vec![format!("can't be looked at: {why}. {admin}")]
            }
            Preflight::Seen(policies) => {
                let line = |policy: &Arc<str>, space: &PreflightSpace| {
                    let name = format!(
                        "{policy}: key space {} {}",
                        space.number,
                        words(&space.key_schema, space.key_epoch)
                    );
                    match &space.role {
                        SpaceRole::Decides => format!("{name}, as before"),
                        SpaceRole::Opens => format!("{name} is opened: keys are made by it from then on"),
                        SpaceRole::Reads => format!("{name} is derived beside it until no record needs it"),
                        SpaceRole::Missing(why) => {
                            format!("{name} can't be derived, so that its routes refuse: {why}")
                        }
                    }
                };
                let lines = |(policy, spaces): (&Arc<str>, &Vec<PreflightSpace>)| {
                    spaces.iter().map(|space| line(policy, space)).collect::<Vec<_>>()
                };
                policies.iter().flat_map(lines).collect()
            }
        }
    }

    /// The warnings of the configuration and of its policies' loads.
    fn warnings(&self, config: &Config) -> Vec<String> {
        let doubted = doubts(config, &self.generations);
        config.warnings.iter().cloned().chain(doubted).collect()
    }

    fn json(&self) -> Value {
        match &self.preflight {
            Preflight::New => json!({ "state": "new" }),
            Preflight::Unseen(why) => json!({ "state": "unseen", "detail": why }),
            Preflight::Seen(policies) => {
                let one = |space: &PreflightSpace| {
                    let (role, detail) = match &space.role {
                        SpaceRole::Decides => ("decides", None),
                        SpaceRole::Opens => ("opens", None),
                        SpaceRole::Reads => ("reads", None),
                        SpaceRole::Missing(why) => ("missing", Some(why)),
                    };
                    json!({
                        "number": space.number.0,
                        "key_schema": &*space.key_schema,
                        "key_epoch": space.key_epoch,
                        "role": role,
                        "detail": detail,
                    })
                };
                let policies = policies
                    .iter()
                    .map(|(policy, spaces)| (policy.to_string(), spaces.iter().map(one).collect::<Value>()));
                json!({ "state": "seen", "policies": policies.collect::<serde_json::Map<_, _>>() })
            }
        }
    }
}

fn summary(config: &Config, spaces: &KeySpaceForecast) -> String {
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
    for (i, space) in spaces.lines(config).iter().enumerate() {
        let _ = writeln!(text, "  {}     {space}", if i == 0 { "keys" } else { "    " });
    }
    for (i, warning) in spaces.warnings(config).iter().enumerate() {
        if i == 0 {
            text.push('\n');
        }
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
fn line(config: &Config, route: &RouteConfig) -> String {
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

fn path(route: &RouteConfig) -> &str {
    if route.path.is_empty() { "/" } else { &route.path }
}

fn url(config: &Config, route: &RouteConfig) -> Option<String> {
    let upstream = config.upstreams.get(&route.upstream)?;
    Some(format!("http://{}:{}", upstream.host, upstream.port))
}

fn component(config: &Config, policy: &str) -> Option<String> {
    Some(match &config.policies.get(policy)?.component {
        ComponentSource::Builtin(name) => format!("builtin:{name}"),
        ComponentSource::File(path) => path.display().to_string(),
    })
}

fn summary_json(config: &Config, spaces: &KeySpaceForecast) -> Value {
    let route = |route: &std::sync::Arc<RouteConfig>| {
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
        "faults": [],
        "file": config.file.as_ref().map(|file| file.display().to_string()),
        "listen": config.server.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "admin": config.server.admin.map(|address| address.to_string()),
        "ledger": { "store": store, "path": folder },
        "routes": config.routes.iter().map(route).collect::<Vec<_>>(),
        "key_spaces": spaces.json(),
        "warnings": spaces.warnings(config),
    })
}

fn faults_json(faults: &Faults) -> Value {
    let one = |fault: &Fault| {
        let mut value = json!({ "key": fault.key, "problem": fault.problem, "help": fault.help });
        if let (Value::Object(value), Value::Object(place)) = (&mut value, place_json(&fault.place)) {
            value.extend(place);
        }
        value
    };
    json!({ "ok": false, "faults": faults.0.iter().map(one).collect::<Vec<_>>() })
}

fn place_json(place: &Place) -> Value {
    match place {
        Place::File { file, line, column, .. } => {
            json!({ "file": file.display().to_string(), "line": line, "column": column })
        }
        Place::Whole(file) => json!({ "file": file.display().to_string() }),
        Place::Environment(name) => json!({ "variable": name }),
        Place::Flag(name) => json!({ "flag": name }),
        Place::Ledger { folder, named } => {
            let mut place = place_json(named);
            place["folder"] = folder.display().to_string().into();
            place
        }
        Place::Machine | Place::Nowhere => json!({}),
    }
}
