//! A gateway between its start and the line that says that it is ready.

use super::gateway::{Ended, Gateway, Setup};
use super::wire::PATIENCE;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A gateway that is not ready yet.
pub(crate) struct Starting {
    pub(super) setup: Setup,
    pub(super) child: Child,
    pub(super) stderr: Arc<Mutex<String>>,
    pub(super) readers: Vec<JoinHandle<()>>,
    first: Receiver<String>,
}

impl Starting {
    /// Starts the program with these arguments and this standard error in the setup's folder.
    pub(crate) fn spawn(args: &[&str], setup: Setup, stderr: Stdio) -> Self {
        let mut command = setup.command(args);
        command.stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("the program is there");
        let stderr = Arc::<Mutex<String>>::default();
        let (lines, first) = channel();
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut readers = vec![std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _nobody_waits_any_more = lines.send(line);
            }
        })];
        if let Some(err) = child.stderr.take() {
            let told = stderr.clone();
            readers.push(std::thread::spawn(move || collect(err, &told)));
        }
        Self { setup, child, stderr, readers, first }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        send_signal(&self.child, signal);
    }

    /// Sends a signal again and again until the process has ended.
    pub(crate) fn insist(&mut self, signal: rustix::process::Signal) {
        insist(&mut self.child, signal);
    }

    /// Waits until the gateway is ready. One that ends instead is an error.
    pub(crate) fn ready(self) -> Result<Gateway, Ended> {
        match ready(&self.first) {
            Some((address, admin)) => Ok(Gateway::new(address, admin, self)),
            None => Err(self.end()),
        }
    }

    fn end(mut self) -> Ended {
        // A process that is neither ready nor gone for this long hangs.
        if super::patiently(|| self.child.try_wait().expect("it is our child")).is_none() {
            self.child.kill().expect("it is our child");
        }
        let status = self.child.wait().expect("it is our child");
        for reader in self.readers {
            let _ended = reader.join();
        }
        let stderr = self.stderr.lock().expect("no holder panics").clone();
        Ended { code: status.code(), stdout: String::new(), stderr }
    }
}

pub(super) fn send_signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a child has a pid"), signal).expect("it is our child");
}

pub(super) fn insist(child: &mut Child, signal: rustix::process::Signal) {
    super::eventually("the process ends", || {
        let ended = child.try_wait().expect("it is our child");
        if ended.is_none() {
            send_signal(child, signal);
        }
        ended
    });
}

/// The addresses in `listening on http://ADDR admin http://ADDR`, the one line that says the gateway is
/// ready.
fn ready(lines: &Receiver<String>) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let line = lines.recv_timeout(PATIENCE).ok()?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |url: &str| url.strip_prefix("http://").and_then(|a| a.trim_end_matches('/').parse().ok());
    match words[..] {
        ["listening", "on", data, "admin", admin] => Some((address(data)?, address(admin))),
        _ => panic!("{line:?} is not the line that says where it listens"),
    }
}

fn collect(mut from: impl Read, into: &Mutex<String>) {
    let mut piece = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut piece) {
        into.lock().expect("no holder panics").push_str(&String::from_utf8_lossy(&piece[..n]));
    }
}
