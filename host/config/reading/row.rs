//! A row of the reference: a key, its default, and its bearing.

/// The default of a key that the file doesn't set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unset {
    /// The default is this value, as TOML writes it.
    Value(&'static str),
    /// There is no default. The text is the reference's meaning of an unset key.
    Nothing(&'static str),
    /// The default is the value in the table of this name.
    Inherited(&'static str),
    /// The key must be set, and a missing key is a fault. The text says what to set.
    Fault(&'static str),
}

/// The bearing of a key on other things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearing {
    /// The key bears on nothing else.
    Plain,
    /// The key bears on the promises of a guarded route. On a route without a policy, the key would let
    /// somebody believe that the route is guarded.
    Guarding,
    /// The key bears on something that is opened at start. A reload can't change the key.
    Fixed,
}

/// A key as the reference describes it.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    /// The dotted key, with `NAME` for names.
    pub(crate) key: String,
    pub(crate) unset: Unset,
    pub(crate) meaning: &'static str,
    pub(crate) bearing: Bearing,
}

impl KeyRow {
    /// The table of the file that has the key.
    pub(crate) fn table(&self) -> &str {
        self.key.split('.').next().unwrap_or_default()
    }

    /// The key's row in the reference.
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
