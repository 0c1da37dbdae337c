//! Times of the ledger as people see them (design/life.md): keys that say when they were made, and pauses
//! of the whole process.

use crate::support::*;
use std::thread::scope;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch, so many seconds from now.
fn millis(seconds: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that was set");
    let now = i64::try_from(now.as_millis()).expect("a clock that was set well");
    u64::try_from(now + seconds * 1000).expect("after 1970")
}

/// A UUIDv7 (RFC 9562) made so many seconds from now.
fn uuid(seconds: i64, number: u16) -> String {
    let millis = millis(seconds);
    format!("{:08x}-{:04x}-7{:03x}-8000-000000000000", millis >> 16, millis & 0xffff, number & 0xfff)
}

/// A ULID made so many seconds from now.
fn ulid(seconds: i64, number: u16) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut number = (u128::from(millis(seconds)) << 80) | u128::from(number);
    let mut digits = [b'0'; 26];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(number & 31) as usize];
        number >>= 5;
    }
    String::from_utf8(digits.into()).expect("digits")
}

type KeyOf = fn(i64, u16) -> String;

#[test]
fn a_key_that_says_when_it_was_made_never_runs_again_after_it_was_forgotten() {
    for (kind, key) in [("uuidv7", uuid as KeyOf), ("ulid", ulid as KeyOf)] {
        let upstream = Upstream::numbering();
        let setup = Setup::new(&upstream.url()).policy(&format!("settings = {{ key_time = \"{kind}\" }}"));
        let short = setup.clone().ledger("retention = \"1s\"\ntombstone = \"1s\"").start();
        let send = |gateway: &Gateway, key: &str| gateway.send(&Request::keyed("/charges", key));

        // Nobody knows whether it ran: by now it would be forgotten.
        let old = key(-600, 1);
        let problem = send(&short, &old).assert_problem(412, "too-late");
        assert_eq!(problem["retryable"], false, "{kind}: {problem}");
        // Nor can it be from the future.
        send(&short, &key(600, 2)).assert_problem(400, "bad-request");
        assert_eq!(upstream.count(), 0, "{kind}");

        let fresh = key(0, 3);
        let first = send(&short, &fresh);
        first.assert_executed(201);
        let ended = eventually("its retention ends", || {
            Some(send(&short, &fresh)).filter(|reply| reply.status != 201)
        });
        ended.assert_problem(410, "expired");

        // A longer memory from now on does not mean that it was always so.
        let long = short.kill();
        drop(long);
        let long = setup.clone().ledger("retention = \"1h\"\ntombstone = \"1h\"").start();
        send(&long, &key(-600, 4)).assert_problem(412, "too-late");
        send(&long, &fresh).assert_problem(410, "expired");
        send(&long, &key(0, 5)).assert_executed(201);
        assert_eq!(upstream.count(), 2, "{kind}");

        // And a reload with a shorter one counts at once, for what was sent before it, too.
        setup.clone().ledger("retention = \"2h\"\ntombstone = \"1h\"").write();
        long.admin("POST", "/v1/reload");
        send(&long, &key(-600, 6)).assert_problem(412, "too-late");
        assert_eq!(upstream.count(), 2, "{kind}");
    }
}

/// The whole process stands still for longer than the lease, as a laptop that is closed or a machine
/// that is moved. The execution settles late, by its own execution id, and its answer is replayed.
#[test]
fn an_execution_that_outlives_its_lease_in_a_pause_settles_late() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
    for store in [|setup: Setup| setup, Setup::memory] {
        let gateway = store(Setup::new(&upstream.url())).ledger("lease = \"0.1s\"").start();
        let before = upstream.count();
        scope(|scope| {
            let client = scope.spawn(|| gateway.send(&Request::keyed("/charges", "k")));
            upstream.await_count(before + 1);
            gateway.signal(rustix::process::Signal::STOP);
            // The pause itself is what is tested; a longer one only makes it surer.
            std::thread::sleep(Duration::from_millis(300));
            gate.open();
            gateway.signal(rustix::process::Signal::CONT);
            let first = client.join().expect("it asserts nothing");
            first.assert_executed(201);
            gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
        });
        assert_eq!(upstream.count(), before + 1);
    }
}
