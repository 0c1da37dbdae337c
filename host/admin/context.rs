//! What the admin interface answers from.

use crate::activation::Reloader;
use crate::gateway::Shared;
use std::sync::Arc;
use std::time::Instant;

/// What the admin interface answers from.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) shared: Arc<Shared>,
    pub(super) reloader: Arc<Reloader>,
    /// When the interface began to answer.
    pub(super) started: Instant,
}
