//! `routes.answers`: other statuses for the gateway's own answers.

use super::reading::Section;
use super::reading::tree::Entry;
use super::reading::units::nearest;
use std::collections::BTreeMap;

/// The codes of the gateway's own answers (DESIGN §5).
pub const PROBLEM_CODES: [&str; 19] = [
    "key-reused",
    "in-flight",
    "outcome-unknown",
    "consumed",
    "expired",
    "too-late",
    "principal-changed",
    "principal-invalid",
    "bad-request",
    "no-route",
    "body-too-large",
    "upstream-unreachable",
    "upstream-broken",
    "upstream-timeout",
    "ledger-unavailable",
    "policy-failed",
    "breaker-open",
    "overloaded",
    "draining",
];

/// The status that the gateway's own answer with this code has where a route says no other, and whether
/// asking again with the same key is useful; none: it is no such code.
pub fn problem(code: &str) -> Option<(u16, bool)> {
    Some(match code {
        "bad-request" => (400, false),
        "principal-invalid" => (401, false),
        "no-route" => (404, false),
        "in-flight" => (409, true),
        "outcome-unknown" | "consumed" | "principal-changed" => (409, false),
        "expired" => (410, false),
        "too-late" => (412, false),
        "body-too-large" => (413, false),
        "key-reused" => (422, false),
        "upstream-unreachable" => (502, true),
        "upstream-broken" => (502, false),
        "ledger-unavailable" | "policy-failed" | "breaker-open" | "overloaded" | "draining" => (503, true),
        "upstream-timeout" => (504, false),
        _ => return None,
    })
}

/// Codes that policies use by agreement.
const POLICY_CODES: [&str; 2] = ["key-missing", "key-malformed"];

/// The statuses by code.
pub(super) fn read(section: Section<'_>) -> BTreeMap<String, u16> {
    let help = "a status from 200 to 599 that is no redirect, like 503";
    let mut answers = BTreeMap::new();
    for (Entry { name, origin, .. }, item) in section.entries() {
        let known = PROBLEM_CODES.into_iter().chain(POLICY_CODES);
        if !known.clone().any(|code| code == name) {
            let help = match nearest(&name, known.clone()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
            };
            let problem = format!("`{}` is no code of the gateway's own answers", item.path);
            item.reading.fault(&origin, &item.path, problem, help);
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
