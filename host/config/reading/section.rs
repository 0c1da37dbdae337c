//! Reading a tree section by section, key by key.
//!
//! A table's reader asks for each of the table's keys. A key that nobody asked for is unknown when the
//! section closes. After a fault the reading goes on with the default, so that one reading finds every fault.

use super::item::{Item, NAME_HELP};
use super::key::{ConfigKey, KeyWithin, PlainKey, TableKey};
use super::report::Reading;
use super::row::{Bearing, Unset};
use super::tree::{Entry, Located, SetBy, Table, Value, of_value};
use super::units::is_name;
use super::unknown::dotted;

/// A table being read.
pub(crate) struct Section<'r> {
    pub(crate) reading: &'r Reading,
    /// The table's dotted key, as in the file.
    pub(crate) path: String,
    /// The table's dotted key with `NAME` for names: the set of keys doesn't depend on names.
    pattern: String,
    /// The place where the table begins.
    pub(crate) set_by: SetBy,
    table: Table,
    /// The keys that were asked for.
    asked: Vec<(&'static str, Bearing)>,
}

impl<'r> Section<'r> {
    /// The whole configuration.
    pub(crate) fn root(reading: &'r Reading, table: Table) -> Self {
        let (path, pattern) = (String::new(), String::new());
        Self { reading, path, pattern, set_by: SetBy::Nothing, table, asked: Vec::new() }
    }

    /// The table that is the value of a key.
    pub(crate) fn of(item: Item<'r>) -> Option<Self> {
        let Value::Table(table) = item.node.value else {
            item.refuse("a table was expected here");
            return None;
        };
        let (path, pattern, set_by) = (item.path, item.pattern, item.node.set_by);
        Some(Self { reading: item.reading, path, pattern, set_by, table, asked: Vec::new() })
    }

    /// The value of a key, if the file sets it.
    pub(crate) fn item<P>(&mut self, key: &ConfigKey<P>) -> Option<Item<'r>> {
        self.asked.push((key.name, key.bearing));
        let pattern = dotted(&self.pattern, key.name);
        self.reading.asked(key.row(pattern.clone()));
        let node = self.table.node(key.name)?.clone();
        Some(Item { reading: self.reading, path: dotted(&self.path, key.name), pattern, node })
    }

    /// The key's value from the file, or its default.
    pub(crate) fn get<T>(&mut self, key: &PlainKey<T>) -> T {
        self.find(key).unwrap_or_else(|| self.default(key))
    }

    /// The key's default.
    pub(crate) fn default<T>(&self, key: &PlainKey<T>) -> T {
        (key.parse)(&self.unset(key)).expect("a key takes its own default")
    }

    /// The key's value from the file, or its default. The value is held against `context`.
    pub(crate) fn get_within<C: ?Sized, T>(&mut self, key: &KeyWithin<C, T>, context: &C) -> T {
        self.find_within(key, context)
            .unwrap_or_else(|| (key.parse)(&self.unset(key), context).expect("a key takes its own default"))
    }

    /// The key's value from the file. A key that must be set and isn't is a fault.
    pub(crate) fn find<T>(&mut self, key: &PlainKey<T>) -> Option<T> {
        self.needed(key).and_then(|item| (key.parse)(&item))
    }

    /// The key's value from the file. The value is held against `context`.
    pub(crate) fn find_within<C: ?Sized, T>(&mut self, key: &KeyWithin<C, T>, context: &C) -> Option<T> {
        self.needed(key).and_then(|item| (key.parse)(&item, context))
    }

    fn needed<P>(&mut self, key: &ConfigKey<P>) -> Option<Item<'r>> {
        let item = self.item(key);
        if let (None, Unset::Fault(help)) = (&item, key.unset) {
            let path = dotted(&self.path, key.name);
            self.reading.fault(&self.set_by, &path, format!("`{path}` is missing"), help);
        }
        item
    }

    /// The key's default as a value to be read.
    fn unset<P>(&self, key: &ConfigKey<P>) -> Item<'r> {
        let Unset::Value(text) = key.unset else { unreachable!("`{}` has a default", key.name) };
        let value = of_value(text, &SetBy::Nothing).unwrap_or_else(|| Value::Loose(text.to_owned()));
        let (path, pattern) = (dotted(&self.path, key.name), dotted(&self.pattern, key.name));
        Item { reading: self.reading, path, pattern, node: Located { set_by: SetBy::Nothing, value } }
    }

    /// A table within this one; an empty table if there is none.
    pub(crate) fn section(&mut self, key: &TableKey) -> Section<'r> {
        let empty = Section {
            reading: self.reading,
            path: dotted(&self.path, key.name),
            pattern: dotted(&self.pattern, key.name),
            set_by: self.set_by.clone(),
            table: Table::default(),
            asked: Vec::new(),
        };
        self.item(key).and_then(Section::of).unwrap_or(empty)
    }

    /// The tables of a table of tables, each with its name.
    pub(crate) fn named(&mut self, key: &TableKey) -> Vec<(String, Section<'r>)> {
        let name = key.name;
        let Some(outer) = self.item(key).and_then(Section::of) else { return Vec::new() };
        let pattern = format!("{name}.NAME");
        let read = |entry: &Entry| {
            let path = dotted(name, &entry.name);
            if !is_name(&entry.name) {
                let problem = format!("`{}` can't be a name", entry.name);
                self.reading.fault(&entry.set_by, &path, problem, NAME_HELP);
            }
            let item =
                Item { reading: self.reading, path, pattern: pattern.clone(), node: entry.node.clone() };
            Some((entry.name.clone(), Section::of(item)?))
        };
        outer.table.0.iter().filter_map(read).collect()
    }

    /// Keys of a later version, refused by name.
    pub(crate) fn later(&mut self, names: &[&'static str]) {
        for name in names {
            self.asked.push((name, Bearing::Plain));
            if let Some(entry) = self.table.0.iter().find(|entry| entry.name == *name) {
                self.reading.not_yet(&entry.set_by, &dotted(&self.path, name), "");
            }
        }
    }

    /// The source that set the key, if any did.
    pub(crate) fn set_by(&self, name: &str) -> Option<&SetBy> {
        self.table.0.iter().find(|entry| entry.name == name).map(|entry| &entry.set_by)
    }

    /// Notes the keys that nobody asked for as unknown.
    pub(crate) fn close(self) {
        for entry in &self.table.0 {
            if !self.asked.iter().any(|(name, _)| *name == entry.name) {
                let key = (entry.set_by.clone(), self.path.clone(), self.pattern.clone(), entry.name.clone());
                self.reading.unknown.borrow_mut().push(key);
            }
        }
    }

    /// All entries, whatever their names.
    pub(crate) fn entries(self) -> Vec<(Entry, Item<'r>)> {
        let item = |entry: &Entry| {
            let path = dotted(&self.path, &entry.name);
            let pattern = dotted(&self.pattern, "NAME");
            Item { reading: self.reading, path, pattern, node: entry.node.clone() }
        };
        self.table.0.iter().map(|entry| (entry.clone(), item(entry))).collect()
    }

    /// The keys that were asked for, are set, and bear on the promises of a guarded route.
    pub(crate) fn guarding(&self) -> impl Iterator<Item = (&'static str, &SetBy)> {
        let guarding = self.asked.iter().filter(|(_, bearing)| *bearing == Bearing::Guarding);
        guarding.filter_map(|(name, _)| Some((*name, self.set_by(name)?)))
    }
}
