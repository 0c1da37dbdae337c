//! Finds the interfaces that a policy's source implements beside `policy`: the policy exports an interface if
//! its source has the interface's functions. For languages whose own tools don't tell, this file reads the
//! source line by line.

use super::project::{Language, Project};
use super::trouble::{Trouble, read};
use crate::config::io_words;
use crate::policy::{Hook, Interface};
use std::path::Path;

/// The world that a policy is built for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum World {
    /// `key-policy` with these interfaces more.
    With(Vec<Interface>),
    /// A world of the author's own, which the language's tool knows.
    Named(String),
}

/// The hook by whose function an interface is known in a source.
fn mark(interface: Interface) -> &'static str {
    let first = Hook::ALL.into_iter().find(|hook| hook.interface() == interface);
    first.map_or("", Hook::name)
}

/// True if a line of source defines an interface.
fn is_defined(interface: Interface, language: Language, line: &str) -> bool {
    let (name, hook) = (interface.name(), mark(interface));
    match language {
        Language::Rust => false,
        Language::C => {
            line.starts_with("og_") && line.contains(&format!(" og_{hook}(")) && !line.ends_with(';')
        }
        Language::Go => line.starts_with(&format!("func {hook}(")),
        Language::Assemblyscript => line.starts_with(&format!("export function {hook}(")),
        Language::Js => line.starts_with(&format!("export const {name} ")),
        Language::Python => {
            let (first, rest) = name.split_at(1);
            line.starts_with(&format!("class {}{rest}(", first.to_ascii_uppercase()))
        }
    }
}

impl World {
    /// The world that was named; else the world of the interfaces that the source has.
    pub(super) fn of(project: &Project, named: Option<&str>) -> Result<Self, Trouble> {
        match (named, project.language) {
            (None, _) => Ok(Self::With(found(project)?)),
            (Some(_), Language::Rust) => Err(Trouble::usage(
                "--world says nothing to a policy in Rust",
                "it says itself what it exports: policy!(Orders: Outcome + Presentation);",
            )),
            (Some("key-policy"), _) => Ok(Self::With(Vec::new())),
            (Some("full-policy"), _) => Ok(Self::With(Interface::ALL.to_vec())),
            (Some(world), Language::Js | Language::Python) => Ok(Self::Named(world.into())),
            (Some(world), _) => Err(Trouble::usage(
                format!("there is no world {world} for this language"),
                "there are key-policy and full-policy; without --world it is what the source has",
            )),
        }
    }

    /// The interfaces beside `policy`, if they are known.
    pub(super) fn interfaces(&self) -> &[Interface] {
        match self {
            Self::With(interfaces) => interfaces,
            Self::Named(_) => &[],
        }
    }

    /// A folder with the interface that has this world, and the world's name, for tools that go by worlds.
    /// The path is as seen from the policy's folder. A world that isn't in `wit` is written to `build/wit`.
    pub(super) fn written(&self, project: &Project) -> Result<(&'static str, String), Trouble> {
        let interfaces = match self {
            Self::Named(world) => return Ok(("wit", world.clone())),
            Self::With(interfaces) if interfaces.is_empty() => return Ok(("wit", "key-policy".into())),
            Self::With(interfaces) if *interfaces == Interface::ALL => {
                return Ok(("wit", "full-policy".into()));
            }
            Self::With(interfaces) => interfaces,
        };
        let exports: String =
            interfaces.iter().map(|interface| format!("    export {};\n", interface.name())).collect();
        let world = format!(
            "package oncegate:policy@0.1.0;\n\nworld built {{\n    include key-policy;\n{exports}}}\n"
        );
        let folder = project.folder.join("build/wit");
        let written = std::fs::create_dir_all(&folder)
            .and_then(|()| {
                std::fs::copy(project.folder.join("wit/policy.wit"), folder.join("policy.wit")).map(drop)
            })
            .and_then(|()| std::fs::write(folder.join("built.wit"), world));
        written.map_err(|error| {
            Trouble::new(format!("can't write {}: {}", folder.display(), io_words(&error)), "")
        })?;
        Ok(("build/wit", "built".into()))
    }
}

/// The interfaces that the source defines.
fn found(project: &Project) -> Result<Vec<Interface>, Trouble> {
    let language = project.language;
    let files = match language {
        Language::Rust => return Ok(Vec::new()),
        Language::C => sources(&project.folder, "c")?,
        Language::Go => sources(&project.folder, "go")?,
        Language::Assemblyscript | Language::Js | Language::Python => vec![language.mark().into()],
    };
    let mut text = String::new();
    for file in files.iter().filter(|file| !file.starts_with("oncegate.c")) {
        text.push_str(&String::from_utf8_lossy(&read(&project.folder.join(file))?));
        text.push('\n');
    }
    let defined =
        |interface: &Interface| text.lines().any(|line| is_defined(*interface, language, line.trim_end()));
    Ok(Interface::ALL.into_iter().filter(defined).collect())
}

/// The files of a language in the folder itself, in the order of their names.
pub(super) fn sources(folder: &Path, extension: &str) -> Result<Vec<std::path::PathBuf>, Trouble> {
    let listing = std::fs::read_dir(folder);
    let listing = listing.map_err(|error| {
        Trouble::new(format!("can't read {}: {}", folder.display(), io_words(&error)), "")
    })?;
    let names =
        listing.filter_map(|entry| entry.ok().map(|entry| std::path::PathBuf::from(entry.file_name())));
    let mut names: Vec<_> = names.filter(|name| name.extension().is_some_and(|e| e == extension)).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_told_from_what_looks_like_one() {
        for (language, line, defines) in [
            (Language::C, "og_settled og_settle(const og_receipt *receipt, const og_reply *reply) {", true),
            (Language::C, "og_settled og_settle(const og_receipt *receipt, const og_reply *reply);", false),
            (Language::C, "    return og_settle(receipt, reply);", false),
            (Language::Go, "func settle(receipt *Receipt, reply *Reply) (*Settlement, error) {", true),
            (Language::Go, "//\tfunc settle(receipt *Receipt, reply *Reply) (*Settlement, error)", false),
            (Language::Go, "func settleOne(", false),
            (
                Language::Assemblyscript,
                "export function settle(receipt: Receipt, reply: Reply): Settled {",
                true,
            ),
            (Language::Js, "export const outcome = {", true),
            (Language::Js, "export const outcomes = {", false),
            (Language::Python, "class Outcome(exports.Outcome):", true),
            (Language::Python, "    class Outcome(exports.Outcome):", false),
        ] {
            assert_eq!(is_defined(Interface::Outcome, language, line), defines, "{line}");
        }
    }
}
