//! The real binary, started in a folder of its own, stopped by its process id.

use super::client::{self, Connection, Reply, Request};
use super::starting::{self, Starting};
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_oncegate");

/// A configuration that is being made: sections get lines, then the file is written into the folder.
#[derive(Clone)]
pub(crate) struct Setup {
    folder: Arc<TempDir>,
    upstream: String,
    server: String,
    limits: String,
    ledger: String,
    origin: String,
    component: String,
    policy: String,
    path: String,
    route: String,
    extra: String,
    env: Vec<(&'static str, OsString)>,
    files: Option<&'static str>,
    user: Option<u32>,
    store: &'static str,
}

impl Setup {
    /// One route `/` to `upstream` under the built-in policy, on an embedded store.
    pub(crate) fn new(upstream: &str) -> Self {
        let folder =
            tempfile::Builder::new().prefix("oncegate-test-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Self {
            folder: Arc::new(folder.expect("a folder under target")),
            upstream: upstream.to_owned(),
            server: String::new(),
            limits: String::new(),
            ledger: String::new(),
            origin: String::new(),
            component: "builtin:idempotency-key".to_owned(),
            policy: String::new(),
            path: "/".to_owned(),
            route: String::new(),
            extra: String::new(),
            env: Vec::new(),
            files: None,
            user: None,
            store: "embedded",
        }
    }

    pub(crate) fn memory(mut self) -> Self {
        self.store = "memory";
        self
    }

    pub(crate) fn upstream(mut self, url: &str) -> Self {
        url.clone_into(&mut self.upstream);
        self
    }

    /// A line of `[server]`.
    pub(crate) fn server(mut self, line: &str) -> Self {
        self.server += &format!("{line}\n");
        self
    }

    /// A line of `[server.limits]`.
    pub(crate) fn limits(mut self, line: &str) -> Self {
        self.limits += &format!("{line}\n");
        self
    }

    /// A line of `[ledger]`.
    pub(crate) fn ledger(mut self, line: &str) -> Self {
        self.ledger += &format!("{line}\n");
        self
    }

    /// A line of `[upstreams.origin]`.
    pub(crate) fn origin(mut self, line: &str) -> Self {
        self.origin += &format!("{line}\n");
        self
    }

    /// The component of the policy `keys`.
    pub(crate) fn component(mut self, component: impl AsRef<Path>) -> Self {
        self.component = component.as_ref().display().to_string();
        self
    }

    /// A line of `[policies.keys]`.
    pub(crate) fn policy(mut self, line: &str) -> Self {
        self.policy += &format!("{line}\n");
        self
    }

    /// The path of the route.
    pub(crate) fn path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// A line of the route.
    pub(crate) fn route(mut self, line: &str) -> Self {
        self.route += &format!("{line}\n");
        self
    }

    /// Lines behind all others.
    pub(crate) fn extra(mut self, lines: &str) -> Self {
        self.extra += &format!("{lines}\n");
        self
    }

