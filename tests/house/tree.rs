//! The tracked text files of the repository.

use std::path::Path;
use std::process::Command;

/// A file: its path from the root, with `/`, and its text.
#[derive(Clone, Debug)]
pub struct File {
    pub path: String,
    pub text: String,
}

impl File {
    pub fn planted(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Whether this is product code: Rust under `host/` that is not only compiled for tests.
    pub fn is_product(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let is_test = name == "tests.rs" || name.ends_with("_tests.rs") || name == "conformance.rs";
        let in_tests =
            self.path.contains("/tests/") || self.path.contains("_tests/") || self.path.contains("/model/");
        self.path.starts_with("host/") && self.path.ends_with(".rs") && !is_test && !in_tests
    }

    /// The text without comments, strings and modules of tests, line for line.
    pub fn code(&self) -> String {
        let mut code = String::with_capacity(self.text.len());
        let mut skipped: Option<&str> = None;
        let mut is_test_next = false;
        for line in self.text.lines() {
            let indent = &line[..line.len() - line.trim_start().len()];
            if let Some(end) = skipped {
                if indent == end && line.trim_end().ends_with('}') {
                    skipped = None;
                }
            } else if line.trim() == "#[cfg(test)]" {
                is_test_next = true;
            } else if is_test_next && !line.trim_start().starts_with("#[") {
                is_test_next = false;
                if line.trim_end().ends_with('{') {
                    skipped = Some(indent);
                }
            } else {
                code.push_str(line.split("//").next().unwrap_or_default());
            }
            code.push('\n');
        }
        code
    }
}

/// All tracked text files.
pub fn tracked() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed =
        Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().expect("git lists the files");
    assert!(listed.status.success(), "{listed:?}");
    let paths = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    let files: Vec<File> = paths.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect();
    assert!(files.iter().filter(|file| file.is_product()).count() > 100, "the tree is not here");
    files
}
