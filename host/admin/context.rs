//! The context of the admin interface: everything that its pages are made of.

use crate::activation::Reloader;
use crate::gateway::Shared;
use std::sync::Arc;
use std::time::Instant;

/// Everything that the pages are made of.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) shared: Arc<Shared>,
    pub(super) reloader: Arc<Reloader>,
    /// When the interface began to answer.
    pub(super) started: Instant,
}
