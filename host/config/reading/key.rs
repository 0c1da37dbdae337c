//! A key of the configuration as one item: the key's name, parser, default, text in the reference, and
//! bearing.
//!
//! Each table's file declares its keys as constants and asks its [`Section`](super::section::Section) for
//! them. The keys that were asked for are the keys that the parser accepts and `reference.md` describes.
//! There is no other list.

use super::item::Item;
use super::row::{Bearing, KeyRow, Unset};

/// A key. `P`: the parser of its value, a function of the [`Item`] and perhaps of other values.
#[derive(Clone, Copy)]
pub(crate) struct ConfigKey<P> {
    pub(crate) name: &'static str,
    pub(crate) unset: Unset,
    pub(crate) parse: P,
    /// The key's text in the reference; empty: the keys within the table are described instead.
    pub(crate) meaning: &'static str,
    pub(crate) bearing: Bearing,
}

/// A key whose value depends on nothing else.
pub(crate) type PlainKey<T> = ConfigKey<fn(&Item<'_>) -> Option<T>>;
/// A key whose value is held against a `C` from elsewhere in the file.
pub(crate) type KeyWithin<C, T> = ConfigKey<fn(&Item<'_>, &C) -> Option<T>>;
/// A key whose value is a table, or a list of tables.
pub(crate) type TableKey = ConfigKey<()>;

impl<P> ConfigKey<P> {
    /// The key's row in the reference, under this dotted key.
    pub(crate) fn row(&self, key: String) -> KeyRow {
        KeyRow { key, unset: self.unset, meaning: self.meaning, bearing: self.bearing }
    }
}

impl<P: Copy> ConfigKey<P> {
    /// A key that bears on nothing else.
    pub(crate) const fn new(name: &'static str, unset: Unset, parse: P, meaning: &'static str) -> Self {
        Self { name, unset, parse, meaning, bearing: Bearing::Plain }
    }

    /// The same key, for guarded routes alone.
    pub(crate) const fn guarding(self) -> Self {
        Self { bearing: Bearing::Guarding, ..self }
    }

    /// The same key, which a reload can't change.
    pub(crate) const fn fixed(self) -> Self {
        Self { bearing: Bearing::Fixed, ..self }
    }

    /// The same key in a table that inherits it from the table of this name.
    pub(crate) const fn inherited(self, table: &'static str) -> Self {
        Self { unset: Unset::Inherited(table), ..self }
    }
}

impl TableKey {
    /// A table, which the keys within it describe.
    pub(crate) const fn table(name: &'static str) -> Self {
        Self::new(name, Unset::Nothing(""), (), "")
    }
}
