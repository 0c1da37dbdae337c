//! Citations of the contract lead to a page, and to a heading where they name one.

use super::tree::{File, tracked};
use std::collections::BTreeMap;

/// A heading as the usual sites make an anchor of it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-');
    kept.collect::<String>().replace(' ', "-")
}

/// Every citation that leads nowhere, and every citation of the page that was there before.
fn faults(files: &[File]) -> Vec<String> {
    let pages: BTreeMap<&str, Vec<String>> = files
        .iter()
        .filter_map(|file| Some((file.path.strip_prefix("host/design/")?, &file.text)))
        .map(|(name, text)| {
            let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
            (name, headings.map(|heading| anchor(heading.trim_start_matches('#'))).collect())
        })
        .collect();
    let mut faults = Vec::new();
    // Not spelled out, so that this file is none of its own findings.
    let before = ["DESIGN", " §"].concat();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            let mut fault = |what: String| faults.push(format!("{}:{}: {what}", file.path, number + 1));
            if line.contains(&before) {
                fault(format!("{before} is no page"));
            }
            for (at, _) in line.match_indices("design/") {
                let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._#".contains(c);
                let cited: String = line[at + 7..].chars().take_while(|c| is_name(*c)).collect();
                let Some((page, rest)) = cited.split_once(".md") else { continue };
                let page = format!("{page}.md");
                match (pages.get(page.as_str()), rest.strip_prefix('#')) {
                    (None, _) => fault(format!("design/{page} is not there")),
                    (Some(headings), Some(heading)) if !headings.iter().any(|known| known == heading) => {
                        fault(format!("design/{page} has no heading #{heading}"));
                    }
                    _ => {}
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
        ["// design/", "life.md#early-answers"].concat(),
        ["// DESIGN", " §4"].concat(),
    ];
    for planted in cases {
        let found = faults(&[page.clone(), File::planted("host/x.rs", &planted)]);
        assert_eq!(found.len(), 1, "{planted}: {found:?}");
    }
    let good = ["// design/", "life.md#late-answers"].concat();
    assert_eq!(faults(&[page, File::planted("host/x.rs", &good)]), Vec::<String>::new());
}
