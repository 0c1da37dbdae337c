//! The files that the process may open at a time, and who may use them: sockets are files, too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the store, the admin interface, listeners and the runtime may use.
const RESERVE: u64 = 400;
/// The most that is asked for where there is no hard limit: what Linux grants by default.
const UNLIMITED: u64 = 1 << 20;

/// The connections that the process has files for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// Connections of clients.
    pub(super) clients: usize,
    /// Connections to upstreams.
    pub(super) upstreams: usize,
}

/// Raises the number of files that the process may open to the hard limit, and shares them out.
pub(super) fn claim() -> Descriptors {
    Descriptors::of(raised())
}

fn raised() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(UNLIMITED);
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        tracing::warn!(%error, "the limit of open files could not be raised to {wanted}");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED)
}

impl Descriptors {
    /// Shares out `limit` files. Upstreams have a third, since most clients are idle at a time.
    fn of(limit: u64) -> Self {
        let sockets = limit - RESERVE.min(limit / 2);
        let sockets = usize::try_from(sockets).unwrap_or(usize::MAX);
        Self { clients: (sockets - sockets / 3).max(1), upstreams: (sockets / 3).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_have_a_third() {
        for (limit, clients, upstreams) in
            [(1 << 20, 698_784, 349_392), (20_000, 13_067, 6_533), (1024, 416, 208), (256, 86, 42), (2, 1, 1)]
        {
            assert_eq!(Descriptors::of(limit), Descriptors { clients, upstreams }, "{limit}");
        }
    }
}
