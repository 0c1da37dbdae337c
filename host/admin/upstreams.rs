//! `GET /v1/upstreams`

use super::api::{UpstreamList, UpstreamStatus};
use crate::gateway::Shared;

pub(super) fn list(shared: &Shared) -> UpstreamList {
    let active = shared.active.load();
    let upstreams = active.upstreams.values().map(|upstream| {
        let (counters, slots) = (&upstream.metrics, upstream.slots());
        UpstreamStatus {
            name: upstream.name().to_string(),
            address: upstream.address(),
            dedupes: upstream.config.dedupes,
            executions: slots.executions(),
            waiters: slots.waiters(),
            answered: counters.answered.get(),
            unreachable: counters.unreachable.get(),
            broken: counters.broken.get(),
            timed_out: counters.timed_out.get(),
            aborted: counters.aborted.get(),
        }
    });
    UpstreamList { upstreams: upstreams.collect() }
}
