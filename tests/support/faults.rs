//! The fault layer under the real binary (`tests/faults/layer`, in C). The layer is built with the C compiler
//! that Rust links with, loaded by `LD_PRELOAD`, and controlled through a file that both sides have open.

use super::gateway::Setup;
use super::{eventually, power};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A point in the gateway's work. The numbers are the same as in `tests/faults/layer/faults.h`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Point {
    /// Before a connection to the upstream.
    Connecting = 1,
    /// Before a send to the upstream.
    Sending,
    /// After a send to the upstream.
    Sent,
    /// After data came from a client.
    Received,
    /// Before data goes to a client.
    Answering,
    /// After data went to a client.
    Answered,
    /// Before a write in the data folder.
    Writing,
    /// Before a file or folder in the data folder is synced.
    Syncing,
    /// After a file or folder in the data folder was synced.
    Synced,
    /// Before a name in the data folder is made, changed or removed.
    Naming,
    /// Before any write, sync or change of a name in the data folder.
    Touching,
}

/// The places of numbers in the control file. The places are the same as in `tests/faults/layer/faults.h`.
#[derive(Clone, Copy)]
enum Slot {
    KillPoint,
    KillAfter,
    HoldPoint,
    HoldAfter,
    SyncError,
    WriteError,
    ClockSeconds,
    Held,
    JnlError,
}

const PASSAGES: u64 = 16;
const SLOTS: usize = 64;

/// Faults for the gateways of one setup, of which one runs at a time.
pub(crate) struct Faults {
    control: File,
    folder: PathBuf,
    sessions: usize,
}

impl Faults {
    /// Faults, none of them set yet, for every gateway that is started with the returned setup.
    pub(crate) fn over(setup: &Setup) -> (Setup, Self) {
        Self::over_data(setup, &setup.data())
    }

    /// Faults as by [`over`](Self::over), for a data folder elsewhere.
    pub(crate) fn over_data(setup: &Setup, data: &Path) -> (Setup, Self) {
        fs::create_dir_all(data).expect("a folder of the test's own");
        let data = data.canonicalize().expect("it was made");
        let path = setup.folder().join("faults");
        fs::write(&path, [0; SLOTS * 8]).expect("a folder of the test's own");
        let control = OpenOptions::new().read(true).write(true).open(&path).expect("it was made");
        let setup =
            setup.clone().env("LD_PRELOAD", library()).env("FAULTS_CONTROL", &path).env("FAULTS_DATA", &data);
        (setup, Self { control, folder: path.with_extension("power"), sessions: 0 })
    }

    /// Journals every change of the data folder from the next start on, so that [`power::Session::cut`] can
    /// take back unsynced changes. Each start needs a call of its own.
    pub(crate) fn journalled(&mut self, setup: &Setup) -> (Setup, power::Session) {
        self.sessions += 1;
        let session = power::Session::new(self.folder.join(self.sessions.to_string()), setup.data());
        let setup = setup.clone().env("FAULTS_JOURNAL", session.journal()).env("FAULTS_KEPT", session.kept());
        (setup, session)
    }

    /// Makes the process kill itself at this passage of the point, counted from 1 and from now.
    pub(crate) fn kill_at(&self, point: Point, passage: u64) {
        self.set(Slot::KillPoint, 0);
        self.set(Slot::KillAfter, i64::try_from(passage).expect("it is small"));
        self.set(Slot::KillPoint, point as i64);
    }

    /// Makes threads of the process stop at the point, from this passage on, until
    /// [`release`](Self::release).
    pub(crate) fn hold_at(&self, point: Point, passage: u64) {
        self.set(Slot::HoldAfter, i64::try_from(passage).expect("it is small"));
        self.set(Slot::HoldPoint, point as i64);
    }

    pub(crate) fn is_holding(&self) -> bool {
        self.get(Slot::Held) > 0
    }

    #[track_caller]
    pub(crate) fn await_held(&self) {
        eventually("a thread is held", || self.is_holding().then_some(()));
    }

    pub(crate) fn release(&self) {
        self.set(Slot::HoldPoint, 0);
        eventually("no thread is held", || (self.get(Slot::Held) == 0).then_some(()));
    }

    /// Releases the point after the process was killed meanwhile.
    pub(crate) fn release_dead(&self) {
        self.set(Slot::HoldPoint, 0);
        self.set(Slot::Held, 0);
    }

    /// Makes the process not kill itself any more.
    pub(crate) fn disarm(&self) {
        self.set(Slot::KillPoint, 0);
    }

    /// Makes every sync in the data folder fail with this error; none: syncs work again.
    pub(crate) fn fail_syncs(&self, error: Option<Errno>) {
        self.set(Slot::SyncError, error.map_or(0, |error| error.raw_os_error().into()));
    }

    /// Makes every call in the data folder that needs room fail with this error; none: such calls work again.
    pub(crate) fn fail_writes(&self, error: Option<Errno>) {
        self.set(Slot::WriteError, error.map_or(0, |error| error.raw_os_error().into()));
    }

    /// Makes every write to the database's own journals fail with this error; none: such writes work again.
    pub(crate) fn fail_journals(&self, error: Option<Errno>) {
        self.set(Slot::JnlError, error.map_or(0, |error| error.raw_os_error().into()));
    }

    /// Sets the wall clock wrong by this many seconds.
    pub(crate) fn step_clock(&self, seconds: i64) {
        self.set(Slot::ClockSeconds, seconds);
    }

    /// The number of passages of a point, by all gateways so far.
    pub(crate) fn passages(&self, point: Point) -> u64 {
        u64::try_from(self.number(PASSAGES + point as u64)).expect("it counts up")
    }

    fn set(&self, slot: Slot, value: i64) {
        self.control.write_all_at(&value.to_ne_bytes(), slot as u64 * 8).expect("it is open");
    }

    fn get(&self, slot: Slot) -> i64 {
        self.number(slot as u64)
    }

    fn number(&self, at: u64) -> i64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, at * 8).expect("it is open");
        i64::from_ne_bytes(bytes)
    }
}

/// The library, compiled once for each run of the tests.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/layer");
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}.so", std::process::id()));
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&built);
        compiler.args(["faults.c", "journal.c"].map(|name| sources.join(name)));
        let done = compiler.args(["-ldl", "-lpthread"]).output();
        let done = done.unwrap_or_else(|e| panic!("the C compiler: {compiler:?}: {e}"));
        assert!(done.status.success(), "{compiler:?}\n{}", String::from_utf8_lossy(&done.stderr));
        built
    })
}
