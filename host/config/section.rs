//! Reading a tree section by section: what a key asks for, what it accepts, which keys there are.
//!
//! A reader asks for each key by name; what nobody asked for is unknown when the section closes.
//! A fault is noted and the default taken, so that one reading finds them all.

use super::fault::{Fault, Place};
use super::tree::{Node, Origin, Table, Value, holds_credential};
use super::units::{nearest, parse_duration, parse_size, write_duration, write_size};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One reading of a configuration.
#[derive(Default)]
pub(super) struct Reading {
    /// The file's name and text; none where flags say it all.
    pub(super) file: Option<(PathBuf, String)>,
    /// What was found wrong, with its place in the order of reading.
    pub(super) faults: RefCell<Vec<(usize, Fault)>>,
    /// What is allowed but worth saying.
    pub(super) warnings: RefCell<Vec<String>>,
    /// Every key that was asked for, as `upstreams.NAME.urls`.
    pub(super) known: RefCell<BTreeSet<String>>,
    /// Keys that nobody asked for: where, and the section's path and pattern.
    unknown: RefCell<Vec<(Origin, String, String, String)>>,
}

impl Reading {
    /// A reading of a file with this text.
    pub(super) fn of(file: PathBuf, text: String) -> Self {
        Self { file: Some((file, text)), ..Self::default() }
    }

    /// Notes a fault of the key at `path`.
    pub(super) fn fault(
        &self,
        origin: &Origin,
        path: &str,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) {
        let fault = Fault {
            place: self.place(origin, true),
            key: path.to_owned(),
            problem: problem.into(),
            help: help.into(),
        };
        self.note(origin, fault);
    }

    /// Notes a fault in a place that may hold a credential, which is not to be shown.
    pub(super) fn fault_unshown(&self, origin: &Origin, path: &str, problem: &str, help: &str) {
        let place = self.place(origin, false);
        self.note(origin, Fault { place, key: path.into(), problem: problem.into(), help: help.into() });
    }

    /// Notes a fault of another file that this key names.
    pub(super) fn fault_of_file(
        &self,
        origin: &Origin,
        path: &str,
        file: &Path,
        problem: String,
        help: &str,
    ) {
        let place = match self.place(origin, true) {
            Place::Nowhere => Place::Whole(file.to_owned()),
            place => place,
        };
        self.note(origin, Fault { place, key: path.into(), problem, help: help.into() });
    }

    fn note(&self, origin: &Origin, fault: Fault) {
        let order = match origin {
            Origin::File(span) => span.start,
            Origin::Env(_) => usize::MAX - 2,
            Origin::Flag(_) => usize::MAX - 1,
            Origin::Unsaid => usize::MAX,
        };
        self.faults.borrow_mut().push((order, fault));
    }

    pub(super) fn warn(&self, warning: impl Into<String>) {
        self.warnings.borrow_mut().push(warning.into());
    }

    fn place(&self, origin: &Origin, shown: bool) -> Place {
        match (origin, &self.file) {
            (Origin::File(span), Some((file, text))) => place_in(file, text, span, shown),
            (Origin::Env(name), _) => Place::Environment(name.clone()),
            (Origin::Flag(name), _) => Place::Flag(name),
            (Origin::Unsaid, Some((file, _))) => Place::Whole(file.clone()),
            (Origin::File(_) | Origin::Unsaid, None) => Place::Nowhere,
        }
    }

    /// The folder that relative paths of the file start from.
    pub(super) fn folder(&self) -> &Path {
        let parent = self.file.as_ref().and_then(|(file, _)| file.parent());
        parent.unwrap_or(Path::new(""))
    }

    /// Says which keys are unknown. It comes last, when all keys that there are have been asked
    /// for and a key of another section can be told from one of none.
    pub(super) fn report_unknown(&self) {
        let known = self.known.borrow();
        for (origin, path, pattern, name) in self.unknown.borrow().iter() {
            let siblings: Vec<&str> = known
                .iter()
                .filter_map(|key| key.strip_prefix(pattern.as_str()))
                .map(|rest| if pattern.is_empty() { rest } else { rest.trim_start_matches('.') })
                .filter(|rest| !rest.contains('.') && !rest.is_empty())
                .collect();
            let help = help_for_unknown(origin, path, name, &siblings, &known);
            let problem = match origin {
                Origin::Env(variable) => {
                    format!("{variable} overrides nothing: there is no key `{}`", dotted(path, name))
                }
                Origin::File(_) | Origin::Flag(_) | Origin::Unsaid => {
                    format!("`{}` is not a key that Oncegate knows", dotted(path, name))
                }
            };
            self.fault(origin, &dotted(path, name), problem, help);
        }
    }
}

