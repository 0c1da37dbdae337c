//! The flags that say what is logged, and how.

use crate::config::{Fault, Faults, Place, nearest};
use crate::observe::log::{self, LogFormat};
use clap::ValueEnum;

/// How much is logged, and how.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LogArgs {
    /// What to log: error, warn, info, debug or trace, also by part: `info,oncegate_ledger=debug`
    #[arg(
        long = "log",
        value_name = "FILTER",
        env = "ONCEGATE_LOG",
        default_value = "info",
        hide_env_values = true
    )]
    filter: String,
    /// How to write it
    #[arg(
        long = "log-format",
        value_name = "FORMAT",
        env = "ONCEGATE_LOG_FORMAT",
        default_value = "text",
        hide_env_values = true
    )]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines, with colours where standard error is a terminal.
    Text,
    /// A JSON object a line.
    Json,
}

/// The parts of the program that log.
const PARTS: [&str; 10] = [
    "oncegate",
    "oncegate_config",
    "oncegate_core",
    "oncegate_gateway",
    "oncegate_keyspaces",
    "oncegate_ledger",
    "oncegate_observe",
    "oncegate_policy",
    "oncegate_store",
    "oncegate_upstream",
];
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Sets the log up for the whole process. Returns the reason if the filter can't be read.
pub(super) fn set_up(args: &LogArgs) -> Result<(), String> {
    check(&args.filter)?;
    let filter = with_rest(&args.filter);
    let format = match args.format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    };
    log::set_up(&filter, format)
}

/// The faults of the variables that say what `serve` logs, for `check`.
pub(super) fn faults(env: &[(String, String)]) -> Result<(), Faults> {
    let of = |name: &str, problem: String| {
        let place = Place::Environment(name.to_owned());
        Fault { place, key: String::new(), problem, help: "`serve` refuses it so".to_owned() }
    };
    let faults = env.iter().filter_map(|(name, value)| match &**name {
        "ONCEGATE_LOG" => check(value).err().map(|why| of(name, why)),
        "ONCEGATE_LOG_FORMAT" => Format::from_str(value, false).err().map(|_| {
            of(name, format!("ONCEGATE_LOG_FORMAT is {value:?}, and no format of the log: text or json"))
        }),
        _ => None,
    });
    let faults: Vec<Fault> = faults.collect();
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
}

/// Refuses a filter with a word that is neither a level nor a part of the program. `EnvFilter` takes such a
/// word for a part that logs nothing. The crates that Oncegate is built with write nothing to this log.
fn check(filter: &str) -> Result<(), String> {
    for word in filter.split(',').map(str::trim).filter(|word| !word.is_empty() && !is_level(word)) {
        let part = word.split(['=', ':']).next().unwrap_or_default();
        if PARTS.contains(&part) {
            continue;
        }
        let (what, levels) = match word.contains('=') {
            true => ("no part of Oncegate", &[][..]),
            false => ("no level and no part of Oncegate", &LEVELS[..]),
        };
        let meant = nearest(part, levels.iter().chain(&PARTS).copied());
        let short = |name: &'static str| name.strip_prefix("oncegate_");
        let meant = meant.map(str::to_owned).or_else(|| {
            nearest(part, PARTS.into_iter().filter_map(short)).map(|name| format!("oncegate_{name}"))
        });
        let help = match meant {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("its parts are {}", PARTS.join(", ")),
        };
        return Err(format!(
            "--log {filter:?} (or ONCEGATE_LOG): {part:?} is {what}, and nothing would be logged; {help}"
        ));
    }
    Ok(())
}

/// The filter with a level for the parts that it does not name: `EnvFilter` would silence them.
fn with_rest(filter: &str) -> String {
    match filter.split(',').any(|word| is_level(word.trim())) {
        true => filter.to_owned(),
        false => format!("info,{filter}"),
    }
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)) || matches!(word.as_bytes(), [b'0'..=b'5'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        for (filter, words) in [
            (
                "debgu",
                "\"debgu\" is no level and no part of Oncegate, and nothing would be logged; did you mean \"debug\"?",
            ),
            ("warnn", "did you mean \"warn\"?"),
            ("oncegate_ledger=debug, inof", "\"inof\" is no level"),
            ("verbose", "\"verbose\" is no level"),
            ("hyper", "\"hyper\" is no level"),
            ("ledger=debug", "did you mean \"oncegate_ledger\"?"),
            ("info,gateway=trace", "did you mean \"oncegate_gateway\"?"),
            ("oncegate_ledgr=debug", "did you mean \"oncegate_ledger\"?"),
            ("oncgate_ledger=debug", "did you mean \"oncegate_ledger\"?"),
            ("legder=debug", "did you mean \"oncegate_ledger\"?"),
            ("store-mark=info", "\"store-mark\" is no part of Oncegate"),
            ("info;oncegate_store=debug", "\"info;oncegate_store\" is no part of Oncegate"),
            ("info,hyper=debug", "its parts are oncegate, oncegate_config"),
            ("[span{a=1}]=debug", "is no part of Oncegate"),
            ("=debug", "is no part of Oncegate"),
        ] {
            let refused = check(filter).err().unwrap_or_default();
            assert!(refused.contains(words), "{filter}: {refused}");
        }
        for fine in
            ["", "INFO", "off", "3", "oncegate", "oncegate_ledger", "oncegate_ledger::keeper=debug, warn"]
        {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn parts_are_the_crates_of_the_program() {
        let host = concat!(env!("CARGO_MANIFEST_DIR"), "/host");
        let manifests = std::fs::read_dir(host).unwrap().filter_map(|entry| {
            let text = std::fs::read_to_string(entry.unwrap().path().join("Cargo.toml")).ok()?;
            let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))?;
            Some(name.replace('-', "_"))
        });
        let mut crates: Vec<String> = manifests.chain(["oncegate".to_owned()]).collect();
        crates.sort();
        assert_eq!(crates, PARTS);
    }

    #[test]
    fn parts_that_are_not_named_keep_their_level() {
        assert_eq!(with_rest("oncegate_ledger=debug"), "info,oncegate_ledger=debug");
        for whole in ["info", "warn,oncegate_ledger=debug", "oncegate_ledger=debug, OFF"] {
            assert_eq!(with_rest(whole), whole);
        }
    }
}
