//! Reading a tree section by section: what a key asks for, what it accepts, which keys there are.
//!
//! A reader asks for each key by name; what nobody asked for is unknown when the section closes.
//! A fault is noted and the default taken, so that one reading finds them all.

use super::reading::{Reading, dotted};
use super::tree::{Entry, Node, Origin, Table, Value};
use super::units::{is_name, nearest, parse_duration, parse_size, write_duration, write_size};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A table being read.
pub(super) struct Section<'r> {
    pub(super) reading: &'r Reading,
    /// Its dotted key, as in the file.
    pub(super) path: String,
    /// Its dotted key with `NAME` for names: which keys there are doesn't depend on names.
    pattern: String,
    /// Where it begins.
    pub(super) origin: Origin,
    table: Table,
    asked: Vec<&'static str>,
}

impl<'r> Section<'r> {
    /// The whole configuration.
    pub(super) fn root(reading: &'r Reading, table: Table) -> Self {
        let (path, pattern) = (String::new(), String::new());
        Self { reading, path, pattern, origin: Origin::Unsaid, table, asked: Vec::new() }
    }

    /// The value of a key, if it is there.
    pub(super) fn item(&mut self, name: &'static str) -> Option<Item<'r>> {
        self.asked.push(name);
        self.reading.known.borrow_mut().insert(dotted(&self.pattern, name));
        let node = self.table.node(name)?.clone();
        let pattern = dotted(&self.pattern, name);
        Some(Item { reading: self.reading, path: dotted(&self.path, name), pattern, node })
    }

    /// A key that must be there.
    pub(super) fn needed(&mut self, name: &'static str, help: &str) -> Option<Item<'r>> {
        let item = self.item(name);
        if item.is_none() {
            let problem = format!("`{}` is missing", dotted(&self.path, name));
            self.reading.fault(&self.origin, &dotted(&self.path, name), problem, help);
        }
        item
    }

    /// A table within this one; an empty one where there is none.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'r> {
        let empty = Section {
            reading: self.reading,
            path: dotted(&self.path, name),
            pattern: dotted(&self.pattern, name),
            origin: self.origin.clone(),
            table: Table::default(),
            asked: Vec::new(),
        };
        self.item(name).and_then(|item| item.section()).unwrap_or(empty)
    }

    /// The tables of a table of tables, each with its name.
    pub(super) fn named(&mut self, name: &'static str) -> Vec<(String, Section<'r>)> {
        let Some(outer) = self.item(name).and_then(|item| item.section()) else { return Vec::new() };
        let pattern = format!("{name}.NAME");
        let read = |entry: &Entry| {
            let path = dotted(name, &entry.name);
            if !is_name(&entry.name) {
                let problem = format!("`{}` can't be a name", entry.name);
                self.reading.fault(&entry.origin, &path, problem, NAME_HELP);
            }
            let item =
                Item { reading: self.reading, path, pattern: pattern.clone(), node: entry.node.clone() };
            Some((entry.name.clone(), item.section()?))
        };
        outer.table.0.iter().filter_map(read).collect()
    }

    /// Keys that the design has and this version has not.
    pub(super) fn later(&mut self, names: &[&'static str]) {
        for name in names {
            self.asked.push(name);
            if let Some(entry) = self.table.0.iter().find(|entry| entry.name == *name) {
                self.reading.not_yet(&entry.origin, &dotted(&self.path, name), "");
            }
        }
    }

    /// Whether the key was said, and where.
    pub(super) fn said(&self, name: &str) -> Option<&Origin> {
        self.table.0.iter().find(|entry| entry.name == name).map(|entry| &entry.origin)
    }

    /// Notes what nobody asked for.
    pub(super) fn close(self) {
        for entry in &self.table.0 {
            if !self.asked.contains(&entry.name.as_str()) {
                let key = (entry.origin.clone(), self.path.clone(), self.pattern.clone(), entry.name.clone());
                self.reading.unknown.borrow_mut().push(key);
            }
        }
    }

    /// Every entry, whatever its name.
    pub(super) fn entries(self) -> Vec<(Entry, Item<'r>)> {
        let item = |entry: &Entry| {
            let path = dotted(&self.path, &entry.name);
            let pattern = dotted(&self.pattern, "NAME");
            Item { reading: self.reading, path, pattern, node: entry.node.clone() }
        };
        self.table.0.iter().map(|entry| (entry.clone(), item(entry))).collect()
    }

    /// A duration within bounds.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        bounds: &RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.item(name).and_then(|item| item.duration(bounds)).unwrap_or(default)
    }

    /// A size within bounds.
    pub(super) fn size(
        &mut self,
        name: &'static str,
        bounds: &RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        self.item(name).and_then(|item| item.size(bounds)).unwrap_or(default)
    }

    /// True or false.
    pub(super) fn truth(&mut self, name: &'static str, default: bool) -> bool {
        self.item(name).and_then(|item| item.truth()).unwrap_or(default)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)], default: T) -> T {
        self.item(name).and_then(|item| item.choice(words)).unwrap_or(default)
    }
}

/// What a name may look like.
pub(super) const NAME_HELP: &str =
    "a name has 1 to 64 letters, digits, `-`, `_` or `.` and begins with a letter or a digit";

