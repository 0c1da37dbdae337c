//! `reference.md`. The rows of its tables and its last sentence are made of the keys; the rest is written by
//! hand.

use super::load::key_rows;
use super::reading::row::{Bearing, KeyRow};

/// The beginning of the sentence that names the keys which a reload can't change.
const FIXED: &str = "A reload changes everything but ";

/// The page with its generated parts made anew. The rows under `### Server` are the keys `server.…`.
pub fn reference(page: &str) -> String {
    let keys = key_rows();
    let (mut made, mut table) = (String::new(), String::new());
    for line in page.lines().filter(|line| !line.starts_with("| `")) {
        if let Some(heading) = line.strip_prefix("### ") {
            table = heading.to_lowercase();
        }
        made += &if line.starts_with(FIXED) { fixed(&keys) } else { format!("{line}\n") };
        if line == "| --- | --- | --- |" {
            let rows = keys.iter().filter(|row| row.table() == table);
            rows.for_each(|row| made += &(row.markdown() + "\n"));
        }
    }
    made
}

fn fixed(keys: &[KeyRow]) -> String {
    let fixed = keys.iter().filter(|row| row.bearing == Bearing::Fixed);
    let names: Vec<String> = fixed.map(|row| format!("`{}`", row.key)).collect();
    format!("{FIXED}{}. A reload that would change one of these is refused and names it.\n", names.join(", "))
}

/// Keys whose row the page does not have.
#[cfg(test)]
pub(super) fn left_out(page: &str) -> Vec<String> {
    key_rows().into_iter().filter(|row| !page.contains(&row.markdown())).map(|row| row.key).collect()
}
