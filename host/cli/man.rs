//! `oncegate man`

use super::say::{self, USAGE};
use crate::config::io_words;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print the manual, or write all its pages to a folder
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate man serve | man -l -\n  \
    oncegate man policy build | man -l -\n  \
    oncegate man --dir /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// The page of this command
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    verbs: Vec<String>,
    /// Write all pages to this folder
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs, command: clap::Command) -> ExitCode {
    if let Some(dir) = &args.dir {
        return match clap_mangen::generate_to(command, dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say::error(
                    format_args!("the pages can't be written to {}: {}", dir.display(), io_words(&error)),
                    "name a folder that is there and that this user may write to",
                );
                ExitCode::FAILURE
            }
        };
    }
    let Some(page) = page(command, &args.verbs) else {
        let verb = args.verbs.join(" ");
        say::error(format_args!("there is no command `{verb}`"), "`oncegate --help` lists them");
        return ExitCode::from(USAGE);
    };
    say::out(page);
    ExitCode::SUCCESS
}

fn page(mut command: clap::Command, verbs: &[String]) -> Option<String> {
    command.build();
    let command = verbs.iter().try_fold(&command, |command, verb| command.find_subcommand(verb))?;
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).ok()?;
    Some(String::from_utf8_lossy(&page).into_owned())
}