    /// A variable of the gateway's environment.
    pub(crate) fn env(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name, value.as_ref().to_owned()));
        self
    }

    /// The arguments of `ulimit` by which the gateway may open fewer files.
    pub(crate) fn files(mut self, limit: &'static str) -> Self {
        self.files = Some(limit);
        self
    }

    /// Runs as a user who may not write everywhere: another one where this one is root. None where that user
    /// can't reach the program.
    pub(crate) fn plain_user(mut self) -> Option<Self> {
        const NOBODY: u32 = 65_534;
        if rustix::process::geteuid().is_root() {
            let is_open = |path: &Path| path.metadata().is_ok_and(|found| found.mode() & 0o001 != 0);
            let tests = Path::new(env!("CARGO_TARGET_TMPDIR"));
            if !Path::new(BINARY).ancestors().chain(tests.ancestors()).all(is_open) {
                return None;
            }
            let owner = format!("{NOBODY}:{NOBODY}");
            let done = Command::new("chown").args(["-hR", &owner]).arg(self.folder()).status();
            assert!(done.is_ok_and(|status| status.success()), "root may");
            self.user = Some(NOBODY);
        }
        Some(self)
    }

    /// Runs `oncegate check` with more flags.
    pub(crate) fn check(&self, flags: &[&str]) -> Ended {
        self.write();
        let file = self.file();
        let args = ["check", "--config", file.to_str().expect("a plain path")];
        let mut command = command(&[&args[..], flags].concat(), self.folder());
        self.user.into_iter().for_each(|user| _ = command.uid(user).gid(user));
        ended(&mut command)
    }

    /// The program as it runs with this setup.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = match self.files {
            None => command(args, self.folder()),
            Some(limit) => limited(limit, args, self.folder()),
        };
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        self.user.into_iter().for_each(|user| _ = command.uid(user).gid(user));
        command
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder().join("oncegate.toml")
    }

    pub(crate) fn text(&self) -> String {
        let Self { upstream, server, limits, ledger, origin, component, policy, path, route, extra, .. } =
            self;
        let listen = if server.contains("listen =") { "" } else { "listen = [\"127.0.0.1:0\"]" };
        let admin = if server.contains("admin =") { "" } else { "admin = \"127.0.0.1:0\"" };
        let workers = if server.contains("workers =") { "" } else { "workers = 2" };
        let store = match self.store {
            "memory" => "store = \"memory\"".to_owned(),
            _ => format!("store = \"embedded\"\npath = {:?}", self.data()),
        };
        format!(
            "[server]\n{listen}\n{admin}\n{workers}\n{server}\n[server.limits]\n{limits}\n\
             [ledger]\n{store}\n{ledger}\n[upstreams.origin]\nurls = [{upstream:?}]\n{origin}\n\
             [policies.keys]\ncomponent = {component:?}\n{policy}\n\
             [[routes]]\nname = \"all\"\npath = {path:?}\nupstream = \"origin\"\npolicy = \"keys\"\n{route}\n{extra}"
        )
    }

    /// Writes the configuration file, whole or not at all.
    pub(crate) fn write(&self) {
        replace(&self.file(), self.text().as_bytes());
    }

    /// Starts a gateway and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Gateway {
        match self.try_start() {
            Ok(gateway) => gateway,
            Err(ended) => panic!("the gateway did not start: {ended:?}\n{}", self.text()),
        }
    }

    /// Starts a gateway. A gateway that ends instead of becoming ready is an error.
    pub(crate) fn try_start(&self) -> Result<Gateway, Ended> {
        self.try_start_telling(Stdio::piped())
    }

    /// Starts a gateway, and does this with the process before it is ready.
    pub(crate) fn try_start_meeting(&self, meeting: impl FnOnce(&mut Starting)) -> Result<Gateway, Ended> {
        self.write();
        let file = self.file();
        let args = ["serve", "--config", file.to_str().expect("a plain path")];
        let mut starting = Starting::spawn(&args, self.clone(), Stdio::piped());
        meeting(&mut starting);
        starting.ready()
    }

    /// Starts a gateway with this standard error.
    pub(crate) fn try_start_telling(&self, stderr: Stdio) -> Result<Gateway, Ended> {
        self.write();
        let file = self.file();
        let args = ["serve", "--config", file.to_str().expect("a plain path")];
        Gateway::start_telling(&args, self.clone(), stderr)
    }
}

/// Puts a file in place of another by a rename, as an editor or a deployment does.
pub(crate) fn replace(file: &Path, bytes: &[u8]) {
    let fresh = file.with_extension("fresh");
    std::fs::write(&fresh, bytes).expect("a folder of the test's own");
    std::fs::rename(&fresh, file).expect("a folder of the test's own");
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Asserts that the command refused to start, said so in these words, and did not panic.
    #[track_caller]
    pub(crate) fn assert_refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked at"), "{}", self.stderr);
        let said = self.stderr.to_lowercase();
        for word in words {
            assert!(said.contains(&word.to_lowercase()), "{word:?} is not in:\n{}", self.stderr);
        }
    }
}

/// Runs a command of the program to its end.
pub(crate) fn run(args: &[&str], folder: &Path) -> Ended {
    ended(&mut command(args, folder))
}

fn ended(command: &mut Command) -> Ended {
    let output = command.output().expect("the program is there");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The program in `folder`, without `ONCEGATE_` variables of the environment.
pub(crate) fn command(args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ONCEGATE_")) {
        command.env_remove(name);
    }
    command
}

