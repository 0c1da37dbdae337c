//! Reading a tree section by section: what a key asks for, what it accepts, which keys there are.
//!
//! A reader asks for each key by name; what nobody asked for is unknown when the section closes.
//! A fault is noted and the default taken, so that one reading finds them all.

use super::item::{Item, NAME_HELP};
use super::report::{Reading, dotted};
use super::tree::{Entry, Origin, Table, Value};
use super::units::is_name;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A table being read.
pub(crate) struct Section<'r> {
    pub(crate) reading: &'r Reading,
    /// Its dotted key, as in the file.
    pub(crate) path: String,
    /// Its dotted key with `NAME` for names: which keys there are doesn't depend on names.
    pattern: String,
    /// Where it begins.
    pub(crate) origin: Origin,
    table: Table,
    asked: Vec<&'static str>,
}

impl<'r> Section<'r> {
    /// The whole configuration.
    pub(crate) fn root(reading: &'r Reading, table: Table) -> Self {
        let (path, pattern) = (String::new(), String::new());
        Self { reading, path, pattern, origin: Origin::Unsaid, table, asked: Vec::new() }
    }

    /// The table that a key has as its value.
    pub(crate) fn of(item: Item<'r>) -> Option<Self> {
        let Value::Table(table) = item.node.value else {
            item.refuse("a table was expected here");
            return None;
        };
        let (path, pattern, origin) = (item.path, item.pattern, item.node.origin);
        Some(Self { reading: item.reading, path, pattern, origin, table, asked: Vec::new() })
    }

    /// The value of a key, if it is there.
    pub(crate) fn item(&mut self, name: &'static str) -> Option<Item<'r>> {
        self.asked.push(name);
        self.reading.known.borrow_mut().insert(dotted(&self.pattern, name));
        let node = self.table.node(name)?.clone();
        let pattern = dotted(&self.pattern, name);
        Some(Item { reading: self.reading, path: dotted(&self.path, name), pattern, node })
    }

    /// A key that must be there.
    pub(crate) fn needed(&mut self, name: &'static str, help: &str) -> Option<Item<'r>> {
        let item = self.item(name);
        if item.is_none() {
            let problem = format!("`{}` is missing", dotted(&self.path, name));
            self.reading.fault(&self.origin, &dotted(&self.path, name), problem, help);
        }
        item
    }

    /// A table within this one; an empty one where there is none.
    pub(crate) fn section(&mut self, name: &'static str) -> Section<'r> {
        let empty = Section {
            reading: self.reading,
            path: dotted(&self.path, name),
            pattern: dotted(&self.pattern, name),
            origin: self.origin.clone(),
            table: Table::default(),
            asked: Vec::new(),
        };
        self.item(name).and_then(Section::of).unwrap_or(empty)
    }

    /// The tables of a table of tables, each with its name.
    pub(crate) fn named(&mut self, name: &'static str) -> Vec<(String, Section<'r>)> {
        let Some(outer) = self.item(name).and_then(Section::of) else { return Vec::new() };
        let pattern = format!("{name}.NAME");
        let read = |entry: &Entry| {
            let path = dotted(name, &entry.name);
            if !is_name(&entry.name) {
                let problem = format!("`{}` can't be a name", entry.name);
                self.reading.fault(&entry.origin, &path, problem, NAME_HELP);
            }
            let item =
                Item { reading: self.reading, path, pattern: pattern.clone(), node: entry.node.clone() };
            Some((entry.name.clone(), Section::of(item)?))
        };
        outer.table.0.iter().filter_map(read).collect()
    }

    /// Keys that the design has and this version has not.
    pub(crate) fn later(&mut self, names: &[&'static str]) {
        for name in names {
            self.asked.push(name);
            if let Some(entry) = self.table.0.iter().find(|entry| entry.name == *name) {
                self.reading.not_yet(&entry.origin, &dotted(&self.path, name), "");
            }
        }
    }

    /// Whether the key was said, and where.
    pub(crate) fn said(&self, name: &str) -> Option<&Origin> {
        self.table.0.iter().find(|entry| entry.name == name).map(|entry| &entry.origin)
    }

    /// Notes what nobody asked for.
    pub(crate) fn close(self) {
        for entry in &self.table.0 {
            if !self.asked.contains(&entry.name.as_str()) {
                let key = (entry.origin.clone(), self.path.clone(), self.pattern.clone(), entry.name.clone());
                self.reading.unknown.borrow_mut().push(key);
            }
        }
    }

    /// Every entry, whatever its name.
    pub(crate) fn entries(self) -> Vec<(Entry, Item<'r>)> {
        let item = |entry: &Entry| {
            let path = dotted(&self.path, &entry.name);
            let pattern = dotted(&self.pattern, "NAME");
            Item { reading: self.reading, path, pattern, node: entry.node.clone() }
        };
        self.table.0.iter().map(|entry| (entry.clone(), item(entry))).collect()
    }

    /// A duration within bounds.
    pub(crate) fn duration(
        &mut self,
        name: &'static str,
        bounds: &RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.item(name).and_then(|item| item.duration(bounds)).unwrap_or(default)
    }

    /// A size within bounds.
    pub(crate) fn size(
        &mut self,
        name: &'static str,
        bounds: &RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        self.item(name).and_then(|item| item.size(bounds)).unwrap_or(default)
    }

    /// True or false.
    pub(crate) fn truth(&mut self, name: &'static str, default: bool) -> bool {
        self.item(name).and_then(|item| item.truth()).unwrap_or(default)
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)], default: T) -> T {
        self.item(name).and_then(|item| item.choice(words)).unwrap_or(default)
    }
}
