//! `oncegate policy run`

use super::{Done, Output, Request, Subject, Trouble, say, words};
use crate::policy::workbench::Answer;
use crate::policy::{Engine, Part, Verdict};
use serde_json::{Value, json};

/// Ask a policy about one request
///
/// Says the plan, the verdict, the parts of the key with what they stand for, the operation's id,
/// the fingerprint, what was logged and how long it took. Ids and fingerprints are those of a
/// ledger whose secret is zeros: two requests with one id here are one operation everywhere, but a
/// real ledger's ids are others.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate policy run orders --path /charges --header 'Idempotency-Key: 1' --body '{\"amount\":100}'\n  \
    oncegate policy run builtin:idempotency-key --settings '{ required = true }'\n  \
    oncegate policy run orders.wasm --request request.http --principal alice --output json\n\n\
    Code 0: it said something, whatever it was. Code 1: it failed, or can't be loaded.")]
pub(super) struct Args {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    request: Request,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

pub(super) fn run(args: &Args, env: Vec<(String, String)>) -> Done {
    let sample = args.request.sample()?;
    let policy = args.subject.settings.policy(&args.subject.component, env)?;
    let engine = Engine::for_author().map_err(|error| Trouble::new(error.to_string(), ""))?;
    let failed = |why: String| Trouble::new(why, "`oncegate policy inspect` says more of the component");
    let workbench = engine.workbench(&policy, Some(policy.settings.clone()));
    let workbench = workbench.map_err(|error| failed(error.to_string()))?;
    let answer = workbench.run(&sample).map_err(|fault| failed(fault.to_string()))?;
    match args.output {
        Output::Text => say::out(text(&answer)),
        Output::Json => say::json(&value(&answer)),
    }
    Ok(!matches!(answer.verdict, Some(Err(_))))
}

fn text(answer: &Answer) -> String {
    let mut text = format!("plan\n{}\nverdict\n", words::columns(&words::plan(&answer.plan)));
    text.push_str(&match (&answer.verdict, &answer.unshowable) {
        (_, Some(why)) => format!("  not asked: {why} (a client gets 400 bad-request)\n"),
        (None, None) => {
            "  not asked: the plan doesn't name the method; the request passes unguarded\n".into()
        }
        (Some(Err(failure)), _) => format!("  {}\n", words::failure(failure)),
        (Some(Ok(Verdict::Bypass(reason))), _) => format!("  bypass: {reason}\n"),
        (Some(Ok(Verdict::Refuse(refusal))), _) => {
            format!("  refuse: {} {}\n  {}\n", refusal.status, refusal.code, refusal.detail)
        }
        (Some(Ok(Verdict::Guard(guard))), _) => {
            format!("  guard, with the fingerprint {}\n", words::fingerprint(&guard.fingerprint))
        }
    });
    if !answer.key.is_empty() {
        text.push_str("\nkey\n");
    }
    for (part, stands_for) in &answer.key {
        let stands_for = stands_for.as_ref().map(|value| format!(" = {value:?}")).unwrap_or_default();
        text.push_str(&format!("  {}{stands_for}\n", words::part(part)));
    }
    let mut lines = Vec::new();
    lines.extend(answer.operation.clone().map(|id| ("operation", id)));
    lines.extend(answer.fingerprint.clone().map(|hash| ("fingerprint", hash)));
    lines.extend(answer.log.iter().map(|line| ("log", line.clone())));
    lines.push((
        "time",
        format!("{:.1} us, on an instance that was just made", answer.time.as_secs_f64() * 1e6),
    ));
    text.push('\n');
    text.push_str(&words::columns(&lines));
    text
}

fn value(answer: &Answer) -> Value {
    let key = |(part, stands_for): &(Part, Option<String>)| json!({ "part": words::part(part), "stands_for": stands_for });
    let verdict = match &answer.verdict {
        None => Value::Null,
        Some(Ok(verdict)) => words::verdict_json(verdict),
        Some(Err(failure)) => json!({ "failed": failure.to_string() }),
    };
    json!({
        "ok": !matches!(answer.verdict, Some(Err(_))),
        "plan": words::plan_json(&answer.plan),
        "asked": answer.verdict.is_some(),
        "verdict": verdict,
        "unshowable": answer.unshowable,
        "key": answer.key.iter().map(key).collect::<Vec<_>>(),
        "operation": answer.operation,
        "fingerprint": answer.fingerprint,
        "log": answer.log,
        "time_us": answer.time.as_secs_f64() * 1e6,
    })
}
