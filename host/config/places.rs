//! Where settings of policies were said, for faults that only their component can find.

use super::fault::{Fault, Faults, Place};
use crate::policy::{Segment, SettingFault, dotted};
use std::collections::BTreeMap;

/// The places, by dotted key.
#[derive(Clone, Debug, Default)]
pub struct SettingPlaces(BTreeMap<String, Place>);

impl SettingPlaces {
    pub(super) fn new(places: BTreeMap<String, Place>) -> Self {
        Self(places)
    }

    /// What is wrong with a policy's settings, each with its place: that of the setting, or of the
    /// nearest table or list around it that is known.
    pub fn faults(&self, policy: &str, faults: &[SettingFault]) -> Faults {
        let one = |fault: &SettingFault| Fault {
            place: self.place(policy, &fault.path),
            key: format!("policies.{policy}.{}", fault.key()),
            problem: fault.problem.replacen("`settings", &format!("`policies.{policy}.settings"), 1),
            help: fault.help.clone(),
        };
        Faults(faults.iter().map(one).collect())
    }

    fn place(&self, policy: &str, path: &[Segment]) -> Place {
        let known = |length| self.0.get(&format!("policies.{policy}.{}", dotted(&path[..length])));
        (0..=path.len()).rev().find_map(known).cloned().unwrap_or(Place::Nowhere)
    }
}
