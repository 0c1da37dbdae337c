//! The sources that a configuration is read from.

use std::path::PathBuf;

/// Variables that belong to the program, not to the configuration, without `ONCEGATE_`.
pub(crate) const OF_THE_PROGRAM: [&str; 3] = ["CONFIG", "LOG", "LOG_FORMAT"];

/// Everything that a configuration is read from. The source is a value, so that a reload reads the same again
/// and a test needs no process.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The flags of `serve`, which override the file.
    pub flags: Flags,
    /// The environment. Only its `ONCEGATE_` variables count, and they override the file, too.
    pub env: Vec<(String, String)>,
}

/// The flags of `serve` that stand for keys.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `server.listen`
    pub listen: Vec<String>,
    /// The URL of the only upstream. Without a file the URL is a whole configuration.
    pub upstream: Option<String>,
    /// `server.admin`
    pub admin: Option<String>,
    /// `server.workers`
    pub workers: Option<usize>,
    /// The component of the only policy.
    pub policy: Option<String>,
    /// The settings of the only policy, in JSON or as an inline table of TOML.
    pub settings: Option<String>,
    /// `ledger.store`
    pub store: Option<String>,
    /// `ledger.path`
    pub data: Option<String>,
}
