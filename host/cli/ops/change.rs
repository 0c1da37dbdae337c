//! `oncegate ops resolve` and `forget`: by id, or for all operations that a filter takes.

use super::filter::{FilterArgs, OPERATIONS_MAX, OperationList, id, line, load, version};
use crate::admin::api::{GivenReply, OperationDocument, ResolveRequest};
use crate::cli::client::{AdminClient, CommandFailure};
use crate::cli::say::{self, Output};
use crate::config::io_words;
use base64::Engine as _;
use http::Method;
use oncegate_core::OperationId;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is changed, and why.
#[derive(Clone, Debug, clap::Args)]
struct ChangeArgs {
    /// The operation's id; or a filter, for all that it takes
    #[arg(value_name = "ID", value_parser = id)]
    id: Option<OperationId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Why; the gateway logs it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The version that was shown: refused if the operation has changed since [default: as it is now]
    #[arg(long, value_name = "NUMBER", requires = "id")]
    version: Option<u64>,
    /// With a filter: do it, instead of showing what it would be done to
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    gateway: AdminClient,
}

/// Say how an operation of unknown outcome ended
///
/// Find out first, at the service or its database. `not-applied` frees the key, and the next attempt runs.
/// `completed` and `consumed` say that it happened: duplicates then get the answer that you hand in, or are
/// told that it is consumed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate ops resolve ID --outcome not-applied --reason 'no such charge at the bank'\n  \
    oncegate ops resolve ID --outcome completed --status 201 --header 'Content-Type: application/json' \\\n      \
    --body-file charge.json --reason 'charge ch_1 is there'\n  \
    oncegate ops resolve --route charges --older-than 1h --outcome not-applied --reason 'restored from backup'\n      \
    shows which; with --yes it is done")]
pub(super) struct Resolve {
    #[command(flatten)]
    change: ChangeArgs,
    /// How it ended
    #[arg(long, value_enum, value_name = "OUTCOME")]
    outcome: ResolveAs,
    /// Of `completed`: the status that duplicates get; of `consumed`: what it was, if you know it
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(200..=599))]
    status: Option<u16>,
    /// Of `completed`: a field that duplicates get; may be given several times
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// Of `completed`: a file with the body that duplicates get
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ResolveAs {
    /// It did not happen: the key is free.
    NotApplied,
    /// It happened; there is no answer to replay.
    Consumed,
    /// It happened; this is the answer to replay.
    Completed,
}

/// Have finished operations forgotten, so that their keys are free
///
/// A key that is forgotten runs again when it is sent again. Executing operations and those of unknown
/// outcome are never forgotten.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate ops forget ID --reason 'the customer wants it once more'\n  \
    oncegate ops forget --route tests --reason 'a test run'\n      \
    shows which; with --yes it is done")]
pub(super) struct Forget {
    #[command(flatten)]
    change: ChangeArgs,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

impl Resolve {
    pub(super) fn run(&self) -> Result<ExitCode, CommandFailure> {
        let reply = self.reply()?;
        let outcome = match self.outcome {
            ResolveAs::NotApplied => "not-applied",
            ResolveAs::Consumed => "consumed",
            ResolveAs::Completed => "completed",
        };
        if self.outcome == ResolveAs::Completed && self.change.id.is_none() {
            return Err(CommandFailure::usage(
                "one answer can't be that of many operations",
                "name one ID, or say `--outcome consumed` of them all",
            ));
        }
        let (gateway, reason) = (&self.change.gateway, &self.change.reason);
        self.change.each(&["unknown"], self.output, |id, version| {
            let wanted = ResolveRequest {
                outcome: outcome.to_owned(),
                version: version.to_owned(),
                reason: reason.clone(),
                reply: reply.clone(),
            };
            gateway.ask(Method::POST, &format!("/v1/operations/{id}/resolve"), Some(&wanted))?.success()
        })
    }

