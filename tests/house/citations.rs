//! Citations of the contract lead to a page, and to a heading where they name one.

use super::tree::{File, tracked};
use std::collections::BTreeMap;

/// A heading as the usual sites make an anchor of it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-');
    kept.collect::<String>().replace(' ', "-")
}

/// The headings of every page, as anchors.
fn headings(files: &[File]) -> BTreeMap<&str, Vec<String>> {
    let pages = files.iter().filter(|file| file.path.ends_with(".md"));
    let headings = |file: &File| {
        let lines = file.text.lines().filter_map(|line| line.strip_prefix('#'));
        lines.map(|heading| anchor(heading.trim_start_matches('#'))).collect()
    };
    pages.map(|file| (file.path.as_str(), headings(file))).collect()
}

/// `page.md#heading` → why it leads nowhere, if it does.
fn misled(pages: &BTreeMap<&str, Vec<String>>, page: &str, heading: Option<&str>) -> Option<String> {
    match (pages.get(page), heading) {
        (None, _) => Some(format!("{page} is not there")),
        (Some(known), Some(heading)) if !known.iter().any(|known| known == heading) => {
            Some(format!("{page} has no heading #{heading}"))
        }
        _ => None,
    }
}

/// The citations of pages of the contract in a line: `design/life.md#rules`.
fn citations(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._#".contains(c);
    let cited = line.match_indices("design/").map(move |(at, word)| {
        let rest = &line[at + word.len()..];
        rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())].trim_end_matches(['.', '#'])
    });
    cited.filter(|cited| !cited.is_empty())
}

/// The links of a page to other files of the repository, as paths from its root.
fn links<'a>(path: &'a str, line: &'a str) -> impl Iterator<Item = String> + 'a {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.is_empty()).map(move |target| {
        if target.starts_with('#') {
            return format!("{path}{target}");
        }
        let mut parts: Vec<&str> = path.split('/').collect();
        parts.pop();
        for part in target.trim_end_matches('/').split('/') {
            match part {
                "." => {}
                ".." => _ = parts.pop(),
                part => parts.push(part),
            }
        }
        parts.join("/")
    })
}

/// Every citation and every link that leads nowhere, and every citation of the page that was there before.
fn faults(files: &[File]) -> Vec<String> {
    let pages = headings(files);
    let is_there =
        |path: &str| files.iter().any(|file| file.path == path || file.path.starts_with(&format!("{path}/")));
    let mut faults = Vec::new();
    // Not spelled out, so that this file is none of its own findings.
    let before = ["DES", "IGN"].concat();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            let mut fault = |what: String| faults.push(format!("{}:{}: {what}", file.path, number + 1));
            if line.contains(&before) {
                fault(format!("{before} is no page"));
            }
            let cited = citations(line).map(|cited| format!("host/design/{cited}"));
            let linked = links(&file.path, line).filter(|_| file.path.ends_with(".md"));
            for target in cited.chain(linked) {
                let (page, heading) = match target.split_once('#') {
                    Some((page, heading)) => (page, Some(heading)),
                    None => (target.as_str(), None),
                };
                if page.ends_with(".md") || page.starts_with("host/design/") {
                    misled(&pages, page, heading).into_iter().for_each(&mut fault);
                } else if !is_there(page) {
                    fault(format!("{page} is not there"));
                }
            }
        }
    }
    faults
}

#[test]
fn every_citation_leads_to_a_page() {
    let faults = faults(&tracked());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_planted_citation_is_seen() {
    let page = File::planted("host/design/life.md", "# The life\n\n## Late answers");
    let cases = [
        ["// design/", "nothing.md"].concat(),
        ["// design/", "Life.md"].concat(),
        ["// design/", "life"].concat(),
        ["// design/", "life.md#early-answers"].concat(),
        ["// DES", "IGN §4"].concat(),
    ];
    for planted in cases {
        let found = faults(&[page.clone(), File::planted("host/x.rs", &planted)]);
        assert_eq!(found.len(), 1, "{planted}: {found:?}");
    }
    let path = ["host/design/", "x.md"].concat();
    for planted in ["[x](nothing.md)", "[x](life.md#early-answers)", "[x](../nothing/)", "[x](#nothing)"] {
        let found = faults(&[page.clone(), File::planted(&path, planted)]);
        assert_eq!(found.len(), 1, "{planted}: {found:?}");
    }
    let linked = "[x](life.md#late-answers) [y](../design/) [z](https://a.example/b)";
    assert_eq!(faults(&[page.clone(), File::planted(&path, linked)]), Vec::<String>::new());
    let good = ["// design/", "life.md#late-answers"].concat();
    assert_eq!(faults(&[page, File::planted("host/x.rs", &good)]), Vec::<String>::new());
}
