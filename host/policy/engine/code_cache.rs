//! Compiled code kept on disk, so that a start doesn't wait for the compiler.
//!
//! Compiled code is machine code: whoever can put a file here could run anything in this process. So a folder
//! counts only if it belongs to this user and is open to nobody else. A file counts only if its seal, a keyed
//! hash over its purpose and its bytes, was made with the ledger's secret. Whoever can make that seal can
//! read the ledger already. A file that fails a check is ignored and compiled anew; no file here is needed.

use crate::engine::digest::hex;
use oncegate_core::Secret;
use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use wasmtime::Engine;
use wasmtime::component::Component;

/// The most files that are kept; beyond them the oldest goes.
const FILES_MAX: usize = 32;
const SEAL_BYTES: usize = blake3::OUT_LEN;
const SUFFIX: &str = "code";

/// A folder of compiled components.
pub struct CodeCache {
    folder: PathBuf,
    key: [u8; blake3::KEY_LEN],
}

impl std::fmt::Debug for CodeCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CodeCache({})", self.folder.display())
    }
}

impl CodeCache {
    /// Opens the cache in this folder, which is made if there is none. Files are sealed with a key derived
    /// from the ledger's secret. Fails if the folder is another user's, or open to others.
    pub fn open(folder: &Path, secret: &Secret) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // The check looks at a link itself, not at its target.
        let found = fs::symlink_metadata(folder)?;
        let ours = found.uid() == rustix::process::geteuid().as_raw();
        if !found.is_dir() || !ours || found.mode() & 0o077 != 0 {
            return Err(io::Error::other("it is not a folder of this user alone, with mode 0700"));
        }
        let key = blake3::derive_key("oncegate compiled policies, version 1", secret.expose());
        Ok(Self { folder: folder.to_owned(), key })
    }

    /// The code of the component with this digest, if this host has compiled it for this engine.
    pub(crate) fn load(&self, engine: &Engine, digest: &[u8; 32]) -> Option<Component> {
        let name = name(engine, digest);
        let file = self.folder.join(&name);
        let bytes = fs::read(&file).ok()?;
        let component = self.unsealed(&name, &bytes).and_then(|code| revive(engine, code));
        if component.is_none() {
            tracing::warn!(
                file = %file.display(),
                "compiled code in the cache is not what this gateway wrote there: it is compiled anew"
            );
            let _ = fs::remove_file(&file);
        }
        component
    }

    /// Keeps a component's code. A failure to keep it is logged and changes nothing else.
    pub(crate) fn keep(&self, engine: &Engine, digest: &[u8; 32], component: &Component) {
        let kept = component.serialize().map_err(io::Error::other).and_then(|code| {
            self.write(&name(engine, digest), &code)?;
            self.prune()
        });
        if let Err(error) = kept {
            tracing::warn!(
                folder = %self.folder.display(),
                %error,
                "compiled code can't be kept: the next start compiles it again"
            );
        }
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let new = self.folder.join(format!("{name}.new"));
        // A process that died here left an old file. Two processes of one user never share a data folder.
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(self.seal(name, code).as_bytes())?;
        file.write_all(code)?;
        fs::rename(&new, self.folder.join(name))
    }

    fn unsealed<'a>(&self, name: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (seal, code) = bytes.split_at_checked(SEAL_BYTES)?;
        // The comparison takes constant time.
        (self.seal(name, code) == *<&[u8; SEAL_BYTES]>::try_from(seal).ok()?).then_some(code)
    }

    /// The seal covers the name too: the code of one component doesn't pass for another's.
    fn seal(&self, name: &str, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(code);
        hasher.finalize()
    }

    fn prune(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = fs::read_dir(&self.folder)?
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let kept = path.extension().is_some_and(|suffix| suffix == SUFFIX);
                Some((kept.then(|| path.metadata().ok()?.modified().ok()).flatten()?, path))
            })
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(FILES_MAX);
        files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// The file name for a component and an engine: the engine's version, its settings, the processor's features.
fn name(engine: &Engine, digest: &[u8; 32]) -> String {
    let mut hasher = Hashed(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{}-{}.{SUFFIX}", hex(digest), hex(&hasher.0.finalize().as_bytes()[..8]))
}

/// A hasher that gives the same hash in every process, which std's need not do.
struct Hashed(blake3::Hasher);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        u64::from_le_bytes(std::array::from_fn(|index| hash.as_bytes()[index]))
    }
}

