//! The glossary of `host/README.md`: each word is there, is used, and no word of before comes back. A type
//! name is defined once.

use super::tree::{File, tracked};
use std::collections::{BTreeMap, BTreeSet};

/// Type names that the glossary has replaced, a line each: the name, then its new word. Not in this file, so
/// that no renaming by script reaches them.
const REPLACED: &str = include_str!("replaced.txt");

/// Names with several definitions of one meaning: the flags and the sub-verbs of each verb of the command line.
const TWINS: [&str; 2] = ["Args", "Verb"];

/// The types that a file defines, in modules within it, too. A `type` further in is one of a trait.
fn types(file: &File) -> Vec<String> {
    let code = file.code();
    let mut found = Vec::new();
    for line in code.lines() {
        let mut words = line.trim().split(|c: char| !c.is_alphanumeric() && c != '_' && c != '(' && c != ')');
        let is_inner = line.starts_with(' ');
        let defines =
            |word: &str| ["struct", "enum", "trait", "union"].contains(&word) || word == "type" && !is_inner;
        if !words.by_ref().take(3).any(defines) {
            continue;
        }
        if let Some(name) = words.next().filter(|name| name.starts_with(char::is_uppercase)) {
            found.push(name.split('(').next().unwrap_or_default().to_owned());
        }
    }
    found
}

/// `key_space` → `KeySpace`.
fn camel(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').filter(|word| !word.is_empty()).map(capital).collect()
}

/// The words of the glossary, from the rows `| word | meaning |`.
fn glossary(readme: &str) -> Vec<String> {
    let (_, section) = readme.split_once("## Words").expect("the glossary");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| **"));
    rows.filter_map(|row| Some(row.split("**").nth(1)?.to_owned())).collect()
}

fn faults(files: &[File]) -> Vec<String> {
    let mut places: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_product()) {
        for name in types(file) {
            places.entry(name).or_default().insert(&file.path);
        }
    }
    let mut faults = Vec::new();
    let replaced: BTreeMap<&str, &str> = REPLACED.lines().filter_map(|line| line.split_once(' ')).collect();
    for file in files.iter().filter(|file| file.is_product()) {
        // `first` is also an everyday word: a file may be about the first answer.
        let parts = file.path.trim_end_matches(".rs").split('/').filter(|part| *part != "first");
        for (name, word) in parts.filter_map(|part| replaced.get_key_value(camel(part).as_str())) {
            faults.push(format!("{name} is called {word} now (host/README.md, Words): {}", file.path));
        }
    }
    for (name, files) in &places {
        if let Some(word) = replaced.get(name.as_str()) {
            faults.push(format!("{name} is called {word} now (host/README.md, Words): {files:?}"));
        }
        if files.len() > 1 && !TWINS.contains(&name.as_str()) {
            faults.push(format!("{name} is defined {} times: {files:?}", files.len()));
        }
    }
    faults
}

/// Words of the glossary that no product code and no page of the contract uses.
fn unused(words: &[String], files: &[File]) -> Vec<String> {
    let used = |word: &&String| {
        let (word, joined) = (word.to_lowercase(), word.to_lowercase().replace([' ', '-'], "_"));
        let in_text = |file: &&File| {
            let text = file.text.to_lowercase();
            text.contains(&word) || text.contains(&joined) || text.contains(&joined.replace('_', ""))
        };
        !files.iter().filter(|file| file.is_product()).any(|file| in_text(&file))
    };
    words.iter().filter(used).cloned().collect()
}

#[test]
fn type_names_are_defined_once() {
    let faults = faults(&tracked());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_glossary_has_the_words_in_use() {
    let files = tracked();
    let readme = files.iter().find(|file| file.path == "host/README.md").expect("host/README.md");
    let words = glossary(&readme.text);
    assert!((25..=45).contains(&words.len()), "about 30 words, not {}", words.len());
    let unused = unused(&words, &files);
    assert!(unused.is_empty(), "no code uses these words of the glossary: {unused:?}");
}

#[test]
fn planted_words_are_seen() {
    let files = [
        File::planted("host/a.rs", "pub struct Lineup;\nstruct Twice {\n"),
        File::planted("host/b.rs", "pub(crate) enum Twice {\n"),
        File::planted("host/c.rs", "mod inner {\n    pub struct Tenure;\n}\n"),
        File::planted("host/route_memory.rs", ""),
    ];
    let found = faults(&files);
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(unused(&["zebra crossing".into()], &files), ["zebra crossing"]);
}
