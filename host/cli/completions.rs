//! `oncegate completions`

use super::say;
use clap_complete::Shell;
use std::process::ExitCode;

/// Print completions for a shell
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate completions bash \\\n      \
    > ~/.local/share/bash-completion/completions/oncegate\n  \
    oncegate completions zsh > ~/.zfunc/_oncegate\n  \
    oncegate completions fish > ~/.config/fish/completions/oncegate.fish")]
pub(super) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, mut command: clap::Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "oncegate", &mut script);
    say::out(String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
