//! From what was said to what is meant: the one fallible step.

use super::ledger::{self, LedgerConfig};
use super::policies::{self, Policy};
use super::principal;
use super::reading::fault::Faults;
use super::reading::file::read_file;
use super::reading::overlay::lay_over;
use super::reading::places::SettingPlaces;
use super::reading::source::Source;
use super::reading::{Origin, Reading, Section, Table};
use super::routes::{self, RouteConfig};
use super::server::{self, Server};
use super::upstreams::{self, UpstreamConfig};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What the program means to do, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that this was read from; none where flags said it all.
    pub file: Option<PathBuf>,
    /// Listeners, limits, shutdown.
    pub server: Server,
    /// Where operations are kept.
    pub ledger: LedgerConfig,
    /// By name.
    pub upstreams: BTreeMap<Arc<str>, Arc<UpstreamConfig>>,
    /// By name.
    pub policies: BTreeMap<Arc<str>, Arc<Policy>>,
    /// Where the policies' settings were said.
    pub settings: SettingPlaces,
    /// In the order of the file.
    pub routes: Vec<Arc<RouteConfig>>,
    /// What is allowed but worth saying aloud at start and by `check`.
    pub warnings: Vec<String>,
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
