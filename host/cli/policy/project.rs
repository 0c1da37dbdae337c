//! The folder of a policy: its language and its component.

use super::trouble::Trouble;
use std::path::{Path, PathBuf};

/// A language in which policies can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// Rust, with the crate in plugins/sdk-rust
    #[value(alias = "rs")]
    Rust,
    /// C, with clang
    C,
    /// JavaScript, with componentize-qjs
    #[value(alias = "javascript")]
    Js,
    /// Python, with componentize-py
    #[value(alias = "py")]
    Python,
    /// Go, with the stock compiler
    #[value(alias = "golang")]
    Go,
    /// AssemblyScript, with asc
    #[value(alias = "as")]
    Assemblyscript,
}

impl Language {
    pub(super) const ALL: [Self; 6] =
        [Self::Rust, Self::C, Self::Js, Self::Python, Self::Go, Self::Assemblyscript];

    /// The file by which a folder of this language is known.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::C => "policy.c",
            Self::Js => "policy.js",
            Self::Python => "policy.py",
            Self::Go => "go.mod",
            Self::Assemblyscript => "policy.ts",
        }
    }

    /// The language's name in `--lang`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Js => "js",
            Self::Python => "python",
            Self::Go => "go",
            Self::Assemblyscript => "assemblyscript",
        }
    }
}

/// The source of a policy.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) folder: PathBuf,
    /// The folder's name.
    pub(super) name: String,
    pub(super) language: Language,
}

impl Project {
    /// The project in `folder`. `language`: the language if the folder doesn't tell.
    pub(super) fn at(folder: &Path, language: Option<Language>) -> Result<Self, Trouble> {
        let found: Vec<Language> =
            Language::ALL.into_iter().filter(|language| folder.join(language.mark()).is_file()).collect();
        let language = match (language, &found[..]) {
            (Some(language), _) => language,
            (None, &[language]) => language,
            (None, []) => {
                let marks: Vec<&str> = Language::ALL.map(Language::mark).to_vec();
                return Err(Trouble::new(
                    format!(
                        "{} holds no policy's source: none of {} is there",
                        folder.display(),
                        marks.join(", ")
                    ),
                    "name the folder that `oncegate policy new` made",
                ));
            }
            (None, several) => {
                let names: Vec<&str> = several.iter().map(|language| language.name()).collect();
                return Err(Trouble::usage(
                    format!("{} may be {}", folder.display(), names.join(" or ")),
                    "say which with --lang",
                ));
            }
        };
        Ok(Self { folder: folder.to_owned(), name: folder_name(folder)?, language })
    }

    /// The path of its component.
    pub(super) fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.name))
    }
}

/// The name of a folder, even of `.`.
pub(super) fn folder_name(folder: &Path) -> Result<String, Trouble> {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let whole = if folder.ends_with(".") || folder.ends_with("..") {
        whole.canonicalize().unwrap_or(whole)
    } else {
        whole
    };
    let name = whole.file_name().map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| Trouble::usage(format!("{} has no name", folder.display()), "name a folder"))
}

/// The component's name in a configuration, for a component that was named on the command line. A folder
/// stands for the component that was built in it.
pub(super) fn component(named: &str) -> Result<String, Trouble> {
    let folder = Path::new(named);
    if named.starts_with("builtin:") || !folder.is_dir() {
        return Ok(named.into());
    }
    let file = folder.join(format!("{}.wasm", folder_name(folder)?));
    if file.is_file() {
        return Ok(file.display().to_string());
    }
    Err(Trouble::new(
        format!("there is no {} yet", file.display()),
        format!("build it: oncegate policy build {named}"),
    ))
}
