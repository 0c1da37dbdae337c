//! What is wrong with a configuration: every fault at once, each with its place, what was found
//! and what would do.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

/// Every fault that was found, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Whether nothing but the command line is at fault, by what it says or by saying nothing.
    pub fn are_usage(&self) -> bool {
        self.0.iter().all(|fault| matches!(fault.place, Place::Flag(_) | Place::Nowhere))
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// The dotted key; empty where it is about none.
    pub key: String,
    /// What was found.
    pub problem: String,
    /// What would do.
    pub help: String,
}

/// Where a fault stands.
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
        /// The line itself, and how many characters of it are meant; none where it may hold a
        /// credential.
        excerpt: Option<(String, usize)>,
    },
    /// The configuration file as a whole, or another one that it names.
    Whole(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
    /// Nowhere: something is missing altogether.
    Nowhere,
}

impl std::error::Error for Faults {}

/// The report that people read: a paragraph a fault, in the shape that compilers have taught them.
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
        write!(f, "error: {}", self.problem)?;
        match &self.place {
            Place::File { file, line, column, excerpt } => {
                write!(f, "\n  --> {}:{line}:{column}", file.display())?;
                if let Some((text, width)) = excerpt {
                    write!(f, "\n{}", draw(*line, *column, text, *width))?;
                }
            }
            Place::Whole(file) => write!(f, "\n  --> {}", file.display())?,
            Place::Environment(name) => write!(f, "\n  --> {name} in the environment")?,
            Place::Flag(name) => write!(f, "\n  --> {name} on the command line")?,
            Place::Nowhere => {}
        }
        if self.help.is_empty() { Ok(()) } else { write!(f, "\nhelp: {}", self.help) }
    }
}

/// The line with carets under what is meant.
fn draw(line: usize, column: usize, text: &str, width: usize) -> String {
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    // Tabs stay, so that the carets stand under what they mean whatever a tab's width is.
    let indent: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let rest = text.chars().count().saturating_sub(column - 1).max(1);
    let mut drawn = format!("{gutter} |\n{number} | {text}\n{gutter} | {indent}");
    let _ = write!(drawn, "{}", "^".repeat(width.clamp(1, rest)));
    drawn
}

/// What the operating system said about a file, without its error number.
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
