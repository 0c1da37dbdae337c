//! `oncegate policy new`

use super::project::{Language, folder_name};
use super::trouble::{Done, Trouble, authoring};
use crate::cli::say;
use crate::config::io_words;
use std::path::{Path, PathBuf};

/// Make a folder with a policy to start from
///
/// It reads its key from a header, as builtin:idempotency-key does, builds at once and passes its
/// test vectors. What it needs of the interface lies in the folder.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate policy new --lang rust orders\n  \
    oncegate policy new --lang python policies/orders\n\n\
    then: oncegate policy build orders && oncegate policy test orders")]
pub(super) struct NewArgs {
    /// The language
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,
    /// The new folder; its last name is the policy's
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// The name in templates that stands for the policy's name.
const NAME: &str = "my-policy";

pub(super) fn run(args: &NewArgs) -> Done {
    authoring("new")?;
    let name = folder_name(&args.folder)?;
    if !is_name(&name) {
        return Err(Trouble::usage(
            format!("{name:?} can't be a policy's name"),
            "letters, digits and hyphens, with a letter in front, are allowed: orders-v2",
        ));
    }
    let folder = &args.folder;
    let empty = match folder.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if !empty {
        let problem = format!("{} is there already, and not an empty folder", folder.display());
        return Err(Trouble::new(problem, "name a folder that isn't there yet"));
    }
    for (path, text) in files(args.lang) {
        write(&folder.join(path), &text.replace(NAME, &name)).map_err(|error| {
            Trouble::new(format!("can't write {}: {}", folder.join(path).display(), io_words(&error)), "")
        })?;
    }
    let place = folder.display();
    let tool = match args.lang {
        Language::Js | Language::Assemblyscript => format!("  (cd {place} && npm install)\n"),
        Language::Python => {
            format!("  (cd {place} && python3 -m venv .venv && .venv/bin/pip install -r requirements.txt)\n")
        }
        Language::Rust | Language::C | Language::Go => String::new(),
    };
    say::out(format_args!(
        "{place}: a policy in {}; README.md in it says where to go on\n\n{tool}  oncegate policy build {place}\n  \
         oncegate policy test {place}\n",
        args.lang.name(),
    ));
    Ok(true)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !name.ends_with('-')
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, text)
}

/// A file of a template: its path, and its text.
type File = (&'static str, String);

macro_rules! template {
    ($language:literal: $($path:literal),+ $(,)?) => {
        vec![$((
            $path,
            include_str!(concat!("../../../plugins/templates/", $language, "/", $path)).to_owned(),
        )),+]
    };
}

/// The files of a language: its template, and the files that all languages have.
fn files(language: Language) -> Vec<File> {
    let mut files: Vec<File> = match language {
        Language::Rust => {
            let mut files = template!("rust": "Cargo.toml", ".cargo/config.toml", "src/lib.rs", "src/key.rs", "README.md");
            files.push(("sdk/Cargo.toml", include_str!("../../../plugins/sdk-rust/Cargo.toml").into()));
            files.push((
                "sdk/src/settings.rs",
                include_str!("../../../plugins/sdk-rust/src/settings.rs").into(),
            ));
            for (path, text) in [
                ("sdk/src/lib.rs", include_str!("../../../plugins/sdk-rust/src/lib.rs")),
                ("sdk/src/hooks.rs", include_str!("../../../plugins/sdk-rust/src/hooks.rs")),
            ] {
                // In the repository the crate reads the interface at its own place.
                files.push((path, text.replace("../../wit/v0.1", "../wit")));
            }
            files
        }
        Language::C => template!("c": "policy.c", "key.c", "key.h", "oncegate.c", "oncegate.h", "README.md"),
        Language::Js => template!("js": "policy.js", "key.js", "oncegate.js", "package.json", "README.md"),
        Language::Python => {
            template!("python": "policy.py", "key.py", "oncegate.py", "requirements.txt", "README.md")
        }
        Language::Go => {
            template!("go": "policy.go", "key.go", "oncegate.go", "hooks.go", "outcome.go", "resolution.go", "presentation.go", "go.mod", "README.md")
        }
        Language::Assemblyscript => {
            template!("assemblyscript": "policy.ts", "key.ts", "oncegate.ts", "index.ts", "outcome.ts", "resolution.ts", "presentation.ts", "package.json", "README.md")
        }
    };
    files.extend(template!("common": "vectors.json", "settings.schema.json"));
    files.push((".gitignore", "build/\ntarget/\nnode_modules/\n.venv/\n__pycache__/\n".into()));
    files.push(("wit/policy.wit", include_str!("../../../wit/v0.1/policy.wit").into()));
    files
}
