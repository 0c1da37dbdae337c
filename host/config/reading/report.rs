//! The notes of one reading of a configuration: faults, warnings, the known keys, and places in the file.

use super::fault::{Fault, Faults, Place};
use super::row::KeyRow;
use super::source::OF_THE_PROGRAM;
use super::tree::{SetBy, holds_credential};
use super::units::nearest;
use super::unknown::{dotted, help_for_unknown, meant, variable};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The most faults that are reported. A file with more faults is no configuration.
pub(crate) const FAULTS_MAX: usize = 100;
/// The most settings whose places are noted.
const SETTINGS_MAX: usize = 1000;
/// The longest line that is shown.
const EXCERPT_BYTES_MAX: usize = 400;

/// A last fault that says how many more faults there are.
pub(crate) fn untold(number: usize, place: Place) -> Option<Fault> {
    let problem = format!("there are {number} more faults");
    let help = "mend the first ones; the rest will then be told".to_owned();
    (number > 0).then_some(Fault { place, key: String::new(), problem, help })
}

/// One reading of a configuration.
#[derive(Default)]
pub(crate) struct Reading {
    /// The file's name and text; none if there are only flags.
    pub(crate) file: Option<(PathBuf, String)>,
    /// The faults, each with its place in the order of reading.
    faults: RefCell<Vec<(usize, Fault)>>,
    /// The number of faults beyond [`FAULTS_MAX`].
    untold: Cell<usize>,
    /// Warnings about values that are allowed.
    pub(crate) warnings: RefCell<Vec<String>>,
    /// The place of each setting of a policy, by its dotted key.
    pub(crate) settings: RefCell<BTreeMap<String, Place>>,
    /// The keys that were asked for, as `upstreams.NAME.urls`.
    known: RefCell<BTreeSet<String>>,
    /// The rows of the reference for the keys that were asked for, in the order of asking.
    pub(crate) rows: RefCell<Vec<KeyRow>>,
    /// Variables of the environment that have the program's prefix and are not its own.
    pub(crate) strays: RefCell<Vec<String>>,
    /// Keys that nobody asked for: the place, the section's path and pattern, and the name.
    pub(crate) unknown: RefCell<Vec<(SetBy, String, String, String)>>,
}

impl Reading {
    /// A reading of a file with this text.
    pub(crate) fn of(file: PathBuf, text: String) -> Self {
        Self { file: Some((file, text)), ..Self::default() }
    }

    /// Notes a fault of the key at `path`.
    pub(crate) fn fault(
        &self,
        set_by: &SetBy,
        path: &str,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.note(set_by, true, path, problem.into(), help.into());
    }

    /// Notes a fault without showing its place, which may hold a credential.
    pub(crate) fn fault_unshown(&self, set_by: &SetBy, path: &str, problem: &str, help: &str) {
        self.note(set_by, false, path, problem.into(), help.into());
    }

    /// Notes a fault, up to [`FAULTS_MAX`]: finding a place takes longer in a longer file.
    fn note(&self, set_by: &SetBy, shown: bool, path: &str, problem: String, help: String) {
        if self.faults.borrow().len() >= FAULTS_MAX {
            self.untold.set(self.untold.get() + 1);
            return;
        }
        let order = match set_by {
            SetBy::File(span) => span.start,
            SetBy::Env(_) => usize::MAX - 2,
            SetBy::Flag(_) => usize::MAX - 1,
            SetBy::Nothing => usize::MAX,
        };
        let fault = Fault { place: self.place(set_by, shown), key: path.into(), problem, help };
        self.faults.borrow_mut().push((order, fault));
    }

    /// Ends the reading. The error has all faults in order.
    pub(crate) fn finish(&self) -> Result<(), Faults> {
        self.report_unknown();
        let mut faults = self.faults.take();
        faults.sort_by_key(|(order, _)| *order);
        if faults.is_empty() {
            return Ok(());
        }
        let told = faults.into_iter().map(|(_, fault)| fault);
        Err(Faults(told.chain(untold(self.untold.get(), self.place(&SetBy::Nothing, false))).collect()))
    }

    /// Notes a key or a value of a later version.
    pub(crate) fn not_yet(&self, set_by: &SetBy, path: &str, value: &str) {
        let what = if value.is_empty() { format!("`{path}`") } else { format!("`{path} = {value:?}`") };
        self.fault(
            set_by,
            path,
            format!("{what} is not in this version yet"),
            "remove it; a later version will know it",
        );
    }

    pub(crate) fn warn(&self, warning: impl Into<String>) {
        self.warnings.borrow_mut().push(warning.into());
    }

