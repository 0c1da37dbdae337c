//! The configuration file: its text as a tree, or its faults of form.

use super::fault::{Fault, Faults, Place, io_words};
use super::report::{FAULTS_MAX, Reading, place_in, untold};
use super::tree::{Table, of_document};
use std::path::Path;
use toml::de::DeTable;

/// The size of the largest file that is read. A larger file is no configuration.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The size of the largest file that a value names, for a secret or some fields.
const NAMED_BYTES_MAX: u64 = 64 << 10;

/// The bytes of the small file that a value names, or why there are none. A pipe gives its bytes once, and the next
/// reload would wait for more without end.
pub(crate) fn read_named(file: &Path) -> Result<Vec<u8>, String> {
    let words = |error: std::io::Error| io_words(&error);
    let found = std::fs::metadata(file).map_err(words)?;
    if !found.is_file() {
        return Err("it is no regular file, so that a reload could not read it again".into());
    }
    if found.len() > NAMED_BYTES_MAX {
        return Err(format!("{} bytes, at most {NAMED_BYTES_MAX} are allowed", found.len()));
    }
    std::fs::read(file).map_err(words)
}

/// The file's text as a tree, or its faults of form.
pub(crate) fn read_file(file: &Path) -> Result<(Reading, Table), Faults> {
    let (reading, tree, faults) = read_as_far_as_it_goes(file)?;
    faults.map_or(Ok((reading, tree)), Err)
}

/// The file's text as a tree, as far as its form is sound, and its faults of form.
pub(crate) fn read_as_far_as_it_goes(file: &Path) -> Result<(Reading, Table, Option<Faults>), Faults> {
    let whole = |problem: String, help: &str| {
        let place = Place::Whole(file.to_owned());
        Faults(vec![Fault { place, key: String::new(), problem, help: help.into() }])
    };
    let unreadable = |error: std::io::Error| {
        whole(
            format!("the configuration file can't be read: {}", io_words(&error)),
            "name another file with --config, or start without one: oncegate serve --upstream URL",
        )
    };
    let length = std::fs::metadata(file).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(whole(
            format!("the configuration file has {length} bytes"),
            "a configuration has at most 4 MiB",
        ));
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        whole(format!("line {line} of the configuration file is not UTF-8"), "save it as UTF-8")
    })?;
    let (table, errors) = DeTable::parse_recoverable(&text);
    let tree = of_document(table.get_ref());
    drop(table);
    let faults = (!errors.is_empty()).then(|| faults_of_form(file, &text, errors));
    Ok((Reading::of(file.to_owned(), text), tree, faults))
}

fn faults_of_form(file: &Path, text: &str, mut errors: Vec<toml::de::Error>) -> Faults {
    let fault = |error: &toml::de::Error| {
        let span = error.span().unwrap_or(0..0);
        Fault {
            place: place_in(file, text, &span, true),
            key: String::new(),
            problem: format!("this is not TOML: {}", error.message()),
            help: if error.message().contains("duplicate") {
                "say it once: each key and each [table] stands once in a file".into()
            } else {
                "toml.io shows how values are written; texts need quotes, and a bracket or quote that is left open on a line \
                 before is seen here only"
                    .into()
            },
        }
    };
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    // Behind the first fault of form the parser guesses: one bracket left open makes a fault of each line behind it.
    let is_twice = |error: &toml::de::Error| error.message().contains("duplicate");
    let sound = errors.iter().take_while(|error| is_twice(error)).count();
    errors.truncate(sound + 1);
    let more = untold(errors.len().saturating_sub(FAULTS_MAX), Place::Whole(file.to_owned()));
    Faults(errors.iter().take(FAULTS_MAX).map(fault).chain(more).collect())
}
