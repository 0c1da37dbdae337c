//! Where paths lead, of files that may not be there yet.

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// How many links a path may lead through; so many as the system takes.
const LINKS_MAX: u32 = 40;

/// The folder that a file is in.
pub(super) fn parent(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where a path leads, whatever links are on the way, and whether or not the end of it is there. The path itself, if
/// its links go round.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let (mut real, mut links) = (PathBuf::from("/"), 0);
    let parts_of = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    let mut left: Vec<OsString> = parts_of(&path);
    while let Some(part) = left.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        match fs::read_link(real.join(&part)) {
            Ok(_) if links == LINKS_MAX => return path,
            Ok(target) => {
                links += 1;
                left.extend::<Vec<_>>(parts_of(&target));
            }
            // From the root on, if the part is the root.
            Err(_) if part != "." => real.push(part),
            Err(_) => {}
        }
    }
    real
}

/// Whether something is mounted on this very path.
pub(super) fn is_mounted(path: &Path) -> bool {
    let told = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    told.is_ok_and(|told| told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn what_is_mounted_is_told_from_what_is_in_it() {
        assert!(is_mounted(Path::new("/proc")));
        assert!(!is_mounted(Path::new("/proc/self")));
        assert!(!is_mounted(Path::new("/proc/none")));
    }

    #[test]
    fn paths_are_followed_to_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().canonicalize().unwrap();
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, at.join(name)).unwrap();
        link("none/mark", "dangling");
        link("./dangling", "twice");
        link("round", "round");
        link("none", "folder");
        for (path, end) in [
            ("dangling", "none/mark"),
            ("twice", "none/mark"),
            ("folder/../a", "a"),
            ("folder/b", "none/b"),
            ("round", "round"),
            ("c", "c"),
        ] {
            assert_eq!(resolved(&at.join(path)), at.join(end), "{path}");
        }
    }
}
