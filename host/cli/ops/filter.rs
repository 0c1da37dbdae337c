//! Operations that a command is about: the filter, and what the admin interface says of them.

use crate::admin::api::{OperationDocument, OperationPage, OperationRecord};
use crate::cli::client::{AdminClient, CommandFailure};
use crate::config::parse_duration;
use oncegate_core::OperationId;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::cmp::Reverse;

/// The most operations that one command lists or changes; run it again for more.
pub(super) const OPERATIONS_MAX: usize = 100_000;
/// The number of operations on one page.
const PAGE: usize = 500;

/// Which operations.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct FilterArgs {
    /// Only in this state: executing, completed, consumed, unknown or expired
    #[arg(long, value_name = "STATE", hide_possible_values = true)]
    #[arg(value_parser = ["executing", "completed", "consumed", "unknown", "expired"])]
    pub(super) state: Option<String>,
    /// Only of this route
    // An empty name, as of a variable that isn't set, would be no filter at all.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) route: Option<String>,
    /// Only those begun longer ago than this, such as 10m or 24h
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) older_than: Option<String>,
    /// Only those begun at most this long ago, such as 30m or 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) since: Option<String>,
}

/// The operations that a filter takes.
#[derive(Debug, Default)]
pub(super) struct OperationList {
    pub(super) operations: Vec<OperationDocument>,
    /// Those whose records can't be read.
    pub(super) unreadable: Vec<String>,
    /// There may be more than were asked for.
    pub(super) may_be_more: bool,
}

impl OperationList {
    /// A line for each of those that can't be read.
    pub(super) fn unreadable_lines(&self) -> String {
        let line = |id: &String| {
            format!(
                "{id}  can't be read: its record is damaged, and its key runs nothing. Only a copy of the data folder brings it back\n"
            )
        };
        self.unreadable.iter().map(line).collect()
    }
}

impl FilterArgs {
    pub(super) fn is_empty(&self) -> bool {
        self.state.is_none() && self.route.is_none() && self.older_than.is_none() && self.since.is_none()
    }

    /// All operations that the filter takes, up to `limit`, page by page, the newest of them first.
    pub(super) fn all(&self, gateway: &AdminClient, limit: usize) -> Result<OperationList, CommandFailure> {
        if let (Some(since), Some(older)) = (&self.since, &self.older_than)
            && parse_duration(since) <= parse_duration(older)
        {
            return Err(CommandFailure::usage(
                format!("no operation is from within the last {since} and older than {older}"),
                "of the two --since is the longer one",
            ));
        }
        let (mut found, mut after) = (OperationList::default(), None);
        while found.operations.len() < limit {
            let target = self.target(PAGE.min(limit - found.operations.len()), after.as_deref());
            let page: OperationPage = gateway.get(&target)?;
            found.operations.extend(page.operations);
            found.unreadable.extend(page.unreadable);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let begun = |operation: &OperationDocument| {
            let first = operation.recorded.as_ref().map(|record| record.description.first_attempt.clone());
            // Times have whole seconds. Within one, versions have the order.
            (first, version(operation).parse::<u64>().unwrap_or_default())
        };
        found.operations.sort_by_cached_key(|operation| Reverse(begun(operation)));
        Ok(OperationList { may_be_more: after.is_some(), ..found })
    }

    fn target(&self, limit: usize, after: Option<&str>) -> String {
        let mut target = format!("/v1/operations?limit={limit}");
        let said = [
            ("state", self.state.as_deref()),
            ("route", self.route.as_deref()),
            ("older_than", self.older_than.as_deref()),
            ("newer_than", self.since.as_deref()),
            ("after", after),
        ];
        for (name, value) in said {
            if let Some(value) = value {
                target.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            }
        }
        target
    }
}

/// An operation's id, as it was typed.
pub(super) fn id(text: &str) -> Result<OperationId, String> {
    text.parse().map_err(|_| "an operation id is given whole: 64 lower-case hexadecimal digits, as `Oncegate-Operation` and `ops list` show it".to_owned())
}

/// The digits at which an id may be cut off.
const PREFIX_MIN: usize = 8;

/// An id or the first digits of one, as they were typed.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match text.bytes().all(is_digit) && (PREFIX_MIN..=64).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "an operation id has 64 lower-case hexadecimal digits, as `Oncegate-Operation` and `ops list` show it; the first \
             {PREFIX_MIN} or more will do"
        )),
    }
}

/// The one operation whose id begins so.
pub(super) fn find(gateway: &AdminClient, prefix: &str) -> Result<OperationId, CommandFailure> {
    if let Ok(id) = prefix.parse() {
        return Ok(id);
    }
    let (mut found, mut last) = (Vec::new(), before(prefix));
    loop {
        let after = last.map_or_else(String::new, |last| format!("&after={last}"));
        let page: OperationPage = gateway.get(&format!("/v1/operations?limit=2{after}"))?;
        let ids = page.operations.into_iter().map(|operation| operation.operation).chain(page.unreadable);
        found.extend(ids.filter(|id| id.starts_with(prefix)));
        last = page.next.filter(|next| next.starts_with(prefix) && found.len() < 2);
        if last.is_none() {
            break;
        }
    }
    match &found[..] {
        [one] => one.parse().map_err(|_| CommandFailure::new(format!("{one} is no id"), "give the id whole")),
        [] => Err(CommandFailure::new(
            format!("no operation's id begins with {prefix}"),
            "`oncegate ops list` shows them",
        )),
        several => Err(CommandFailure::new(
            format!("several ids begin with {prefix}: {}", several.join(", ")),
            "give more digits",
        )),
    }
}

/// The last id before those that begin so; none: they are the first.
fn before(prefix: &str) -> Option<String> {
    let digits = prefix.trim_end_matches('0');
    let (rest, last) = digits.split_at_checked(digits.len().checked_sub(1)?)?;
    let last = u8::from_str_radix(last, 16).ok()?.checked_sub(1)?;
    Some(format!("{:f<64}", format!("{rest}{last:x}")))
}

/// A time, as it was typed.
fn time(text: &str) -> Result<String, String> {
    match parse_duration(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("a duration is written like \"90s\", \"10m\" or \"24h\"".to_owned()),
    }
}

pub(super) fn load(gateway: &AdminClient, id: OperationId) -> Result<OperationDocument, CommandFailure> {
    gateway.get(&format!("/v1/operations/{id}"))
}

/// `ID  state  route  POST /path  version N  since`
pub(super) fn line(operation: &OperationDocument) -> String {
    let OperationDocument { operation: id, state, recorded, .. } = operation;
    let Some(OperationRecord { route, method, path, version, description, .. }) = recorded else {
        return format!("{id}  {state}\n");
    };
    let reason = description.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    format!(
        "{id}  {state}{reason}  {route}  {method} {path}  version {version}  {}\n",
        description.first_attempt
    )
}

/// The version that a change of this operation names.
pub(super) fn version(operation: &OperationDocument) -> String {
    operation.recorded.as_ref().map(|record| record.version.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::before;

    #[test]
    fn the_id_before_a_prefix_is_the_last() {
        assert_eq!(before("d000000000"), Some("c".to_owned() + &"f".repeat(63)));
        assert_eq!(before("12345678"), Some("12345677".to_owned() + &"f".repeat(56)));
        assert_eq!(before(&"a".repeat(63)), Some("a".repeat(62) + "9f"));
        assert_eq!(before("00000000"), None);
    }
}
