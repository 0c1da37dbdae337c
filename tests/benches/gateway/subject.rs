//! What is measured: a process that answers on a port of its own, and the processor time of its tree.

use super::Options;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const START_TIME_MAX: Duration = Duration::from_secs(20);
const STOP_TIME_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    FloorStatic,
    FloorProxy,
    FloorDedup,
    Nginx,
    /// Oncegate without a policy.
    Plain,
    /// Oncegate with the built-in policy and the memory store.
    Memory,
    /// Oncegate with the built-in policy and the embedded store, durable before each answer ends.
    Embedded,
}

/// Ended when dropped.
pub(crate) struct Subject {
    process: Child,
    address: SocketAddr,
    /// Its own, removed after it.
    _folder: Option<TempDir>,
}

impl Subject {
    /// Starts one in front of the service.
    pub(crate) fn start(kind: Kind, options: &Options, service: SocketAddr) -> Result<Self, String> {
        let folder = folder();
        let mut subject = Self::start_in(kind, options, folder.path(), service)?;
        subject._folder = Some(folder);
        Ok(subject)
    }

    /// Starts one with its files in this folder.
    pub(crate) fn start_in(
        kind: Kind,
        options: &Options,
        folder: &Path,
        service: SocketAddr,
    ) -> Result<Self, String> {
        let mut command = match kind {
            Kind::FloorStatic => floor("static", service),
            Kind::FloorProxy => floor("proxy", service),
            Kind::FloorDedup => floor("dedup", service),
            Kind::Plain | Kind::Memory | Kind::Embedded => oncegate(kind, options, folder, service),
            Kind::Nginx => return nginx(options, folder, service),
        };
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).map_err(|e| e.to_string())?;
        let address =
            line.strip_prefix("listening on http://").and_then(|rest| rest.split_whitespace().next());
        let address = address.and_then(|address| address.parse().ok());
        // Already its owner: ended if it said something else.
        let subject = Self { process, address: address.unwrap_or(service), _folder: None };
        address.map(|_| subject).ok_or_else(|| format!("it says {line:?}"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor time of the process and its descendants, by the scheduler's own clock.
    pub(crate) fn cpu(&self) -> Duration {
        tree(self.process.id()).into_iter().map(cpu_of).sum()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_TIME_MAX;
        while Instant::now() < deadline {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Milliseconds of processor time that the gateway takes in a second without requests.
pub(crate) fn idle(options: &Options) -> Result<f64, String> {
    const SETTLE: Duration = Duration::from_secs(1);
    const WATCHED: Duration = Duration::from_secs(4);
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let subject = Subject::start(Kind::Embedded, options, nowhere)?;
    std::thread::sleep(SETTLE);
    let before = subject.cpu();
    std::thread::sleep(WATCHED);
    Ok(subject.cpu().saturating_sub(before).as_secs_f64() * 1e3 / WATCHED.as_secs_f64())
}

/// Beside the build, so on a disk, and not in a folder that may be in memory.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn floor(mode: &str, service: SocketAddr) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["floor", mode, &service.to_string()]);
    command
}

fn oncegate(kind: Kind, options: &Options, folder: &Path, service: SocketAddr) -> Command {
    let store = if kind == Kind::Embedded { "embedded" } else { "memory" };
    let policy = if kind == Kind::Plain { "" } else { "policy = \"key\"" };
    let text = format!(
        r#"
            [server]
            listen = ["127.0.0.1:0"]
            admin = "off"
            workers = 1
            [ledger]
            store = "{store}"
            path = "data"
            [upstreams.service]
            urls = ["http://{service}"]
            [policies.key]
            component = "builtin:idempotency-key"
            [[routes]]
            name = "orders"
            path = "/"
            upstream = "service"
            {policy}
        "#
    );
    let file = folder.join("oncegate.toml");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(&options.oncegate);
    command.arg("serve").arg("--config").arg(file).args(["--log", "error"]).current_dir(folder);
    command
}

/// nginx as a proxy with one worker, connections kept on both sides.
fn nginx(options: &Options, folder: &Path, service: SocketAddr) -> Result<Subject, String> {
    // It can't choose a port itself. Free now, and nobody else here listens in between.
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr()).map_err(|e| e.to_string())?;
    let root = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let text = format!(
        "daemon off; worker_processes 1; {user} pid {root}/pid; error_log stderr crit;
         events {{ worker_connections 4096; }}
         http {{
           access_log off; tcp_nodelay on; keepalive_timeout 600s; keepalive_requests 100000000;
           client_body_buffer_size 64k; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
           fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
           upstream service {{
             server {service}; keepalive 256; keepalive_requests 100000000; keepalive_timeout 600s;
           }}
           server {{
             listen {address};
             location / {{
               proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\";
             }}
           }}
         }}"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(&options.nginx);
    command.arg("-p").arg(folder).arg("-c").arg(file).stdin(Stdio::null());
    let process = command.spawn().map_err(|error| format!("{}: {error}", options.nginx))?;
    let subject = Subject { process, address, _folder: None };
    let deadline = Instant::now() + START_TIME_MAX;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            return Err("nginx doesn't answer".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(subject)
}

/// A process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let parent = |process: u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let all: Vec<(u32, u32)> = names
        .filter_map(|name| name.to_str()?.parse().ok())
        .filter_map(|process| Some((process, parent(process)?)))
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&process) = tree.get(next) {
        tree.extend(all.iter().filter(|(_, parent)| *parent == process).map(|(child, _)| child));
        next += 1;
    }
    tree
}

fn cpu_of(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        times.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
