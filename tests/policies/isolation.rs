//! What a policy that misbehaves costs the other routes of its worker, as their latency: a figure for
//! `tests/run accept policies`. That the other routes are right all the same is in `bad_guests`.

use crate::guests::{self, KEY_OF_FIRST_FIELD};
use crate::policies::bad_components::put;
use crate::support::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

/// Requests to the other route whose latency is taken.
const REQUESTS: usize = 4000;
/// Clients of the misbehaving policy's route, each one request after the other.
const CLIENTS: usize = 4;

/// What the policy does with a key that begins with "x"; with all others it is quick.
struct Habit {
    name: &'static str,
    decide: String,
    /// One key in so many begins with "x".
    every: usize,
}

fn habits() -> [Habit; 2] {
    let where_x = guests::first_field_has(0, b'x');
    // About 3 ms of a loop's turns: under every limit, and far too long for a worker.
    let turns = "(loop $on (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $on (i32.lt_u (local.get $at) (i32.const 3000000))))";
    [
        Habit {
            name: "loops on 1 %",
            decide: format!("{where_x} (if (then (loop $on (br $on)))) {KEY_OF_FIRST_FIELD}"),
            every: 100,
        },
        Habit {
            name: "slow on all",
            decide: format!("{where_x} (if (then {turns})) {KEY_OF_FIRST_FIELD}"),
            every: 1,
        },
    ]
}

/// The p99 of another route on the same worker, without and with each habit; how much it may grow.
pub(crate) fn p99_beside_habits(most: Duration) -> String {
    let told = habits().map(|habit| {
        let (without, with) = p99s(&habit);
        let grown = with.saturating_sub(without);
        assert!(grown <= most, "{}: {without:?} became {with:?}", habit.name);
        format!("{}: {:.1} → {:.1} ms", habit.name, millis(without), millis(with))
    });
    told.join(", ")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn p99s(habit: &Habit) -> (Duration, Duration) {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let component = put(&setup, "habit.wasm", &guests::deciding(&habit.decide));
    let other = "[policies.other]\ncomponent = \"builtin:idempotency-key\"\n\
        [[routes]]\nname = \"other\"\npath = \"/other\"\nupstream = \"origin\"\npolicy = \"other\"";
    let setup = setup.memory().server("workers = 1").component(component).extra(other);
    let gateway = setup.start();
    let without = p99(&gateway, |_| 'k');
    let with = p99(&gateway, |number| if number % habit.every == 0 { 'x' } else { 'k' });
    (without, with)
}

/// Of the other route, while clients send keys to the first one that begin as `first` says.
fn p99(gateway: &Gateway, first: impl Fn(usize) -> char + Sync) -> Duration {
    let done = AtomicBool::new(false);
    let mut taken: Vec<Duration> = scope(|scope| {
        for client in 0..CLIENTS {
            let (done, first) = (&done, &first);
            scope.spawn(move || {
                let mut connection = gateway.connect();
                for number in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = format!("{}{client}-{number}", first(number));
                    if connection.send(&Request::keyed("/charges", &key)).is_err() {
                        connection = gateway.connect();
                    }
                }
            });
        }
        let mut connection = gateway.connect();
        let taken = (0..REQUESTS).map(|_| {
            let begun = Instant::now();
            // One operation: all but the first are replays, so that only the gateway is measured.
            let reply = connection.send(&Request::keyed("/other", "k")).expect("the connection stays");
            assert_eq!(reply.status, 201, "{}", reply.text());
            begun.elapsed()
        });
        let taken = taken.collect();
        done.store(true, Ordering::Relaxed);
        taken
    });
    taken.sort_unstable();
    taken[REQUESTS * 99 / 100]
}
