//! From the tree of values to the configuration: the one fallible step.

use super::ledger::{self, LedgerConfig};
use super::policies::{self, Policy};
use super::principal;
use super::reading::fault::{Fault, Faults};
use super::reading::file::{read_as_far_as_it_goes, read_file};
use super::reading::overlay::lay_over;
use super::reading::places::SettingPlaces;
use super::reading::row::KeyRow;
use super::reading::source::Source;
use super::reading::tree::Located;
use super::reading::{Reading, Section, SetBy, Table, TableKey, Value};
use super::routes::{self, RouteConfig};
use super::server::{self, Server};
use super::upstreams::{self, UpstreamConfig};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// A checked configuration, in the program's own terms.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that the configuration was read from; none if there were only flags.
    pub file: Option<PathBuf>,
    /// Listeners, limits, shutdown.
    pub server: Server,
    /// The ledger: store, deployment, durability, memory and secret.
    pub ledger: LedgerConfig,
    /// The upstreams, by name.
    pub upstreams: BTreeMap<Arc<str>, Arc<UpstreamConfig>>,
    /// The policies, by name.
    pub policies: BTreeMap<Arc<str>, Arc<Policy>>,
    /// The places of the policies' components and settings.
    pub settings: SettingPlaces,
    /// The routes, in the order of the file.
    pub routes: Vec<Arc<RouteConfig>>,
    /// Warnings about allowed values, for the start and for `check`.
    pub warnings: Vec<String>,
}

/// Reads a configuration, or reports all its faults.
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

/// Where a gateway's admin listener is, and the token that it asks for, by its configuration. Faults elsewhere are the
/// gateway's to tell: it goes on with what it had, and is asked just then.
pub fn admin_of(source: &Source) -> Result<(Option<SocketAddr>, Option<Arc<str>>), Faults> {
    let (reading, mut tree, form) = match &source.file {
        Some(file) => read_as_far_as_it_goes(file)?,
        None => (Reading::default(), Table::default(), None),
    };
    let is_named = tree.node("server").and_then(|server| server.value.table()?.node("admin")).is_some();
    lay_over(&reading, source, &mut tree);
    let server = server::read(Section::root(&reading, tree).section(&SERVER));
    let is_about_it =
        |fault: &Fault| matches!(&*fault.key, "server" | "server.admin" | "server.admin_token_file");
    let mut faults = reading.finish().err().map_or_else(Vec::new, |faults| faults.0);
    faults.retain(is_about_it);
    // What is behind a fault of form is lost, and it may be the address.
    faults.extend(form.filter(|_| !is_named).into_iter().flat_map(|form| form.0));
    if faults.is_empty() { Ok((server.admin, server.admin_token)) } else { Err(Faults(faults)) }
}

/// Every key that the parser asks for, as the reference describes it.
pub(super) fn key_rows() -> Vec<KeyRow> {
    // The tree has a table of each kind, so that each is asked for its keys. Missing keys don't matter here.
    let mut routes = Table::default();
    let empty = || Located { set_by: SetBy::Nothing, value: Value::Table(Table::default()) };
    routes.put(&["outcomes"], &SetBy::Nothing, Value::List(vec![empty()]));
    let route = Located { set_by: SetBy::Nothing, value: Value::Table(routes) };
    let mut tree = Table::default();
    tree.put(&["upstreams", "a"], &SetBy::Nothing, empty().value);
    tree.put(&["policies", "a"], &SetBy::Nothing, empty().value);
    tree.put(&["routes"], &SetBy::Nothing, Value::List(vec![route]));
    let reading = Reading::default();
    interpret(&reading, tree);
    reading.rows.take().into_iter().filter(|row| !row.meaning.is_empty()).collect()
}

const SERVER: TableKey = TableKey::table("server");
const PRINCIPAL: TableKey = TableKey::table("principal");
const LEDGER: TableKey = TableKey::table("ledger");
const UPSTREAMS: TableKey = TableKey::table("upstreams");
const POLICIES: TableKey = TableKey::table("policies");
const ROUTES: TableKey = TableKey::table("routes");

/// Makes a configuration of the tree. If a fault is noted in the reading, something stands in for the value.
/// Such a configuration serves only to find the other faults, and nobody else sees it.
fn interpret(reading: &Reading, tree: Table) -> Config {
    let mut root = Section::root(reading, tree);
    root.later(&["listeners"]);
    let server = server::read(root.section(&SERVER));
    let principal = principal::read(root.section(&PRINCIPAL), &server);
    let (ledger, remembering) = ledger::read(root.section(&LEDGER), &server);
    let upstreams = upstreams::read(root.named(&UPSTREAMS), &server);
    let policies = policies::read(root.named(&POLICIES));
    let scope = routes::Scope {
        server: &server,
        principal: &principal,
        remembering,
        bounds: ledger::bounds(&ledger, &server),
        upstreams: &upstreams,
        policies: &policies,
    };
    let routes = routes::read(reading, root.item(&ROUTES), &scope);
    // A mistyped [[route]] is reported as an unknown key instead.
    if root.set_by("routes").is_none() && root.set_by("route").is_none() {
        let problem = "there is nothing to serve: no [[routes]]";
        let help = "give --upstream URL, or a --config FILE with at least one [[routes]]";
        reading.fault(&SetBy::Nothing, "routes", problem, help);
    }
    root.close();
    reading.report_strays();
    Config {
        file: reading.file.as_ref().map(|(file, _)| file.clone()),
        server,
        ledger,
        upstreams,
        policies,
        routes,
        settings: SettingPlaces::new(reading.settings.take()),
        warnings: reading.warnings.take(),
    }
}
