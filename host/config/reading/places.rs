//! Places in a policy's settings, for faults that only the policy's component or schema can find.

use super::fault::{Fault, Faults, Place};
use std::collections::BTreeMap;

/// A fault in a policy's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFault {
    /// The fault's place in the settings: names and indices.
    pub path: Vec<Segment>,
    /// The problem that was found.
    pub problem: String,
    /// The remedy: what to write instead.
    pub help: String,
}

/// A step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A step to the entry of a table with this name.
    Name(String),
    /// A step to this element of a list.
    Index(usize),
}

impl SettingFault {
    /// The place as a dotted key: `settings.from[0]`.
    pub fn key(&self) -> String {
        dotted(&self.path)
    }
}

impl std::fmt::Display for SettingFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.problem, self.help)
    }
}

/// A place in the settings as a dotted key.
pub fn dotted(path: &[Segment]) -> String {
    path.iter().fold("settings".to_owned(), |key, segment| match segment {
        Segment::Name(name) => format!("{key}.{name}"),
        Segment::Index(index) => format!("{key}[{index}]"),
    })
}

/// The places of policies' components and settings, and of what says where the ledger is, by dotted key.
#[derive(Clone, Debug, Default)]
pub struct SettingPlaces(BTreeMap<String, Place>);

impl SettingPlaces {
    pub(crate) fn new(places: BTreeMap<String, Place>) -> Self {
        Self(places)
    }

    /// The faults in a policy's settings, each with its place: the place of the setting, or of the nearest
    /// known table or list around the setting.
    pub fn faults(&self, policy: &str, faults: &[SettingFault]) -> Faults {
        let one = |fault: &SettingFault| Fault {
            place: self.place(policy, &fault.path),
            key: format!("policies.{policy}.{}", fault.key()),
            problem: fault.problem.replacen("`settings", &format!("`policies.{policy}.settings"), 1),
            help: fault.help.clone(),
        };
        Faults(faults.iter().map(one).collect())
    }

    /// The place of a policy's component.
    pub fn component(&self, policy: &str) -> Place {
        self.key(&format!("policies.{policy}.component"))
    }

    /// The place of this key, if it was noted.
    pub fn key(&self, key: &str) -> Place {
        self.0.get(key).cloned().unwrap_or(Place::Nowhere)
    }

    fn place(&self, policy: &str, path: &[Segment]) -> Place {
        let known = |length| self.0.get(&format!("policies.{policy}.{}", dotted(&path[..length])));
        (0..=path.len()).rev().find_map(known).cloned().unwrap_or(Place::Nowhere)
    }
}
