//! A row of the reference: a key, what stands in where it is not set, and what it bears on.

/// What stands in where the file doesn't set the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unset {
    /// This value, as TOML writes it.
    Value(&'static str),
    /// Nothing; the reference says what that means.
    Nothing(&'static str),
    /// What the table of this name says.
    Inherited(&'static str),
    /// Nothing can: it is a fault, and this would do.
    Fault(&'static str),
}

/// What a key bears on, beside what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearing {
    /// Nothing else.
    Plain,
    /// The promises of a guarded route: on a route without a policy it would let somebody believe that the
    /// route is guarded.
    Guarding,
    /// What is opened at start: a reload can't change it.
    Fixed,
}

/// A key as the reference describes it.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    /// Dotted, with `NAME` for names.
    pub(crate) key: String,
    pub(crate) unset: Unset,
    pub(crate) meaning: &'static str,
    pub(crate) bearing: Bearing,
}

impl KeyRow {
    /// The table of the file that it stands in.
    pub(crate) fn table(&self) -> &str {
        self.key.split('.').next().unwrap_or_default()
    }

    /// Its row in the reference.
    pub(crate) fn markdown(&self) -> String {
        let (unset, meaning) = match self.unset {
            Unset::Value(text) => (format!("`{text}`"), self.meaning.to_owned()),
            Unset::Nothing(words) => (words.to_owned(), self.meaning.to_owned()),
            Unset::Fault(_) => (String::new(), self.meaning.to_owned()),
            Unset::Inherited(table) => {
                let inner = self.key.split_once('.').map_or("", |(_, inner)| inner);
                let inner = inner.strip_prefix(table).map_or(inner, |inner| inner.trim_start_matches('.'));
                (format!("`[{table}]`'s"), format!("As `{table}.{inner}`."))
            }
        };
        let unset = if unset.is_empty() { " ".to_owned() } else { format!(" {unset} ") };
        format!("| `{}` |{unset}| {meaning} |", self.key)
    }
}
