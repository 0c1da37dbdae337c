//! Reloads that are cut at each of their writes: by a store that fails, by the client that leaves, by a kill.
//! Whatever is done then, nothing runs twice (design/key-changes.md).

use crate::support::gateway::replace;
use crate::support::*;
use rustix::io::Errno;
use std::io::Write;
use std::net::TcpStream;

/// What happens at a write.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// The sync fails, and the store is mended.
    Sync,
    /// The write finds no room, and there is room again.
    Room,
    /// The client of `POST /v1/reload` leaves.
    Client,
    /// The process is killed, and starts with the new file.
    Kill,
    /// The process is killed, and starts with the old file.
    KillOld,
}

const CUTS: [Cut; 5] = [Cut::Sync, Cut::Room, Cut::Client, Cut::Kill, Cut::KillOld];
/// More writes than a reload has.
const WRITES_MAX: u64 = 12;

/// Another policy for all routes, by which each operation has another key. Nothing says so in a list of key
/// spaces.
struct Files {
    setup: Setup,
    old: String,
    new: String,
}

impl Files {
    fn new(upstream: &Upstream) -> Self {
        let setup = Setup::new(&upstream.url());
        let setup = setup.extra("[policies.others]\ncomponent = \"builtin:idempotency-key\"");
        let old = setup.text();
        let new = old.replace("policy = \"keys\"", "policy = \"others\"");
        assert_ne!(old, new);
        Self { setup, old, new }
    }

    fn put(&self, text: &str) {
        replace(&self.setup.file(), text.as_bytes());
    }

    /// Starts with the file, or with the other one where it is refused.
    fn start(&self, setup: &Setup, text: &str) -> Gateway {
        let other = if text == self.old { &self.new } else { &self.old };
        let start = |text: &str| {
            self.put(text);
            let file = setup.file();
            Gateway::start(&["serve", "--config", file.to_str().expect("a plain path")], setup.clone())
        };
        start(text).or_else(|_refused| start(other)).expect("one of them goes on")
    }
}

/// Begins a reload whose answer nobody reads.
fn begin(gateway: &Gateway) -> TcpStream {
    let admin = gateway.admin.expect("it has one");
    let mut stream = TcpStream::connect(admin).expect("it listens");
    let request = Request::new("POST", "/v1/reload").field("Host", admin.to_string()).body("");
    stream.write_all(&request.bytes()).expect("it reads");
    stream
}

/// The end of the request once claims are taken again.
fn ask(gateway: &Gateway) -> Reply {
    eventually("it is taken again", || {
        let reply = gateway.send(&Request::keyed("/charges", "k"));
        (reply.status != 503).then_some(reply)
    })
}

/// Cuts a reload at this write. False: it has fewer.
fn cut(cut: Cut, write: u64) -> bool {
    let upstream = Upstream::numbering();
    let files = Files::new(&upstream);
    let (setup, faults) = Faults::over(&files.setup);
    let files = Files { setup: setup.clone(), ..files };
    let gateway = files.start(&setup, &files.old);
    // The file is watched: a record in the way has that reload refused.
    let first = gateway.send(&Request::keyed("/charges", "first"));
    files.put(&files.new);
    gateway.assert_logs(&["a reload is refused", "1 live record"]);
    assert_eq!(gateway.forget(first.operation()).status, 200);
    let point = if cut == Cut::Sync || cut == Cut::Client { Point::Syncing } else { Point::Writing };
    match cut {
        Cut::Kill | Cut::KillOld => faults.kill_at(point, write),
        Cut::Sync | Cut::Room | Cut::Client => faults.hold_at(point, write),
    }
    let mut gateway = gateway;
    let stream = begin(&gateway);
    let reached = eventually("the write comes, or the end", || {
        let done = gateway.stderr().contains("reloaded");
        (faults.is_holding() || gateway.has_ended()).then_some(true).or_else(|| done.then_some(false))
    });
    if !reached {
        faults.disarm();
        faults.release();
        return false;
    }
    match cut {
        Cut::Sync => {
            faults.fail_syncs(Some(Errno::IO));
            faults.release();
            eventually("the store has failed", || {
                (gateway.admin("GET", "/readyz").status == 503).then_some(())
            });
            faults.fail_syncs(None);
        }
        Cut::Room => {
            faults.fail_writes(Some(Errno::NOSPC));
            faults.release();
            eventually("the store has failed", || {
                (gateway.admin("GET", "/readyz").status == 503).then_some(())
            });
            faults.fail_writes(None);
        }
        Cut::Client => {
            drop(stream);
            // By then the gateway has seen that the client is gone.
            for _ in 0..3 {
                assert_eq!(gateway.admin("GET", "/livez").status, 200);
            }
            faults.release();
        }
        Cut::Kill | Cut::KillOld => {
            faults.disarm();
            let setup = gateway.killed();
            gateway = files.start(&setup, if cut == Cut::Kill { &files.new } else { &files.old });
        }
    }
    eventually("it is ready", || (gateway.admin("GET", "/readyz").status == 200).then_some(()));
    let told = ask(&gateway);
    // The same file again, and then a start with either.
    files.put(&files.new);
    gateway.admin("POST", "/v1/reload");
    let mut replies = vec![told, ask(&gateway)];
    for text in [&files.new, &files.old] {
        gateway = files.start(&gateway.kill(), text);
        replies.push(ask(&gateway));
    }
    let count = upstream.calls().iter().filter(|call| call.key() == "k").count();
    assert_eq!(count, 1, "{cut:?} at write {write}: {replies:?}\n{}", gateway.stderr());
    true
}

#[test]
fn a_reload_cut_at_any_write_lets_nothing_run_twice() {
    for kind in CUTS {
        let reached = (1..WRITES_MAX).take_while(|write| cut(kind, *write)).count();
        assert!(reached > 0, "{kind:?}: a reload writes nothing");
        println!("{kind:?}: {reached} writes");
    }
}