    /// Notes a fault for each variable that was meant to be another, and a warning for each other stray one.
    /// Called when all known keys have been asked for.
    pub(crate) fn report_strays(&self) {
        for name in self.strays.borrow().iter() {
            let rest = name.trim_start_matches("ONCEGATE_").to_lowercase();
            // One underscore is missing, as in ONCEGATE_SERVER_LISTEN.
            let flat =
                self.known.borrow().iter().find(|key| key.replace('.', "_") == rest).map(|key| variable(key));
            let own = || nearest(&rest, OF_THE_PROGRAM).map(variable);
            let help = match flat {
                Some(key) => Some(format!("did you mean `{key}`, with two underscores between the levels?")),
                None => own().map(|own| format!("did you mean `{own}`?")),
            };
            match help {
                Some(help) => {
                    let problem = format!("{name} is no variable of Oncegate");
                    self.fault(&SetBy::Env(name.clone()), "", problem, help);
                }
                None => {
                    let help = meant(&rest, &self.known.borrow()).map_or_else(
                        || {
                            let own = OF_THE_PROGRAM.map(variable).join(", ");
                            format!("there are {own}, and a key's with two underscores between its levels, like ONCEGATE_SERVER__LISTEN")
                        },
                        |key| format!("did you mean {}?", variable(key)),
                    );
                    self.warn(format!("{name} in the environment changes nothing: {help}"));
                }
            }
        }
    }

    /// The line of the file that this is set in.
    pub(crate) fn line(&self, set_by: &SetBy) -> Option<usize> {
        match self.place(set_by, false) {
            Place::File { line, .. } => Some(line),
            Place::Whole(_)
            | Place::Environment(_)
            | Place::Flag(_)
            | Place::Ledger { .. }
            | Place::Machine
            | Place::Nowhere => None,
        }
    }

    /// Notes that a key was asked for.
    pub(crate) fn asked(&self, row: KeyRow) {
        if self.known.borrow_mut().insert(row.key.clone()) {
            self.rows.borrow_mut().push(row);
        }
    }

    /// Notes the place of a setting, for faults that only the policy's component can find.
    pub(crate) fn setting(&self, path: &str, set_by: &SetBy) {
        let mut settings = self.settings.borrow_mut();
        // The number is bounded, because finding a place takes longer in a longer file.
        if settings.len() < SETTINGS_MAX {
            settings.insert(path.to_owned(), self.place(set_by, true));
        }
    }

    fn place(&self, set_by: &SetBy, shown: bool) -> Place {
        match (set_by, &self.file) {
            (SetBy::File(span), Some((file, text))) => place_in(file, text, span, shown),
            (SetBy::Env(name), _) => Place::Environment(name.clone()),
            (SetBy::Flag(name), _) => Place::Flag(name),
            (SetBy::Nothing, Some((file, _))) => Place::Whole(file.clone()),
            (SetBy::File(_) | SetBy::Nothing, None) => Place::Nowhere,
        }
    }

    /// The folder that relative paths of the file start from.
    pub(crate) fn folder(&self) -> &Path {
        let parent = self.file.as_ref().and_then(|(file, _)| file.parent());
        parent.unwrap_or(Path::new(""))
    }

    /// Notes a fault for each unknown key. The faults come last, when all known keys have been asked for and
    /// a key of another section can be told from a key of no section.
    fn report_unknown(&self) {
        let known = self.known.borrow();
        let unknown = self.unknown.borrow();
        let room = FAULTS_MAX.saturating_sub(self.faults.borrow().len());
        self.untold.set(self.untold.get() + unknown.len().saturating_sub(room));
        for (set_by, path, pattern, name) in unknown.iter().take(room) {
            let siblings: Vec<&str> = known
                .iter()
                .filter_map(|key| key.strip_prefix(pattern.as_str()))
                .map(|rest| if pattern.is_empty() { rest } else { rest.trim_start_matches('.') })
                .filter(|rest| !rest.contains('.') && !rest.is_empty())
                .collect();
            let help = help_for_unknown(set_by, path, name, &siblings, &known);
            let problem = match set_by {
                SetBy::Env(variable) => {
                    format!("{variable} overrides nothing: there is no key `{}`", dotted(path, name))
                }
                SetBy::File(_) | SetBy::Flag(_) | SetBy::Nothing => {
                    format!("`{}` is not a key that Oncegate knows", dotted(path, name))
                }
            };
            self.fault(set_by, &dotted(path, name), problem, help);
        }
    }
}

/// The line and column of a span.
pub(crate) fn place_in(file: &Path, text: &str, span: &Range<usize>, shown: bool) -> Place {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let mut until = span.end.clamp(start, end);
    while !text.is_char_boundary(until) {
        until += 1;
    }
    let line = text[begin..end].trim_end_matches('\r');
    let excerpt = (shown && line.len() <= EXCERPT_BYTES_MAX && !holds_credential(line))
        .then(|| (line.to_owned(), text[start..until].trim_end().chars().count().max(1)));
    Place::File {
        file: file.to_owned(),
        line: text[..begin].matches('\n').count() + 1,
        column: text[begin..start].chars().count() + 1,
        excerpt,
    }
}
