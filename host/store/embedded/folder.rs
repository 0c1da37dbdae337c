//! The data folder: its owner, its format, and the lock that keeps a second process out.
//!
//! ```text
//! oncegate.lock      locked by the process that has the folder open, whose id is in it
//! oncegate.format    the format, in a line of text; written last, so that it vouches for the rest
//! oncegate.creating  there until then: the folder was never used and may be made anew
//! db/                the database
//! oncegate.ballast   room that is given back when the disk is full
//! oncegate.trial     what is written to see whether the disk takes writes; removed at once, or at the next start
//! db/N.renewed       a copy that is to take the place of journal N; removed at the next start
//! db.copy/           a copy of what lives, or the database that it took the place of; removed at the next start
//! oncegate.code/     compiled policies, which anybody may remove
//! ```

use super::ballast::{is_full, is_want_of_room};
use super::mark_error::MarkError;
use rustix::fs::{Access, FsWord, access, statfs};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format of the folder that this program writes.
pub(super) const FORMAT: u32 = 1;

const LOCK: &str = "oncegate.lock";
const MARKER: &str = "oncegate.format";
pub(super) const DATABASE: &str = "db";
/// The text of the marker's line before its number.
const MARK: &str = "oncegate ledger, format ";
const CREATING: &str = "oncegate.creating";

/// Why a data folder can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this process, has the folder open.
    #[error(
        "another oncegate{} holds the data folder {}; stop it or choose another folder (`ledger.path`, or --data)",
        .holder.map_or_else(String::new, |pid| format!(" (process {pid})")), .path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The process, if it could be read.
        holder: Option<u32>,
    },
    /// The path is no folder.
    #[error("the data folder {} is not a folder; choose another folder (`ledger.path`, or --data)", .0.display())]
    NotAFolder(PathBuf),
    /// The folder has files that aren't a ledger's.
    #[error(
        "{} holds other files and no oncegate ledger; choose an empty or new folder (`ledger.path`, or --data)",
        .0.display()
    )]
    Foreign(PathBuf),
    /// A later version wrote the folder.
    #[error(
        "the ledger in {} has format {found}, and this version reads up to {FORMAT}; use the newer oncegate that \
         wrote it or choose another folder (`ledger.path`, or --data)", .path.display()
    )]
    Later {
        /// The folder.
        path: PathBuf,
        /// The folder's format.
        found: u32,
    },
    /// The folder's content can't be read.
    #[error(
        "the ledger in {} is damaged ({detail}); restore it from a copy, or choose another folder (`ledger.path`, or --data) and know \
         that operations recorded here can then run a second time", .path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The damage that was found.
        detail: String,
    },
    /// The folder and the mark of its last change don't fit.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The folder's disk has no room.
    #[error(
        "the disk of the data folder {} is full: {source}; make room on it, a few MiB at least, or choose another \
         folder (`ledger.path`, or --data)", .path.display()
    )]
    Full {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system refused a call on the folder.
    #[error(
        "the data folder {} can't be used: {source}; make it readable and writable for this user, or choose another \
         folder (`ledger.path`, or --data)", .path.display()
    )]
    Io {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl OpenError {
    /// Tells a full disk from what else the system refuses.
    pub(super) fn knowing_room(self) -> Self {
        match self {
            Self::Io { path, source } if is_full(&path, &source) => Self::Full { path, source },
            other => other,
        }
    }
}

/// Looks at the folder, and makes nothing. True: it holds a whole ledger. False: a ledger can be made there. An
/// error where a start would meet it.
pub(super) fn look(path: &Path) -> Result<bool, OpenError> {
    let io = |source| OpenError::Io { path: path.into(), source };
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => return Err(OpenError::NotAFolder(path.into())),
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => {
            can_be_made(path).map_err(io)?;
            return Ok(false);
        }
        Err(e) => return Err(io(e)),
    }
    can_be_used(path).map_err(io)?;
    match access(path.join(LOCK), Access::READ_OK | Access::WRITE_OK).map_err(io::Error::from) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(io(e)),
        _ => inspect(path),
    }
}

/// File systems of the kernel's own, which keep no files whatever their folders' modes say: proc, sysfs, debugfs,
/// tracefs, securityfs and devpts.
const KERNELS: [FsWord; 6] = [0x9fa0, 0x6265_6572, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0x1cd1];

/// An error where this user can't list a folder, or make and find files in it.
pub(super) fn can_be_used(folder: &Path) -> io::Result<()> {
    // The dot has what is no folder say so.
    let inside = folder.join(".");
    if KERNELS.contains(&statfs(&inside)?.f_type) {
        return Err(io::Error::other("it is in a file system of the kernel, which keeps no files"));
    }
    Ok(access(&inside, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?)
}

/// An error where a path is a link to what isn't there. What would be made in its place would lie on another disk.
fn leads_somewhere(path: &Path) -> io::Result<()> {
    match path.is_symlink() && !path.exists() {
        true => Err(io::Error::other(format!(
            "{} is a link that leads nowhere, as to a disk that isn't there: see that what it leads to is there",
            path.display()
        ))),
        false => Ok(()),
    }
}

/// An error where a folder that isn't there can't be made: the nearest one above it tells.
fn can_be_made(path: &Path) -> io::Result<()> {
    leads_somewhere(path)?;
    for above in path.ancestors().skip(1) {
        leads_somewhere(above)?;
        match can_be_used(above) {
            Err(e) if e.kind() == ErrorKind::NotFound && !above.as_os_str().is_empty() => {}
            found => return found,
        }
    }
    Ok(())
}

/// Makes the folder where there is none. Recorded answers and the ledger's secret are in it, so it is for this
/// user alone. A folder that is there already is its maker's to open to others.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(above)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists || !path.is_dir() => Err(e),
        _ => sync_folder(above),
    }
}

