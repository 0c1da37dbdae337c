//! Whether a full store takes as much memory as it says.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::Memory;
use crate::Store;
use crate::conformance::{completed, id, on_a_runtime};
use bytes::Bytes;
use oncegate_core::{Answer, Origin, Record, State, Timestamp};
use std::process::Command;
use std::sync::Arc;

const CAPACITY: usize = 48 << 20;

/// A record as the gateway makes it: texts and answer have allocations of their own. What `shared` has is its
/// maker's.
fn record(number: u64, body: usize, shared: &Origin) -> Arc<Record> {
    let text = |text: &str| Arc::<str>::from(text);
    let made = completed(2_000 + number, body);
    let State::Completed { at, answer } = &made.state else { unreachable!("it is completed") };
    let all = Bytes::from(b"content-typeapplication/jsonlocation/v1/charges/ch_123456".to_vec());
    let fields = vec![(all.slice(..12), all.slice(12..28)), (all.slice(28..36), all.slice(36..))];
    let answer = Arc::new(Answer { fields, body: Bytes::from(answer.body.to_vec()), ..(**answer).clone() });
    let origin = Origin {
        path: text("/v1/customers/cus_1234567890/charges"),
        authority: text("payments.example.com:8443"),
        method: text("POST"),
        ..shared.clone()
    };
    Arc::new(Record { origin, state: State::Completed { at: *at, answer }, ..(*made).clone() })
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Not a test by itself: [`a_full_store_takes_the_memory_that_it_says`] runs it in a process of its own.
#[test]
fn fills() {
    let Ok(body) = std::env::var("ONCEGATE_TEST_FILL") else { return };
    let body = body.parse().unwrap();
    on_a_runtime(async {
        let shared = completed(2_000, 0).origin.clone();
        let before = resident();
        let store = Memory::new(CAPACITY);
        let mut number = 0;
        let fills = async |number| {
            store
                .swap(id(number), None, Some(record(number, body, &shared)), Timestamp::default())
                .await
                .is_ok()
        };
        while fills(number).await {
            number += 1;
        }
        let taken = resident() - before;
        println!("takes {} percent of what it says, {number} records", taken * 100 / CAPACITY);
        assert!(taken <= CAPACITY / 20 * 21, "it takes more than it says");
        assert!(taken >= CAPACITY / 10 * 7, "it says more than it takes");
    });
}

#[test]
fn a_full_store_takes_the_memory_that_it_says() {
    for body in ["0", "120", "1000", "20000"] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::weight_tests::fills", "--nocapture"])
            .env("ONCEGATE_TEST_FILL", body)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        let errors = String::from_utf8_lossy(&child.stderr);
        println!("{body} bytes: {said}");
        assert!(child.status.success() && said.contains("takes "), "{body} bytes: {said}{errors}");
    }
}
