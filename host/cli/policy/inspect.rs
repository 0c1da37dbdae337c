//! `oncegate policy inspect`

use super::flags::ComponentFlags;
use super::trouble::{Done, Trouble};
use super::words;
use crate::cli::say::{self, Output};
use crate::config::Policy;
use crate::policy::author::{Anatomy, anatomy};
use crate::policy::{Engine, LoadError, Plan};
use serde_json::{Value, json};

/// Say what is in a component, and what it plans under the settings given
///
/// Its imports are its permissions: `log` and `digest` are all that a policy may have. The plan is
/// what it declares under --settings; its key-schema names how keys are made with them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate policy inspect orders.wasm\n  \
    oncegate policy inspect builtin:idempotency-key \\\n      \
    --settings '{ from = [\"header:x-request-id\"] }'\n  \
    oncegate policy inspect orders --output json | jq -r .plan.key_schema\n\n\
    Code 0: it would load. Code 1: it would not, or it fails its own test vectors.")]
pub(super) struct InspectArgs {
    #[command(flatten)]
    subject: ComponentFlags,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

pub(super) fn run(args: &InspectArgs, env: Vec<(String, String)>) -> Done {
    let ComponentFlags { component, settings } = &args.subject;
    let policy = settings.policy(component, env)?;
    let anatomy =
        anatomy(&policy.component).map_err(|fault| Trouble::new(format!("{component} {fault}"), ""))?;
    let engine = Engine::for_author().map_err(|error| Trouble::new(error.to_string(), ""))?;
    let loaded = engine.load(&policy);
    let plan = loaded.as_ref().map(|generation| generation.plan().clone());
    let warnings = warnings(&anatomy);
    match args.output {
        Output::Text => say::out(text(component, &policy, &anatomy, &plan, &warnings)),
        Output::Json => say::json(&value(component, &policy, &anatomy, &plan, &warnings)),
    }
    Ok(loaded.is_ok())
}

fn warnings(anatomy: &Anatomy) -> Vec<String> {
    let mut warnings = Vec::new();
    match &anatomy.vectors {
        None => warnings.push(
            "it carries no test vectors, so no gateway can test it when it loads it: they were never put in \
             (`oncegate policy build` does, from vectors.json), or a tool stripped them (`wasm-tools strip` does)"
                .into(),
        ),
        Some(Ok(0)) => warnings.push("its test vectors have not one case".into()),
        Some(Ok(_)) => warnings.extend(
            anatomy
                .hooks
                .iter()
                .filter(|(_, count)| *count == 0)
                .map(|(hook, _)| format!("none of its test vectors is about `{hook}`, which it exports")),
        ),
        Some(Err(_)) => {}
    }
    if anatomy.settings_schema.is_none() {
        warnings.push(
            "it carries no schema of its settings: a wrong one is found by `configure` alone, and a configuration \
             file can't name its line"
                .into(),
        );
    }
    warnings
}

/// The oncegate interfaces among the names, without package and version, and the other names.
fn interfaces(names: &[String]) -> (Vec<&str>, Vec<&str>) {
    let ours = |name: &&String| name.starts_with("oncegate:policy/");
    let short = |name: &'_ String| -> usize { name.find('@').unwrap_or(name.len()) };
    let mine = names.iter().filter(ours).map(|name| &name["oncegate:policy/".len()..short(name)]).collect();
    let others = names.iter().filter(|name| !ours(name)).map(String::as_str).collect();
    (mine, others)
}

fn text(
    component: &str,
    policy: &Policy,
    anatomy: &Anatomy,
    plan: &Result<Plan, &LoadError>,
    warnings: &[String],
) -> String {
    let (exports, extra) = interfaces(&anatomy.exports);
    let (imports, _) = interfaces(&anatomy.imports);
    let permissions: Vec<&str> = imports.into_iter().filter(|name| *name != "types").collect();
    let list = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let mut lines = vec![
        ("size", words::bytes(anatomy.size)),
        ("sha256", anatomy.sha256.clone()),
        ("exports", list(&exports)),
        ("permissions", list(&permissions)),
    ];
    if !extra.is_empty() {
        lines.push(("never called", extra.join(", ")));
    }
    lines.push((
        "vectors",
        match &anatomy.vectors {
            None => "none".into(),
            Some(Ok(count)) => count.to_string(),
            Some(Err(fault)) => fault.to_string(),
        },
    ));
    let hook = |(name, count): &(&str, usize)| format!("{name} ({count})");
    let hooks: Vec<String> = anatomy.hooks.iter().map(hook).collect();
    lines.push(("hooks", format!("{}, with the vectors of each", hooks.join(", "))));
    lines.push(("settings", schema_words(anatomy.settings_schema.as_ref())));
    let mut text = format!("{component}\n{}", words::columns(&lines));
    match plan {
        Ok(plan) => {
            text.push_str(&format!(
                "\nunder the settings {}\n{}",
                words::settings(policy),
                words::columns(&words::plan(plan))
            ));
        }
        Err(error) => text.push_str(&format!("\nit would not load: {}\n", error.fault)),
    }
    if !warnings.is_empty() {
        text.push('\n');
    }
    warnings.iter().for_each(|warning| text.push_str(&format!("warning: {warning}\n")));
    text
}

/// The names and types of the settings, on one line.
fn schema_words(schema: Option<&Value>) -> String {
    let Some(schema) = schema else { return "no schema".into() };
    let properties = schema["properties"].as_object().into_iter().flatten();
    let words = properties.map(|(name, property)| {
        let kind = match (property["type"].as_str(), property["enum"].as_array()) {
            (Some(kind), _) => format!(" ({kind})"),
            (None, Some(values)) => {
                format!(" ({})", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))
            }
            (None, None) => String::new(),
        };
        format!("{name}{kind}")
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

fn value(
    component: &str,
    policy: &Policy,
    anatomy: &Anatomy,
    plan: &Result<Plan, &LoadError>,
    warnings: &[String],
) -> Value {
    let vectors = match &anatomy.vectors {
        None => Value::Null,
        Some(Ok(count)) => json!(count),
        Some(Err(fault)) => json!(fault.to_string()),
    };
    json!({
        "ok": plan.is_ok(),
        "component": component,
        "size": anatomy.size,
        "sha256": anatomy.sha256,
        "exports": anatomy.exports,
        "imports": anatomy.imports,
        "vectors": vectors,
        "hooks": anatomy.hooks.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect::<serde_json::Map<_, _>>(),
        "settings_schema": anatomy.settings_schema,
        "settings": words::settings(policy),
        "plan": plan.as_ref().ok().map(words::plan_json),
        "problem": plan.as_ref().err().map(|error| error.fault.to_string()),
        "warnings": warnings,
    })
}
