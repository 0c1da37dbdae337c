//! `oncegate policy`: the tools for the author of a policy, from the first file to the figures.

mod bench;
mod build;
mod flags;
mod inspect;
mod interfaces;
mod new;
mod project;
mod run;
mod test;
mod trouble;
mod words;

use super::say::Output;
use clap::Subcommand;
use std::process::ExitCode;

/// Write, build and try policies
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  \
    oncegate policy new --lang rust orders\n  \
    oncegate policy build orders\n  \
    oncegate policy test orders\n  \
    oncegate policy run orders --path /charges --header 'Idempotency-Key: 1'\n\n\
    `new` lists the languages. A built policy goes into service as \
    `component = \"orders/orders.wasm\"`.",
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    verb: PolicyVerb,
}

#[derive(Clone, Debug, Subcommand)]
enum PolicyVerb {
    New(new::NewArgs),
    Build(build::BuildArgs),
    Inspect(inspect::InspectArgs),
    Test(test::TestArgs),
    Bench(bench::BenchArgs),
    Run(run::RunArgs),
}

pub(super) fn run(args: &PolicyArgs, env: Vec<(String, String)>) -> ExitCode {
    let (output, done) = match &args.verb {
        PolicyVerb::New(args) => (Output::Text, new::run(args)),
        PolicyVerb::Build(args) => (args.output, build::run(args)),
        PolicyVerb::Inspect(args) => (args.output, inspect::run(args, env)),
        PolicyVerb::Test(args) => (args.output, test::run(args, env)),
        PolicyVerb::Bench(args) => (args.output, bench::run(args, env)),
        PolicyVerb::Run(args) => (args.output, run::run(args, env)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => trouble.tell(output),
    }
}
