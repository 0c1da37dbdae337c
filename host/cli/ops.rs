//! `oncegate ops`: operations, looked at and changed by hand.

mod change;
mod filter;
mod show;

use std::process::ExitCode;

/// Look at operations and say how unknown ones ended
///
/// Oncegate never runs an operation a second time where nobody knows whether the first attempt took effect.
/// It holds the key until its own late answer, a probe or you say how it ended.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate ops list --state unknown --older-than 10m\n  \
    oncegate ops show ID\n  \
    oncegate ops resolve ID --version 43 --outcome not-applied \\\n      \
    --reason 'not in the bank statement'\n      \
    the version is the one that list and show showed\n  \
    oncegate ops forget --state completed --route tests --reason 'a test run'\n      \
    shows which, and the word with which --yes does it\n\n\
    Code 0: done. Code 1: not done, or not all of it. Code 2: usage.")]
pub(super) struct OpsArgs {
    #[command(subcommand)]
    verb: OpsVerb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum OpsVerb {
    List(show::List),
    Show(show::Show),
    Resolve(change::Resolve),
    Forget(change::Forget),
}

pub(super) fn run(args: &OpsArgs) -> ExitCode {
    let (done, output) = match &args.verb {
        OpsVerb::List(list) => (list.run(), list.output),
        OpsVerb::Show(show) => (show.run(), show.output),
        OpsVerb::Resolve(resolve) => (resolve.run(), resolve.output),
        OpsVerb::Forget(forget) => (forget.run(), forget.output),
    };
    done.unwrap_or_else(|failure| failure.tell(output))
}
