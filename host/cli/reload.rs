//! `oncegate reload`

use super::client::{self, AdminAnswer, AdminClient, CommandFailure};
use super::{Output, say};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Have a running gateway read its configuration and its policies again
///
/// All or nothing: if anything is wrong, the gateway goes on with what it has and this says why.
/// Requests in flight keep the policy they began with. A change of the files and SIGHUP do the same.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate reload\n  \
    oncegate reload --policy payments\n      \
    only this policy's component and settings\n  \
    oncegate reload --policy payments --rollback\n      \
    the generation before comes back\n  \
    oncegate reload --accept-duplicates\n      \
    though operations that the ledger knows may run again; the answer says which\n  \
    oncegate reload --admin 10.0.0.5:8081 --token-file /run/secrets/oncegate\n\n\
    Code 0: the new ones are active. Code 1: the old ones still are.")]
pub(super) struct Args {
    #[command(flatten)]
    gateway: AdminClient,
    /// Only this policy
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Bring back the generation that was active before this policy's present one
    #[arg(long, requires = "policy")]
    rollback: bool,
    /// Give up records that would lose their keys by what changed, this once: their operations may run again
    #[arg(long, conflicts_with = "rollback")]
    accept_duplicates: bool,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(args: &Args) -> ExitCode {
    match ask(args) {
        Ok(said) => tell(said, args.output),
        Err(failure) => failure.tell(args.output),
    }
}

fn ask(args: &Args) -> Result<AdminAnswer, CommandFailure> {
    let path = match &args.policy {
        None => "/v1/reload".to_owned(),
        Some(name) => {
            let verb = if args.rollback { "rollback" } else { "reload" };
            format!("/v1/policies/{}/{verb}", utf8_percent_encode(name, NON_ALPHANUMERIC))
        }
    };
    let consent = args.accept_duplicates.then(|| json!({ "accept_duplicates": true }));
    args.gateway.ask(Method::POST, &path, consent.as_ref())
}

/// Says what the gateway said.
fn tell(said: AdminAnswer, output: Output) -> ExitCode {
    let code = if said.status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    match (output, &said.document) {
        (Output::Json, Some(document)) => say::json(document),
        (Output::Json, None) => say::json(&json!({ "ok": false, "detail": client::not_ours(said.status) })),
        (Output::Text, document) => {
            let help = document.as_ref().map(steps).unwrap_or_default();
            match said.success() {
                Ok(document) => say::out(report(&document)),
                Err(failure) if help.is_empty() => return failure.tell(output),
                Err(failure) => return CommandFailure { help, ..failure }.tell(output),
            }
        }
    }
    code
}

/// How far the load came, in a line: `it came through read, digest, and failed at inspect`.
fn steps(said: &Value) -> String {
    let steps = said.get("steps").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let name = |step: &Value| step.get("step").and_then(Value::as_str).unwrap_or_default().to_owned();
    let passed = |step: &&Value| step.get("ok").and_then(Value::as_bool) == Some(true);
    let through: Vec<String> = steps.iter().filter(passed).map(name).collect();
    match (through.as_slice(), steps.iter().find(|step| !passed(step))) {
        ([], Some(failed)) => format!("it failed at its first step, {}", name(failed)),
        (_, Some(failed)) => {
            format!("it came through {}, and failed at {}", through.join(", "), name(failed))
        }
        (_, None) => String::new(),
    }
}

/// A line for each policy; what else there is, as JSON.
fn report(said: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(policies) = said.get("policies").and_then(Value::as_array) else { return format!("{said:#}\n") };
    let mut lines = String::from("reloaded\n");
    for policy in policies {
        let name = text(policy, "name").unwrap_or_default();
        let generation = policy.get("generation").map(ToString::to_string).unwrap_or_default();
        let change = match policy.get("changed").and_then(Value::as_bool) {
            Some(true) => "new",
            Some(false) | None => "as before",
        };
        lines.push_str(&format!("  {name}: generation {generation}, {change}\n"));
    }
    for warning in said.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        lines.push_str(&format!("warning: {}\n", warning.as_str().unwrap_or_default()));
    }
    lines
}