/// The value of a key, being read.
#[derive(Clone)]
pub(super) struct Item<'r> {
    pub(super) reading: &'r Reading,
    pub(super) path: String,
    pattern: String,
    pub(super) node: Node,
}

impl<'r> Item<'r> {
    /// Notes that the value won't do.
    pub(super) fn refuse(&self, help: impl Into<String>) {
        let problem = format!("`{}` can't be {}", self.path, self.node.value.found());
        self.fault(problem, help);
    }

    /// Notes a fault in words of its own.
    pub(super) fn fault(&self, problem: impl Into<String>, help: impl Into<String>) {
        self.reading.fault(&self.node.origin, &self.path, problem, help);
    }

    /// The text, if it is one; a fault that says what would do, if not.
    pub(super) fn text(&self, help: &str) -> Option<String> {
        if let Value::Text(text) | Value::Loose(text) = &self.node.value {
            return Some(text.clone());
        }
        self.refuse(help);
        None
    }

    /// What `parse` makes of the text.
    pub(super) fn parsed<T>(&self, help: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let parsed = parse(&self.text(help)?);
        if parsed.is_none() {
            self.refuse(help);
        }
        parsed
    }

    /// A table.
    pub(super) fn section(self) -> Option<Section<'r>> {
        let Value::Table(table) = self.node.value else {
            self.refuse("a table was expected here");
            return None;
        };
        let (path, pattern, origin) = (self.path, self.pattern, self.node.origin);
        Some(Section { reading: self.reading, path, pattern, origin, table, asked: Vec::new() })
    }

    /// The elements of a list; a single value stands for a list of one.
    pub(super) fn list(self) -> Vec<Self> {
        let one = |(i, node): (usize, Node)| {
            let (path, pattern) = (format!("{}[{i}]", self.path), self.pattern.clone());
            Self { reading: self.reading, path, pattern, node }
        };
        if let Value::List(nodes) = &self.node.value {
            return nodes.iter().cloned().enumerate().map(one).collect();
        }
        let Some(text) = self.node.value.loose() else { return vec![self] };
        let node = |text: &str| Node {
            origin: self.node.origin.clone(),
            value: Value::Loose(text.trim().to_owned()),
        };
        let pieces = text.split(',').filter(|_| !text.trim().is_empty());
        pieces.map(node).enumerate().map(one).collect()
    }

    /// A whole number within bounds.
    pub(super) fn whole(&self, bounds: &RangeInclusive<u64>, help: &str) -> Option<u64> {
        let number = if let Value::Whole(number, _) = &self.node.value {
            number.and_then(|n| u64::try_from(n).ok())
        } else {
            self.node.value.loose().and_then(|text| text.parse().ok())
        };
        let number = number.filter(|n| bounds.contains(n));
        if number.is_none() {
            self.refuse(help);
        }
        number
    }

    /// A duration within bounds.
    pub(super) fn duration(&self, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
        let (low, high) = (write_duration(*bounds.start()), write_duration(*bounds.end()));
        if let Value::Whole(_, number) | Value::Decimal(_, number) = &self.node.value {
            self.fault(
                format!("`{}` is {number}, a number without a unit", self.path),
                format!("write the unit: \"{number}s\", or ms, m, h, d; from {low} to {high}"),
            );
            return None;
        }
        let help = format!(
            "a duration from {low} to {high}, written like \"50ms\", \"1.5s\", \"10m\", \"24h\" or \"30d\""
        );
        self.parsed(&help, |text| parse_duration(text).filter(|span| bounds.contains(span)))
    }

    /// A size within bounds.
    pub(super) fn size(&self, bounds: &RangeInclusive<usize>) -> Option<usize> {
        let (low, high) = (write_size(*bounds.start()), write_size(*bounds.end()));
        let help = format!(
            "a size from {low} to {high}, written like \"64KiB\", \"10MiB\" or \"1GB\"; a number alone is bytes"
        );
        if let Value::Whole(number, _) = &self.node.value {
            let bytes = number.and_then(|n| usize::try_from(n).ok()).filter(|n| bounds.contains(n));
            if bytes.is_none() {
                self.refuse(help);
            }
            return bytes;
        }
        self.parsed(&help, |text| parse_size(text).filter(|bytes| bounds.contains(bytes)))
    }

    /// True or false.
    pub(super) fn truth(&self) -> Option<bool> {
        let truth = if let Value::Flag(truth) = &self.node.value {
            Some(*truth)
        } else {
            self.node.value.loose().and_then(|text| text.parse().ok())
        };
        if truth.is_none() {
            self.refuse("true or false, without quotes");
        }
        truth
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let all: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let all = all.join(" or ");
        let text = self.text(&all)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let meant = nearest(&text, words.iter().map(|(word, _)| *word));
            self.refuse(meant.map_or(all.clone(), |word| format!("did you mean {word:?}? It is {all}")));
        }
        found
    }

    /// A path, relative to the file where the file says it and to the process where it doesn't.
    pub(super) fn path(&self, help: &str) -> Option<PathBuf> {
        let text = self.parsed(help, |text| (!text.is_empty()).then(|| text.to_owned()))?;
        Some(match self.node.origin {
            Origin::File(_) | Origin::Unsaid => self.reading.folder().join(text),
            Origin::Env(_) | Origin::Flag(_) => PathBuf::from(text),
        })
    }
}
