//! The value of a key that is being read: its required kind, and the fault if it is of another kind.

use super::report::Reading;
use super::tree::{Located, SetBy, Value};
use super::units::{nearest, parse_duration, parse_size, write_duration, write_size};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The help for a name that won't do.
pub(crate) const NAME_HELP: &str =
    "a name has 1 to 64 letters, digits, `-`, `_` or `.` and begins with a letter or a digit";

/// The value of a key that is being read.
#[derive(Clone)]
pub(crate) struct Item<'r> {
    pub(crate) reading: &'r Reading,
    pub(crate) path: String,
    /// `path` with `NAME` for names.
    pub(crate) pattern: String,
    pub(crate) node: Located,
}

impl<'r> Item<'r> {
    /// Notes that the value won't do.
    pub(crate) fn refuse(&self, help: impl Into<String>) {
        let problem = format!("`{}` can't be {}", self.path, self.node.value.found());
        self.fault(problem, help);
    }

    /// Notes a fault in words of its own.
    pub(crate) fn fault(&self, problem: impl Into<String>, help: impl Into<String>) {
        self.reading.fault(&self.node.set_by, &self.path, problem, help);
    }

    /// The value as a text. Another kind is a fault, and `help` says what would do.
    pub(crate) fn text(&self, help: &str) -> Option<String> {
        if let Value::Text(text) | Value::Loose(text) = &self.node.value {
            return Some(text.clone());
        }
        self.refuse(help);
        None
    }

    /// The text, read by `parse`.
    pub(crate) fn parsed<T>(&self, help: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let parsed = parse(&self.text(help)?);
        if parsed.is_none() {
            self.refuse(help);
        }
        parsed
    }

    /// The elements of a list; a single value stands for a list of one.
    pub(crate) fn list(self) -> Vec<Self> {
        let one = |(i, node): (usize, Located)| {
            let (path, pattern) = (format!("{}[{i}]", self.path), self.pattern.clone());
            Self { reading: self.reading, path, pattern, node }
        };
        if let Value::List(nodes) = &self.node.value {
            return nodes.iter().cloned().enumerate().map(one).collect();
        }
        let Some(text) = self.node.value.loose() else { return vec![self] };
        let node = |text: &str| Located {
            set_by: self.node.set_by.clone(),
            value: Value::Loose(text.trim().to_owned()),
        };
        let pieces = text.split(',').filter(|_| !text.trim().is_empty());
        pieces.map(node).enumerate().map(one).collect()
    }

    /// The elements of a list, each read by `parse`. A single value stands for a list of one.
    pub(crate) fn each<T>(&self, parse: impl Fn(&Item<'_>) -> Option<T>) -> Option<Vec<T>> {
        Some(self.clone().list().iter().filter_map(parse).collect())
    }

    /// A whole number within bounds.
    pub(crate) fn whole(&self, bounds: &RangeInclusive<u64>, help: &str) -> Option<u64> {
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
    pub(crate) fn duration(&self, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
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
    pub(crate) fn size(&self, bounds: &RangeInclusive<usize>) -> Option<usize> {
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
    pub(crate) fn truth(&self) -> Option<bool> {
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
    pub(crate) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
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

    /// A path. A path in the file is relative to the file, any other path to the process.
    pub(crate) fn path(&self, help: &str) -> Option<PathBuf> {
        let text = self.parsed(help, |text| (!text.is_empty()).then(|| text.to_owned()))?;
        Some(match self.node.set_by {
            SetBy::File(_) | SetBy::Nothing => self.reading.folder().join(text),
            SetBy::Env(_) | SetBy::Flag(_) => PathBuf::from(text),
        })
    }
}
