//! The faults of a configuration: all faults at once, each with its place, the problem and the remedy.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

/// All faults that were found, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Whether only the command line is at fault, by a flag or by a missing flag.
    pub fn are_usage(&self) -> bool {
        self.0.iter().all(|fault| matches!(fault.place, Place::Flag(_) | Place::Nowhere))
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The fault's place.
    pub place: Place,
    /// The dotted key; empty if the fault is about no key.
    pub key: String,
    /// The problem that was found.
    pub problem: String,
    /// The remedy: what to write instead.
    pub help: String,
}

/// The place of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the configuration file.
    File {
        /// The file, as it was named.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// The line itself, and the number of its characters that are meant; none if the line may hold a
        /// credential.
        excerpt: Option<(String, usize)>,
    },
    /// The configuration file as a whole, or another file that it names.
    Whole(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
    /// The ledger in a data folder: it can't be used, or what it has records of is at odds with the configuration.
    Ledger {
        /// The folder.
        folder: PathBuf,
        /// Where the configuration names what is at fault; nowhere if it doesn't.
        named: Box<Place>,
    },
    /// This machine, whatever the configuration says.
    Machine,
    /// No place: something is missing altogether.
    Nowhere,
}

impl std::error::Error for Faults {}

/// The report that people read: a paragraph for each fault, in the shape of compilers' reports.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}{}", self.problem, self.place)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "\nhelp: {}", self.help) }
    }
}

/// Lines below the problem.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column, excerpt } => {
                write!(f, "\n  --> {}:{line}:{column}", file.display())?;
                match excerpt {
                    Some((text, width)) => write!(f, "\n{}", draw(*line, *column, text, *width)),
                    None => Ok(()),
                }
            }
            Self::Whole(file) => write!(f, "\n  --> {}", file.display()),
            Self::Environment(name) => write!(f, "\n  --> {name} in the environment"),
            Self::Flag(name) => write!(f, "\n  --> {name} on the command line"),
            Self::Ledger { folder, named } => write!(f, "{named}\n  --> the ledger in {}", folder.display()),
            Self::Machine => f.write_str("\n  --> this machine"),
            Self::Nowhere => Ok(()),
        }
    }
}

/// The line with carets under the characters that are meant.
fn draw(line: usize, column: usize, text: &str, width: usize) -> String {
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    // Tabs stay, so that the carets stand in the right column whatever a tab's width is.
    let indent: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let rest = text.chars().count().saturating_sub(column - 1).max(1);
    let mut drawn = format!("{gutter} |\n{number} | {text}\n{gutter} | {indent}");
    let _ = write!(drawn, "{}", "^".repeat(width.clamp(1, rest)));
    drawn
}

/// The operating system's error about a file, without the error number.
pub fn io_words(error: &std::io::Error) -> String {
    let kind = error.kind();
    if kind == std::io::ErrorKind::NotFound {
        return "there is no such file".into();
    }
    if kind == std::io::ErrorKind::PermissionDenied {
        return "this user may not read it".into();
    }
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(words, _)| words.to_owned())
}
