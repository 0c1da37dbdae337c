//! Functions of at most 60 lines and files of at most 500. A longer file says why in its first lines:
//! "Long because …".

use super::tree::{File, tracked};

const FUNCTION_MAX: usize = 60;
const FILE_MAX: usize = 500;

/// Functions of a file that are too long: a function ends where its indentation does.
fn long_functions(file: &File) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        // A visibility such as `pub(super)` or `pub(in crate::a)` has a bracket of its own, before the word `fn`.
        let Some((before, after)) = trimmed.split_once("fn ") else { continue };
        let is_function = before.split_whitespace().all(|word| {
            let is_visibility = word.starts_with("pub") || word.ends_with(')');
            is_visibility || ["const", "async", "unsafe", "extern", "\"C\""].contains(&word)
        });
        if !is_function || trimmed.ends_with(';') {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - trimmed.len()]);
        let Some(length) = lines[begin..].iter().position(|line| *line == end) else { continue };
        if length + 1 > FUNCTION_MAX {
            let name = after.split(['(', '<']).next().unwrap_or_default();
            found.push(format!("{}:{}: fn {name} has {} lines", file.path, begin + 1, length + 1));
        }
    }
    found
}

fn faults(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("host/") && file.path.ends_with(".rs")) {
        let lines = file.text.lines().count();
        let reason = file.text.lines().take(20).any(|line| line.contains("Long because"));
        if lines > FILE_MAX && !reason {
            faults.push(format!("{} has {lines} lines and no reason", file.path));
        }
        if file.is_product() {
            faults.extend(long_functions(file));
        }
    }
    faults
}

#[test]
fn functions_and_files_are_short() {
    let faults = faults(&tracked());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_planted_long_function_is_seen() {
    let long = format!("pub(in crate::a) async fn long<T>(x: T) {{\n{}}}\n", "    x;\n".repeat(60));
    let short = format!("pub async fn short(x: u8) {{\n{}}}\n", "    x;\n".repeat(58));
    let found = faults(&[File::planted("host/x.rs", &format!("{short}{long}"))]);
    assert_eq!(found, ["host/x.rs:61: fn long has 62 lines"]);
    let file = File::planted("host/x.rs", &"\n".repeat(501));
    assert_eq!(faults(&[file]).len(), 1);
}
