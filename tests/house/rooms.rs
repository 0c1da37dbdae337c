//! The table "which room may name which" of `host/README.md`, and no circles between files.

use super::paths::{Modules, circles};
use super::tree::{File, tracked};
use std::collections::{BTreeMap, BTreeSet};

/// The rows `| room | may name | alone names |` of the table.
#[derive(Debug)]
struct Table {
    may: BTreeMap<String, BTreeSet<String>>,
    /// Path of an outside crate → the rooms that alone name it.
    alone: BTreeMap<String, BTreeSet<String>>,
}

impl Table {
    fn read(readme: &str) -> Self {
        let (_, section) =
            readme.split_once("## Which room may name which").expect("the section of the table");
        let section = section.split("\n## ").next().unwrap_or_default();
        let mut table = Self { may: BTreeMap::new(), alone: BTreeMap::new() };
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let words = |cell: &str| {
                let words = cell.split('`').skip(1).step_by(2);
                words.map(|word| word.trim_end_matches('/').replace('/', "::")).collect::<Vec<_>>()
            };
            let rooms = words(cells[0]);
            for one in &rooms {
                let may: BTreeSet<String> = words(cells[1]).into_iter().chain([one.clone()]).collect();
                table.may.entry(one.clone()).or_default().extend(may);
                for outside in words(cells[2]) {
                    table.alone.entry(outside).or_default().insert(one.clone());
                }
            }
        }
        table
    }

    /// The most exact row for a module.
    fn row(&self, module: &str) -> Option<&BTreeSet<String>> {
        let rows = self.may.iter().filter(|(name, _)| is_within(module, name));
        rows.max_by_key(|(name, _)| name.len()).map(|(_, may)| may)
    }
}

fn is_within(module: &str, place: &str) -> bool {
    module == place || module.strip_prefix(place).is_some_and(|rest| rest.starts_with("::"))
}

/// Every arrow that the table does not allow.
fn faults(files: &[File], table: &Table) -> Vec<String> {
    let modules = Modules::of(files);
    let mut faults = Vec::new();
    for (module, named) in modules.arrows() {
        let Some(may) = table.row(&module) else {
            // The root only declares the rooms.
            if !module.is_empty() {
                faults.push(format!("{module} is in no row of the table"));
            }
            continue;
        };
        let forbidden = named
            .iter()
            .filter(|other| !other.is_empty() && !may.iter().any(|place| is_within(other, place)));
        faults.extend(forbidden.map(|other| format!("{module} names {other}")));
    }
    for (module, paths) in modules.outside() {
        for path in paths {
            let owner = table.alone.iter().filter(|(outside, _)| is_within(&path, outside));
            let owner = owner.max_by_key(|(outside, _)| outside.len());
            if let Some((outside, rooms)) = owner
                && !rooms.iter().any(|place| is_within(&module, place))
            {
                faults.push(format!("{module} names {outside}, which is for {rooms:?}"));
            }
        }
    }
    faults
}

fn readme(files: &[File]) -> &str {
    &files.iter().find(|file| file.path == "host/README.md").expect("host/README.md").text
}

#[test]
fn rooms_name_only_what_the_table_allows() {
    let files = tracked();
    let faults = faults(&files, &Table::read(readme(&files)));
    assert!(faults.is_empty(), "host/README.md, which room may name which:\n{}", faults.join("\n"));
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    let files = tracked();
    let circles = circles(&Modules::of(&files).arrows());
    assert!(circles.is_empty(), "circles: {circles:#?}");
}

#[test]
fn a_planted_arrow_upwards_is_seen() {
    let mut files = tracked();
    let table = Table::read(readme(&files));
    for (path, text, fault) in [
        ("host/ledger/planted.rs", "use oncegate_gateway::edge;", "ledger::planted names gateway"),
        ("host/gateway/planted.rs", "use ::wasmtime::Engine;", "gateway::planted names wasmtime"),
        ("host/ledger/planted.rs", "fn f() { oncegate_policy::f(); }", "ledger::planted names policy"),
        ("host/ledger/planted.rs", "use oncegate_upstream::*;", "ledger::planted names upstream"),
        (
            "host/activation/planted.rs",
            "fn f() { self::super::super::run::f(); }",
            "activation::planted names run",
        ),
        (
            "host/gateway/edge/planted.rs",
            "use super::super::guard;",
            "gateway::edge::planted names gateway::guard",
        ),
        ("host/gateway/planted.rs", "fn f(e: &wasmtime::Engine) {}", "gateway::planted names wasmtime"),
        (
            "host/gateway/planted.rs",
            "type X = hyper::client::conn::X;",
            "gateway::planted names hyper::client",
        ),
    ] {
        files.push(File::planted(path, text));
        let found = faults(&files, &table);
        assert!(found.iter().any(|found| found.starts_with(fault)), "{fault}: {found:?}");
        files.pop();
    }
}

#[test]
fn a_planted_circle_is_seen() {
    let files = [
        File::planted("host/a/mod.rs", "mod b;\nmod c;\npub use c::C;"),
        File::planted("host/a/b.rs", "use super::C;"),
        File::planted("host/a/c.rs", "use super::b::B;"),
    ];
    assert_eq!(circles(&Modules::of(&files).arrows()), [["a::b", "a::c"]]);
}
