//! Automatic reloads when a file of the configuration or of a policy changes.

use super::policies::file_digest;
use super::reload::Reloader;
use super::report::Occasion;
use notify_debouncer_full::notify::{self, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, new_debouncer};
use oncegate_core::LostRecords;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Writes to a file within this time count as one change.
const SETTLE_TIME: Duration = Duration::from_millis(100);

impl Reloader {
    /// Reloads when a file changes, for as long as it is polled.
    pub async fn watch(self: Arc<Self>) {
        let (changed, mut changes) = mpsc::unbounded_channel();
        // The debouncer's own tick would be a quarter of this time, all day long.
        let watcher = new_debouncer(SETTLE_TIME, Some(SETTLE_TIME), move |events: DebounceEventResult| {
            if events.is_ok() {
                // The receiver is gone only while the gateway ends.
                let _ = changed.send(());
            }
        });
        let mut watcher = match watcher {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, "files can't be watched: reload with SIGHUP or `oncegate reload`");
                return;
            }
        };
        let mut folders = BTreeSet::new();
        let mut seen = self.digests().await;
        loop {
            for folder in self.folders().difference(&folders.clone()) {
                // The folder, not the file: files are replaced, and symlinks swapped.
                match watcher.watch(folder, RecursiveMode::NonRecursive) {
                    Ok(()) => _ = folders.insert(folder.clone()),
                    Err(error) => {
                        tracing::warn!(folder = %folder.display(), error = %words(&error), "a folder can't be watched: reload with SIGHUP or `oncegate reload`")
                    }
                }
            }
            if changes.recv().await.is_none() {
                return;
            }
            while changes.try_recv().is_ok() {}
            let now = self.digests().await;
            if now != seen {
                // `reload` reports a refusal; the next change of the files tries again.
                let _ = self.reload(LostRecords::Refuse, Occasion::FILE).await;
                seen = now;
            }
        }
    }

    fn folders(&self) -> BTreeSet<PathBuf> {
        let files = self.shared.active.load().config.watched_files();
        let parent = |file: PathBuf| match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        files.into_iter().map(parent).collect()
    }

    async fn digests(&self) -> BTreeMap<PathBuf, Option<String>> {
        let files = self.shared.active.load().config.watched_files();
        let read = || files.into_iter().map(|file| (file.clone(), file_digest(&file))).collect();
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }
}

fn words(error: &notify::Error) -> String {
    error.to_string()
}
