//! `oncegate policy run`

use super::flags::{ComponentFlags, RequestFlags};
use super::trouble::{Done, Trouble, read};
use super::words;
use crate::cli::say::{self, Output};
use crate::policy::author::{DecideReport, HookInputs, HookOutcome, HookReport};
use crate::policy::sample_answer::SampleAnswer;
use crate::policy::{Engine, Part, Verdict};
use oncegate_core::problem::Code;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Ask a policy about one request, and what its other hooks make of answers and problems
///
/// Says the plan, the verdict, the parts of the key with what they stand for, the operation's id,
/// the fingerprint, what was logged and how long it took. Ids and fingerprints are those of a
/// ledger whose secret is zeros: two requests with one id here are one operation everywhere, but a
/// real ledger's ids are others. Hooks that the component exports are shown what is given: --answer
/// to `settle` and `present`, each --found to `reading`, --problem to `explain`; `question` is asked
/// wherever it is there. What they say is written as test vectors have it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate policy run orders --path /charges --header 'Idempotency-Key: 1' \\\n      \
    --body '{\"amount\":100}'\n  \
    oncegate policy run builtin:idempotency-key --settings '{ required = true }'\n  \
    oncegate policy run orders.wasm --request request.http --principal alice \\\n      \
    --output json\n  \
    printf 'HTTP/1.1 200 OK\\n\\n{\"status\":\"lost\"}' | oncegate policy run payments \\\n      \
    --header 'Idempotency-Key: 1' --answer -\n  \
    oncegate policy run payments --header 'Idempotency-Key: 1' \\\n      \
    --found list.http --found payment.http\n  \
    oncegate policy run json-rpc --request call.http --problem in-flight\n\n\
    Code 0: it said something, whatever it was. Code 1: it failed, or can't be \
    loaded.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    subject: ComponentFlags,
    #[command(flatten)]
    request: RequestFlags,
    #[command(flatten)]
    shown: ShownFlags,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

/// What hooks beside `decide` are shown.
#[derive(Clone, Debug, clap::Args)]
struct ShownFlags {
    /// A file with the upstream's answer to the request as HTTP/1.1 text, for settle and present; `-`:
    /// standard input
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
    /// The answer was cut off where the file ends
    #[arg(long, requires = "answer")]
    cut: bool,
    /// A file with the upstream's answer to the policy's question, for reading; again: to the next one
    #[arg(long, value_name = "FILE")]
    found: Vec<PathBuf>,
    /// One of the gateway's own answers, by its code, for explain
    #[arg(long, value_name = "CODE", value_parser = clap::builder::PossibleValuesParser::new(Code::names()))]
    problem: Option<String>,
    /// The memo of the operation's record, where it isn't the verdict's
    #[arg(long, value_name = "TEXT")]
    memo: Option<String>,
}

impl ShownFlags {
    fn read(&self) -> Result<HookInputs, Trouble> {
        let mut answer = self.answer.as_deref().map(answer).transpose()?;
        if let Some(answer) = &mut answer {
            answer.complete = !self.cut;
        }
        let found = self.found.iter().map(|file| self::answer(file)).collect::<Result<_, _>>()?;
        Ok(HookInputs { answer, found, problem: self.problem.clone(), memo: self.memo.clone() })
    }
}

fn answer(file: &Path) -> Result<SampleAnswer, Trouble> {
    SampleAnswer::parse(&read(file)?).map_err(|why| {
        Trouble::usage(
            format!("the answer in {} can't be read: {why}", file.display()),
            "write it like \"HTTP/1.1 200 OK\", a line for each field, an empty line, the body",
        )
    })
}

pub(super) fn run(args: &RunArgs, env: Vec<(String, String)>) -> Done {
    let sample = args.request.sample_to_ask()?;
    let shown = args.shown.read()?;
    let policy = args.subject.settings.policy(&args.subject.component, env)?;
    let engine = Engine::for_author().map_err(|error| Trouble::new(error.to_string(), ""))?;
    let failed = |why: String| Trouble::new(why, "`oncegate policy inspect` says more of the component");
    let workbench = engine.workbench(&policy, Some(policy.settings.clone()));
    let workbench = workbench.map_err(|error| failed(error.to_string()))?;
    let answer = workbench.run(&sample).map_err(|fault| failed(fault.to_string()))?;
    let reports =
        workbench.call_hooks(&sample, &answer, &shown).map_err(|fault| failed(fault.to_string()))?;
    let fine = !matches!(answer.verdict, Some(Err(_)))
        && !reports.iter().any(|report| matches!(report.outcome, HookOutcome::Called(Err(_))));
    match args.output {
        Output::Text => say::out(text(&answer) + &hooks_text(&reports)),
        Output::Json => say::json(&value(&answer, &reports, fine)),
    }
    Ok(fine)
}

fn hooks_text(reports: &[HookReport]) -> String {
    let mut text = String::new();
    for HookReport { hook, outcome, log, time } in reports {
        text.push_str(&format!("\n{}\n", hook.name()));
        match outcome {
            HookOutcome::NotCalled(why) => text.push_str(&format!("  not asked: {why}\n")),
            HookOutcome::Called(Err(failure)) => text.push_str(&format!("  the policy failed: {failure}\n")),
            HookOutcome::Called(Ok(result)) => {
                text.push_str(&format!("  {} ({:.1} us)\n", result.json(), time.as_secs_f64() * 1e6));
            }
        }
        log.iter().for_each(|line| text.push_str(&format!("  log  {line}\n")));
    }
    text
}

fn hook_json(HookReport { hook, outcome, log, time }: &HookReport) -> Value {
    let mut value = json!({ "hook": hook.name() });
    match outcome {
        HookOutcome::NotCalled(why) => value["not_asked"] = why.as_str().into(),
        HookOutcome::Called(Err(failure)) => value["failed"] = failure.to_string().into(),
        HookOutcome::Called(Ok(result)) => value["said"] = result.json(),
    }
    value["log"] = json!(log);
    value["time_us"] = json!(time.as_secs_f64() * 1e6);
    value
}

fn text(answer: &DecideReport) -> String {
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

fn value(answer: &DecideReport, reports: &[HookReport], fine: bool) -> Value {
    let key = |(part, stands_for): &(Part, Option<String>)| json!({ "part": words::part(part), "stands_for": stands_for });
    let verdict = match &answer.verdict {
        None => Value::Null,
        Some(Ok(verdict)) => words::verdict_json(verdict),
        Some(Err(failure)) => json!({ "failed": failure.to_string() }),
    };
    json!({
        "ok": fine,
        "plan": words::plan_json(&answer.plan),
        "asked": answer.verdict.is_some(),
        "verdict": verdict,
        "unshowable": answer.unshowable,
        "key": answer.key.iter().map(key).collect::<Vec<_>>(),
        "operation": answer.operation,
        "fingerprint": answer.fingerprint,
        "log": answer.log,
        "time_us": answer.time.as_secs_f64() * 1e6,
        "hooks": reports.iter().map(hook_json).collect::<Vec<_>>(),
    })
}
