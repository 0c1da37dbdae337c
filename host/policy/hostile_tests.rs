//! Components made to do harm, beyond components that trap, loop or leak. Each costs its own call, and
//! bounded time and memory of the host.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::tests::{decide, guests, key_of, load, pool, reply, run, settled};
use crate::interface::failure::Failure;
use crate::run::generation::Generation;
use guests::Guest;
use oncegate_core::PrincipalId;
use std::sync::Arc;

/// Expects `decide` of this guest to fail like this, twice, and another policy on the same thread to be well.
#[track_caller]
fn costs_its_own_call(guest: &Guest, kind: &str, words: &str) {
    let generation = load(&guest.component()).unwrap();
    let good = load(&guests::keyed_by_header("idempotency-key", "toy/1")).unwrap();
    let pool = pool();
    for _ in 0..2 {
        let failure = decide(&pool, &generation, "k").unwrap_err();
        assert!(failure.kind() == kind && failure.to_string().contains(words), "{kind}, {words}: {failure}");
        assert_eq!(key_of(decide(&pool, &good, "k")), "k");
    }
}

fn deciding(decide: &str) -> Guest {
    Guest { decide: decide.into(), ..Guest::default() }
}

#[test]
fn a_table_grows_no_further_than_the_pool_has_room() {
    let decide = "(loop $on (br_if $on (i32.ne (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1)))) unreachable";
    let guest = Guest { definitions: "(table $t 1 funcref)".into(), ..deciding(decide) };
    // The guest gives up when it is told that there is no more.
    costs_its_own_call(&guest, "trap", "unreachable");
}

#[test]
fn recursion_without_end_is_a_trap() {
    let guest = Guest {
        definitions:
            "(func $deep (param i32) (result i32) (call $deep (i32.add (local.get 0) (i32.const 1))))".into(),
        ..deciding("i32.const 0 call $deep")
    };
    costs_its_own_call(&guest, "trap", "stack");
}

#[test]
fn a_string_that_lies_outside_of_memory_is_invalid() {
    for (at, length) in [("16384", "0x7fffffff"), ("0xfffffff0", "64"), ("0xffffffff", "0xffffffff")] {
        let guest = deciding(&format!("i32.const {at} i32.const {length} call $key_of"));
        costs_its_own_call(&guest, "invalid", "canonical ABI");
    }
}

/// A key of sixty thousand parts that are all one text of 64 KiB: 4 GiB if the host took them.
#[test]
fn a_small_guest_does_not_make_the_host_lift_gigabytes() {
    let decide = "(drop (memory.grow (i32.const 40)))
        (local.set $at (i32.const 0))
        (loop $on
            (i32.store8 (i32.add (i32.const 262144) (i32.mul (local.get $at) (i32.const 20))) (i32.const 0))
            (i32.store offset=4 (i32.add (i32.const 262144) (i32.mul (local.get $at) (i32.const 20))) (i32.const 65536))
            (i32.store offset=8 (i32.add (i32.const 262144) (i32.mul (local.get $at) (i32.const 20))) (i32.const 65536))
            (br_if $on (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 60000))))
        i32.const 0 i32.const 0 call $key_of drop
        (i32.store offset=8 (i32.const 1024) (i32.const 262144))
        (i32.store offset=12 (i32.const 1024) (i32.const 60000))
        i32.const 1024";
    costs_its_own_call(&deciding(decide), "handed", "1 MiB");
}

#[test]
fn text_that_is_not_utf_8_is_invalid() {
    let decide = "(i32.store8 (i32.const 512) (i32.const 0xff)) i32.const 512 i32.const 1 call $key_of";
    costs_its_own_call(&deciding(decide), "invalid", "utf-8");
}

#[test]
fn discriminants_that_nothing_has_are_invalid() {
    let key = "i32.const 512 i32.const 1 call $key_of drop";
    // The result's own, the verdict's, a part's, the fingerprint's.
    for spoilt in [
        "(i32.store8 (i32.const 1024) (i32.const 2))",
        "(i32.store8 (i32.const 1028) (i32.const 3))",
        "(i32.store8 (i32.const 1280) (i32.const 5))",
        "(i32.store8 (i32.const 1040) (i32.const 4))",
    ] {
        let guest =
            deciding(&format!("(i32.store8 (i32.const 512) (i32.const 65)) {key} {spoilt} i32.const 1024"));
        costs_its_own_call(&guest, "invalid", "canonical ABI");
    }
}

#[test]
fn keys_of_no_bytes_and_of_a_megabyte_are_refused_and_one_with_nul_is_a_key() {
    costs_its_own_call(&deciding("i32.const 512 i32.const 0 call $key_of"), "invalid", "guard.key");
    let megabyte = "(drop (memory.grow (i32.const 20))) i32.const 65536 i32.const 1048576 call $key_of";
    costs_its_own_call(&deciding(megabyte), "handed", "1 MiB");
    let nul = load(&guests::deciding("i32.const 500 i32.const 3 call $key_of")).unwrap();
    assert_eq!(key_of(decide(&pool(), &nul, "k")), "\0\0\0");
}

fn settle(generation: &Arc<Generation>) -> Option<Failure> {
    run(settled(&pool(), generation, PrincipalId([1; 32]), reply(true))).err()
}

#[test]
fn a_trap_in_a_later_hook_costs_that_call() {
    let guest = Guest { settle: Some("unreachable".into()), ..Guest::default() };
    let generation = load(&guest.component()).unwrap();
    assert_eq!(settle(&generation).map(|failure| failure.kind()), Some("trap"));
    assert_eq!(key_of(decide(&pool(), &generation, "k")), "k");
}

/// The file is too large to be a policy, and is refused before it is read whole.
#[test]
fn a_file_of_65_megabytes_is_too_large_and_one_of_50_loads() {
    let padded =
        |bytes: usize| Guest { sections: vec![("padding".into(), vec![0; bytes])], ..Guest::default() };
    let error = load(&padded(65 << 20).component()).unwrap_err().to_string();
    assert!(error.contains("larger than 64 MiB"), "{error}");
    assert_eq!(key_of(decide(&pool(), &load(&padded(50 << 20).component()).unwrap(), "k")), "k");
}
