//! `oncegate policy test`

use super::flags::ComponentFlags;
use super::trouble::{Done, Trouble, read};
use crate::cli::say::{self, Output};
use crate::policy::Engine;
use crate::policy::author::{Check, PromiseReport};
use serde_json::json;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

/// Hold a policy against its promises
///
/// That it answers at all; its test vectors, those of the other hooks too, each on a fresh and on a
/// used instance; the requests that the gateway itself makes at each load; the same verdicts and words in any order; what must not make it another operation
/// (the order and case of header fields, unrelated ones, the spaces and the order of members in JSON)
/// and what does; and whether a setting changes keys without changing the key-schema, after which a
/// gateway would run operations a second time.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate policy test orders\n  \
    oncegate policy test orders.wasm --vectors vectors.json\n  \
    oncegate policy test builtin:idempotency-key \\\n      \
    --settings '{ from = [\"body:/id\"] }'\n      \
    the requests of the vectors, under these settings\n\n\
    Code 0: no promise is broken, as far as there are test vectors to tell. Code 1: one is \
    broken, and the report says which and by what.")]
pub(super) struct TestArgs {
    #[command(flatten)]
    subject: ComponentFlags,
    /// Other test vectors than those in the component
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
    /// Orders the shuffled passes; without one each run has its own
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

pub(super) fn run(args: &TestArgs, env: Vec<(String, String)>) -> Done {
    let ComponentFlags { component, settings } = &args.subject;
    let policy = settings.policy(component, env)?;
    let engine = Engine::for_author().map_err(|error| Trouble::new(error.to_string(), ""))?;
    let given = settings.settings.is_some().then(|| policy.settings.clone());
    let failed = |why: String| Trouble::new(why, "`oncegate policy inspect` says more of the component");
    let mut workbench = engine.workbench(&policy, given).map_err(|error| failed(error.to_string()))?;
    if let Some(file) = &args.vectors {
        let section = read(file)?;
        workbench.use_vectors(&section).map_err(|fault| {
            Trouble::new(format!("{}: {fault}", file.display()), "plugins/README.md has the format")
        })?;
    }
    workbench.plan().map_err(|fault| failed(fault.to_string()))?;
    let report = workbench.report(args.seed.unwrap_or_else(seed));
    match args.output {
        Output::Text => say::out(text(component, &report)),
        Output::Json => {
            let (ok, tested) = (report.is_fine(), report.is_tested);
            say::json(
                &json!({ "ok": ok, "tested": tested, "component": component, "checks": report.checks }),
            );
        }
    }
    Ok(report.is_fine())
}

fn seed() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |since| u64::from(since.subsec_nanos()))
}

fn text(component: &str, report: &PromiseReport) -> String {
    let mut text = format!("{component}\n");
    for check in &report.checks {
        let word = if check.faults.is_empty() { "ok    " } else { "FAILED" };
        let Check { name, scope, faults, warnings, facts } = check;
        text.push_str(&format!("\n{word} {name}: {scope}\n"));
        faults.iter().for_each(|fault| text.push_str(&format!("       - {fault}\n")));
        warnings.iter().for_each(|warning| text.push_str(&format!("       warning: {warning}\n")));
        facts.iter().for_each(|fact| text.push_str(&format!("       {fact}\n")));
    }
    let faults: usize = report.checks.iter().map(|check| check.faults.len()).sum();
    text.push_str(&match faults {
        0 if report.is_tested => "\nevery promise is kept\n".to_owned(),
        0 => "\nno test vectors: nothing was tried but the gateway's own requests, and no promise is known to be kept\n"
            .to_owned(),
        1 => "\n1 promise is broken\n".to_owned(),
        more => format!("\n{more} promises are broken\n"),
    });
    text
}
