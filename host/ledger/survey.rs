//! A look at all records that live, before something is changed by which they would lose their keys.

use super::state::Ledger;
use crate::store::{Store, StoreError};
use oncegate_core::{Record, State, View};
use std::collections::BTreeMap;

/// How many records are read at once.
const SCAN_PORTION: usize = 256;

/// What would become of the records that live, by what would take their keys: how many.
pub(super) type Losses = BTreeMap<String, u64>;

/// Each with its number.
pub(super) fn in_words(losses: &Losses) -> Vec<String> {
    let one = |(what, count): (&String, &u64)| match count {
        // Not counted: it is no matter of records.
        0 => what.clone(),
        1 => format!("{what} (1 live record)"),
        count => format!("{what} ({count} live records)"),
    };
    losses.iter().map(one).collect()
}

impl<S: Store> Ledger<S> {
    /// Looks at all records that live: how many `judge` has the same word for.
    pub(super) async fn survey(
        &self,
        judge: impl Fn(&Record) -> Option<String>,
    ) -> Result<Losses, StoreError> {
        let mut found = Losses::new();
        let mut passed = None;
        loop {
            let page = self.store.scan(passed, SCAN_PORTION).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            passed = Some(*last);
            for (_, versioned) in &page {
                self.count(&versioned.record, &mut found, &judge);
            }
        }
    }

    /// Counts one record, if it lives. A pointer counts with what it leads to.
    pub(super) fn count(
        &self,
        record: &Record,
        found: &mut Losses,
        judge: impl Fn(&Record) -> Option<String>,
    ) {
        let lives =
            !matches!(record.state, State::Pointer(_)) && record.view(self.clock().now()) != View::Absent;
        if let Some(word) = lives.then(|| judge(record)).flatten() {
            *found.entry(word).or_default() += 1;
        }
    }
}
