//! The values of a route.

use crate::outcomes::StatusRule;
use crate::principal::Principal;
use oncegate_core::{Reach, Times, WhenUnknown, WhileRunning};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// `[[routes]]`, with everything that it inherits.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// The route's name.
    pub name: Arc<str>,
    /// Host name in lower case without port; none: any.
    pub host: Option<String>,
    /// Path prefix on segment borders, without a slash at the end; `/` itself is "".
    pub path: String,
    /// Methods; empty: all.
    pub methods: Vec<String>,
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The policy's name; none: plain proxying.
    pub policy: Option<Arc<str>>,
    /// The treatment of a duplicate while the execution runs.
    pub while_running: WhileRunning,
    /// The treatment of an unknown outcome.
    pub when_unknown: WhenUnknown,
    /// The treatment of requests when the ledger is down or the policy fails to load.
    pub on_error: OnError,
    /// The operator's rules for answers, tried in order before everything else.
    pub outcomes: Vec<StatusRule>,
    /// Other statuses for the gateway's own answers, by problem code.
    pub answers: BTreeMap<String, u16>,
    /// How long leases, answers, tombstones and unknown records last.
    pub times: Times,
    /// How long a duplicate waits.
    pub wait: Duration,
    /// The largest body that is kept. Larger answers are consumed.
    pub body_kept: usize,
    /// Fields of answers that are not kept, lower-case.
    pub strip: Vec<String>,
    /// The response timeout in place of the upstream's.
    pub response_timeout: Option<Duration>,
    /// The sources of the principal.
    pub principal: Arc<Principal>,
    /// The treatment of an execution whose clients are all gone.
    pub client_gone: ClientGone,
    /// The treatment of the same key and content under another principal.
    pub principal_changed: PrincipalChanged,
}

impl RouteConfig {
    /// The requests that the route takes.
    pub fn reach(&self) -> Reach<'_> {
        Reach { host: self.host.as_deref(), path: &self.path, methods: &self.methods }
    }
}

/// `routes.on_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// 503.
    Refuse,
    /// Send the request unguarded.
    Bypass,
}

/// `routes.principal_changed`: the same key and content under another principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalChanged {
    /// Each principal has an operation of its own. The event is counted and logged.
    Count,
    /// The second principal is refused.
    Refuse,
}

/// `routes.client_gone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientGone {
    /// The execution goes on.
    Finish,
    /// The upstream's connection is closed when the last client is gone.
    Close,
}
