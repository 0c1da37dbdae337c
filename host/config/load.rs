//! From what was said to what is meant: the one fallible step.

use super::fault::{Fault, Faults, Place, io_words};
use super::overlay::lay_over;
use super::places::SettingPlaces;
use super::reading::{FAULTS_MAX, Reading, place_in, untold};
use super::section::Section;
use super::tree::{Origin, Table, of_document};
use super::{Config, ledger, policies, principal, routes, server, upstreams};
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Larger than any configuration; a file above it is something else.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Everything that a configuration is read from. A value, so that a reload reads the same again
/// and a test needs no process.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The flags of `serve`, which override it.
    pub flags: Flags,
    /// The environment, of which only `ONCEGATE_` variables count. They override the file, too.
    pub env: Vec<(String, String)>,
}

/// The flags of `serve` that stand for keys.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `server.listen`
    pub listen: Vec<String>,
    /// The URL of the only upstream. Without a file it is a whole configuration.
    pub upstream: Option<String>,
    /// `server.admin`
    pub admin: Option<String>,
    /// `server.workers`
    pub workers: Option<usize>,
    /// The component of the only policy.
    pub policy: Option<String>,
    /// Its settings, in JSON or as an inline table of TOML.
    pub settings: Option<String>,
    /// `ledger.store`
    pub store: Option<String>,
    /// `ledger.path`
    pub data: Option<String>,
}

/// Reads a configuration, or says everything that is wrong with it.
pub fn load(source: &Source) -> Result<Config, Faults> {
    let (reading, mut tree) = match &source.file {
        Some(file) => read_file(file)?,
        None => (Reading::default(), Table::default()),
    };
    lay_over(&reading, source, &mut tree);
    let config = interpret(&reading, tree);
    reading.finish()?;
    Ok(config)
}

/// The keys that the parser accepts, as `upstreams.NAME.urls`.
#[cfg(test)]
pub(super) fn accepted_keys(source: &Source) -> std::collections::BTreeSet<String> {
    let (reading, tree) = read_file(source.file.as_deref().expect("a file")).expect("it can be read");
    interpret(&reading, tree);
    reading.known.take()
}

/// The file's text as a tree, or its faults of form.
fn read_file(file: &Path) -> Result<(Reading, Table), Faults> {
    let whole = |problem: String, help: &str| {
        let place = Place::Whole(file.to_owned());
        Faults(vec![Fault { place, key: String::new(), problem, help: help.into() }])
    };
    let unreadable = |error: std::io::Error| {
        whole(
            format!("the configuration file can't be read: {}", io_words(&error)),
            "name another file with --config, or start without one: oncegate serve --upstream URL",
        )
    };
    let length = std::fs::metadata(file).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(whole(
            format!("the configuration file has {length} bytes"),
            "a configuration has at most 4 MiB",
        ));
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        whole(format!("line {line} of the configuration file is not UTF-8"), "save it as UTF-8")
    })?;
    let (table, errors) = DeTable::parse_recoverable(&text);
    if errors.is_empty() {
        let tree = of_document(table.get_ref());
        drop(table);
        return Ok((Reading::of(file.to_owned(), text), tree));
    }
    let fault = |error: &toml::de::Error| {
        let span = error.span().unwrap_or(0..0);
        Fault {
            place: place_in(file, &text, &span, true),
            key: String::new(),
            problem: format!("this is not TOML: {}", error.message()),
            help: if error.message().contains("duplicate") {
                "say it once: each key and each [table] stands once in a file".into()
            } else {
                "toml.io shows how values are written; texts need quotes".into()
            },
        }
    };
    let mut errors = errors;
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    let more = untold(errors.len().saturating_sub(FAULTS_MAX), Place::Whole(file.to_owned()));
    Err(Faults(errors.iter().take(FAULTS_MAX).map(fault).chain(more).collect()))
}

/// What the tree means. Where a fault is noted in the reading, something stands in for the value:
/// such a configuration is for finding the other faults, and nobody else sees it.
fn interpret(reading: &Reading, tree: Table) -> Config {
    let mut root = Section::root(reading, tree);
    root.later(&["listeners"]);
    let server = server::read(root.section("server"));
    let principal = principal::read(root.section("principal"), None, &server);
    let ledger = ledger::read(root.section("ledger"), &server);
    let upstreams = upstreams::read(root.named("upstreams"));
    let policies = policies::read(root.named("policies"));
    let scope = routes::Scope {
        server: &server,
        principal: &principal,
        ledger: &ledger,
        upstreams: &upstreams,
        policies: &policies,
    };
    let routes = routes::read(reading, root.item("routes"), &scope);
    // A mistyped [[route]] has been told already.
    if root.said("routes").is_none() && root.said("route").is_none() {
        let problem = "there is nothing to serve: no [[routes]]";
        let help = "give --upstream URL, or a --config FILE with at least one [[routes]]";
        reading.fault(&Origin::Unsaid, "routes", problem, help);
    }
    root.close();
    Config {
        file: reading.file.as_ref().map(|(file, _)| file.clone()),
        server,
        ledger: ledger.ledger,
        upstreams,
        policies,
        routes,
        settings: SettingPlaces::new(reading.settings.take()),
        warnings: reading.warnings.take(),
    }
}
