//! Reading a configuration: from the file, the environment and the flags to values that the tables' own
//! readers (`config/*.rs`) ask for one by one.
//!
//! [`source`] → [`file`] → [`tree`] ← [`overlay`], then [`section`] by section and [`item`] by item. Every
//! fault on the way is noted in the [`report`], so that one reading finds all faults.

pub(crate) mod fault;
pub(crate) mod file;
pub(crate) mod item;
pub(crate) mod key;
pub(crate) mod overlay;
pub(crate) mod places;
pub(crate) mod report;
pub(crate) mod row;
pub(crate) mod section;
pub(crate) mod source;
pub(crate) mod tree;
pub(crate) mod units;
pub(crate) mod unknown;

pub(crate) use file::read_named;
pub(crate) use item::{Item, NAME_HELP};
pub(crate) use key::{KeyWithin, PlainKey, TableKey};
pub(crate) use report::Reading;
pub(crate) use row::Unset;
pub(crate) use section::Section;
pub(crate) use tree::{SetBy, Table, Value};
