//! A look at all live records, before a change by which they would lose their keys.

use super::state::Ledger;
use oncegate_core::{OperationId, Record, State, View};
use oncegate_store::{ScanScope, Store, StoreError};
use std::collections::BTreeMap;

/// How many records are read at once.
const SCAN_PORTION: usize = 256;

/// How many live records a change would take the keys of, by the words for the loss.
pub(super) type Losses = BTreeMap<String, u64>;

/// So many records that can't be read are named.
const NAMED_MAX: usize = 8;
const UNREADABLE: &str = "nobody can read the record of";

/// The losses in words, each with its number.
pub(super) fn in_words(losses: &Losses) -> Vec<String> {
    let one = |(what, count): (&String, &u64)| match count {
        // This loss has no number: it is no matter of records.
        0 => what.clone(),
        1 => format!("{what} (1 live record)"),
        count => format!("{what} ({count} live records)"),
    };
    losses.iter().map(one).collect()
}

impl<S: Store> Ledger<S> {
    /// Looks at all live records, and counts those with the same word from `judge`. What can't be read counts,
    /// too, as it may live.
    pub(super) async fn survey(
        &self,
        judge: impl Fn(&Record) -> Option<String>,
    ) -> Result<Losses, StoreError> {
        let mut found = Losses::new();
        let mut passed = None;
        loop {
            let page = self.store.scan(ScanScope::All, passed, SCAN_PORTION).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            passed = Some(*last);
            for (id, met) in page {
                match met {
                    Ok(versioned) => self.count(&versioned.record, &mut found, &judge),
                    Err(error) => count_unreadable(id, &error, &mut found),
                }
            }
        }
    }

    /// Counts one record, if it lives. A pointer counts with its target.
    pub(super) fn count(
        &self,
        record: &Record,
        found: &mut Losses,
        judge: impl Fn(&Record) -> Option<String>,
    ) {
        if let Some(word) = self.lives(record).then(|| judge(record)).flatten() {
            *found.entry(word).or_default() += 1;
        }
    }

    /// Whether this is the state of an operation that is not forgotten.
    pub(super) fn lives(&self, record: &Record) -> bool {
        !matches!(record.state, State::Pointer(_)) && record.view(self.clock().now()) != View::Absent
    }
}

/// Counts a record that can't be read: it may live, and lose its key.
pub(super) fn count_unreadable(operation: OperationId, error: &StoreError, found: &mut Losses) {
    tracing::error!(%operation, %error, "a record can't be read, and counts as one that lives");
    let named = found.keys().filter(|what| what.starts_with(UNREADABLE)).count();
    let word =
        if named < NAMED_MAX { format!("{UNREADABLE} {operation}") } else { format!("{UNREADABLE} others") };
    *found.entry(word).or_default() += 1;
}
