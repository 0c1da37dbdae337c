//! The list of operations, page by page. Of states that a store finds by themselves no other record is read.

use super::api::OperationPage;
use super::filter::OperationFilter;
use super::operations::{bad_request, operation, unavailable};
use super::reply::{AdminReply, sorted_json};
use crate::gateway::Shared;
use crate::store::{ConfiguredStore, Confirmed, ScanScope, StoreError, Versioned};
use oncegate_core::OperationId;
use std::collections::BTreeMap;

/// The most records that one call reads: the next call goes on behind them.
const PAGE: usize = 512;
const PAGES_MAX: usize = 8;

/// `GET /v1/operations?state=&route=&older_than=&newer_than=&limit=&after=`
pub(super) async fn list(shared: &Shared, query: &str) -> AdminReply {
    let filter = match OperationFilter::parse(query) {
        Ok(filter) => filter,
        Err(faults) => return bad_request(&faults),
    };
    let now = shared.ledger.clock().now();
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    let (mut scanned, mut next) = (0_u64, filter.after);
    for _ in 0..PAGES_MAX {
        let page = match page(shared.ledger.confirmed(), filter.scopes(), next).await {
            Ok(page) => page,
            Err(error) => return unavailable(&error),
        };
        if page.is_empty() {
            next = None;
            break;
        }
        for (id, met) in page {
            (scanned, next) = (scanned + 1, Some(id));
            match met {
                Ok(versioned) if filter.takes(&versioned, now) => found.push(operation(id, &versioned, now)),
                Ok(_) => {}
                // Nobody can tell whether the filter takes it.
                Err(_) => unreadable.push(id.to_string()),
            }
            if found.len() >= filter.limit {
                break;
            }
        }
        if found.len() >= filter.limit {
            break;
        }
    }
    let next = next.map(|id| id.to_string());
    sorted_json(&OperationPage { operations: found, unreadable, next, scanned })
}

/// The next records of these scopes, in the order of their ids. Nothing: there are no more. What passes from
/// one scope to a later one meanwhile is met.
async fn page(
    store: &Confirmed<ConfiguredStore>,
    scopes: &[ScanScope],
    after: Option<OperationId>,
) -> Result<BTreeMap<OperationId, Result<Versioned, StoreError>>, StoreError> {
    let (mut found, mut until) = (BTreeMap::new(), None);
    for scope in scopes {
        let page = store.scan(*scope, after, PAGE).await?;
        if let Some((last, _)) = page.last() {
            until = Some(until.map_or(*last, |until: OperationId| until.min(*last)));
        }
        found.extend(page);
    }
    // Behind the shortest page there may be more of its scope.
    found.retain(|id, _| until.is_some_and(|until| *id <= until));
    Ok(found)
}
