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

/// The variable that overrides a key.
pub(crate) fn variable(key: &str) -> String {
    format!("ONCEGATE_{}", key.to_uppercase().replace('.', "__").replace('-', "_"))
}

pub(crate) fn dotted(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
