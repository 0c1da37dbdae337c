//! `oncegate ops list` and `show`.

use super::filter::{FilterArgs, OPERATIONS_MAX, find, line, load, prefix};
use crate::cli::client::{AdminClient, CommandFailure};
use crate::cli::say::{self, Output};
use serde_json::{Value, json};
use std::process::ExitCode;

/// List operations, a line each, the newest first
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate ops list --state unknown\n  \
    oncegate ops list --since 2h\n  \
    oncegate ops list --route charges --older-than 24h --output json \\\n      \
    | jq '.operations[].operation'")]
pub(super) struct List {
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=OPERATIONS_MAX as i64))]
    limit: u32,
    #[command(flatten)]
    gateway: AdminClient,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

impl List {
    pub(super) fn run(&self) -> Result<ExitCode, CommandFailure> {
        let limit = usize::try_from(self.limit).unwrap_or(OPERATIONS_MAX);
        let listed = self.filter.all(&self.gateway, limit)?;
        let operations = &listed.operations;
        let words = || {
            let mut words: String = operations.iter().map(line).collect();
            words.push_str(&listed.unreadable_lines());
            match (operations.len(), listed.may_be_more) {
                (0, _) if !listed.unreadable.is_empty() => {}
                (0, _) if self.filter.is_empty() => words.push_str("the ledger has no operations\n"),
                (0, _) => words.push_str("the filter takes no operation that the ledger has\n"),
                (shown, true) => words.push_str(&format!("{shown} of more, and not the newest of all: --since leaves out what is older, --limit shows more\n")),
                (_, false) => {}
            }
            words
        };
        let document = || json!({ "operations": operations, "unreadable": listed.unreadable, "more": listed.may_be_more });
        say::tell(self.output, words, document);
        Ok(ExitCode::SUCCESS)
    }
}

/// Show all that is known of an operation, but for keys, bodies and credentials
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  oncegate ops show ID\n\n\
    The version that it shows is the one that `ops resolve` and `ops forget` want.")]
pub(super) struct Show {
    /// The operation's id, as `Oncegate-Operation` and `ops list` show it; the first eight digits or more will do
    #[arg(value_name = "ID", value_parser = prefix)]
    id: String,
    #[command(flatten)]
    gateway: AdminClient,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

impl Show {
    pub(super) fn run(&self) -> Result<ExitCode, CommandFailure> {
        let operation = json!(load(&self.gateway, find(&self.gateway, &self.id)?)?);
        say::tell(self.output, || members(&operation), || operation.clone());
        Ok(ExitCode::SUCCESS)
    }
}

/// A line for each known member of an operation.
fn members(operation: &Value) -> String {
    let known = operation.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    known.map(|(name, value)| format!("{:<16} {}\n", name.replace('_', " "), word(value))).collect()
}