/// A component of code that `Component::serialize` gave. None: the code is of another engine.
#[expect(unsafe_code, reason = "wasmtime can't tell its own machine code from another's; the seal can")]
fn revive(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: the bytes are those that `serialize` returned, whole and unchanged: `load` hands out
    // only what carries the seal of `write`, whose key is derived from the ledger's secret. They
    // were read into memory of this process, so nobody changes them now.
    unsafe { Component::deserialize(engine, code) }.ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const DIGEST: [u8; 32] = [7; 32];

    fn engine() -> Engine {
        Engine::default()
    }

    fn component(engine: &Engine) -> Component {
        Component::new(engine, wat::parse_str("(component)").unwrap()).unwrap()
    }

    fn cache(folder: &Path, secret: u8) -> CodeCache {
        CodeCache::open(&folder.join("code"), &Secret::new([secret; 32])).unwrap()
    }

    fn only_file(folder: &Path) -> PathBuf {
        let mut files = fs::read_dir(folder.join("code")).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none());
        file
    }

    #[test]
    fn what_was_kept_comes_back_to_its_own_ledger_engine_and_component() {
        let (engine, folder) = (engine(), tempfile::tempdir().unwrap());
        let ours = cache(folder.path(), 1);
        assert!(ours.load(&engine, &DIGEST).is_none());
        ours.keep(&engine, &DIGEST, &component(&engine));
        assert!(cache(folder.path(), 1).load(&engine, &DIGEST).is_some());
        assert!(ours.load(&engine, &[8; 32]).is_none());
        let mut other = wasmtime::Config::new();
        other.epoch_interruption(true);
        assert!(ours.load(&Engine::new(&other).unwrap(), &DIGEST).is_none());
        assert!(cache(folder.path(), 2).load(&engine, &DIGEST).is_none(), "another ledger's");
    }

    #[test]
    fn no_byte_of_a_file_can_be_another() {
        let (engine, folder) = (engine(), tempfile::tempdir().unwrap());
        let cache = cache(folder.path(), 1);
        cache.keep(&engine, &DIGEST, &component(&engine));
        let file = only_file(folder.path());
        let good = fs::read(&file).unwrap();
        let places = [0, SEAL_BYTES - 1, SEAL_BYTES, good.len() / 2, good.len() - 1];
        for place in places {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(&file, bad).unwrap();
            assert!(cache.load(&engine, &DIGEST).is_none(), "byte {place}");
            assert!(!file.exists(), "it is removed");
        }
        for length in [0, SEAL_BYTES - 1, SEAL_BYTES, good.len() - 1] {
            fs::write(&file, &good[..length]).unwrap();
            assert!(cache.load(&engine, &DIGEST).is_none(), "cut to {length}");
        }
        fs::write(&file, good).unwrap();
        assert!(cache.load(&engine, &DIGEST).is_some());
        let another = file.with_file_name(name(&engine, &[8; 32]));
        fs::rename(&file, &another).unwrap();
        assert!(cache.load(&engine, &[8; 32]).is_none(), "one component's code under another's name");
    }

    #[test]
    fn a_folder_that_others_can_reach_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(cache(folder.path(), 1));
        let code = folder.path().join("code");
        assert_eq!(code.metadata().unwrap().mode() & 0o777, 0o700);
        for mode in [0o701, 0o720, 0o755] {
            fs::set_permissions(&code, fs::Permissions::from_mode(mode)).unwrap();
            assert!(CodeCache::open(&code, &Secret::new([1; 32])).is_err(), "{mode:o}");
        }
        let link = folder.path().join("link");
        fs::set_permissions(&code, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(&code, &link).unwrap();
        assert!(CodeCache::open(&link, &Secret::new([1; 32])).is_err());
    }

    #[test]
    fn the_oldest_make_room() {
        let (engine, folder) = (engine(), tempfile::tempdir().unwrap());
        let (cache, component) = (cache(folder.path(), 1), component(&engine));
        for number in 0..40 {
            cache.keep(&engine, &[number; 32], &component);
        }
        assert_eq!(fs::read_dir(folder.path().join("code")).unwrap().count(), FILES_MAX);
        assert!(cache.load(&engine, &[39; 32]).is_some());
    }
}
