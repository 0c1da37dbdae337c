//! `oncegate serve`

use super::say::{self, USAGE};
use super::{flags, log};
use crate::{observe, run};
use oncegate_core::LostRecords;
use std::process::ExitCode;

/// Run the gateway
///
/// Runs until SIGTERM, SIGINT or SIGQUIT; then it takes no new requests, ends the executions it has
/// and stops with code 0. A second one, a second later or more, stops it at once with code 1. SIGHUP
/// reloads the configuration and the policies, and so does a change of their files.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate serve --upstream http://127.0.0.1:9000\n      \
    guards each request that has an Idempotency-Key and changes something:\n      \
    not GET, HEAD, OPTIONS\n  \
    oncegate serve --upstream http://127.0.0.1:9000 \\\n      \
    --settings '{ from = [\"header:x-request-id\"] }'\n      \
    the key is in another header\n  \
    oncegate serve --config oncegate.toml --listen 0.0.0.0:8080\n      \
    flags win over ONCEGATE_ variables, and those over the file\n  \
    oncegate serve --config oncegate.toml --accept-duplicates\n      \
    starts though operations that the ledger knows may run again; its log says\n      \
    which\n\n\
    Code 0: it ended in order. Code 1: it did not start, or was ended with work left. \
    Code 2: usage.")]
pub(super) struct ServeArgs {
    #[command(flatten)]
    flags: flags::FlagArgs,
    /// Give up records that would lose their keys: this start, with another deployment, secret, principal or
    /// route, or without what made keys before. Their operations may run again
    #[arg(long)]
    accept_duplicates: bool,
    #[command(flatten)]
    log: log::LogArgs,
}

pub(super) fn run(args: ServeArgs, env: Vec<(String, String)>) -> ExitCode {
    if let Err(problem) = log::set_up(&args.log) {
        say::error(problem, "write a level, like info, or oncegate=debug,info");
        return ExitCode::from(USAGE);
    }
    let code = match run::serve(args.flags.source(env), LostRecords::giving_up(args.accept_duplicates)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.faults() {
                Some(faults) => say::error_to_log(faults),
                None => say::error_to_log(&error),
            }
            if error.is_usage() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    };
    observe::log::flush();
    code
}
