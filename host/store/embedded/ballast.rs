//! Room that the store holds on a disk, and gives back when the disk is full: a full disk takes nothing, and to
//! open the database again takes a little.

use rustix::fs::{StatVfs, statvfs};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// How much room is held.
pub(super) const BALLAST_BYTES: u64 = 8 << 20;
/// So much of it is kept for a copy of what lives (`idle`), whoever else wants room: with that, a full disk of
/// which nothing lives any more is given back.
const LAST_BYTES: u64 = 2 << 20;
const BLOCK: usize = 64 << 10;
/// With less than this free, a start may not get as far as it must.
const START_BYTES_MIN: u64 = 1 << 20;

/// Whether a call failed for want of room.
pub(super) fn is_want_of_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether a call on a folder failed because its disk is full. The database hides what the system said.
pub(super) fn is_full(folder: &Path, error: &io::Error) -> bool {
    is_want_of_room(error)
        || (error.kind() == ErrorKind::Other && free_bytes(folder).is_some_and(|free| free < START_BYTES_MIN))
}

/// Takes the room, where it isn't taken yet.
pub(super) fn take(folder: &Path) -> io::Result<()> {
    let path = path(folder);
    if held(folder) >= BALLAST_BYTES {
        return Ok(());
    }
    let taken = fill(&path);
    if taken.is_err() {
        let _ = fs::remove_file(&path);
    }
    taken
}

/// Gives the room back, but the last of it. True: there was some.
pub(super) fn give_back(folder: &Path) -> bool {
    let cut = || File::options().write(true).open(path(folder))?.set_len(LAST_BYTES);
    held(folder) > LAST_BYTES && is_given(folder, cut())
}

/// Gives all of the room back. True: there was some.
pub(super) fn give_all_back(folder: &Path) -> bool {
    is_given(folder, fs::remove_file(path(folder)))
}

fn is_given(folder: &Path, given: io::Result<()>) -> bool {
    if given.is_ok() {
        tracing::warn!(folder = %folder.display(), "the ledger's disk is full: its ballast is given back");
    }
    given.is_ok()
}

/// How much room is held now.
pub(super) fn held(folder: &Path) -> u64 {
    fs::metadata(path(folder)).map_or(0, |found| found.len())
}

/// Gives the room back to a start on a full disk.
pub(super) fn give_back_to_start(folder: &Path) {
    if free_bytes(folder).is_some_and(|free| free < START_BYTES_MIN) {
        let _ = give_back(folder) || give_all_back(folder);
    }
}

/// What is free on the disk of a folder, if the system tells.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    free_of(&statvfs(folder).ok()?)
}

/// Some file systems report no blocks at all, free or not: that tells nothing.
fn free_of(disk: &StatVfs) -> Option<u64> {
    (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn path(folder: &Path) -> PathBuf {
    folder.join("oncegate.ballast")
}

/// Fills the file with noise: some file systems give zeros and repetitions no room.
fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = [0; BLOCK];
    for _ in 0..BALLAST_BYTES / BLOCK as u64 {
        for bytes in block.as_chunks_mut::<8>().0 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *bytes = state.to_le_bytes();
        }
        file.write_all(&block)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use tempfile::tempdir;

    #[test]
    fn ballast_is_whole_or_absent() {
        let folder = tempdir().unwrap();
        let length = || fs::metadata(path(folder.path())).map(|found| found.len()).ok();
        let give: [fn(&Path) -> bool; 2] = [give_back, give_all_back];
        assert_eq!(give.map(|give| give(folder.path())), [false; 2], "there is none yet");
        // None, some of it (a crash), and all of it.
        for before in [None, Some(0), Some(100_000), Some(BALLAST_BYTES)] {
            if let Some(before) = before {
                File::create(path(folder.path())).unwrap().set_len(before).unwrap();
            }
            take(folder.path()).unwrap();
            take(folder.path()).unwrap();
            assert_eq!(length(), Some(BALLAST_BYTES), "{before:?}");
            // The last of it is for a copy of what lives.
            assert_eq!([give_back(folder.path()), give_back(folder.path())], [true, false]);
            assert_eq!(length(), Some(LAST_BYTES));
            assert!(give_all_back(folder.path()));
            assert_eq!(length(), None);
        }
        // Where it can't be made, nothing of it is left.
        assert!(take(&folder.path().join("no such folder")).is_err());
    }

    #[test]
    fn a_disk_that_reports_no_blocks_is_not_full() {
        let real = statvfs("/").unwrap();
        let of = |f_blocks, f_bavail, f_frsize| {
            free_of(&StatVfs { f_blocks, f_bavail, f_bfree: f_bavail, f_frsize, ..real })
        };
        assert_eq!(of(0, 0, 4096), None, "a network file system");
        assert_eq!(of(0, 0, 0), None, "nothing is told");
        assert_eq!(of(0, 77, 4096), None, "a free block of none");
        assert_eq!(of(100, 0, 4096), Some(0), "a full disk");
        assert_eq!(of(100, 7, 4096), Some(28_672));
        assert_eq!(of(u64::MAX, u64::MAX, 4096), Some(u64::MAX));
    }

    #[test]
    fn a_disk_with_room_is_not_full() {
        let folder = tempdir().unwrap();
        for (error, expected) in [
            (libc_error(28), true),
            (libc_error(122), true),
            (libc_error(13), false),
            // What the database makes of an error.
            (io::Error::other("a poisoned lock"), false),
        ] {
            assert_eq!(is_full(folder.path(), &error), expected, "{error}");
            assert_eq!(is_full(&folder.path().join("gone"), &error), expected, "{error}");
        }
    }

    #[test]
    fn only_want_of_room_is_want_of_room() {
        let cases = [
            (libc_error(28), true),
            (libc_error(122), true),
            (libc_error(5), false),
            (libc_error(30), false),
        ];
        for (error, expected) in cases {
            assert_eq!(is_want_of_room(&error), expected, "{error}");
        }
    }

    fn libc_error(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }
}
