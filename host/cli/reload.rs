//! `oncegate reload`

use super::client::{self, AdminAnswer, AdminClient, CommandFailure};
use super::say::{self, Output};
use crate::admin::api::{LoadStep, ReloadReport, ReloadRequest};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
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
    though operations that the ledger knows may run again; the answer says\n      \
    which\n  \
    oncegate reload --admin 10.0.0.5:8081 --token-file /run/secrets/oncegate\n\n\
    Code 0: the new ones are active. Code 1: the old ones still are. Code 2: usage.")]
pub(super) struct ReloadArgs {
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

pub(super) fn run(args: &ReloadArgs) -> ExitCode {
    match ask(args) {
        Ok(said) => tell(said, args),
        Err(failure) => failure.tell(args.output),
    }
}

fn ask(args: &ReloadArgs) -> Result<AdminAnswer, CommandFailure> {
    let path = match &args.policy {
        None => "/v1/reload".to_owned(),
        Some(name) => {
            let verb = if args.rollback { "rollback" } else { "reload" };
            format!("/v1/policies/{}/{verb}", utf8_percent_encode(name, NON_ALPHANUMERIC))
        }
    };
    let consent = args.accept_duplicates.then_some(ReloadRequest { accept_duplicates: true });
    args.gateway.ask(Method::POST, &path, consent.as_ref())
}

/// Reports the gateway's answer.
fn tell(said: AdminAnswer, args: &ReloadArgs) -> ExitCode {
    let output = args.output;
    let code = if said.status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    match (output, &said.document) {
        (Output::Json, Some(document)) => {
            let mut document = document.clone();
            document["ok"] = said.status.is_success().into();
            say::json(&document);
        }
        (Output::Json, None) => say::json(&json!({ "ok": false, "detail": client::not_ours(said.status) })),
        (Output::Text, _) => {
            let help = said
                .problem()
                .map(|problem| how_far(&problem.steps, problem.step.as_deref()))
                .unwrap_or_default();
            match said.success() {
                Ok(done) => say::out(report(&done, if args.rollback { "brought back" } else { "new" })),
                Err(failure) if help.is_empty() => return failure.tell(output),
                Err(failure) => return CommandFailure { help, ..failure }.tell(output),
            }
        }
    }
    code
}

/// The progress of a load, in a line: `it came through read, digest, and failed at inspect`.
fn how_far(steps: &[LoadStep], refused_at: Option<&str>) -> String {
    let through: Vec<&str> = steps.iter().filter(|step| step.ok).map(|step| &*step.step).collect();
    match (through.as_slice(), steps.iter().find(|step| !step.ok)) {
        ([], Some(failed)) => format!("it failed at its first step, {}", failed.step),
        (_, Some(failed)) => {
            format!("it came through {}, and failed at {}", through.join(", "), failed.step)
        }
        (_, None) => refused_at.map_or_else(String::new, |step| format!("it failed at {step}")),
    }
}

/// A line for each policy, and for each warning. `changed`: the word for a policy whose generation is another now.
fn report(done: &ReloadReport, changed: &str) -> String {
    let mut lines = String::from("reloaded\n");
    for policy in &done.policies {
        let change = if policy.changed { changed } else { "as before" };
        let space = policy.key_space.map_or_else(String::new, |space| format!(", key space {space}"));
        let changes = match policy.changes.as_slice() {
            [] => String::new(),
            changes => format!(" (changed: {})", changes.join(", ")),
        };
        let (name, generation) = (&policy.name, policy.generation);
        lines.push_str(&format!("  {name}: generation {generation}, {change}{space}{changes}\n"));
        if !policy.steps.is_empty() {
            let steps: Vec<&str> = policy.steps.iter().map(|step| &*step.step).collect();
            lines.push_str(&format!("    it came through {}\n", steps.join(", ")));
        }
    }
    for warning in &done.warnings {
        lines.push_str(&format!("warning: {warning}\n"));
    }
    lines
}