    fn reply(&self) -> Result<Option<GivenReply>, CommandFailure> {
        let more = !self.header.is_empty() || self.body_file.is_some();
        let status = match (self.outcome, self.status) {
            (ResolveAs::NotApplied, Some(_)) => {
                return Err(CommandFailure::usage("what did not happen has no status", "leave --status out"));
            }
            (ResolveAs::NotApplied | ResolveAs::Consumed, _) if more => {
                return Err(CommandFailure::usage(
                    "only `--outcome completed` has an answer to keep",
                    "leave --header and --body-file out, or say `--outcome completed`",
                ));
            }
            (ResolveAs::NotApplied | ResolveAs::Consumed, None) => return Ok(None),
            (ResolveAs::Completed, None) => {
                return Err(CommandFailure::usage(
                    "`--outcome completed` needs the answer that duplicates are to get",
                    "add --status, and --header and --body-file where there are any; or say `--outcome consumed`",
                ));
            }
            (ResolveAs::Consumed | ResolveAs::Completed, Some(status)) => status,
        };
        let body = match &self.body_file {
            None => Vec::new(),
            Some(file) => std::fs::read(file).map_err(|error| {
                CommandFailure::new(
                    format!("{} can't be read: {}", file.display(), io_words(&error)),
                    "name a file with the body",
                )
            })?,
        };
        Ok(Some(GivenReply {
            status,
            headers: self.header.clone(),
            body_base64: base64::engine::general_purpose::STANDARD.encode(body),
        }))
    }
}

impl Forget {
    pub(super) fn run(&self) -> Result<ExitCode, CommandFailure> {
        let gateway = &self.change.gateway;
        let reason = utf8_percent_encode(&self.change.reason, NON_ALPHANUMERIC).to_string();
        self.change.each(&["completed", "consumed", "expired"], self.output, |id, version| {
            let target = format!("/v1/operations/{id}?version={version}&reason={reason}");
            gateway.ask(Method::DELETE, &target, None::<&()>)?.success()
        })
    }
}

impl ChangeArgs {
    /// Changes the one operation, or all that the filter takes and that are in one of `states`.
    fn each(
        &self,
        states: &[&str],
        output: Output,
        act: impl Fn(&str, &str) -> Result<OperationDocument, CommandFailure>,
    ) -> Result<ExitCode, CommandFailure> {
        match (self.id, self.filter.is_empty()) {
            (Some(_), false) => {
                Err(CommandFailure::usage("an ID and a filter are both given", "give one of them"))
            }
            (None, true) => Err(CommandFailure::usage(
                "which operations?",
                "give an ID, or a filter: --state, --route, --older-than, --since",
            )),
            (Some(id), true) => {
                let shown = load(&self.gateway, id)?;
                let version = self.version.map_or_else(|| version(&shown), |version| version.to_string());
                let now = act(&shown.operation, &version)?;
                say::tell(output, || format!("{id}  is {} now\n", now.state), || json!(now));
                Ok(ExitCode::SUCCESS)
            }
            (None, false) => self.all(states, output, act),
        }
    }

    fn all(
        &self,
        states: &[&str],
        output: Output,
        act: impl Fn(&str, &str) -> Result<OperationDocument, CommandFailure>,
    ) -> Result<ExitCode, CommandFailure> {
        if let Some(state) = self.filter.state.as_deref().filter(|state| !states.contains(state)) {
            return Err(CommandFailure::usage(
                format!("this can't be done to operations in the state {state:?}"),
                format!("leave --state out, or say {}", states.join(" or ")),
            ));
        }
        let mut listed = self.filter.all(&self.gateway, OPERATIONS_MAX)?;
        listed.operations.retain(|operation| states.contains(&&*operation.state));
        if !self.yes {
            return Ok(would(&listed, output));
        }
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for operation in &listed.operations {
            let id = &operation.operation;
            match act(id, &version(operation)) {
                Ok(_) => done.push(id),
                Err(failure) => {
                    if output == Output::Text {
                        say::error(format!("{id}: {}", failure.problem), "");
                    }
                    failed.push(json!({ "operation": id, "detail": failure.problem }));
                }
            }
        }
        let words = || {
            let more = if listed.may_be_more { "; there may be more: run it again" } else { "" };
            format!("{} done, {} not done{more}\n", done.len(), failed.len())
        };
        say::tell(output, words, || json!({ "done": done, "failed": failed, "more": listed.may_be_more }));
        Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Shows the operations that `--yes` would change.
fn would(listed: &OperationList, output: Output) -> ExitCode {
    let operations = &listed.operations;
    let words = || {
        let lines: String = operations.iter().map(line).collect();
        let unreadable = listed.unreadable_lines();
        format!("{lines}{unreadable}{} operations; nothing is changed without --yes\n", operations.len())
    };
    say::tell(output, words, || json!({ "would": operations, "done": [] }));
    ExitCode::FAILURE
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').ok_or("a field is written like 'Content-Type: application/json'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
