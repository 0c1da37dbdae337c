//! Help for unknown keys: the key that was meant, the section where the key belongs, or the keys that exist.

use super::tree::SetBy;
use super::units::nearest;
use std::collections::BTreeSet;

/// The help for an unknown key.
pub(crate) fn help_for_unknown(
    set_by: &SetBy,
    path: &str,
    name: &str,
    siblings: &[&str],
    known: &BTreeSet<String>,
) -> String {
    let env = matches!(set_by, SetBy::Env(_));
    let spell = |key: &str| if env { variable(key) } else { key.to_owned() };
    if let Some(meant) = nearest(name, siblings.iter().copied()) {
        let meant = if env { variable(&dotted(path, meant)) } else { meant.to_owned() };
        return format!("did you mean `{meant}`?");
    }
    let elsewhere = known.iter().find(|key| key.rsplit('.').next() == Some(name) && !key.contains("NAME"));
    if let Some((section, _)) = elsewhere.and_then(|key| key.rsplit_once('.')) {
        let whole = format!("{section}.{name}");
        return if env {
            format!("did you mean `{}`?", variable(&whole))
        } else {
            format!("it belongs in [{section}]")
        };
    }
    let all: Vec<String> =
        siblings.iter().map(|key| spell(&dotted(if env { path } else { "" }, key))).collect();
    format!("there are: {}", all.join(", "))
}

/// The keys that flags of `serve` stand for, by flag.
const KEYS_OF_FLAGS: [(&str, &str); 8] = [
    ("listen", "server.listen"),
    ("admin", "server.admin"),
    ("workers", "server.workers"),
    ("store", "ledger.store"),
    ("data", "ledger.path"),
    ("upstream", "upstreams.NAME.urls"),
    ("policy", "policies.NAME.component"),
    ("settings", "policies.NAME.settings"),
];

/// The key that a variable of one level may stand for: that of the flag of this name, or nearly; or the one that ends
/// so.
pub(crate) fn meant<'k>(rest: &str, known: &'k BTreeSet<String>) -> Option<&'k str> {
    let flag = nearest(rest, KEYS_OF_FLAGS.map(|(flag, _)| flag));
    let of_flag = KEYS_OF_FLAGS.iter().find(|(name, _)| Some(*name) == flag).map(|(_, key)| *key);
    of_flag.or_else(|| {
        let ends_so = |key: &&String| !key.contains("NAME") && key.rsplit('.').next() == Some(rest);
        known.iter().find(ends_so).map(String::as_str)
    })
}

/// The variable that overrides a key.
pub(crate) fn variable(key: &str) -> String {
    format!("ONCEGATE_{}", key.to_uppercase().replace('.', "__").replace('-', "_"))
}

pub(crate) fn dotted(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
