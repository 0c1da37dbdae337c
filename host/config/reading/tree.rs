//! The values of a configuration before their meaning is read, each with its source. The file, the
//! environment and the flags become one tree, so that each fault can name the place it came from.

use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The source that set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetBy {
    /// The file set the value, at these bytes.
    File(Range<usize>),
    /// This variable of the environment set the value.
    Env(String),
    /// This flag set the value.
    Flag(&'static str),
    /// Nothing set the value: the value is a default, or implied by a flag.
    Nothing,
}

/// A value and its source.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) set_by: SetBy,
    pub(crate) value: Value,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    /// As written; none where it doesn't fit.
    Whole(Option<i64>, String),
    /// As written; none where it doesn't fit.
    Decimal(Option<f64>, String),
    Flag(bool),
    Date(String),
    List(Vec<Located>),
    Table(Table),
    /// A text of the environment or the command line, where everything is text. The key says how to read it.
    Loose(String),
}

/// A table, in the order in which it was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(pub(crate) Vec<Entry>);

/// One entry of a table.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// The place of the name.
    pub(crate) set_by: SetBy,
    pub(crate) node: Located,
}

impl Table {
    /// The value under a name.
    pub(crate) fn node(&self, name: &str) -> Option<&Located> {
        self.0.iter().find(|entry| entry.name == name).map(|entry| &entry.node)
    }

    /// The value under a name, to be changed. A missing value becomes an empty table.
    pub(crate) fn node_mut(&mut self, name: &str, set_by: &SetBy) -> &mut Located {
        let at = self.0.iter().position(|entry| entry.name == name).unwrap_or_else(|| {
            let node = Located { set_by: set_by.clone(), value: Value::Table(Self::default()) };
            self.0.push(Entry { name: name.to_owned(), set_by: set_by.clone(), node });
            self.0.len() - 1
        });
        &mut self.0[at].node
    }

    /// Puts a value under a path of names, over whatever stood there.
    pub(crate) fn put(&mut self, path: &[&str], set_by: &SetBy, value: Value) {
        let Some((name, rest)) = path.split_first() else { return };
        if rest.is_empty() {
            self.0.retain(|entry| entry.name != *name);
            let node = Located { set_by: set_by.clone(), value };
            self.0.push(Entry { name: (*name).to_owned(), set_by: set_by.clone(), node });
            return;
        }
        let node = self.node_mut(name, set_by);
        if let Value::Table(table) = &mut node.value {
            table.put(rest, set_by, value);
        }
        // Anything but a table there is a fault of the file, which is noted elsewhere.
    }
}

/// The tree of a TOML document.
pub(crate) fn of_document(table: &DeTable<'_>) -> Table {
    of_table(table, &SetBy::File)
}

/// The tree of one TOML value that does not come from the file.
pub(crate) fn of_value(text: &str, set_by: &SetBy) -> Option<Value> {
    let parsed = DeValue::parse(text).ok()?;
    Some(of_node(&parsed, &|_| set_by.clone()).value)
}

fn of_table(table: &DeTable<'_>, place: &dyn Fn(Range<usize>) -> SetBy) -> Table {
    let mut entries: Vec<_> = table.iter().collect();
    // The parser sorts by name; people read by line.
    entries.sort_by_key(|(name, _)| name.span().start);
    let entry = |(name, node): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| Entry {
        name: name.get_ref().to_string(),
        set_by: place(name.span()),
        node: of_node(node, place),
    };
    Table(entries.into_iter().map(entry).collect())
}

fn of_node(node: &Spanned<DeValue<'_>>, place: &dyn Fn(Range<usize>) -> SetBy) -> Located {
    let value = match node.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            Value::Whole(i64::from_str_radix(number.as_str(), number.radix()).ok(), number.to_string())
        }
        DeValue::Float(number) => {
            let parsed: Option<f64> = number.as_str().parse().ok();
            Value::Decimal(parsed.filter(|n| n.is_finite()), number.to_string())
        }
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(list) => Value::List(list.iter().map(|node| of_node(node, place)).collect()),
        DeValue::Table(table) => Value::Table(of_table(table, place)),
    };
    Located { set_by: place(node.span()), value }
}

impl Value {
    /// The text of a value from the environment or the command line.
    pub(crate) fn loose(&self) -> Option<&str> {
        if let Self::Loose(text) = self { Some(text.trim()) } else { None }
    }

    /// The table, if it is one.
    pub(crate) fn table(&self) -> Option<&Table> {
        if let Self::Table(table) = self { Some(table) } else { None }
    }

    /// The value in a few words, for a fault.
    pub(crate) fn found(&self) -> String {
        match self {
            Self::Text(text) | Self::Loose(text) if holds_credential(text) => {
                "what it is (not shown: a password may be in it)".into()
            }
            Self::Text(text) | Self::Loose(text) => format!("{:?}", cut(text)),
            Self::Whole(_, text) | Self::Decimal(_, text) => text.clone(),
            Self::Flag(flag) => flag.to_string(),
            Self::Date(date) => format!("the date {date}"),
            Self::List(list) if list.is_empty() => "an empty list".into(),
            Self::List(_) => "a list".into(),
            Self::Table(_) => "a table".into(),
        }
    }
}

/// Whether a text has something before an `@` in a URL. Faults go to logs and to the admin
/// interface, so they do not repeat such a text.
pub(crate) fn holds_credential(text: &str) -> bool {
    text.split("://")
        .skip(1)
        .any(|rest| rest.split(['/', '"', '\'', ' ']).next().is_some_and(|part| part.contains('@')))
}

/// At most 80 characters of a text.
fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
