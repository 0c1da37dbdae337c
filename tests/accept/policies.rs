//! Policies in every language, and those that misbehave.

use super::{claim, tests_of};
use crate::policies::isolation;
use crate::policies::kit::{LANGUAGES, Shop};
use crate::support::*;
use std::time::{Duration, Instant};

#[test]
#[ignore = "tests/run accept policies"]
fn the_whole_interface() {
    claim(
        "the interface: settle, resolution, presentation on every way to an answer; WASI that isn't there; codings",
        "every test of these names passes",
        "tests/run answers::presentation:: faults::settlements:: operating::probes:: answers::judging:: policies::selftest::",
        || {
            tests_of(&[
                "answers::presentation::",
                "faults::settlements::",
                "operating::probes::",
                "answers::judging::",
                "policies::selftest::",
            ])
        },
    );
}

#[test]
#[ignore = "tests/run accept policies"]
fn hostile_components() {
    claim(
        "hostile and broken components cost their own requests and nothing else",
        "every test of these names passes",
        "tests/run policies::bad_guests:: policies::bad_components:: policies::hostile::",
        || tests_of(&["policies::bad_guests::", "policies::bad_components::", "policies::hostile::"]),
    );
}

#[test]
#[ignore = "tests/run accept policies"]
fn other_routes_on_the_same_worker() {
    claim(
        "p99 of another route on the same worker, beside a policy that loops on 1 % of its inputs and a slow one",
        "within 10 ms of what it is without",
        "tests/run accept policies other_routes",
        || isolation::p99_beside_habits(Duration::from_millis(10)),
    );
}

#[test]
#[ignore = "tests/run accept policies"]
fn from_new_to_a_live_policy_in_each_language() {
    claim(
        "each language's template from `new` to a live policy that is reloaded",
        "every language",
        "tests/run policies::kit::",
        || tests_of(&["policies::kit::"]),
    );
}

#[test]
#[ignore = "tests/run accept policies"]
fn the_shelf() {
    claim(
        "the shelf with real senders and clients; the idempotency-key policy in six languages, by the same vectors and \
         one for the other under live keys; principal_changed",
        "every test of these names passes",
        "tests/run policies::shelf:: answers::clients:: policies::languages:: keys::principals:: keys::principal_changed::",
        || {
            tests_of(&[
                "policies::shelf::",
                "answers::clients::",
                "policies::languages::",
                "keys::principals::",
                "keys::principal_changed::",
            ])
        },
    );
}

#[test]
#[ignore = "tests/run accept policies"]
fn the_pages() {
    claim(
        "the pages: every command in plugins/README.md, the language pages and wit/README.md is run",
        "every page",
        "tests/run policies::pages::",
        || tests_of(&["policies::pages::"]),
    );
}

/// A row for each language. What bounds there are stand in plugins/README.md: this is for reading.
#[test]
#[ignore = "tests/run accept policies"]
fn the_table_of_languages() {
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
    let file = crate::policies::bad_components::put(&setup, "policy.wasm", component);
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
