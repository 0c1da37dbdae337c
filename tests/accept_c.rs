//! Issue C, measured: a line for each thing that it delivers, in the form of `accept_a`. What has rooms
//! of its own is run from there, each room in full; what is a figure is measured here. The cost of a
//! call, the simulation and the model are other programs: `tests/run` has their lines.

use crate::accept_a::claim;
use crate::accept_b::rooms;
use crate::policy_kit::{LANGUAGES, Shop};
use crate::support::*;
use crate::{isolation, keychanges, lostkeys, reload};
use std::time::{Duration, Instant};

#[test]
#[ignore = "tests/run accept C"]
fn c1_the_whole_interface() {
    claim(
        "the interface: settle, resolution, presentation on every way to an answer; WASI that isn't there; codings",
        "every test of the rooms passes",
        "tests/run presentation:: settlements:: probes:: judging:: selftest::",
        || rooms(&["presentation::", "settlements::", "probes::", "judging::", "selftest::"]),
    );
}

#[test]
#[ignore = "tests/run accept C"]
fn c2_hostile_components() {
    claim(
        "hostile and broken components cost their own requests and nothing else",
        "every test of the rooms passes",
        "tests/run bad_guests:: bad_policies:: hostile::",
        || rooms(&["bad_guests::", "bad_policies::", "hostile::"]),
    );
}

#[test]
#[ignore = "tests/run accept C"]
fn c2_a_thousand_reloads_in_a_minute() {
    claim(
        "1,000 reloads under load, one after the other",
        "60 s; 0 failed requests, 0 second executions, RSS at most +5 % of the hundredth's",
        "tests/run accept C c2_a_thousand",
        || {
            let begun = Instant::now();
            let told = reload::swaps(1000, 100, 5);
            let took = begun.elapsed();
            assert!(took <= Duration::from_secs(60), "{took:?}: {told}");
            format!("{:.0} s; {told}", took.as_secs_f64())
        },
    );
}

#[test]
#[ignore = "tests/run accept C"]
fn c2_other_routes_on_the_same_worker() {
    claim(
        "p99 of another route on the same worker, beside a policy that loops on 1 % of its inputs and a slow one",
        "within 10 ms of what it is without",
        "tests/run accept C c2_other",
        || isolation::p99_beside_habits(Duration::from_millis(10)),
    );
}

#[test]
#[ignore = "tests/run accept C"]
fn c3_safe_reload() {
    claim(
        "safe reload: steps, settings by schema, the key-schema's promise, rollback, automatic rollback",
        "every test of the rooms passes",
        "tests/run reload:: promise:: rollback::",
        || rooms(&["reload::", "promise::", "rollback::"]),
    );
}

#[test]
#[ignore = "tests/run accept C"]
fn c4_key_migration() {
    claim(
        "keys change under live traffic: component, setting, epoch, rollback, several at a time, with kills",
        "0 second executions; key-reused only where a live key is split",
        "tests/run keychanges:: keyreaders:: outlook::",
        || format!("{}; {}", keychanges::storm(12), rooms(&["keychanges::", "keyreaders::", "outlook::"])),
    );
}

#[test]
#[ignore = "tests/run accept C"]
fn c4_changes_that_lose_keys() {
    claim(
        "routes, policies' names and principals' sources change amid requests: refused where a live record would lose \
         its key",
        "0 second executions; --accept-duplicates gives it up",
        "tests/run lostkeys::",
        || format!("{}; {}", lostkeys::race(60), rooms(&["lostkeys::"])),
    );
}

#[test]
#[ignore = "tests/run accept C"]
fn c5_from_new_to_a_live_policy_in_each_language() {
    claim(
        "each language's template from `new` to a live policy that is reloaded",
        "every language",
        "tests/run policy_kit::",
        || rooms(&["policy_kit::"]),
    );
}

#[test]
#[ignore = "tests/run accept C"]
fn c6_the_shelf() {
    claim(
        "the shelf with real senders and clients; the idempotency-key policy in six languages, by the same vectors and \
         one for the other under live keys; principal_changed",
        "every test of the rooms passes",
        "tests/run shelf:: clients:: languages:: principals:: principal_changed::",
        || rooms(&["shelf::", "clients::", "languages::", "principals::", "principal_changed::"]),
    );
}

#[test]
#[ignore = "tests/run accept C"]
fn c7_the_pages() {
    claim(
        "the pages: every command in plugins/README.md, the language pages and wit/README.md is run",
        "every page",
        "tests/run pages::",
        || rooms(&["pages::"]),
    );
}

/// A row for each language. What bounds there are stand in plugins/README.md: this is for reading.
#[test]
#[ignore = "tests/run accept C"]
fn c8_the_table_of_languages() {
    claim(
        "language: component, build, load compiled / from kept code, call on a reused / fresh instance, memory",
        "a row for each language",
        "oncegate policy build NAME && oncegate policy bench NAME",
        || LANGUAGES.map(row).join("; "),
    );
}

fn row(language: &str) -> String {
    let shop = Shop::new();
    shop.fine(&["new", "--lang", language, "orders"]);
    let build = || {
        let begun = Instant::now();
        shop.fine(&["build", "orders"]);
        begun.elapsed()
    };
    // The first has the language's own crates and caches to make.
    let (first, again) = (build(), build());
    let told = shop.json(&["bench", "orders"]);
    let timing = &told["components"][0]["timing"];
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("no figure in {told}"));
    let least = |name: &str| number(&timing[name]["least"]) / 1e3;
    let (compiled, kept) =
        loads(&std::fs::read(shop.path().join("orders/orders.wasm")).expect("it was built"));
    format!(
        "{language}: {:.0} KB, build {:.1} s ({:.1} s again), load {compiled:.0} / {kept:.0} ms, call {:.1} / {:.0} µs, \
         {:.0} KiB",
        number(&timing["size"]) / 1e3,
        first.as_secs_f64(),
        again.as_secs_f64(),
        least("reused_ns"),
        least("fresh_ns"),
        number(&timing["memory"]) / 1024.0,
    )
}

/// Milliseconds to load it at a start with an empty data folder, and at the next.
fn loads(component: &[u8]) -> (f64, f64) {
    let setup = Setup::new("http://127.0.0.1:9");
    let file = crate::bad_policies::put(&setup, "policy.wasm", component);
    let gateway = setup.component(file).start();
    let load = |gateway: &Gateway| {
        let told = gateway.admin("GET", "/v1/policies").json();
        let took = told["policies"][0]["load_ms"].as_f64();
        took.unwrap_or_else(|| panic!("no load_ms in {told}"))
    };
    let compiled = load(&gateway);
    let (setup, _) = gateway.terminate();
    (compiled, load(&setup.start()))
}