/// Whether users other than the folder's owner and group can read what is in it.
pub(super) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.mode() & 0o005 != 0)
}

/// A data folder that is ours until this value is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    lock: HeldLock,
}

/// The lock of a folder that is ours. Closing the file releases it.
#[derive(Clone, Debug)]
pub(super) struct HeldLock(Arc<File>);

impl HeldLock {
    /// Whether the lock in this folder is the one that is held: it isn't where another folder has taken the place.
    pub(super) fn is_in(&self, folder: &Path) -> io::Result<bool> {
        let there = match fs::metadata(folder.join(LOCK)) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(false),
            found => found?,
        };
        let held = self.0.metadata()?;
        Ok((there.dev(), there.ino()) == (held.dev(), held.ino()))
    }
}

impl Folder {
    /// Takes a folder that was [looked](look) at, so that nothing is left in one that isn't ours, and makes it
    /// where there is none. True: the folder holds a whole ledger. False: the folder is empty, and
    /// [`vouch`](Self::vouch) must be called once a ledger is in it.
    pub(super) fn take(path: &Path) -> Result<(Self, bool), OpenError> {
        let io = |source| OpenError::Io { path: path.into(), source };
        make(path).map_err(io)?;
        // Looked at once more after the lock, since somebody may have made the ledger meanwhile.
        let folder = Self { path: path.into(), lock: HeldLock(Arc::new(lock(path)?)) };
        let whole = inspect(path)?;
        if !whole {
            folder.begin().map_err(io)?;
        }
        Ok((folder, whole))
    }

    /// The place of the database in the folder.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    pub(super) fn lock(&self) -> HeldLock {
        self.lock.clone()
    }

    /// Marks the folder as a whole ledger from now on.
    pub(super) fn vouch(&self) -> io::Result<()> {
        let new = self.path.join("oncegate.format.new");
        write_synced(&new, &format!("{MARK}{FORMAT}\n"))?;
        fs::rename(&new, self.path.join(MARKER))?;
        sync_folder(&self.path)?;
        fs::remove_file(self.path.join(CREATING))
    }

    /// Clears away the files of an interrupted creation. Nothing in them was ever acknowledged.
    fn begin(&self) -> io::Result<()> {
        write_synced(&self.path.join(CREATING), "")?;
        sync_folder(&self.path)?;
        match fs::remove_dir_all(self.database()) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// Whether the folder has a whole ledger. An error where the folder has anything but a ledger or the
/// beginnings of one.
fn inspect(path: &Path) -> Result<bool, OpenError> {
    let io = |source| OpenError::Io { path: path.into(), source };
    let text = match fs::read(path.join(MARKER)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == ErrorKind::NotFound && path.join(CREATING).exists() => return Ok(false),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            for entry in fs::read_dir(path).map_err(io)? {
                let name = entry.map_err(io)?.file_name();
                // A file system of its own has a lost+found.
                if name != LOCK && name != "lost+found" {
                    return Err(not_ours(path));
                }
            }
            return Ok(false);
        }
        Err(e) => return Err(io(e)),
    };
    match text.strip_prefix(MARK).and_then(|number| number.trim_end().parse().ok()) {
        Some(FORMAT) => Ok(true),
        Some(found) if found > FORMAT => Err(OpenError::Later { path: path.into(), found }),
        _ => Err(OpenError::Damaged { path: path.into(), detail: format!("{MARKER} names no format") }),
    }
}

/// The error of a folder that has files and no format.
fn not_ours(path: &Path) -> OpenError {
    let database = path.join(DATABASE);
    if database.join("version").exists() || (database.is_dir() && path.join(LOCK).exists()) {
        return OpenError::Damaged { path: path.into(), detail: format!("its {MARKER} is missing") };
    }
    OpenError::Foreign(path.into())
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { path: path.into(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK))
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(OpenError::Locked { path: path.into(), holder });
        }
        Err(TryLockError::Error(e)) => return Err(io(e)),
    }
    // The process id is only for the message above: the lock is what counts.
    let named =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    match named {
        Err(error) if !is_want_of_room(&error) => Err(io(error)),
        _ => Ok(file),
    }
}

pub(super) fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Makes the names in a folder durable. On systems other than Unix folders can't and need not be synced.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

/// The files of a database's journal.
pub(super) fn journals(database: &Path) -> io::Result<Vec<PathBuf>> {
    files(database, "jnl")
}

/// The files of a folder that end in this.
pub(super) fn files(database: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(database)?.map(|entry| entry.map(|entry| entry.path()));
    let all = paths.collect::<io::Result<Vec<_>>>()?;
    Ok(all.into_iter().filter(|path| path.extension().is_some_and(|end| end == extension)).collect())
}
