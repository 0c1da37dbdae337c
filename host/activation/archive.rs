//! The archive of the components and settings that generations are made of. With it a restart finds the older
//! generations again.

use crate::config::{self, ComponentSource, Config, StoreKind};
use crate::policy::{self, Generation};
use oncegate_core::KeySpaces;
use oncegate_core::keyspaces::list::Deriver;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Components and settings by digest, in the data folder: everything that derives keys in the ledger's key
/// spaces. A store in memory needs no archive, because its records end with the process.
#[derive(Clone, Debug)]
pub struct Archive(Option<PathBuf>);

impl Archive {
    /// The archive of the configuration's ledger.
    pub fn of(config: &Config) -> Self {
        Self(match &config.ledger.store {
            StoreKind::Embedded(path) => Some(path.join("policies")),
            StoreKind::Memory => None,
        })
    }

    /// The archive in this folder.
    #[cfg(test)]
    pub(crate) fn within(folder: PathBuf) -> Self {
        Self(Some(folder))
    }

    /// Stores the component and the settings of a generation.
    pub(super) fn store(&self, source: &ComponentSource, generation: &Generation) -> io::Result<()> {
        let Some(folder) = &self.0 else { return Ok(()) };
        fs::create_dir_all(folder)?;
        let [component, settings] = files(folder, generation);
        if !component.exists() {
            let bytes = policy::component_bytes(source).map_err(io::Error::other)?;
            if policy::hex(&Sha256::digest(&bytes)) != generation.digest() {
                return Err(io::Error::other("the component's file changed while it was loaded: try again"));
            }
            write(folder, &component, &bytes)?;
        }
        let text = settings_text(generation.settings());
        if settings.exists() { Ok(()) } else { write(folder, &settings, text.as_bytes()) }
    }

    /// Makes nothing. An error where [`store`](Self::store) would meet it, in a data folder that can be used.
    pub(super) fn look(&self, generation: &Generation) -> io::Result<()> {
        let Some(folder) = &self.0 else { return Ok(()) };
        if !folder.is_dir() {
            // A link to nowhere is in the way, too.
            return if folder.symlink_metadata().is_ok() { Err(Errno::EXIST.into()) } else { Ok(()) };
        }
        if files(folder, generation).iter().all(|file| file.exists()) {
            return Ok(());
        }
        Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
    }

    /// The policy that is made of this deriver's component and settings, with the limits of its present
    /// configuration.
    pub(super) fn policy(&self, deriver: &Deriver, like: &config::Policy) -> Result<config::Policy, String> {
        let folder = self.0.as_ref().ok_or("a ledger in memory keeps none")?;
        let component = folder.join(format!("{}.wasm", deriver.component));
        let settings = folder.join(format!("{}.json", deriver.settings));
        let text = fs::read_to_string(&settings).map_err(|e| format!("{}: {e}", settings.display()))?;
        if digest_of(&text) != *deriver.settings {
            return Err(format!("{} was changed", settings.display()));
        }
        let settings = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", settings.display()))?;
        Ok(config::Policy {
            component: ComponentSource::File(component),
            sha256: parse_digest(&deriver.component),
            settings,
            key_epoch: deriver.key_epoch,
            ..like.clone()
        })
    }

    /// The folder; an empty name where nothing is kept.
    pub(super) fn folder(&self) -> PathBuf {
        self.0.clone().unwrap_or_default()
    }

    /// Removes files that no list names and whose digest is not among `needed`.
    pub fn tidy(&self, spaces: &KeySpaces, needed: &BTreeSet<Arc<str>>) {
        let Some(entries) = self.0.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else { return };
        let derivers = || spaces.policies.values().flat_map(|list| &list.spaces).map(|space| &space.deriver);
        for path in entries.flatten().map(|entry| entry.path()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let named = needed.contains(stem)
                || derivers().any(|deriver| *deriver.component == *stem || *deriver.settings == *stem);
            if !named && let Err(error) = fs::remove_file(&path) {
                tracing::debug!(file = %path.display(), %error, "a policy that is no longer needed stays");
            }
        }
    }
}

/// The deriver of this generation's keys.
pub fn deriver(generation: &Generation) -> Deriver {
    Deriver {
        key_schema: generation.plan().key_schema.clone(),
        key_epoch: generation.key_epoch(),
        component: generation.digest().into(),
        settings: digest_of(&settings_text(generation.settings())).into(),
    }
}

/// The files of a generation's component and settings.
fn files(folder: &Path, generation: &Generation) -> [PathBuf; 2] {
    let settings = digest_of(&settings_text(generation.settings()));
    [format!("{}.wasm", generation.digest()), format!("{settings}.json")].map(|name| folder.join(name))
}

/// Writes the file whole or not at all.
fn write(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(folder)?.sync_all()
}

fn settings_text(settings: &serde_json::Map<String, serde_json::Value>) -> String {
    serde_json::Value::Object(settings.clone()).to_string()
}

fn digest_of(text: &str) -> String {
    policy::hex(&Sha256::digest(text.as_bytes()))
}

fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let pairs = text.as_bytes().chunks_exact(2);
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}
