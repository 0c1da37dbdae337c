//! `oncegate ops resolve` and `forget`: by id, or for all operations that a filter takes.

use super::filter::{FilterArgs, OPERATIONS_MAX, OperationList, id, line, load, version};
use crate::admin::api::{GivenReply, OperationDocument, ResolveRequest};
use crate::admin::check_reason;
use crate::cli::client::{AdminClient, CommandFailure};
use crate::cli::say::{self, Output, quoted};
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
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// With an ID: the version that `ops list` or `ops show` showed; refused if the operation has changed since
    #[arg(long, value_name = "NUMBER", requires = "id")]
    version: Option<u64>,
    /// With a filter: do it to what was shown; the word is the one behind that list. Refused if the filter takes
    /// others by now, or one of them has changed
    #[arg(long, value_name = "WORD", conflicts_with = "id")]
    yes: Option<String>,
    #[command(flatten)]
    gateway: AdminClient,
}

/// Say how an operation of unknown outcome ended
///
/// Find out first, at the service or its database. `not-applied` frees the key, and the next attempt runs. A service
/// that stood still may read the first attempt yet: see that it answers others again, or start it anew, before.
/// `completed` and `consumed` say that it happened: duplicates then get the answer that you hand in, or are
/// told that it is consumed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate ops resolve ID --version 43 --outcome not-applied \\\n      \
    --reason 'no such charge at the bank'\n  \
    oncegate ops resolve ID --version 43 --outcome completed --status 201 \\\n      \
    --header 'Content-Type: application/json' --body-file charge.json \\\n      \
    --reason 'ch_1'\n  \
    oncegate ops resolve --route charges --older-than 1h --outcome not-applied \\\n      \
    --reason 'restored from backup'\n      \
    shows which, and the word with which --yes does it\n\n\
    The version is the one that `ops list` or `ops show` showed you. Without it nothing \
    is changed. `ops show` tells the reason from then on.")]
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
    oncegate ops forget ID --version 43 --reason 'the customer wants it once more'\n  \
    oncegate ops forget --route tests --reason 'a test run'\n      \
    shows which, and the word with which --yes does it\n\n\
    The version is the one that `ops list` or `ops show` showed you. Without it nothing \
    is changed.")]
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
        self.change.each(
            &Verb { typed: self.typed(outcome), states: &["unknown"] },
            self.output,
            |id, version| {
                let wanted = ResolveRequest {
                    outcome: outcome.to_owned(),
                    version: version.to_owned(),
                    reason: reason.clone(),
                    reply: reply.clone(),
                };
                gateway.ask(Method::POST, &format!("/v1/operations/{id}/resolve"), Some(&wanted))?.success()
            },
        )
    }

    /// The command as it was typed, but for what every change has.
    fn typed(&self, outcome: &str) -> String {
        let mut typed = format!("resolve --outcome {outcome}");
        let status = self.status.map(|status| status.to_string());
        let fields = self.header.iter().map(|(name, value)| ("--header", format!("{name}: {value}")));
        let file = self.body_file.iter().map(|file| ("--body-file", file.display().to_string()));
        for (flag, value) in status.map(|status| ("--status", status)).into_iter().chain(fields).chain(file) {
            typed.push_str(&format!(" {flag} {}", quoted(&value)));
        }
        typed
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
        if !body.is_empty() && matches!(status, 204 | 304) {
            return Err(CommandFailure::usage(
                format!("an answer with the status {status} has no body"),
                "leave --body-file out, or give another --status",
            ));
        }
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
        let verb = Verb { typed: "forget".to_owned(), states: &["completed", "consumed", "expired"] };
        self.change.each(&verb, self.output, |id, version| {
            let target = format!("/v1/operations/{id}?version={version}&reason={reason}");
            gateway.ask(Method::DELETE, &target, None::<&()>)?.success()
        })
    }
}

/// What is done, and to operations in which states.
struct Verb {
    typed: String,
    states: &'static [&'static str],
}

