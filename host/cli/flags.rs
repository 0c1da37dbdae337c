//! The flags that say what to serve: the flags of `serve`, which `check` takes, too.

use crate::config::{Flags, Source};
use std::path::PathBuf;

/// What to serve.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct FlagArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", env = "ONCEGATE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The service to stand in front of; without a file this is all that is needed
    #[arg(short, long, value_name = "URL")]
    upstream: Option<String>,
    /// Where requests come in [default: 127.0.0.1:8080]; may be given several times
    #[arg(short, long, value_name = "ADDRESS", value_delimiter = ',')]
    listen: Vec<String>,
    /// The admin listener [default: 127.0.0.1:8081], or `off`
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "NUMBER")]
    workers: Option<usize>,
    /// The policy: `builtin:idempotency-key` (the default) or the path of a component
    #[arg(long, value_name = "COMPONENT")]
    policy: Option<String>,
    /// The policy's settings, in JSON or as an inline table of TOML
    #[arg(long, value_name = "TABLE")]
    settings: Option<String>,
    /// Where operations are kept: `embedded` (the default: in a folder) or `memory`
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// The folder of the embedded store [default: oncegate-data]
    #[arg(long, value_name = "FOLDER")]
    data: Option<String>,
}

impl FlagArgs {
    /// The source that a configuration is read from.
    pub(super) fn source(self, env: Vec<(String, String)>) -> Source {
        let Self { config, upstream, listen, admin, workers, policy, settings, store, data } = self;
        let flags = Flags { listen, upstream, admin, workers, policy, settings, store, data };
        Source { file: config, flags, env }
    }
}
