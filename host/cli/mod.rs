//! The command line: one file a verb. Each verb turns the arguments into a call of another room, and the
//! result into words and an exit code: 0 fine, 1 failed, 2 usage.
//!
//! Nothing here knows how a gateway works.

mod check;
mod client;
mod completions;
mod demo;
mod flags;
mod log;
mod man;
mod ops;
mod policy;
mod reload;
pub mod sample_upstream;
mod say;
mod serve;
#[cfg(test)]
mod tests;

use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use say::USAGE;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    name = "oncegate",
    version,
    about = "Executes each operation once and replays its answer to every duplicate",
    long_about = "Oncegate stands in front of an HTTP service that must not do a thing twice. It executes each \
        operation once, keeps the answer and replays it to every duplicate: retries, impatient clients, \
        webhooks delivered again. What \"the same operation\" means is a policy, a small WebAssembly \
        component that can be swapped while traffic flows.",
    after_help = "Start in front of a service of your own:\n  oncegate serve --upstream http://127.0.0.1:9000\n\n\
        then send a request twice with one key:\n  curl -i -X POST -H 'Idempotency-Key: 1' http://127.0.0.1:8080/charges",
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    Check(check::CheckArgs),
    Reload(reload::ReloadArgs),
    Ops(ops::OpsArgs),
    Policy(policy::PolicyArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs the command. Arguments and environment are passed in, so that a test needs no process.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let parsed = command().try_get_matches_from(arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come here, too, and go to standard output with code 0.
            if let Err(error) = error.print().and_then(|()| std::io::stdout().flush()) {
                say::lost(&error);
            }
            return say::end(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE)));
        }
    };
    let environment = configuration_variables(environment);
    let code = match cli.verb {
        Verb::Serve(args) => serve::run(args, environment),
        Verb::Demo(args) => demo::run(&args),
        Verb::Check(args) => check::run(&args, environment),
        Verb::Reload(args) => reload::run(&args),
        Verb::Ops(args) => ops::run(&args),
        Verb::Policy(args) => policy::run(&args, environment),
        Verb::Completions(args) => completions::run(&args, Cli::command()),
        Verb::Man(args) => man::run(&args, Cli::command()),
    };
    say::end(code)
}

/// The columns of help where no terminal says how many it has. Examples fit in them.
const COLUMNS: usize = 80;

/// The command line. Its help is as wide as the terminal, or as `COLUMNS` says.
fn command() -> Command {
    let told = || std::env::var("COLUMNS").is_ok_and(|columns| columns.parse().is_ok_and(|n: usize| n > 0));
    match terminal_size::terminal_size().is_some() || told() {
        true => Cli::command(),
        false => Cli::command().term_width(COLUMNS),
    }
}

/// The variables of the environment that are ours: a variable of another name need not be text.
fn configuration_variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("ONCEGATE_"))?;
        Some((name, value.to_string_lossy().into_owned()))
    };
    environment.into_iter().filter_map(text).collect()
}
