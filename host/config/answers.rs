//! `routes.answers`: other statuses for the gateway's own answers.

use super::reading::tree::Entry;
use super::reading::units::nearest;
use super::reading::{Section, SetBy, TableKey, Unset};
use oncegate_core::problem::{AGREED, Code};
use std::collections::BTreeMap;

pub(super) const ANSWERS: TableKey = TableKey::new(
    "answers",
    Unset::Value("{}"),
    (),
    "Other statuses for the gateway's own answers, by problem code: `{ in-flight = 503, expired = 204 }`. Some senders stop at a 4xx.",
);

/// The statuses by code.
pub(super) fn read(section: Section<'_>) -> BTreeMap<String, u16> {
    let help = "a status from 200 to 599 that is no redirect, like 503";
    let mut answers = BTreeMap::new();
    for (Entry { name, set_by, .. }, item) in section.entries() {
        // A shell exports no variable with a `-`.
        let name = if let SetBy::Env(_) = set_by { name.replace('_', "-") } else { name };
        let known = Code::names().chain(AGREED.iter().copied());
        if !known.clone().any(|code| code == name) {
            let help = match nearest(&name, known.clone()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
            };
            let problem = format!("`{}` is no code of the gateway's own answers", item.path);
            item.reading.fault(&set_by, &item.path, problem, help);
            continue;
        }
        match item.whole(&(200..=599), help).and_then(|status| u16::try_from(status).ok()) {
            Some(300..=399) => item.refuse(help),
            Some(status) => _ = answers.insert(name, status),
            None => {}
        }
    }
    answers
}