/// The program as a shell starts it that has set limits with `ulimit`.
fn limited(limit: &str, args: &[&str], folder: &Path) -> Command {
    let plain = command(args, folder);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\""), BINARY]).args(args);
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in plain.get_envs() {
        command.env_remove(name);
    }
    command
}

/// A running gateway, which is killed when dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) setup: Setup,
    child: Child,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Starts the program with these arguments in the setup's folder.
    pub(crate) fn start(args: &[&str], setup: Setup) -> Result<Self, Ended> {
        Self::start_telling(args, setup, Stdio::piped())
    }

    /// Starts the program with this standard error, which the test reads itself if it isn't piped.
    pub(crate) fn start_telling(args: &[&str], setup: Setup, stderr: Stdio) -> Result<Self, Ended> {
        Starting::spawn(args, setup, stderr).ready()
    }

    /// The gateway that has said where it listens.
    pub(super) fn new(address: SocketAddr, admin: Option<SocketAddr>, started: Starting) -> Self {
        let Starting { setup, child, stderr, readers, .. } = started;
        Self { address, admin, setup, child, stderr, readers }
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn send(&self, request: &Request) -> Reply {
        client::send(self.address, request)
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address).expect("the gateway listens")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A request to the admin listener.
    #[track_caller]
    pub(crate) fn admin(&self, method: &str, target: &str) -> Reply {
        let admin = self.admin.expect("this gateway has an admin listener");
        let mut request = Request::new(method, target).field("Host", admin.to_string());
        if method == "POST" {
            request = request.body("");
        }
        client::send(admin, &request)
    }

    /// The version at which an operation is now, as an operator sees it.
    #[track_caller]
    pub(crate) fn version_of(&self, id: &str) -> String {
        let shown = self.admin("GET", &format!("/v1/operations/{id}")).json();
        shown["version"].as_str().unwrap_or("1").to_owned()
    }

    /// Asks to have an operation forgotten as it is now.
    pub(crate) fn forget(&self, id: &str) -> Reply {
        let version = self.version_of(id);
        self.admin("DELETE", &format!("/v1/operations/{id}?version={version}&reason=once%20more"))
    }

    pub(crate) fn connect_from(&self, last: u8) -> Connection {
        Connection::from(last, self.address).expect("the gateway listens")
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.admin("GET", "/metrics").text();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {metrics}"))
    }

    /// The gateway's stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().expect("no holder panics").clone()
    }

    /// Waits until all of these words are in the gateway's stderr, which comes through a pipe and a thread.
    #[track_caller]
    pub(crate) fn assert_logs(&self, words: &[&str]) {
        let all = || {
            let log = self.stderr();
            words.iter().all(|word| log.contains(word)).then_some(())
        };
        assert!(super::patiently(all).is_some(), "not all of {words:?} are in:\n{}", self.stderr());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        starting::send_signal(&self.child, signal);
    }

    /// Sends a signal again and again until the process has ended.
    pub(crate) fn insist(&mut self, signal: rustix::process::Signal) -> ExitStatus {
        starting::insist(&mut self.child, signal);
        self.wait()
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub(crate) fn kill(mut self) -> Setup {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
        self.setup.clone()
    }

    /// Waits for the end of a process that has been told to kill itself.
    pub(crate) fn killed(mut self) -> Setup {
        let status = self.wait();
        assert_eq!(status.signal(), Some(9), "{status}\n{}", self.stderr());
        self.setup.clone()
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits for the process to end by itself, and reads the rest of its output.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status =
            super::eventually("the gateway ends", || self.child.try_wait().expect("it is our child"));
        self.read_to_the_end();
        status
    }

    fn read_to_the_end(&mut self) {
        for reader in self.readers.drain(..) {
            let _ended = reader.join();
        }
    }

    /// Sends SIGTERM and waits for the exit code.
    pub(crate) fn terminate(mut self) -> (Setup, Option<i32>) {
        self.signal(rustix::process::Signal::TERM);
        let code = self.wait().code();
        (self.setup.clone(), code)
    }

    /// Kilobytes of resident memory.
    pub(crate) fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
        self.read_to_the_end();
        if std::thread::panicking() {
            println!("--- stderr of the gateway:\n{}", self.stderr());
        }
    }
}
