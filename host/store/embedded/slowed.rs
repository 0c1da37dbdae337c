//! Compactions that take longer, for tests of what happens meanwhile.

use fjall::compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict};
use std::cell::Cell;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

thread_local! {
    static BY: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Databases that this thread makes from now on merge so much slower: each merge takes this time more.
pub(super) fn slow_compactions_by(time: Duration) {
    BY.set(time);
}

type Assigner = Arc<dyn Fn(&str) -> Option<Arc<dyn Factory>> + Send + Sync>;

pub(super) fn filters() -> Assigner {
    let by = BY.get();
    Arc::new(move |_| (!by.is_zero()).then(|| Arc::new(Slow(by)) as Arc<dyn Factory>))
}

struct Slow(Duration);

struct KeepAll;

impl Factory for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        sleep(self.0);
        Box::new(KeepAll)
    }
}

impl CompactionFilter for KeepAll {
    fn filter_item(&mut self, _: ItemAccessor<'_>, _: &Context) -> Result<Verdict, fjall::LsmError> {
        Ok(Verdict::Keep)
    }
}
