//! Where paths lead, of files that may not be there yet.

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
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

/// Whether a path leads into a folder: also by another mount of the folder, or of one that is in it.
pub(super) fn leads_into(path: &Path, folder: &Path) -> bool {
    let (path, folder) = (resolved(path), resolved(folder));
    let id = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    if path.starts_with(&folder) {
        return true;
    }
    let above: HashSet<_> = path.ancestors().filter_map(id).collect();
    let mut left = vec![folder];
    while let Some(folder) = left.pop() {
        if id(&folder).is_some_and(|id| above.contains(&id)) {
            return true;
        }
        let found = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = found.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(folders.map(|entry| entry.path()));
    }
    false
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
    use std::process::Command;

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

    struct Bound(PathBuf);

    impl Bound {
        /// None where this user may mount nothing.
        fn mount(from: &Path, to: PathBuf) -> Option<Self> {
            fs::create_dir(&to).unwrap();
            let done = Command::new("mount").arg("--bind").arg(from).arg(&to).output();
            done.is_ok_and(|output| output.status.success()).then_some(Self(to))
        }
    }

    impl Drop for Bound {
        fn drop(&mut self) {
            let _told_by_the_folder_that_stays = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }

    #[test]
    fn a_way_by_another_mount_leads_into_a_folder() {
        let above = tempfile::tempdir().unwrap();
        let at = |name: &str| above.path().join(name);
        for folder in ["here/data/db/keyspaces", "here/other"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        std::os::unix::fs::symlink("all/mark", at("link")).unwrap();
        let bound = [("here/data", "all"), ("here/data/db", "part"), ("here", "more")];
        let bound = bound.map(|(from, to)| Bound::mount(&at(from), at(to)));
        let by_mounts = bound.iter().all(Option::is_some);
        for (path, is_inside) in [
            ("here/data", true),
            ("here/data/mark", true),
            ("here/data/none/mark", true),
            ("here/other/../data/mark", true),
            ("here/other/mark", false),
            ("here/mark", false),
            ("none/mark", false),
            ("all/mark", by_mounts),
            ("all/db/mark", by_mounts),
            ("part/mark", by_mounts),
            ("part/keyspaces/none/mark", by_mounts),
            ("more/data/mark", by_mounts),
            ("link", by_mounts),
            ("more/other/mark", false),
        ] {
            assert_eq!(leads_into(&at(path), &at("here/data")), is_inside, "{path}");
        }
        // A folder that is not there yet.
        assert!(!leads_into(&at("here/mark"), &at("here/none")));
        drop(bound);
    }
}
