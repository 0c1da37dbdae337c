//! What a configuration is read from.

use std::path::PathBuf;

/// Everything that a configuration is read from. A value, so that a reload reads the same again
/// and a test needs no process.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The flags of `serve`, which override it.
    pub flags: Flags,
    /// The environment, of which only `ONCEGATE_` variables count. They override the file, too.
    pub env: Vec<(String, String)>,
}

/// The flags of `serve` that stand for keys.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `server.listen`
    pub listen: Vec<String>,
    /// The URL of the only upstream. Without a file it is a whole configuration.
    pub upstream: Option<String>,
    /// `server.admin`
    pub admin: Option<String>,
    /// `server.workers`
    pub workers: Option<usize>,
    /// The component of the only policy.
    pub policy: Option<String>,
    /// Its settings, in JSON or as an inline table of TOML.
    pub settings: Option<String>,
    /// `ledger.store`
    pub store: Option<String>,
    /// `ledger.path`
    pub data: Option<String>,
}