/// What a reader of an unknown key would like to hear.
fn help_for_unknown(
    origin: &Origin,
    path: &str,
    name: &str,
    siblings: &[&str],
    known: &BTreeSet<String>,
) -> String {
    let env = matches!(origin, Origin::Env(_));
    let spell = |key: &str| if env { variable(key) } else { key.to_owned() };
    if let Some(meant) = nearest(name, siblings.iter().copied()) {
        let meant = if env { variable(&dotted(path, meant)) } else { meant.to_owned() };
        return format!("did you mean `{meant}`?");
    }
    if env && path.is_empty() {
        // ONCEGATE_SERVER_LISTEN, with one line too few.
        let flat = |key: &&String| key.replace('.', "_") == name;
        if let Some(key) = known.iter().find(flat) {
            return format!("did you mean `{}`, with two underscores between the levels?", variable(key));
        }
    }
    let elsewhere = known.iter().find(|key| key.rsplit('.').next() == Some(name) && !key.contains("NAME"));
    if let Some((section, _)) = elsewhere.and_then(|key| key.rsplit_once('.')) {
        let whole = format!("{section}.{name}");
        return if env {
            format!("did you mean `{}`?", variable(&whole))
        } else {
            format!("it belongs in [{section}]")
        };
    }
    let all: Vec<String> =
        siblings.iter().map(|key| spell(&dotted(if env { path } else { "" }, key))).collect();
    format!("there are: {}", all.join(", "))
}

/// The variable that overrides a key.
pub(super) fn variable(key: &str) -> String {
    format!("ONCEGATE_{}", key.to_uppercase().replace('.', "__").replace('-', "_"))
}

fn dotted(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The line and column of a span.
pub(super) fn place_in(file: &Path, text: &str, span: &Range<usize>, shown: bool) -> Place {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let mut until = span.end.clamp(start, end);
    while !text.is_char_boundary(until) {
        until += 1;
    }
    let line = text[begin..end].trim_end_matches('\r');
    let excerpt = (shown && !holds_credential(line))
        .then(|| (line.to_owned(), text[start..until].trim_end().chars().count().max(1)));
    Place::File {
        file: file.to_owned(),
        line: text[..begin].matches('\n').count() + 1,
        column: text[begin..start].chars().count() + 1,
        excerpt,
    }
}

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
        let read = |entry: &super::tree::Entry| {
            let path = dotted(name, &entry.name);
            if !super::units::is_name(&entry.name) {
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

impl Reading {
    /// Says that something of the design isn't there yet.
    pub(super) fn not_yet(&self, origin: &Origin, path: &str, value: &str) {
        let what = if value.is_empty() { format!("`{path}`") } else { format!("`{path} = {value:?}`") };
        self.fault(
            origin,
            path,
            format!("{what} is not in this version yet"),
            "remove it; a later version will know it",
        );
    }
}

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
        match &self.node.value {
            Value::Text(text) | Value::Loose(text) => Some(text.clone()),
            Value::Whole(..)
            | Value::Decimal(..)
            | Value::Flag(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => {
                self.refuse(help);
                None
            }
        }
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
        match &self.node.value {
            Value::List(nodes) => nodes.iter().cloned().enumerate().map(one).collect(),
            Value::Loose(text) if text.trim().is_empty() => Vec::new(),
            Value::Loose(text) => {
                let node = |text: &str| Node {
                    origin: self.node.origin.clone(),
                    value: Value::Loose(text.trim().to_owned()),
                };
                text.split(',').map(node).enumerate().map(one).collect()
            }
            Value::Text(_)
            | Value::Whole(..)
            | Value::Decimal(..)
            | Value::Flag(_)
            | Value::Date(_)
            | Value::Table(_) => {
                vec![self]
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn whole(&self, bounds: &RangeInclusive<u64>, help: &str) -> Option<u64> {
        let number = match &self.node.value {
            Value::Whole(number, _) => number.and_then(|n| u64::try_from(n).ok()),
            Value::Loose(text) => text.trim().parse().ok(),
            Value::Text(_)
            | Value::Decimal(..)
            | Value::Flag(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => None,
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
        let truth = match &self.node.value {
            Value::Flag(truth) => Some(*truth),
            Value::Loose(text) => text.trim().parse().ok(),
            Value::Text(_)
            | Value::Whole(..)
            | Value::Decimal(..)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => None,
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