impl ChangeArgs {
    /// Changes the one operation, or all that the filter takes and that are in one of the verb's states.
    fn each(
        &self,
        verb: &Verb,
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
                let Some(version) = self.version else { return Err(self.unseen(verb, id)) };
                let now = act(&id.to_string(), &version.to_string())?;
                let left_out = match now.left_out.as_slice() {
                    [] => String::new(),
                    names => format!("; no answer keeps these fields: {}", names.join(", ")),
                };
                let words = || format!("{id}  is {} now{left_out}\n", now.state);
                say::tell(output, words, || json!(now));
                Ok(ExitCode::SUCCESS)
            }
            (None, false) => self.all(verb, output, act),
        }
    }

    /// Nobody knows which attempt a word without a version is about. So the operation is shown, and the command
    /// with its version, for the operator to decide by.
    fn unseen(&self, verb: &Verb, id: OperationId) -> CommandFailure {
        let shown = match load(&self.gateway, id) {
            Ok(shown) => shown,
            Err(failure) => return failure,
        };
        if !verb.states.contains(&&*shown.state) {
            return CommandFailure::new(
                format!(
                    "nothing is changed: this can't be done to what is {}\n{}",
                    shown.state,
                    line(&shown)
                ),
                format!("it is for operations that are {}", verb.states.join(" or ")),
            );
        }
        let Verb { typed, .. } = verb;
        let (reason, gateway) = (quoted(&self.reason), self.gateway.flags());
        CommandFailure::usage(
            format!("nothing is changed without --version. This is the operation now:\n{}", line(&shown)),
            format!(
                "if this attempt is the one that you mean, type\n  oncegate ops {typed} --reason {reason}{gateway} --version {} {id}",
                version(&shown)
            ),
        )
    }

    fn all(
        &self,
        verb: &Verb,
        output: Output,
        act: impl Fn(&str, &str) -> Result<OperationDocument, CommandFailure>,
    ) -> Result<ExitCode, CommandFailure> {
        let states = verb.states;
        if let Some(state) = self.filter.state.as_deref().filter(|state| !states.contains(state)) {
            return Err(CommandFailure::usage(
                format!("this can't be done to operations in the state {state:?}"),
                format!("leave --state out, or say {}", states.join(" or ")),
            ));
        }
        let mut listed = self.filter.all(&self.gateway, OPERATIONS_MAX)?;
        listed.operations.retain(|operation| states.contains(&&*operation.state));
        let word = word_for(&listed.operations);
        if self.yes.as_ref() != Some(&word) {
            would(&listed, &word, self.yes.is_some(), output);
            return Ok(ExitCode::FAILURE);
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

/// A word for these operations at these versions. Another operation, or a change of one, makes another word.
fn word_for(operations: &[OperationDocument]) -> String {
    let mut all: Vec<(&str, String)> =
        operations.iter().map(|operation| (&*operation.operation, version(operation))).collect();
    all.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for (id, version) in all {
        hasher.update(format!("{id} {version}\n").as_bytes());
    }
    hasher.finalize().to_hex()[..WORD_DIGITS].to_owned()
}

/// Enough that no other list has the same word by chance.
const WORD_DIGITS: usize = 12;

/// Shows the operations that `--yes` would change, and the word for them.
fn would(listed: &OperationList, word: &str, is_stale: bool, output: Output) {
    let operations = &listed.operations;
    let words = || {
        let lines: String = operations.iter().map(line).collect();
        let unreadable = listed.unreadable_lines();
        let count = operations.len();
        let stale = match is_stale {
            true => "this is not what was shown behind that word: look again. ",
            false => "",
        };
        format!("{lines}{unreadable}{stale}{count} operations; nothing is changed without --yes {word}\n")
    };
    let document = || json!({ "would": operations, "yes": word, "stale": is_stale, "done": [] });
    say::tell(output, words, document);
}

fn reason(text: &str) -> Result<String, String> {
    check_reason(text).map(|()| text.to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').ok_or("a field is written like 'Content-Type: application/json'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
