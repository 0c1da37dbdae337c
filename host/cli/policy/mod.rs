//! `oncegate policy`: the tools for the author of a policy, from the first file to the figures.

mod bench;
mod build;
mod inspect;
mod interfaces;
mod new;
mod project;
mod run;
mod test;
mod words;

use super::{Output, USAGE, say};
use crate::config::{self, Faults, Flags, Source};
use crate::policy::sample::Sample;
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Write, build and try policies
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  \
    oncegate policy new --lang rust orders\n  \
    oncegate policy build orders\n  \
    oncegate policy test orders\n  \
    oncegate policy run orders --method POST --path /charges --header 'Idempotency-Key: 1'\n\n\
    `new` lists the languages. A built policy goes into service as `component = \"orders/orders.wasm\"`.",
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

/// Why a verb could not do what it was asked for.
#[derive(Debug)]
struct Trouble {
    problem: String,
    help: String,
    usage: bool,
}

/// True if all is fine; an error says why that can't be told.
type Done = Result<bool, Trouble>;

impl Trouble {
    fn new(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { problem: problem.into(), help: help.into(), usage: false }
    }

    fn usage(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(problem, help) }
    }

    fn tell(self, output: Output) -> ExitCode {
        match output {
            Output::Text => say::error(&self.problem, &self.help),
            Output::Json => say::json(&json!({ "ok": false, "problem": self.problem, "help": self.help })),
        }
        if self.usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
    }
}

impl From<Faults> for Trouble {
    fn from(faults: Faults) -> Self {
        Self { usage: faults.are_usage(), ..Self::new(faults.to_string(), "") }
    }
}

/// Checks that this build makes policies: the feature `author` has the parts that only this needs.
fn authoring(verb: &str) -> Result<(), Trouble> {
    if cfg!(feature = "author") {
        return Ok(());
    }
    let problem = format!("this build has no `policy {verb}`");
    Err(Trouble::new(problem, "build oncegate with `--features author`, which is on by default"))
}

/// Which component, with which settings.
#[derive(Clone, Debug, clap::Args)]
struct ComponentFlags {
    /// A component, the folder of a policy that was built, or `builtin:NAME`
    #[arg(value_name = "COMPONENT", default_value = ".")]
    component: String,
    #[command(flatten)]
    settings: SettingsFlags,
}

/// With which settings.
#[derive(Clone, Debug, clap::Args)]
struct SettingsFlags {
    /// The settings, in JSON or as an inline table of TOML
    #[arg(long, value_name = "TABLE")]
    settings: Option<String>,
}

impl SettingsFlags {
    /// The policy that a configuration file would make of this component and these settings.
    fn policy(&self, component: &str, env: Vec<(String, String)>) -> Result<Arc<config::Policy>, Trouble> {
        let flags = Flags {
            // A configuration needs an upstream, but no request is sent to it.
            upstream: Some("http://127.0.0.1:9".into()),
            policy: Some(project::component(component)?),
            settings: self.settings.clone(),
            ..Flags::default()
        };
        // The environment's variables for a gateway's addresses and folders don't concern a policy.
        let env = env.into_iter().filter(|(name, _)| name.starts_with("ONCEGATE_POLICIES__")).collect();
        let config = config::load(&Source { file: None, flags, env })?;
        let policy = config.policies.values().next();
        policy.cloned().ok_or_else(|| Trouble::new("there is no policy in the configuration", ""))
    }
}

/// Reads a file that the author named; `-`: standard input.
fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    if path.as_os_str() == "-" {
        let mut text = Vec::new();
        return match std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut text) {
            Ok(_) => Ok(text),
            Err(error) => {
                let why = config::io_words(&error);
                Err(Trouble::new(format!("standard input can't be read: {why}"), ""))
            }
        };
    }
    std::fs::read(path).map_err(|error| {
        Trouble::new(format!("{} can't be read: {}", path.display(), config::io_words(&error)), "")
    })
}

/// A request, from a file or from flags.
#[derive(Clone, Debug, clap::Args)]
struct RequestFlags {
    /// A file with the request as HTTP/1.1 text; `-`: standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "path", "header", "body"])]
    request: Option<PathBuf>,
    /// Its method
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: String,
    /// Its path, with the query
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// A header field; may be given several times
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Its body; `@FILE`: from a file
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// Who asks, as the policy may see it; nobody is known without
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// The route's name
    #[arg(long, value_name = "NAME", default_value = "command")]
    route: String,
}

impl RequestFlags {
    fn sample(&self) -> Result<Sample, Trouble> {
        let text = match &self.request {
            Some(path) => read(path)?,
            None => self.text()?,
        };
        let sample = Sample::parse(&text).map_err(|why| {
            Trouble::usage(
                format!("the request can't be read: {why}"),
                "write it like \"POST /charges HTTP/1.1\", a line for each field, an empty line, the body",
            )
        })?;
        Ok(sample.by(self.principal.clone(), self.route.clone()))
    }

    /// The request that the flags describe, as text.
    fn text(&self) -> Result<Vec<u8>, Trouble> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let named = |name: &str| {
            self.header
                .iter()
                .any(|line| line.split(':').next().is_some_and(|n| n.trim().eq_ignore_ascii_case(name)))
        };
        if !named("host") {
            text.push_str("host: localhost\r\n");
        }
        for line in &self.header {
            if !line.contains(':') {
                let help = "write it as --header 'Idempotency-Key: 1'";
                return Err(Trouble::usage(format!("the header {line:?} has no colon"), help));
            }
            text.push_str(line);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        let mut text = text.into_bytes();
        match self.body.as_deref().map(|body| (body, body.strip_prefix('@'))) {
            None => {}
            Some((_, Some(file))) => text.extend(read(Path::new(file))?),
            Some((body, None)) => text.extend_from_slice(body.as_bytes()),
        }
        Ok(text)
    }
}
